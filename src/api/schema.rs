//! Pieces of the kinds' `OpenAPI` schemas that several fields share. All have upper bounds: the API server refuses CEL rules
//! whose estimated cost is not bounded.

use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{
    address,
    annotations::{Geometry, ValueKind},
    duration, postgres_name,
    quantity::Quantity,
    rule::{Rule, text},
};

/// What the format `date-time` allows, less offsets of more than a day, which the types of Kubernetes can't hold.
const MOMENT: &str =
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
/// The name of a database.
pub(crate) fn database_name(_: &mut SchemaGenerator) -> Schema {
    postgres_text(&[postgres_name::FITS, postgres_name::NOT_RESERVED_DATABASE, postgres_name::NOT_RETIRED])
}

/// The name of a role.
pub(crate) fn role_name(_: &mut SchemaGenerator) -> Schema {
    postgres_text(&[postgres_name::FITS, postgres_name::NOT_RESERVED_ROLE])
}

/// Any other name inside `PostgreSQL`: a schema, an extension, a tablespace, a template.
pub(crate) fn postgres_name(_: &mut SchemaGenerator) -> Schema {
    postgres_text(&[postgres_name::FITS])
}

fn postgres_text(rules: &[Rule]) -> Schema {
    let rules = [&[NO_CONTROL_CHARACTERS], rules].concat();
    json_schema!({ "type": "string", "minLength": 1, "maxLength": postgres_name::MAX_BYTES, "x-kubernetes-validations": rules })
}

/// Control characters are legal in `PostgreSQL`'s names and in those of users, but they only ever get there by mistake or by malice.
pub(crate) const NO_CONTROL_CHARACTERS: Rule =
    Rule::new("!self.matches('[[:cntrl:]]')", "has a control character, such as a line break or a tab; take it away", |value| {
        value.as_str().is_none_or(|text| !text.chars().any(|c| c.is_ascii_control()))
    });

/// The name by which the gateway knows somebody.
pub(crate) fn user(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 253, "x-kubernetes-validations": [NO_CONTROL_CHARACTERS] })
}

/// Whether a text is a name as RFC 1123 has it for subdomains.
pub(crate) fn is_subdomain(text: &str) -> bool {
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_label = |label: &str| {
        is_edge(label.chars().next())
            && is_edge(label.chars().last())
            && label.chars().all(|c| c == '-' || c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// The name of a Kubernetes object.
pub(crate) fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 253, "x-kubernetes-validations": [OBJECT_NAME] })
}

/// RFC 1123 subdomain, the name of most Kubernetes objects.
pub(crate) const OBJECT_NAME: Rule = Rule::new(
    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
    "is not a name; it has at most 253 lower-case letters, digits, dashes and dots, and begins and ends with a letter or digit",
    |name| name.as_str().is_none_or(is_subdomain),
);

/// A key of a Secret's data.
pub(crate) fn data_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 253, "x-kubernetes-validations": [DATA_KEY] })
}

const DATA_KEY: Rule = Rule::new(
    "self.matches('^[-._a-zA-Z0-9]+$')",
    "is not a key of a Secret's data; it has letters, digits, dashes, underscores and dots",
    |key| key.as_str().is_none_or(|key| key.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))),
);

/// A pattern in which `*` stands for any text.
pub(crate) fn name_patterns(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 64, "x-kubernetes-list-type": "set",
        "items": { "type": "string", "minLength": 1, "maxLength": 253, "x-kubernetes-validations": [NO_CONTROL_CHARACTERS] },
    })
}

/// A host name or an IP address, without a port.
pub(crate) fn host(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 253, "x-kubernetes-validations": [HOST] })
}

const HOST: Rule = Rule::new(
    "self.matches('^[-A-Za-z0-9._:]+$') && (isIP(self) || !self.contains(':'))",
    "is neither a host name nor an IP address; the port has a field of its own, and an IPv6 address stands without brackets",
    |host| host.as_str().is_none_or(is_host),
);

fn is_host(text: &str) -> bool {
    let has_known_characters = text.chars().all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c));
    has_known_characters && (address::parse(text).is_some() || !text.contains(':'))
}

/// Width and height in pixels, such as `1280x800`.
pub(crate) fn geometry(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 32, "x-kubernetes-validations": [GEOMETRY] })
}

/// What the annotation `vnc.outrigger.dev/geometry` allows.
const GEOMETRY: Rule = Rule::new(
    "self.matches('^0*[0-9]{1,5}x0*[0-9]{1,5}$') && self.split('x').all(side, int(side) >= 64 && int(side) <= 16384)",
    "must be WIDTHxHEIGHT in pixels, each from 64 to 16384, such as 1280x800",
    |geometry| geometry.as_str().is_none_or(|text| Geometry::parse(text).is_some()),
);

/// A duration as Kubernetes writes it, such as `1h30m`.
pub(crate) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 20, "x-kubernetes-validations": [DURATION] })
}

const DURATION: Rule = Rule::new(
    "self.matches('^([0-9.]+(h|m|s))+$') && duration(self) <= duration('87600h')",
    "is not a duration of at most ten years; write numbers with the units h, m and s, such as 90s, 15m or 1h30m",
    |value| value.as_str().is_none_or(is_duration),
);

