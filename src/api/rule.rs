//! Rules of a single object, each written twice side by side: as CEL, which the API server evaluates, and as a Rust twin for
//! `outrigger validate`, which has no API server. `tests/kinds.rs` runs the same objects through both.

use serde::Serialize;
use serde_json::Value;

/// A rule of one value in a schema (`x-kubernetes-validations`).
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// The CEL expression.
    #[serde(rename = "rule")]
    pub cel: &'static str,
    /// What is allowed, or the way out.
    pub message: &'static str,
    /// The field to blame, from where the rule stands, such as `.owner.name`; none for that place itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_path: Option<&'static str>,
    /// The same in Rust.
    #[serde(skip)]
    pub twin: Twin,
}

/// How a rule is judged without an API server.
#[derive(Debug, Clone, Copy)]
pub enum Twin {
    /// By looking at the value. What another rule or the schema already refuses passes here: one fault, one finding.
    Holds(fn(&Value) -> bool),
    /// Not at all: the rule compares with the stored object, which only the API server has.
    OnUpdate,
}

impl Rule {
    /// A rule of a value.
    #[must_use]
    pub const fn new(cel: &'static str, message: &'static str, holds: fn(&Value) -> bool) -> Self {
        Self { cel, message, field_path: None, twin: Twin::Holds(holds) }
    }

    /// A rule of a change (`oldSelf`).
    #[must_use]
    pub const fn on_update(cel: &'static str, message: &'static str) -> Self {
        Self { cel, message, field_path: None, twin: Twin::OnUpdate }
    }

    /// Blames a field below the place where the rule stands.
    #[must_use]
    pub const fn at(mut self, field_path: &'static str) -> Self {
        self.field_path = Some(field_path);
        self
    }
}

impl From<Rule> for kube::core::Rule {
    fn from(rule: Rule) -> Self {
        let attached = Self::new(rule.cel).message(rule.message);
        match rule.field_path {
            Some(path) => attached.field_path(path),
            None => attached,
        }
    }
}

/// The text at a key of an object; none if there is no such key or it holds something else.
pub(crate) fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// Whether an object has a key; null counts as absent, as the API server removes it.
pub(crate) fn has(object: &Value, key: &str) -> bool {
    object.get(key).is_some_and(|value| !value.is_null())
}

/// The items of a list at a key; none if there is no list.
pub(crate) fn items<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    object.get(key).and_then(Value::as_array).into_iter().flatten()
}
