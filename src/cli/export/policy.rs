//! `outrigger export policy`: a profile as policies that the API server evaluates itself.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use crate::{
    api::annotations::{INJECT, NONE},
    cli::{
        console::{self, Console},
        injector::own_annotations,
        input::Input,
        manifests::{Node, stream::Document, yaml_writer},
        surroundings::ValuesArgument,
        workloads,
    },
    injection::policy::{self, ApiVersion, Target},
};

const EXAMPLES: &str = "\
Examples:
  # Pods with the annotations of this one get their sidecars without a webhook
  outrigger export policy -f examples/vnc.yaml | kubectl apply -f -

  # One of several profiles, for some namespaces
  outrigger export policy -f office.yaml --name office --namespace-label team=office

  # With the images, resources and pull secrets of an installation
  outrigger export policy -f examples/vnc.yaml --values values.yaml

  # Kubernetes 1.35, whose owner turned mutating policies on
  outrigger export policy -f examples/vnc.yaml --api-version v1beta1";

/// Print policies that inject without a webhook
///
/// The annotations of a pod or pod template are the profile; the rest of it doesn't matter. Pods with exactly these annotations
/// get what the webhook would give them, from a mutating admission policy that the API server evaluates itself; a validating
/// one refuses those that can't have it, with the reason. Defaults of namespaces are not known to a policy.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Policy {
    #[command(flatten)]
    input: Input,

    #[command(flatten)]
    values: ValuesArgument,

    /// Name of the policies and their bindings: one for each profile
    #[arg(long, default_value = "outrigger")]
    name: String,

    /// Only for namespaces that have this label; may be repeated
    #[arg(long = "namespace-label", value_name = "KEY=VALUE", value_parser = label)]
    namespace_labels: Vec<(String, String)>,

    /// Version in which the cluster serves mutating policies
    #[arg(long, value_enum, value_name = "VERSION", default_value = "v1")]
    api_version: ServedVersion,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ServedVersion {
    /// From Kubernetes 1.36
    V1,
    /// From Kubernetes 1.34, if the cluster's owner turned it on
    V1beta1,
    /// In Kubernetes 1.33, if the cluster's owner turned it on
    V1alpha1,
}

impl Policy {
    pub(super) fn run(&self, console: &Console) -> Result<()> {
        let documents = self.input.read()?;
        let (profile, annotations) = profile(&documents)?;
        let version = match self.api_version {
            ServedVersion::V1 => ApiVersion::V1,
            ServedVersion::V1beta1 => ApiVersion::V1Beta1,
            ServedVersion::V1alpha1 => ApiVersion::V1Alpha1,
        };
        let namespace_labels = &self.namespace_labels.iter().cloned().collect();
        let target = Target { name: &self.name, version, namespace_labels };
        let exported = policy::export(&annotations, &self.values.read()?, &target).with_context(|| profile.clone())?;
        for warning in exported.warnings {
            console.warning(&format!("{profile}: {warning}"));
        }
        let objects: Vec<Node> = exported.objects.into_iter().map(Node::from).collect();
        console::print(&yaml_writer::write_all(objects.iter()))?;
        Ok(())
    }
}

/// A label as `kubectl label` writes it.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it must be KEY=VALUE, such as kubernetes.io/metadata.name=desks")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The one workload of the input that asks for sidecars, and its annotations.
fn profile(documents: &[Document]) -> Result<(String, BTreeMap<String, String>)> {
    let mut asking = Vec::new();
    for workload in workloads::find(documents) {
        let annotations: BTreeMap<String, String> =
            own_annotations(workload.pod(documents)?).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        if annotations.get(INJECT.name).is_some_and(|inject| inject != NONE) {
            asking.push((workload.to_string(), annotations));
        }
    }
    if asking.len() > 1 {
        let names: Vec<&str> = asking.iter().map(|(name, _)| name.as_str()).collect();
        bail!(
            "a policy is for one profile, and {} workloads ask for sidecars: {}; name a file with one of them",
            names.len(),
            names.join(", ")
        );
    }
    asking.pop().with_context(|| format!("no pod or pod template has the annotation {}: write it on the profile", INJECT.name))
}