/// Seconds are the finest unit here: nothing that is waited for in a cluster is shorter.
fn is_duration(text: &str) -> bool {
    let longest = Duration::from_secs(87_600 * 60 * 60);
    let has_coarse_units = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'h' | 'm' | 's')) && !text.contains("ms");
    has_coarse_units && text.ends_with(['h', 'm', 's']) && duration::parse(text).is_ok_and(|length| length <= longest)
}

/// An amount of a resource, such as `500m` or `2Gi`: text or a whole number.
pub(crate) fn quantity(_: &mut SchemaGenerator) -> Schema {
    quantity_schema()
}

fn quantity_schema() -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true, "maxLength": 32, "x-kubernetes-validations": [QUANTITY] })
}

/// The API server takes `.` and `Gi` for zero, and anything above 2^63 for 2^63: a mistake must not become an amount.
///
/// Kubernetes 1.33 takes the length of what may be a number or text for unbounded: in a map of seven, each function that reads it
/// costs over a fifth of a rule's budget. So numbers aren't made text, and an amount is parsed once. A type is looked for `in` a
/// list because the comparison of two types can count as unbounded too.
const QUANTITY: Rule = Rule::new(
    "type(self) in [int] ? self >= 0 && self <= 1152921504606846976 : isQuantity(self) && self.matches(r'\\d') && \
     [quantity(self)].all(amount, !amount.isLessThan(quantity('0')) && !amount.isGreaterThan(quantity('1Ei')))",
    "is not an amount of a resource; write a number from 0 to 1Ei, with a suffix where it needs one, such as 500m, 2 or 1.5Gi",
    |value| as_quantity(value).is_some_and(|quantity| !quantity.is_negative() && "1Ei".parse().is_ok_and(|most| quantity <= most)),
);

/// The amount a field holds, if it holds one.
pub(crate) fn as_quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Amounts by resource name, as in a container's requests. With more of them the rule that compares requests with limits would
/// cost more than Kubernetes 1.33 allows.
pub(crate) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "maxProperties": 7, "additionalProperties": quantity_schema() })
}

/// `metav1.Condition`, one of each type.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": { "type": "string", "maxLength": 316, "description": "What the condition is about, such as Ready." },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds." },
                "reason": {
                    "type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "Why, in one word for programs.",
                },
                "message": { "type": "string", "maxLength": 32768, "description": "Why, in a sentence for people." },
                "lastTransitionTime": { "type": "string", "format": "date-time", "pattern": MOMENT, "description": "When the status last changed." },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The metadata.generation the condition speaks of.",
                },
            },
        },
    })
}

/// A moment (RFC 3339).
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 35, "format": "date-time", "pattern": MOMENT })
}

/// Labels of an object that we write.
pub(crate) fn labels(generator: &mut SchemaGenerator) -> Schema {
    let mut labels = label_values(generator);
    labels.insert("x-kubernetes-validations".to_owned(), json!([OWN_PREFIX]));
    labels
}

/// Labels of an object that others write.
pub(crate) fn label_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 63, "x-kubernetes-validations": [LABEL_VALUE] },
    })
}

/// By the page "Labels and Selectors" of the Kubernetes documentation.
const LABEL_VALUE: Rule = Rule::new(
    "self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')",
    "is not a label's value; it has letters, digits, dashes, underscores and dots, and begins and ends with a letter or digit",
    |value| value.as_str().is_none_or(|text| ValueKind::LabelValue.check(text).is_ok()),
);

/// Annotations of an object that we write. Ours are welcome here: they choose the sidecars.
pub(crate) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "maxProperties": 64, "additionalProperties": { "type": "string", "maxLength": 4096 } })
}

const OWN_PREFIX: Rule = Rule::new(
    "self.all(key, !key.startsWith('outrigger.dev/'))",
    "labels under outrigger.dev/ say to whom an object belongs, and only we write them; choose another prefix",
    |labels| labels.as_object().is_none_or(|labels| labels.keys().all(|key| !key.starts_with("outrigger.dev/"))),
);

/// All rules of the shared pieces.
pub(crate) const RULES: &[&[Rule]] = &[
    &[postgres_name::FITS, postgres_name::NOT_RESERVED_DATABASE, postgres_name::NOT_RETIRED, postgres_name::NOT_RESERVED_ROLE],
    &[NO_CONTROL_CHARACTERS, OBJECT_NAME, DATA_KEY, HOST, LABEL_VALUE, OWN_PREFIX],
    &[GEOMETRY, DURATION, QUANTITY],
];

/// Whether the first of two durations is at most the second; true if either is missing or malformed.
pub(crate) fn is_at_most(object: &Value, shorter: &str, longer: &str) -> bool {
    let length = |key| text(object, key).and_then(|text| duration::parse(text).ok());
    match (length(shorter), length(longer)) {
        (Some(shorter), Some(longer)) => shorter <= longer,
        _ => true,
    }
}

/// Whether a duration is at least so many seconds; true if it is missing or malformed.
pub(crate) fn is_at_least_seconds(object: &Value, key: &str, seconds: u64) -> bool {
    text(object, key).and_then(|text| duration::parse(text).ok()).is_none_or(|length| length.as_secs() >= seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_geometry_is_refused_in_the_words_of_the_annotation() {
        assert_eq!(GEOMETRY.message, format!("must be {}", ValueKind::Geometry.allowed()));
    }
}
