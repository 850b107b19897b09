//! The objects of outrigger.dev, each by itself and all together.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::api::offline::OfflineValidator;
use crate::cli::manifests::json;
use crate::cli::manifests::stream::Document;
use crate::cli::manifests::workload::{self, Object};

use super::report::{Report, Severity};

/// Checks all objects of our kinds. Those without a namespace are judged in `default_namespace`.
pub(super) fn check<'input>(documents: &'input [Document], default_namespace: &str) -> Result<Vec<Report<'input>>> {
    let objects: Vec<(&Document, Object<'_>)> =
        documents.iter().flat_map(|document| workload::objects(&document.root).into_iter().map(move |object| (document, object))).collect();
    let values = objects.iter().map(|(document, object)| value(document, object)).collect::<Result<Vec<_>>>()?;
    let verdicts = OfflineValidator::new()?.validate_all(&values, default_namespace);

    let mut reports = Vec::new();
    for ((document, object), verdict) in objects.iter().zip(verdicts) {
        let Some(verdict) = verdict else { continue };
        let report = |severity| move |finding| Report::new(severity, document, object, &object.pointer, finding);
        reports.extend(verdict.denials.into_iter().map(report(Severity::Error)));
        reports.extend(verdict.warnings.into_iter().map(report(Severity::Warning)));
    }
    Ok(reports)
}

fn value(document: &Document, object: &Object<'_>) -> Result<Value> {
    let mut value: Value = serde_json::from_str(&json::write(object.node)).with_context(|| document.origin.to_string())?;
    // The item of a typed list may leave them out.
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".to_owned(), object.api_version.into());
        fields.insert("kind".to_owned(), object.kind.into());
    }
    Ok(value)
}
