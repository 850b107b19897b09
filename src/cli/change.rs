//! A change to a pod of the input: decided as the webhook decides, applied to the document it was read from.

use anyhow::{Context as _, Result};

use crate::injection::Patch;

use super::manifests::stream::Document;
use super::manifests::{Node, Pointer, json, patch};
use super::workloads::Workload;

/// What changes about one pod or pod template.
#[derive(Debug)]
pub(super) struct Change {
    workload: Workload,
    /// Pointers begin at the pod.
    patch: Patch,
    /// The pod after it.
    pod: Node,
}

impl Change {
    /// A change of nothing, to begin with.
    pub(super) fn none(workload: &Workload, pod: &Node) -> Self {
        Self { workload: workload.clone(), patch: Patch::default(), pod: pod.clone() }
    }

    /// The pod as it is after the change.
    pub(super) const fn pod(&self) -> &Node {
        &self.pod
    }

    /// Adds operations that begin where the change ends.
    pub(super) fn push(&mut self, more: &Patch) -> Result<()> {
        patch::apply(&mut self.pod, &patch::read(more.as_json().as_bytes())?).with_context(|| self.workload.to_string())?;
        self.patch.append(more);
        Ok(())
    }

    /// Whether nothing changes.
    pub(super) const fn is_empty(&self) -> bool {
        self.patch.is_empty()
    }

    /// Makes the change in the documents the pod was read from.
    pub(super) fn apply(self, documents: &mut [Document]) -> Result<()> {
        let pod = self.workload.pod_mut(documents)?;
        *pod = self.pod;
        Ok(())
    }

    /// The change as an object that names its file, document and workload, and holds an RFC 6902 patch of that document.
    pub(super) fn to_patch(&self) -> Result<Node> {
        let Workload { origin, site, .. } = &self.workload;
        let mut patch = json::read(self.patch.as_json().as_bytes())?;
        if let Node::Sequence(operations) = &mut patch {
            for operation in operations {
                place(operation, &site.pointer);
            }
        }
        let text = |value: &str| Node::from(value);
        let optional = |value: &Option<String>| value.as_deref().map_or(Node::Null, Node::from);
        let members = [
            ("file", text(&origin.name)),
            ("document", Node::Number(u64::try_from(origin.index)?.into())),
            ("kind", text(&site.kind)),
            ("name", optional(&site.name)),
            ("namespace", optional(&site.namespace)),
            ("patch", patch),
        ];
        Ok(Node::Mapping(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
    }
}

/// Lets an operation's pointer begin at the document instead of the pod.
fn place(operation: &mut Node, pod: &Pointer) {
    if let Some(Node::String(path)) = operation.get_mut("path") {
        path.insert_str(0, &pod.to_string());
    }
}
