//! The real Helm and the chart.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use outrigger_bed::{ControlPlane, gaps, obtain, versions};
use serde_json::Value;

pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/outrigger");
/// The release and the namespace of all tests, as the documentation has them.
pub(crate) const RELEASE: &str = "outrigger";

/// Helm, for one cluster or for none.
pub(crate) struct Helm {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
}

/// What Helm printed and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Helm {
    /// Helm without a cluster. `None`: it can't be had here, and `test` was noted as skipped.
    pub(crate) fn obtain(test: &str) -> Option<Self> {
        match obtain::helm() {
            Ok(program) => Some(Self { program, kubeconfig: None }),
            Err(why) => {
                gaps::skip(test, &why).unwrap();
                None
            }
        }
    }

    /// The same for a cluster.
    pub(crate) fn at(self, cluster: &ControlPlane) -> Self {
        Self { kubeconfig: Some(cluster.kubeconfig_path().to_owned()), ..self }
    }

    /// `PATH` with its folder in front, for shells.
    pub(crate) fn path(&self) -> std::ffi::OsString {
        let folder = self.program.parent().unwrap().to_owned();
        let others = std::env::var_os("PATH").unwrap_or_default();
        std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&others))).unwrap()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(&self.program);
        // Nothing of the developer's own: neither plugins nor a kubeconfig.
        command
            .args(arguments)
            .env_remove("HELM_PLUGINS")
            .env("KUBECONFIG", self.kubeconfig.as_deref().unwrap_or_else(|| Path::new("/dev/null")));
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What Helm prints when it succeeds.
    pub(crate) fn output(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert!(outcome.success, "helm {arguments:?}: {}{}", outcome.stderr, outcome.stdout);
        outcome.stdout
    }

    /// `helm template` of the chart with these arguments.
    pub(crate) fn template(&self, arguments: &[&str]) -> Outcome {
        let version = versions::kubernetes().unwrap();
        let template = ["template", RELEASE, CHART, "--namespace", RELEASE, "--kube-version", &version];
        self.run(&[&template, arguments].concat())
    }

    /// The objects it renders with these arguments, hooks among them.
    pub(crate) fn objects(&self, arguments: &[&str]) -> Vec<Value> {
        let rendered = self.template(arguments);
        assert!(rendered.success, "{arguments:?}: {}", rendered.stderr);
        let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered.stdout).unwrap();
        documents.into_iter().filter(|document| !document.is_null()).collect()
    }
}

/// `--set` for each of these.
pub(crate) fn set<'a>(values: &[&'a str]) -> Vec<&'a str> {
    values.iter().flat_map(|value| ["--set", value]).collect()
}

/// Kind and name of an object, for finding it.
pub(crate) fn title(object: &Value) -> String {
    format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}

/// Whether an object is a hook, which is no part of the release.
pub(crate) fn is_hook(object: &Value) -> bool {
    !object["metadata"]["annotations"]["helm.sh/hook"].is_null()
}

/// The one object of this title that is no hook.
pub(crate) fn find<'a>(objects: &'a [Value], wanted: &str) -> &'a Value {
    objects.iter().find(|object| title(object) == wanted && !is_hook(object)).unwrap_or_else(|| panic!("there is no {wanted}"))
}
