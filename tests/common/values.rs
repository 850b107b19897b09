//! A chart's `values.yaml`, which documents itself: its comments are a page, and its schema knows the same keys.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{collections::BTreeSet, fmt::Write};

use serde_json::Value;

/// The values of a chart and their schema, as they stand in their files.
pub(crate) struct Values {
    pub(crate) text: &'static str,
    pub(crate) schema: &'static str,
}

/// A key and the comment above it.
struct Documented {
    path: String,
    comment: String,
}

impl Values {
    /// The page, which begins with `head`.
    pub(crate) fn page(&self, head: &str) -> String {
        let mut page = head.to_owned();
        let (documented, values) = (documented(self.text), self.values());
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

    /// Each value has a comment, and the schema knows the keys that have one and no others.
    pub(crate) fn assert_documented(&self) {
        assert_eq!(self.without_comment(), Vec::<String>::new(), "without a comment");
        let (untold, unknown) = self.differences();
        assert_eq!(untold, Vec::<String>::new(), "in the schema and without a comment");
        assert_eq!(unknown, Vec::<String>::new(), "in the values and not in the schema");
    }

    /// The values that no comment tells of.
    fn without_comment(&self) -> Vec<String> {
        let documented = documented(self.text);
        let mut bare = Vec::new();
        leaves(&self.values(), "", &mut |path| {
            let is_told =
                documented.iter().any(|known| !is_section(&documented, &known.path) && (path == known.path || is_below(path, &known.path)));
            if !is_told {
                bare.push(path.to_owned());
            }
        });
        bare
    }

    /// What the schema alone knows, and what the values alone tell of.
    fn differences(&self) -> (Vec<String>, Vec<String>) {
        let schema = self.schema();
        let mut known = BTreeSet::new();
        collect_properties(&schema, &schema, "", &mut known);
        // Charts that contain this one have them.
        known.remove("global");
        known.remove("enabled");
        let documented = documented(self.text);
        let told: BTreeSet<String> = documented.iter().map(|documented| documented.path.clone()).collect();
        // Members of a value that is told as a whole have no comments of their own.
        let is_told = |path: &String| {
            told.contains(path) || documented.iter().any(|whole| is_below(path, &whole.path) && !is_section(&documented, &whole.path))
        };
        let untold = known.iter().filter(|path| !is_told(path)).cloned().collect();
        (untold, told.difference(&known).cloned().collect())
    }

    /// The values that the schema doesn't miss when they are left empty.
    pub(crate) fn dispensable(&self) -> Vec<String> {
        let schema = self.schema();
        let is_required = |path: &str| {
            let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
            at(&schema, parent)["required"].as_array().is_some_and(|required| required.iter().any(|name| name == key))
        };
        documented(self.text).into_iter().map(|documented| documented.path).filter(|path| !is_required(path)).collect()
    }

    fn schema(&self) -> Value {
        serde_json::from_str(self.schema).unwrap()
    }

    fn values(&self) -> Value {
        serde_saphyr::from_str(self.text).unwrap()
    }
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

/// The keys that have a comment directly above them, in their order.
fn documented(values: &str) -> Vec<Documented> {
    let mut documented = Vec::new();
    let mut parents: Vec<(usize, &str)> = Vec::new();
    let mut comment = String::new();
    for line in values.lines() {
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
