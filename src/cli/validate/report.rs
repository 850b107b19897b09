//! A finding with the place it is about.

use anyhow::Result;

use crate::api::finding::Finding;
use crate::cli::console::{Console, ERROR, WARNING, printable};
use crate::cli::manifests::stream::Document;
use crate::cli::manifests::workload::Object;
use crate::cli::manifests::{Node, Pointer};
use crate::cli::workloads::{field_path, named};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// The cluster would refuse it.
    Error,
    /// It is likely a mistake.
    Warning,
}

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A finding about an object of the input.
#[derive(Debug)]
pub(super) struct Report<'input> {
    pub(super) severity: Severity,
    document: &'input Document,
    /// `Kind/name`.
    object: String,
    /// Its field begins at the document.
    finding: Finding,
}

impl<'input> Report<'input> {
    /// A finding about the part of an object at `part`; its field begins there.
    pub(super) fn new(severity: Severity, document: &'input Document, object: &Object<'_>, part: &Pointer, finding: Finding) -> Self {
        let part = field_path(part);
        let separator = if part.is_empty() || finding.field.is_empty() { "" } else { "." };
        let field = format!("{part}{separator}{}", finding.field);
        let name = object.metadata("name").or_else(|| object.metadata("generateName"));
        Self { severity, document, object: named(object.kind, name), finding: Finding { field, ..finding } }
    }

    /// An error about a document that holds no object at all.
    pub(super) fn no_object(document: &'input Document) -> Self {
        let message = "is no Kubernetes object: it needs apiVersion and kind";
        Self { severity: Severity::Error, document, object: "document".to_owned(), finding: Finding::at("", message) }
    }

    /// What reports are ordered by, beside the order in which they were made.
    pub(super) fn place(&self) -> (String, usize) {
        (self.document.origin.name.to_string(), self.document.origin.index)
    }

    /// The finding on a line of its own.
    pub(super) fn line(&self, console: &Console) -> String {
        let style = if self.severity == Severity::Error { ERROR } else { WARNING };
        let severity = console.styled(style, self.severity.word());
        format!("{}: {severity}: {}\n", self.document.origin, printable(&format!("{}: {}", self.object, self.finding)))
    }

    /// The finding as a JSON object.
    pub(super) fn to_node(&self) -> Result<Node> {
        let origin = &self.document.origin;
        let number = |number: usize| anyhow::Ok(Node::Number(u64::try_from(number)?.into()));
        let members = [
            ("severity", self.severity.word().into()),
            ("file", Node::from(&*origin.name)),
            ("line", number(origin.position.line)?),
            ("document", number(origin.index)?),
            ("object", self.object.as_str().into()),
            ("field", self.finding.field.as_str().into()),
            ("value", self.finding.value.as_deref().map_or(Node::Null, Node::from)),
            ("message", self.finding.message.as_str().into()),
        ];
        Ok(Node::Mapping(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
    }
}
