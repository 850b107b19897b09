//! The pods in a document: bare ones, and the templates in workloads.

use std::collections::BTreeMap;

use super::node::Node;
use super::pointer::Pointer;

/// Where kinds keep the object with a pod's `metadata` and `spec`: API group, kind and path.
const POD_PATHS: [(&str, &str, &[&str]); 11] = [
    ("", "Pod", &[]),
    ("", "PodTemplate", &["template"]),
    ("", "ReplicationController", &["spec", "template"]),
    ("apps", "Deployment", &["spec", "template"]),
    ("apps", "ReplicaSet", &["spec", "template"]),
    ("apps", "DaemonSet", &["spec", "template"]),
    ("apps", "StatefulSet", &["spec", "template"]),
    ("batch", "Job", &["spec", "template"]),
    ("batch", "CronJob", &["spec", "jobTemplate", "spec", "template"]),
    ("argoproj.io", "Rollout", &["spec", "template"]),
    ("apps.openshift.io", "DeploymentConfig", &["spec", "template"]),
];

/// A namespace's metadata that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    /// It has no name.
    #[error("the Namespace at `{0}` has no metadata.name")]
    Unnamed(Pointer),
    /// Labels or annotations aren't a mapping.
    #[error("metadata.{field} of namespace {namespace} is {found}; it must be a mapping of strings")]
    NotAMapping {
        /// The namespace.
        namespace: String,
        /// `labels` or `annotations`.
        field: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A label or annotation isn't a string.
    #[error("`{key}` in metadata.{field} of namespace {namespace} is {found}; quote it")]
    NotAString {
        /// The namespace.
        namespace: String,
        /// `labels` or `annotations`.
        field: &'static str,
        /// Which.
        key: String,
        /// What it is.
        found: &'static str,
    },
}

/// A Kubernetes object in a document, which may be a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object<'document> {
    /// Where it is in the document.
    pub pointer: Pointer,
    /// Its `apiVersion`, or its list's if it has none.
    pub api_version: &'document str,
    /// Its `kind`, or the one its list is named after if it has none.
    pub kind: &'document str,
    /// Itself.
    pub node: &'document Node,
}

impl<'document> Object<'document> {
    /// The API group; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &'document str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// A string in its metadata.
    #[must_use]
    pub fn metadata(&self, field: &str) -> Option<&'document str> {
        self.node.get("metadata")?.get(field)?.as_str()
    }
}

/// A pod or a pod's template, and who owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSite {
    /// Where the object with the pod's `metadata` and `spec` is in the document.
    pub pointer: Pointer,
    /// The kind of the object that holds it: `Pod`, `Deployment`, ...
    pub kind: String,
    /// That object's `metadata.name`, else its `metadata.generateName`.
    pub name: Option<String>,
    /// That object's `metadata.namespace`.
    pub namespace: Option<String>,
}

/// A namespace as a manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceManifest {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The objects of a document, those of lists one by one, in order. Something without `kind` and `apiVersion` is no object.
#[must_use]
pub fn objects(document: &Node) -> Vec<Object<'_>> {
    let mut found = Vec::new();
    collect_objects(document, Pointer::default(), None, &mut found);
    found
}

/// `assumed` is what an item of a typed list (`PodList`) leaves out: API version and kind.
fn collect_objects<'document>(
    node: &'document Node,
    pointer: Pointer,
    assumed: Option<(&'document str, &'document str)>,
    found: &mut Vec<Object<'document>>,
) {
    let written = |field: &str| node.get(field).and_then(Node::as_str);
    let api_version = written("apiVersion").or_else(|| assumed.map(|(api_version, _)| api_version));
    let kind = written("kind").or_else(|| assumed.map(|(_, kind)| kind));
    let (Some(api_version), Some(kind)) = (api_version, kind) else {
        return;
    };
    let Some((item_kind, items)) = kind.strip_suffix("List").zip(node.get("items").and_then(Node::items)) else {
        found.push(Object { pointer, api_version, kind, node });
        return;
    };
    let assumed = (!item_kind.is_empty()).then_some((api_version, item_kind));
    let items_pointer = pointer.child("items");
    for (index, item) in items.iter().enumerate() {
        collect_objects(item, items_pointer.child(index.to_string()), assumed, found);
    }
}

/// The pods and pod templates of a document, in order. Other kinds have none.
#[must_use]
pub fn pods(document: &Node) -> Vec<PodSite> {
    objects(document).iter().filter_map(pod_site).collect()
}

fn pod_site(object: &Object<'_>) -> Option<PodSite> {
    let (_, _, path) = POD_PATHS.iter().find(|(group, kind, _)| *group == object.group() && *kind == object.kind)?;
    let template = path.iter().try_fold(object.node, |node, key| node.get(key))?;
    template.members()?;
    Some(PodSite {
        pointer: path.iter().fold(object.pointer.clone(), |pointer, key| pointer.child(*key)),
        kind: object.kind.to_owned(),
        name: object.metadata("name").or_else(|| object.metadata("generateName")).map(str::to_owned),
        namespace: object.metadata("namespace").map(str::to_owned),
    })
}

/// The namespaces that a document describes, in order.
pub fn namespaces(document: &Node) -> Result<Vec<NamespaceManifest>, NamespaceError> {
    let objects = objects(document).into_iter().filter(|object| object.group().is_empty() && object.kind == "Namespace");
    objects.map(|object| namespace(&object)).collect()
}

fn namespace(object: &Object<'_>) -> Result<NamespaceManifest, NamespaceError> {
    let name = object.metadata("name").ok_or_else(|| NamespaceError::Unnamed(object.pointer.clone()))?;
    Ok(NamespaceManifest {
        labels: strings(object, name, "labels")?,
        annotations: strings(object, name, "annotations")?,
        name: name.to_owned(),
    })
}

fn strings(object: &Object<'_>, namespace: &str, field: &'static str) -> Result<BTreeMap<String, String>, NamespaceError> {
    let members = match object.node.get("metadata").and_then(|metadata| metadata.get(field)) {
        None | Some(Node::Null) => return Ok(BTreeMap::new()),
        Some(Node::Mapping(members)) => members,
        Some(other) => {
            return Err(NamespaceError::NotAMapping { namespace: namespace.to_owned(), field, found: other.type_name() });
        }
    };
    let entry = |(key, value): &(String, Node)| match value {
        Node::String(text) => Ok((key.clone(), text.clone())),
        other => Err(NamespaceError::NotAString { namespace: namespace.to_owned(), field, key: key.clone(), found: other.type_name() }),
    };
    members.iter().map(entry).collect()
}
