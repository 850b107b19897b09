//! Annotations: of pods and templates, as the webhook reads them; of namespaces, as defaults; and where they have no effect.

use std::borrow::Cow;

use anyhow::Result;

use crate::api::annotations::{Annotations, DEFAULTS_ENABLED, DEFAULTS_LABEL, Origin, find, under_our_prefixes};
use crate::api::finding::Finding;
use crate::cli::injector::{Conclusion, Injection, inject, own_annotations};
use crate::cli::manifests::stream::Document;
use crate::cli::manifests::workload::{self, NamespaceManifest, Object};
use crate::cli::misplaced;
use crate::cli::surroundings::Surroundings;
use crate::cli::workloads::{self, Workload};
use crate::injection::Denial;

use super::report::{Report, Severity};

const FIELD: &str = "metadata.annotations";

/// Checks the annotations of all objects.
pub(super) fn check<'input>(documents: &'input [Document], surroundings: &Surroundings) -> Result<Vec<Report<'input>>> {
    let workloads = workloads::find(documents);
    let mut reports = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        for object in workload::objects(&document.root) {
            let here = |(severity, finding)| Report::new(severity, document, &object, &object.pointer, finding);
            reports.extend(namespace(&object)?.into_iter().map(here));
            let own = workloads.iter().filter(|workload| workload.document == index && object.pointer.holds(&workload.site.pointer));
            for workload in own {
                let slip = misplaced::request_on(&object, workload).map(|finding| (Severity::Warning, finding));
                reports.extend(slip.map(here));
                let there = |(severity, finding)| Report::new(severity, document, &object, &workload.site.pointer, finding);
                reports.extend(pod(workload, documents, surroundings)?.into_iter().map(there));
            }
        }
    }
    Ok(reports)
}

type Judged = (Severity, Finding);

/// What injection would say about a pod.
fn pod(workload: &Workload, documents: &[Document], surroundings: &Surroundings) -> Result<Vec<Judged>> {
    let pod = workload.pod(documents)?;
    let Injection { warnings, conclusion, .. } = inject(workload, pod, surroundings)?;
    // Those about a key of the pod's own are told with their field.
    let mut judged: Vec<Judged> = unknown_keys(own_annotations(pod)).collect();
    let others = warnings.into_iter().filter(|warning| !judged.iter().any(|(_, known)| known.message == *warning));
    let others: Vec<Judged> = others.map(|warning| (Severity::Warning, Finding::at(FIELD, warning))).collect();
    judged.extend(others);
    match conclusion {
        Conclusion::Refused(refusal) => {
            judged.extend(refusal.denials().into_iter().map(|denial| (Severity::Error, denied(denial))));
        }
        Conclusion::NotAsked => {
            judged.extend(bad_values(own_annotations(pod)));
        }
        Conclusion::Skipped(_) | Conclusion::Equipped => {}
    }
    Ok(judged)
}

fn denied(denial: Denial) -> Finding {
    Finding::at(denial.key.map_or_else(String::new, annotation_field), denial.message)
}

fn annotation_field(key: &str) -> String {
    format!("{FIELD}[{key}]")
}

/// Keys that the table lacks.
fn unknown_keys<'a>(annotations: impl Iterator<Item = (&'a str, &'a str)>) -> impl Iterator<Item = Judged> {
    annotations.filter_map(|(key, value)| {
        let warning = Annotations::default().add(key, Cow::Borrowed(value), Origin::Pod)?;
        Some((Severity::Warning, Finding::at(annotation_field(key), warning)))
    })
}

/// Values that the table doesn't allow.
fn bad_values<'a>(annotations: impl Iterator<Item = (&'a str, &'a str)>) -> impl Iterator<Item = Judged> {
    annotations.filter_map(|(key, value)| {
        let allowed = find(key)?.kind.check(value.trim()).err()?;
        Some((Severity::Error, Finding::of(annotation_field(key), value, format!("must be {allowed}"))))
    })
}

/// Judges what a namespace gives its pods.
fn namespace(object: &Object<'_>) -> Result<Vec<Judged>> {
    if !object.group().is_empty() || object.kind != "Namespace" {
        return Ok(Vec::new());
    }
    let mut judged = Vec::new();
    for manifest in workload::namespaces(object.node)? {
        judged.extend(switch(&manifest).map(|finding| (Severity::Warning, finding)));
        let annotations = || manifest.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        judged.extend(bad_values(annotations()));
        judged.extend(unknown_keys(annotations()));
    }
    Ok(judged)
}

/// Defaults that nothing switches on.
fn switch(manifest: &NamespaceManifest) -> Option<Finding> {
    let field = format!("metadata.labels[{DEFAULTS_LABEL}]");
    match manifest.labels.get(DEFAULTS_LABEL) {
        Some(value) if value == DEFAULTS_ENABLED => None,
        Some(value) => Some(Finding::of(field, value, format!("gives no defaults: it must be {DEFAULTS_ENABLED}"))),
        None if under_our_prefixes(&manifest.annotations).is_empty() => None,
        None => Some(Finding::at(
            field,
            format!("the annotations are no defaults for pods without the label {DEFAULTS_LABEL}: {DEFAULTS_ENABLED}"),
        )),
    }
}
