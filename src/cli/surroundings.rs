//! What a cluster would know beside a pod: its namespace's defaults and the installation's settings, here from files.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::api::annotations::{DEFAULTS_ENABLED, DEFAULTS_LABEL, NamespaceDefaults, under_our_prefixes};
use crate::injection::Settings;

use super::console::Console;
use super::manifests::stream::{self, Document};
use super::manifests::workload::{self, NamespaceManifest};
use super::workloads::Workload;

/// Where a workload without a namespace goes if nobody names another.
const DEFAULT_NAMESPACE: &str = "default";

/// The flags that stand for the cluster.
#[derive(Debug, clap::Args)]
pub(super) struct SurroundingsArguments {
    /// Namespace of the objects that name none; `default` unless given
    #[arg(short, long)]
    namespace: Option<String>,

    /// File with Namespace objects, whose annotations may be defaults for pods; may be repeated
    ///
    /// Namespace objects among the manifests are seen anyway, and win.
    #[arg(long = "namespace-file", value_name = "FILE")]
    namespace_files: Vec<PathBuf>,

    #[command(flatten)]
    values: ValuesArgument,
}

/// The flag that stands for the installation.
#[derive(Debug, clap::Args)]
pub(super) struct ValuesArgument {
    /// The chart's values of the installation: images, resources and pull secrets
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
}

impl SurroundingsArguments {
    /// Reads the files, and takes the Namespace objects among the documents.
    pub(super) fn read(&self, documents: &[Document]) -> Result<Surroundings> {
        let mut namespaces = BTreeMap::new();
        for manifest in self.read_namespace_files()?.into_iter().chain(namespaces_in(documents)?) {
            namespaces.insert(manifest.name.clone(), defaults_of(&manifest));
        }
        Ok(Surroundings { settings: self.values.read()?, namespace: self.namespace.clone(), namespaces })
    }

    fn read_namespace_files(&self) -> Result<Vec<NamespaceManifest>> {
        let documents = stream::read(&self.namespace_files, false, &mut io::stdin().lock())?;
        let namespaces = namespaces_in(&documents)?;
        if namespaces.is_empty() && !self.namespace_files.is_empty() {
            bail!("--namespace-file holds no Namespace: write it with `kubectl get namespace NAME -o yaml`");
        }
        Ok(namespaces)
    }
}

impl ValuesArgument {
    /// Reads the settings; the built-in ones without a file.
    pub(super) fn read(&self) -> Result<Settings> {
        let Some(path) = &self.values else { return Ok(Settings::default()) };
        let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
        Settings::from_values(&text).with_context(|| format!("{} doesn't hold the chart's values", path.display()))
    }
}

fn namespaces_in(documents: &[Document]) -> Result<Vec<NamespaceManifest>> {
    let mut namespaces = Vec::new();
    for document in documents {
        namespaces.extend(workload::namespaces(&document.root).with_context(|| document.origin.to_string())?);
    }
    Ok(namespaces)
}

/// The annotations that are defaults, if the namespace is labelled to give any.
fn defaults_of(manifest: &NamespaceManifest) -> Option<NamespaceDefaults> {
    let gives = manifest.labels.get(DEFAULTS_LABEL).is_some_and(|value| value == DEFAULTS_ENABLED);
    gives.then(|| under_our_prefixes(&manifest.annotations))
}

/// What is known beside the pods.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The installation's settings.
    pub(super) settings: Settings,
    namespace: Option<String>,
    /// The namespaces we saw, with the defaults of those that give any.
    namespaces: BTreeMap<String, Option<NamespaceDefaults>>,
}

impl Surroundings {
    /// Where objects go that don't say.
    pub(super) fn default_namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
    }

    /// The namespace a workload goes to.
    pub(super) fn namespace_of<'a>(&'a self, workload: &'a Workload) -> &'a str {
        workload.site.namespace.as_deref().unwrap_or_else(|| self.default_namespace())
    }

    /// The defaults that hold for a workload.
    pub(super) fn defaults_for(&self, workload: &Workload) -> Option<&NamespaceDefaults> {
        self.namespaces.get(self.namespace_of(workload))?.as_ref()
    }

    /// Tells what was assumed about workloads, each assumption once.
    pub(super) fn tell_assumptions(&self, workloads: &[Workload], console: &Console) {
        let homeless = workloads.iter().filter(|workload| workload.site.namespace.is_none()).count();
        if homeless > 0 && self.namespace.is_none() {
            console.note(&format!(
                "assumed namespace {DEFAULT_NAMESPACE} for {homeless} of {} workloads, which name none; --namespace names another",
                workloads.len()
            ));
        }
        let mut unseen: Vec<&str> = workloads.iter().map(|workload| self.namespace_of(workload)).collect();
        unseen.retain(|namespace| !self.namespaces.contains_key(*namespace));
        unseen.sort_unstable();
        unseen.dedup();
        for namespace in unseen {
            console.note(&format!(
                "assumed that namespace {namespace}, which was not among the files, gives no defaults; --namespace-file adds it"
            ));
        }
    }
}
