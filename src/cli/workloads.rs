//! The pods and pod templates of the input, each with the place where it was read.

use std::fmt;

use anyhow::{Context, Result};

use super::manifests::stream::{Document, Origin};
use super::manifests::workload::{self, PodSite};
use super::manifests::{Node, Pointer};

/// A pod or pod template of the input. Prints as `file:line: Kind/name`.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    /// The index of its document in the input.
    pub(super) document: usize,
    /// Where that document was read.
    pub(super) origin: Origin,
    /// Where it stands in the document, and whose it is.
    pub(super) site: PodSite,
}

impl Workload {
    /// The pod, or pod template.
    pub(super) fn pod<'document>(&self, documents: &'document [Document]) -> Result<&'document Node> {
        let found = documents.get(self.document).and_then(|document| document.root.find(&self.site.pointer));
        found.with_context(|| format!("{self}: nothing is at {}", self.site.pointer))
    }

    /// The pod, or pod template, to change it.
    pub(super) fn pod_mut<'document>(&self, documents: &'document mut [Document]) -> Result<&'document mut Node> {
        let found = documents.get_mut(self.document).and_then(|document| document.root.find_mut(&self.site.pointer));
        found.with_context(|| format!("{self}: nothing is at {}", self.site.pointer))
    }

    /// `Kind/name` of the object that holds it.
    pub(super) fn name(&self) -> String {
        named(&self.site.kind, self.site.name.as_deref())
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.origin, self.name())
    }
}

/// `Kind/name`, as kubectl writes it.
pub(super) fn named(kind: &str, name: Option<&str>) -> String {
    format!("{kind}/{}", name.unwrap_or("(no name)"))
}

/// All pods and pod templates of the input, in order.
pub(super) fn find(documents: &[Document]) -> Vec<Workload> {
    let in_document = |(index, document): (usize, &Document)| {
        let origin = document.origin.clone();
        let workload = move |site| Workload { document: index, origin: origin.clone(), site };
        workload::pods(&document.root).into_iter().map(workload)
    };
    documents.iter().enumerate().flat_map(in_document).collect()
}

/// The path of a field as kubectl prints it, such as `spec.template` or `items[0].spec`; empty for the document itself.
pub(super) fn field_path(pointer: &Pointer) -> String {
    pointer.tokens().iter().fold(String::new(), |path, token| {
        if token.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("{path}[{token}]")
        } else if path.is_empty() {
            token.clone()
        } else {
            format!("{path}.{token}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_paths_read_as_kubectls() {
        let path = |pointer: &str| field_path(&pointer.parse().expect(pointer));
        assert_eq!(path("/items/0/spec/template"), "items[0].spec.template");
        assert_eq!(path(""), "");
    }
}
