//! The `CustomResourceDefinition`s of all kinds, as generated from their types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::{pg_database::PgDatabase, pg_server::PgServer, session::Session, session_template::SessionTemplate, user_list::UserList};

/// Why the definitions can't be written.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// A definition is no longer one after it was tidied.
    #[error("the definition of {kind} can't be tidied")]
    Tidy {
        /// The kind.
        kind: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A definition can't be put into YAML.
    #[error("the definition of {kind} can't be written as YAML")]
    Yaml {
        /// The kind.
        kind: String,
        /// Why.
        #[source]
        source: serde_saphyr::ser::Error,
    },
}

/// The definitions of all kinds, in the order in which they should be applied.
pub fn crds() -> Result<Vec<CustomResourceDefinition>, CrdError> {
    [PgServer::crd(), PgDatabase::crd(), UserList::crd(), SessionTemplate::crd(), Session::crd()].into_iter().map(tidy).collect()
}

/// The definitions of all kinds as one YAML stream.
pub fn crds_yaml() -> Result<String, CrdError> {
    crds()?.iter().map(crd_yaml).collect()
}

/// One definition as a YAML document.
pub fn crd_yaml(crd: &CustomResourceDefinition) -> Result<String, CrdError> {
    let options = serde_saphyr::ser_options! { compact_list_indent: true, folded_wrap_chars: 120 };
    let kind = || crd.spec.names.kind.clone();
    let mut value = serde_json::to_value(crd).map_err(|source| CrdError::Tidy { kind: kind(), source })?;
    write_whole_numbers(&mut value);
    let yaml = serde_saphyr::to_string_with_options(&value, options).map_err(|source| CrdError::Yaml { kind: kind(), source })?;
    Ok(format!("---\n{yaml}"))
}

/// Removes what the generator adds for other readers of JSON schemas.
fn tidy(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition, CrdError> {
    let kind = crd.spec.names.kind.clone();
    let tidied = serde_json::to_value(crd).and_then(|mut value| {
        if let Some(versions) = value.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
            versions.iter_mut().filter_map(|version| version.pointer_mut("/schema/openAPIV3Schema")).for_each(tidy_schema);
        }
        serde_json::from_value(value)
    });
    tidied.map_err(|source| CrdError::Tidy { kind, source })
}

/// A null is the same as no value everywhere in Kubernetes: without `nullable`, the API server drops it, and no rule has to
/// think of it. An integer's format is said by its bounds: they name the field when they are broken, a format doesn't. A
/// description's lines are joined: `kubectl explain` breaks them itself.
fn tidy_schema(schema: &mut Value) {
    let Some(keywords) = schema.as_object_mut() else { return };
    keywords.remove("nullable");
    if let Some(Value::Array(allowed)) = keywords.get_mut("enum") {
        allowed.retain(|value| !value.is_null());
    }
    if keywords.get("type").and_then(Value::as_str) == Some("integer") {
        keywords.remove("format");
    }
    if let Some(Value::String(description)) = keywords.get_mut("description") {
        *description = join_lines(description);
    }
    for keyword in ["items", "additionalProperties"] {
        keywords.get_mut(keyword).into_iter().for_each(tidy_schema);
    }
    let properties = keywords.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(tidy_schema);
}

/// The type of a definition holds bounds as floating-point numbers; `1.0` reads better as `1`.
fn write_whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0).map(|float| format!("{float:.0}"));
            if let Some(whole) = whole.and_then(|text| text.parse::<i64>().ok()) {
                *number = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(write_whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Joins the lines of each paragraph.
fn join_lines(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
