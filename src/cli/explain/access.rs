//! What the file mirror must be allowed: it reads with the pod's own `ServiceAccount`, and no right is lent to it.

use serde_json::{Value, json};

use crate::api::annotations::{FILE_SYNC_KINDS, FILE_SYNC_NAMESPACES, SidecarKind, items};
use crate::cli::manifests::{Node, yaml_writer};

use super::Story;

/// The value of the annotation `namespaces` that means the whole cluster.
const ALL_NAMESPACES: &str = "ALL";
const RBAC: &str = "rbac.authorization.k8s.io";

/// The objects, as text to read.
pub(super) fn tell(story: &Story<'_>) -> String {
    let yaml = yaml_writer::write_all(&objects(story));
    let shared = service_account(story)
        .is_none()
        .then_some("    The pod uses the ServiceAccount default, which it shares with others: give it its own with serviceAccountName.\n");
    if yaml.is_empty() {
        return String::new();
    }
    let indented = yaml.lines().flat_map(|line| ["    ", line, "\n"]);
    shared.into_iter().chain(indented).collect()
}

/// A role with its binding for each namespace that is mirrored, or for the whole cluster. None for a pod without file-sync.
pub(super) fn objects(story: &Story<'_>) -> Vec<Node> {
    if !story.is_equipped() || !story.sidecars.contains(&SidecarKind::FileSync) {
        return Vec::new();
    }
    let mirrored = story.annotations.written(&FILE_SYNC_NAMESPACES).unwrap_or_else(|| story.namespace());
    let objects: Vec<Value> = if mirrored == ALL_NAMESPACES {
        Grant { story, namespace: None }.objects().into()
    } else {
        items(mirrored).flat_map(|namespace| Grant { story, namespace: Some(namespace) }.objects()).collect()
    };
    objects.into_iter().map(Node::from).collect()
}

fn service_account<'a>(story: &'a Story<'_>) -> Option<&'a str> {
    // `serviceAccount` is the old name, which the API server still reads: core/v1 PodSpec.
    let spec = story.pod.get("spec")?;
    ["serviceAccountName", "serviceAccount"].into_iter().find_map(|field| spec.get(field)?.as_str()).filter(|name| !name.is_empty())
}

/// What one role allows: reading in a namespace, or in all.
struct Grant<'a> {
    story: &'a Story<'a>,
    namespace: Option<&'a str>,
}

impl Grant<'_> {
    fn objects(&self) -> [Value; 2] {
        let kind = if self.namespace.is_some() { "Role" } else { "ClusterRole" };
        let metadata = match self.namespace {
            Some(namespace) => json!({"name": self.name(), "namespace": namespace}),
            None => json!({"name": self.name()}),
        };
        let rule = json!({"apiGroups": [""], "resources": self.resources(), "verbs": ["get", "list", "watch"]});
        let subject = json!({
            "kind": "ServiceAccount",
            "name": service_account(self.story).unwrap_or("default"),
            "namespace": self.story.namespace(),
        });
        [
            json!({"apiVersion": format!("{RBAC}/v1"), "kind": kind, "metadata": metadata, "rules": [rule]}),
            json!({
                "apiVersion": format!("{RBAC}/v1"),
                "kind": format!("{kind}Binding"),
                "metadata": metadata,
                "roleRef": {"apiGroup": RBAC, "kind": kind, "name": self.name()},
                "subjects": [subject],
            }),
        ]
    }

    /// Outside the pod's own namespace, the name says whose pod it is.
    fn name(&self) -> String {
        let workload = self.story.workload.site.name.as_deref().unwrap_or("pod").trim_end_matches('-');
        let home = self.story.namespace();
        if self.namespace == Some(home) { format!("{workload}-file-sync") } else { format!("{home}-{workload}-file-sync") }
    }

    fn resources(&self) -> &'static [&'static str] {
        match self.story.annotations.text(&FILE_SYNC_KINDS) {
            Some("secrets") => &["secrets"],
            Some("both") => &["configmaps", "secrets"],
            _ => &["configmaps"],
        }
    }
}
