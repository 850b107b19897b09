//! A request written on the workload instead of on its template: the commonest slip, which nobody would ever read.

use crate::api::annotations::INJECT;
use crate::api::finding::Finding;

use super::injector::own_annotations;
use super::manifests::Pointer;
use super::manifests::stream::Document;
use super::manifests::workload::{self, Object};
use super::workloads::{Workload, field_path};

const FIELD: &str = "metadata.annotations";

/// The request that stands on a workload's own object, if one does.
pub(super) fn request(documents: &[Document], workload: &Workload) -> Option<Finding> {
    let objects = workload::objects(&documents.get(workload.document)?.root);
    objects.iter().filter(|object| object.pointer.holds(&workload.site.pointer)).find_map(|object| request_on(object, workload))
}

/// The request that stands on this object, which holds the workload.
pub(super) fn request_on(object: &Object<'_>, workload: &Workload) -> Option<Finding> {
    let (_, asked) = own_annotations(object.node).find(|(key, _)| *key == INJECT.name)?;
    let template = relative(&workload.site.pointer, &object.pointer);
    if template.is_empty() {
        return None;
    }
    let message = format!("has no effect on a {}: write it to {template}.{FIELD}", object.kind);
    Some(Finding::of(format!("{FIELD}[{}]", INJECT.name), asked, message))
}

/// The path from an object to its template.
fn relative(template: &Pointer, object: &Pointer) -> String {
    let tokens = template.tokens().iter().skip(object.tokens().len());
    field_path(&tokens.fold(Pointer::default(), |pointer, token| pointer.child(token.clone())))
}
