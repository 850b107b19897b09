//! `values.yaml` documents itself: its comments are the page docs/values.md, and its schema knows the same keys.

use std::{collections::BTreeSet, fmt::Write};

use serde_json::Value;

use crate::committed;

const VALUES: &str = include_str!("../../charts/outrigger/values.yaml");
const SCHEMA: &str = include_str!("../../charts/outrigger/values.schema.json");

/// A key and the comment above it.
struct Documented {
    path: String,
    comment: String,
}

#[test]
fn the_page_of_values_is_generated() {
    committed::check("docs/values.md", page(), "chart");
}

#[test]
fn each_value_has_a_comment() {
    let documented = documented();
    let mut bare = Vec::new();
    let values = values();
    leaves(&values, "", &mut |path| {
        let is_told =
            documented.iter().any(|known| !is_section(&documented, &known.path) && (path == known.path || is_below(path, &known.path)));
        if !is_told {
            bare.push(path.to_owned());
        }
    });
    assert_eq!(bare, Vec::<String>::new());
}

#[test]
fn the_schema_knows_the_same_keys() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut known = BTreeSet::new();
    collect_properties(&schema, &schema, "", &mut known);
    // Charts that contain this one have them.
    known.remove("global");
    known.remove("enabled");
    let documented = documented();
    let told: BTreeSet<String> = documented.iter().map(|documented| documented.path.clone()).collect();
    // Members of a value that is told as a whole have no comments of their own.
    let is_told = |path: &String| {
        told.contains(path) || documented.iter().any(|whole| is_below(path, &whole.path) && !is_section(&documented, &whole.path))
    };
    assert_eq!(
        known.iter().filter(|path| !is_told(path)).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "in the schema and without a comment"
    );
    assert_eq!(told.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "in the values and not in the schema");
}

/// Whoever writes `key:` and nothing more takes the default away. Only replicas can be done without, for autoscalers.
#[test]
fn the_schema_misses_what_is_left_empty() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let documented = documented();
    let dispensable: Vec<&str> = documented
        .iter()
        .map(|documented| documented.path.as_str())
        .filter(|path| {
            let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
            let required = at(&schema, parent)["required"].as_array();
            !required.is_some_and(|required| required.iter().any(|name| name == key))
        })
        .collect();
    assert_eq!(dispensable, ["admission.replicas", "controllers.replicas"]);
}

/// The schema of a value.
fn at<'a>(schema: &'a Value, path: &str) -> &'a Value {
    path.split('.').filter(|key| !key.is_empty()).fold(schema, |section, key| resolved(schema, &section["properties"][key]))
}

fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

fn page() -> String {
    let mut page = "# The chart's values\n\n<!-- Generated from charts/outrigger/values.yaml: `UPDATE_GENERATED=1 cargo test --test chart`. -->\n\n\
        Set them with `--set image.registry=registry.example.com` or in a file for `--values`. A key that is not here, or a value of the wrong \
        kind, is refused.\n"
        .to_owned();
    let (documented, values) = (documented(), values());
    for Documented { path, comment } in &documented {
        if !path.contains('.') {
            write!(page, "\n## {path}\n\n{comment}\n\n| value | default | what it is |\n|---|---|---|\n").unwrap();
        } else if is_section(&documented, path) {
            writeln!(page, "| `{path}` | | {comment} |").unwrap();
        } else {
            let default = values.pointer(&format!("/{}", path.replace('.', "/"))).unwrap();
            writeln!(page, "| `{path}` | `{default}` | {comment} |").unwrap();
        }
    }
    page
}

/// The keys that have a comment directly above them, in their order.
fn documented() -> Vec<Documented> {
    let mut documented = Vec::new();
    let mut parents: Vec<(usize, &str)> = Vec::new();
    let mut comment = String::new();
    for line in VALUES.lines() {
        let text = line.trim_start();
        if let Some(words) = text.strip_prefix("# ") {
            let separator = if comment.is_empty() { "" } else { " " };
            write!(comment, "{separator}{words}").unwrap();
            continue;
        }
        let indentation = line.len() - text.len();
        if let Some((key, _)) = text.split_once(':') {
            parents.retain(|(outer, _)| *outer < indentation);
            parents.push((indentation, key));
            if !comment.is_empty() {
                let path = parents.iter().map(|(_, key)| *key).collect::<Vec<_>>().join(".");
                documented.push(Documented { path, comment: comment.clone() });
            }
        }
        comment.clear();
    }
    documented
}

/// Whether a key is told for those below it.
fn is_section(documented: &[Documented], path: &str) -> bool {
    documented.iter().any(|other| is_below(&other.path, path))
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'))
}

fn values() -> Value {
    serde_saphyr::from_str(VALUES).unwrap()
}

fn leaves(value: &Value, path: &str, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                leaves(member, &below(path, key), found);
            }
        }
        _ => found(path),
    }
}

/// The paths of all properties, following references.
fn collect_properties(root: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (key, property) in resolved(root, schema)["properties"].as_object().into_iter().flatten() {
        let path = below(path, key);
        collect_properties(root, property, &path, found);
        found.insert(path);
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
