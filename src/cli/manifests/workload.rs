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

/// Whether a document is an object or a list of them: the API server reads nothing else.
#[must_use]
pub fn is_object(document: &Node) -> bool {
    ["apiVersion", "kind"].iter().all(|field| document.get(field).and_then(Node::as_str).is_some_and(|text| !text.is_empty()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::manifests::yaml_reader;

    fn document(text: &str) -> Node {
        yaml_reader::read_all(text).expect(text).remove(0).1
    }

    /// `kind pointer`, for each pod.
    fn sites(text: &str) -> Vec<String> {
        pods(&document(text)).iter().map(|site| format!("{} {}", site.kind, site.pointer)).collect()
    }

    #[test]
    fn each_workload_has_its_template_found() {
        let table = [
            ("{apiVersion: v1, kind: Pod, spec: {}}", "Pod "),
            ("{apiVersion: v1, kind: PodTemplate, template: {}}", "PodTemplate /template"),
            ("{apiVersion: v1, kind: ReplicationController, spec: {template: {}}}", "ReplicationController /spec/template"),
            ("{apiVersion: apps/v1, kind: Deployment, spec: {template: {}}}", "Deployment /spec/template"),
            ("{apiVersion: apps/v1, kind: ReplicaSet, spec: {template: {}}}", "ReplicaSet /spec/template"),
            ("{apiVersion: apps/v1, kind: DaemonSet, spec: {template: {}}}", "DaemonSet /spec/template"),
            ("{apiVersion: apps/v1, kind: StatefulSet, spec: {template: {}}}", "StatefulSet /spec/template"),
            ("{apiVersion: batch/v1, kind: Job, spec: {template: {}}}", "Job /spec/template"),
            (
                "{apiVersion: batch/v1, kind: CronJob, spec: {jobTemplate: {spec: {template: {}}}}}",
                "CronJob /spec/jobTemplate/spec/template",
            ),
            ("{apiVersion: argoproj.io/v1alpha1, kind: Rollout, spec: {template: {}}}", "Rollout /spec/template"),
            ("{apiVersion: apps.openshift.io/v1, kind: DeploymentConfig, spec: {template: {}}}", "DeploymentConfig /spec/template"),
        ];
        assert_eq!(table.len(), POD_PATHS.len());
        for (text, site) in table {
            assert_eq!(sites(text), [site]);
        }
    }

    #[test]
    fn other_things_have_no_pods() {
        for text in [
            "{apiVersion: v1, kind: ConfigMap, spec: {template: {}}}",
            "{apiVersion: example.com/v1, kind: Deployment, spec: {template: {}}}",
            "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, spec: {workloadRef: {}}}",
            "{apiVersion: apps.openshift.io/v1, kind: DeploymentConfig, spec: {template: null}}",
            "{kind: Pod, spec: {}}",
            "{apiVersion: v1, kind: List, items: {}}",
            "[{apiVersion: v1, kind: Pod}]",
            "text",
        ] {
            assert!(sites(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn lists_are_walked() {
        let text = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret}
- {apiVersion: v1, kind: Pod, metadata: {name: a, namespace: b}}
- apiVersion: v1
  kind: PodList
  items:
  - {metadata: {generateName: c-}}
- {apiVersion: apps/v1, kind: DeploymentList, items: [{spec: {template: {}}}]}
- {apiVersion: outrigger.dev/v1alpha1, kind: UserList, spec: {}}
";
        assert_eq!(sites(text), ["Pod /items/1", "Pod /items/2/items/0", "Deployment /items/3/items/0/spec/template"]);
        let document = document(text);
        let found = pods(&document);
        let names: Vec<_> = found.iter().map(|site| (site.name.as_deref(), site.namespace.as_deref())).collect();
        assert_eq!(names, [(Some("a"), Some("b")), (Some("c-"), None), (None, None)]);
        assert!(found.iter().all(|site| document.find(&site.pointer).is_some()));
        assert!(objects(&document).iter().any(|object| object.kind == "UserList" && object.group() == "outrigger.dev"));
    }

    #[test]
    fn namespaces_tell_their_labels_and_annotations() {
        let text = "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {b: c}, annotations: null}}]}";
        let found = namespaces(&document(text)).expect("valid");
        let labels = BTreeMap::from([("b".to_owned(), "c".to_owned())]);
        assert_eq!(found, [NamespaceManifest { name: "a".to_owned(), labels, annotations: BTreeMap::new() }]);
    }

    #[test]
    fn namespaces_that_the_api_server_would_refuse_are_refused() {
        let failure = |metadata: &str| {
            namespaces(&document(&format!("{{apiVersion: v1, kind: Namespace, metadata: {metadata}}}"))).expect_err(metadata).to_string()
        };
        assert_eq!(failure("{name: a, labels: {b: yes}}"), "`b` in metadata.labels of namespace a is a boolean; quote it");
        assert_eq!(failure("{name: a, annotations: []}"), "metadata.annotations of namespace a is a list; it must be a mapping of strings");
        assert_eq!(failure("{}"), "the Namespace at `` has no metadata.name");
    }
}
