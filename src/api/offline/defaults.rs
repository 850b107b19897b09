//! Defaults, as the API server fills them in before it validates.

use serde_json::Value;

/// Fills in the defaults of a schema. A null is dropped, or replaced by the default, as for every field that isn't nullable.
pub(super) fn apply(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                if fields.get(name).is_some_and(Value::is_null) {
                    fields.remove(name);
                }
                if let Some(default) = property.get("default") {
                    fields.entry(name.as_str()).or_insert_with(|| default.clone());
                }
                if let Some(field) = fields.get_mut(name) {
                    apply(property, field);
                }
            }
            if let Some(schema) = schema.get("additionalProperties") {
                fields.values_mut().for_each(|field| apply(schema, field));
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for item in items {
                    apply(schema, item);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
