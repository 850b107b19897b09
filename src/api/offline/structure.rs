//! The keywords of structural schemas: types, bounds, patterns, unknown fields, and rules.

use std::collections::{HashMap, HashSet};

use regex::Regex;
use serde_json::{Map, Value};

use crate::api::{
    finding::Finding,
    nearest::nearest,
    rule::{Twin, text},
};

/// A longer value is cut before it is repeated to its author.
const LONGEST_REPEATED_VALUE: usize = 100;

/// The schemas below a schema.
pub(super) fn subschemas(schema: &Value) -> impl Iterator<Item = &Value> {
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::values);
    properties.chain(schema.get("items")).chain(schema.get("additionalProperties"))
}

/// Walks an object along its schema and collects what is wrong.
pub(super) struct Checker<'a> {
    patterns: &'a HashMap<String, Regex>,
    twins: &'a HashMap<&'static str, Twin>,
    findings: Vec<Finding>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(patterns: &'a HashMap<String, Regex>, twins: &'a HashMap<&'static str, Twin>) -> Self {
        Self { patterns, twins, findings: Vec::new() }
    }

    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    /// Checks a whole object. `apiVersion`, `kind` and `metadata` are no part of the schema.
    pub(super) fn check_object(&mut self, schema: &Value, object: &Value) {
        let before = self.findings.len();
        for (name, value) in object.as_object().into_iter().flatten() {
            match schema.pointer("/properties").and_then(|properties| properties.get(name)) {
                Some(property) => self.check(name, property, value),
                None if ["apiVersion", "kind", "metadata"].contains(&name.as_str()) => {}
                None => self.report_unknown("", name, schema),
            }
        }
        self.check_required("", schema, object);
        if self.findings.len() == before {
            self.check_rules("", schema, object);
        }
    }

    /// Checks a value. Rules are only asked about a value that is otherwise sound: one fault, one finding.
    fn check(&mut self, path: &str, schema: &Value, value: &Value) {
        let before = self.findings.len();
        match value {
            _ if !self.check_type(path, schema, value) => return,
            Value::String(text) => self.check_string(path, schema, text),
            Value::Number(number) => self.check_number(path, schema, number),
            Value::Array(items) => self.check_list(path, schema, items),
            Value::Object(fields) => self.check_fields(path, schema, fields, value),
            Value::Null | Value::Bool(_) => {}
        }
        if self.findings.len() == before {
            self.check_rules(path, schema, value);
        }
    }

    fn check_type(&mut self, path: &str, schema: &Value, value: &Value) -> bool {
        let is_whole = || value.is_i64() || value.is_u64();
        if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
            let fits = value.is_string() || is_whole();
            if !fits {
                self.report(path, value, "must be a whole number or text; put it in quotes");
            }
            return fits;
        }
        let Some(expected) = text(schema, "type") else { return true };
        let fits = match expected {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => is_whole(),
            _ => true,
        };
        if !fits {
            self.report(path, value, &format!("must be {}", type_in_words(expected)));
        }
        fits
    }

    fn check_string(&mut self, path: &str, schema: &Value, string: &str) {
        if let Some(message) = self.fault_of_string(schema, string) {
            self.report(path, &Value::from(string), &message);
        }
    }

    fn fault_of_string(&self, schema: &Value, string: &str) -> Option<String> {
        let length = string.chars().count();
        if let Some(least) = bound(schema, "minLength").filter(|least| length < *least) {
            return Some(if least == 1 { "must not be empty".to_owned() } else { format!("must have at least {least} characters") });
        }
        if let Some(most) = bound(schema, "maxLength").filter(|most| length > *most) {
            return Some(format!("must have at most {most} characters, and has {length}"));
        }
        let pattern = text(schema, "pattern");
        let unmatched = pattern.filter(|pattern| self.patterns.get(*pattern).is_some_and(|compiled| !compiled.is_match(string)));
        if text(schema, "format") == Some("date-time") && (unmatched.is_some() || string.parse::<jiff::Timestamp>().is_err()) {
            return Some("must be a moment such as 2030-01-31T12:00:00Z".to_owned());
        }
        if let Some(pattern) = unmatched {
            return Some(format!("must match {pattern}"));
        }
        let allowed: Vec<&str> = schema.get("enum").and_then(Value::as_array)?.iter().filter_map(Value::as_str).collect();
        (!allowed.contains(&string)).then(|| format!("must be one of {}", allowed.join(", ")))
    }

    fn check_number(&mut self, path: &str, schema: &Value, number: &serde_json::Number) {
        let limit = |key| schema.get(key).and_then(Value::as_f64);
        let actual = number.as_f64().unwrap_or(f64::INFINITY);
        let value = Value::Number(number.clone());
        if let Some(least) = limit("minimum").filter(|least| actual < *least) {
            self.report(path, &value, &format!("must be at least {least}"));
        }
        if let Some(most) = limit("maximum").filter(|most| actual > *most) {
            self.report(path, &value, &format!("must be at most {most}"));
        }
    }

    fn check_list(&mut self, path: &str, schema: &Value, items: &[Value]) {
        self.check_count(path, schema, "minItems", "maxItems", items.len());
        self.check_duplicates(path, schema, items);
        let Some(item_schema) = schema.get("items") else { return };
        for (index, item) in items.iter().enumerate() {
            self.check(&format!("{path}[{index}]"), item_schema, item);
        }
    }

    /// Lists of type `set` have no value twice, those of type `map` no key.
    fn check_duplicates(&mut self, path: &str, schema: &Value, items: &[Value]) {
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        let identity = |item: &Value| match (text(schema, "x-kubernetes-list-type"), keys) {
            (Some("set"), _) => Some(item.to_string()),
            (Some("map"), Some(keys)) => Some(keys.iter().filter_map(|key| item.get(key.as_str()?)).map(Value::to_string).collect()),
            _ => None,
        };
        let mut seen = HashSet::new();
        for (index, item) in items.iter().enumerate() {
            if identity(item).is_some_and(|identity| !seen.insert(identity)) {
                self.report(&format!("{path}[{index}]"), item, "is there twice; take one of them away");
            }
        }
    }

    fn check_fields(&mut self, path: &str, schema: &Value, fields: &Map<String, Value>, value: &Value) {
        self.check_count(path, schema, "minProperties", "maxProperties", fields.len());
        let tolerates_unknown = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        for (name, field) in fields {
            let property = schema.get("properties").and_then(|properties| properties.get(name));
            match (property, schema.get("additionalProperties")) {
                (Some(property), _) => self.check(&format!("{path}.{name}"), property, field),
                (None, Some(schema)) => self.check(&format!("{path}[{name}]"), schema, field),
                (None, None) if tolerates_unknown => {}
                (None, None) => self.report_unknown(path, name, schema),
            }
        }
        self.check_required(path, schema, value);
    }

    fn check_required(&mut self, path: &str, schema: &Value, value: &Value) {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for name in required.filter(|name| value.get(name).is_none()) {
            self.findings.push(Finding::at(joined(path, name), "is required"));
        }
    }

    fn check_count(&mut self, path: &str, schema: &Value, least: &str, most: &str, count: usize) {
        if let Some(least) = bound(schema, least).filter(|least| count < *least) {
            self.findings.push(Finding::at(path, format!("must have at least {least} entries")));
        }
        if let Some(most) = bound(schema, most).filter(|most| count > *most) {
            self.findings.push(Finding::at(path, format!("must have at most {most} entries, and has {count}")));
        }
    }

    fn check_rules(&mut self, path: &str, schema: &Value, value: &Value) {
        let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
        for rule in rules.into_iter().flatten() {
            let twin = text(rule, "rule").and_then(|cel| self.twins.get(cel));
            let Some(Twin::Holds(holds)) = twin else { continue };
            if !holds(value) {
                self.blame(path, rule, value);
            }
        }
    }

    fn blame(&mut self, path: &str, rule: &Value, value: &Value) {
        let field = text(rule, "fieldPath").unwrap_or_default();
        let blamed = value.pointer(&field.replace('.', "/")).unwrap_or(value);
        self.report(format!("{path}{field}").trim_start_matches('.'), blamed, text(rule, "message").unwrap_or_default());
    }

    fn report_unknown(&mut self, path: &str, name: &str, schema: &Value) {
        let known = schema.get("properties").and_then(Value::as_object);
        let meant = nearest(name, known.into_iter().flat_map(Map::keys).map(String::as_str));
        let way_out = meant.map_or_else(|| "take it away".to_owned(), |meant| format!("did you mean {meant}?"));
        self.findings.push(Finding::at(joined(path, name), format!("is not a known field; {way_out}")));
    }

    fn report(&mut self, path: &str, value: &Value, message: &str) {
        let repeated = match value {
            Value::String(text) => Some(text.chars().take(LONGEST_REPEATED_VALUE).collect()),
            Value::Number(_) | Value::Bool(_) | Value::Null => Some(value.to_string()),
            Value::Array(_) | Value::Object(_) => None,
        };
        self.findings.push(Finding { field: path.to_owned(), value: repeated, message: message.to_owned() });
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn bound(schema: &Value, key: &str) -> Option<usize> {
    schema.get(key).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok())
}

fn type_in_words(expected: &str) -> &str {
    match expected {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "text; put it in quotes",
        "boolean" => "true or false",
        "integer" => "a whole number",
        other => other,
    }
}
