//! What sessions and their templates say about containers: variables and resources.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    quantity::{Quantity, QuantityError},
    rule::Rule,
    schema,
};

/// An environment variable.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// The variable's name. DISPLAY and XAUTHORITY belong to the desktop.
    #[schemars(length(min = 1, max = 128), extend("x-kubernetes-validations" = VARIABLE_NAME))]
    pub name: String,
    /// The variable's value. Everybody who may read this object can read it: nothing secret belongs here.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// An amount of a resource as its author wrote it: `2`, or `"1.5Gi"`. Numbers may be as large as JSON's in Kubernetes.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(untagged)]
pub enum Amount {
    /// A whole number.
    Number(i64),
    /// A number with a suffix.
    Text(String),
}

impl Amount {
    /// The amount, for comparisons.
    pub fn quantity(&self) -> Result<Quantity, QuantityError> {
        match self {
            Self::Number(number) => number.to_string().parse(),
            Self::Text(text) => text.parse(),
        }
    }
}

/// Amounts by the name of a resource: `cpu`, `memory`, `ephemeral-storage`, `nvidia.com/gpu` and so on.
pub type Amounts = BTreeMap<String, Amount>;

/// What a container needs and what it may use, as in a pod.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = RESOURCES))]
pub struct Resources {
    /// What is set aside for the container.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub requests: Amounts,
    /// What the container may use at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub limits: Amounts,
}

/// All rules of containers.
pub(crate) const RULES: &[&[Rule]] = &[&VARIABLE_NAME, &RESOURCES];

const VARIABLE_NAME: [Rule; 2] = [
    Rule::new(
        "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
        "is not a variable's name; it has letters, digits and underscores, and doesn't begin with a digit",
        |name| name.as_str().is_none_or(is_variable_name),
    ),
    Rule::new("!(self in ['DISPLAY', 'XAUTHORITY'])", "DISPLAY and XAUTHORITY are set for the desktop; take the variable away", |name| {
        !matches!(name.as_str(), Some("DISPLAY" | "XAUTHORITY"))
    }),
];

fn is_variable_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// What isn't an amount passes here: the rule of a single amount refuses it, and says how little such a rule may cost.
const RESOURCES: [Rule; 1] = [Rule::new(
    "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || \
     !(type(self.requests[name]) in [int] || isQuantity(self.requests[name])) || \
     !(type(self.limits[name]) in [int] || isQuantity(self.limits[name])) || \
     (type(self.requests[name]) in [int] ? quantity('0').add(self.requests[name]) : quantity(self.requests[name])).compareTo(\
     type(self.limits[name]) in [int] ? quantity('0').add(self.limits[name]) : quantity(self.limits[name])) <= 0)",
    "a request is larger than the limit of the same resource; lower the request or raise the limit",
    |resources| {
        let amounts = |key| resources.get(key).and_then(Value::as_object);
        let (Some(requests), Some(limits)) = (amounts("requests"), amounts("limits")) else { return true };
        requests.iter().all(|(name, request)| {
            let limit = limits.get(name).and_then(schema::as_quantity);
            schema::as_quantity(request).zip(limit).is_none_or(|(request, limit)| request <= limit)
        })
    },
)
.at(".requests")];
