//! Label selectors, as the rest of Kubernetes writes them.
#![allow(clippy::doc_markdown, reason = "these comments are what kubectl explain prints: plain text")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    rule::{Rule, items, text},
    schema,
};

/// A choice of objects by their labels: all that is written must hold. It is `metav1.LabelSelector`, but an empty one is refused:
/// it would choose everything.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = SELECTOR, "x-kubernetes-map-type" = "atomic"))]
pub struct LabelSelector {
    /// Labels that must have exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::label_values")]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<Requirement>,
}

/// A condition on one label.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = REQUIREMENT))]
pub struct Requirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    pub operator: Operator,
    /// The values for In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// What is asked of a label.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// It has one of the values.
    In,
    /// It has none of the values, or isn't there.
    NotIn,
    /// It is there.
    Exists,
    /// It isn't there.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether it would choose every object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// The selector as a list request's `labelSelector` takes it.
    #[must_use]
    pub fn to_query(&self) -> String {
        let labels = self.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
        let expressions = self.match_expressions.iter().map(Requirement::to_query);
        labels.chain(expressions).collect::<Vec<_>>().join(",")
    }

    /// Whether it chooses an object with these labels, as the API server would.
    #[must_use]
    pub fn chooses(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let is_among = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => is_among,
            Operator::NotIn => !is_among,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }

    fn to_query(&self) -> String {
        let Self { key, operator, values } = self;
        match operator {
            Operator::In => format!("{key} in ({})", values.join(",")),
            Operator::NotIn => format!("{key} notin ({})", values.join(",")),
            Operator::Exists => key.clone(),
            Operator::DoesNotExist => format!("!{key}"),
        }
    }
}

/// All rules of selectors.
pub(crate) const RULES: &[&[Rule]] = &[&SELECTOR, &REQUIREMENT];

const SELECTOR: [Rule; 1] = [Rule::new(
    "(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
    "an empty selector would choose every object; write matchLabels or matchExpressions",
    |selector| {
        let labels = selector.get("matchLabels").and_then(Value::as_object).is_some_and(|labels| !labels.is_empty());
        labels || items(selector, "matchExpressions").next().is_some()
    },
)];

const REQUIREMENT: [Rule; 1] = [Rule::new(
    "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
    "In and NotIn need values, Exists and DoesNotExist have none; add or remove values",
    |requirement| {
        let needs_values = matches!(text(requirement, "operator"), Some("In" | "NotIn"));
        needs_values == items(requirement, "values").next().is_some()
    },
)
.at(".values")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_becomes_the_query_of_a_list_request() {
        let selector: LabelSelector = serde_json::from_value(serde_json::json!({
            "matchLabels": { "app.kubernetes.io/name": "postgres" },
            "matchExpressions": [
                { "key": "team", "operator": "In", "values": ["a", "b"] },
                { "key": "tier", "operator": "NotIn", "values": ["test"] },
                { "key": "kept", "operator": "Exists" },
                { "key": "old", "operator": "DoesNotExist" },
            ],
        }))
        .unwrap();
        assert_eq!(selector.to_query(), "app.kubernetes.io/name=postgres,team in (a,b),tier notin (test),kept,!old");
        let chosen = [("app.kubernetes.io/name", "postgres"), ("team", "b"), ("kept", "")];
        let with = |change: Option<(&'static str, &'static str)>| {
            let labels = chosen.iter().copied().chain(change).map(|(key, value)| (key.to_owned(), value.to_owned()));
            selector.chooses(&labels.collect())
        };
        assert!(with(None) && with(Some(("tier", "live"))));
        for refused in [("app.kubernetes.io/name", "mysql"), ("team", "c"), ("tier", "test"), ("old", "")] {
            assert!(!with(Some(refused)), "{refused:?}");
        }
        let without = |gone: &str| {
            let labels = chosen.iter().filter(|(key, _)| *key != gone).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            selector.chooses(&labels.collect())
        };
        assert!(!without("app.kubernetes.io/name") && !without("team") && !without("kept"));
    }
}
