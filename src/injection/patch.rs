//! An RFC 6902 patch, written operation by operation: only what is added is ever named.

use std::borrow::Cow;

use serde::Serialize;

use super::json;

/// A JSON patch. It is written as text at once: most of it is copied into an answer without being looked at again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    /// The document; empty without operations.
    text: String,
}

impl Patch {
    /// Puts a value where there is none, or into a list; on a member that is there, it replaces (RFC 6902, section 4.1).
    pub fn add(&mut self, path: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.operation("add", path, |text| value_member(value, text))
    }

    /// Puts a value's JSON, as a text, where there is none.
    pub fn add_as_text(&mut self, path: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.operation("add", path, |text| {
            text.push_str(VALUE);
            json::write_as_text(value, text)
        })
    }

    /// Puts a value in the place of another.
    pub fn replace(&mut self, path: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.operation("replace", path, |text| value_member(value, text))
    }

    /// Takes a value away.
    pub fn remove(&mut self, path: &str) -> Result<(), serde_json::Error> {
        self.operation("remove", path, |_| Ok(()))
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Adds the operations of another patch behind these.
    pub fn append(&mut self, other: &Self) {
        if let Some(operations) = other.text.strip_prefix('[') {
            self.open();
            self.text.push_str(operations);
        }
    }

    /// The patch as a JSON document.
    #[must_use]
    pub const fn as_json(&self) -> &str {
        if self.is_empty() { "[]" } else { self.text.as_str() }
    }

    fn operation(
        &mut self,
        name: &str,
        path: &str,
        write_value: impl FnOnce(&mut String) -> Result<(), serde_json::Error>,
    ) -> Result<(), serde_json::Error> {
        self.open();
        self.text.push_str(r#"{"op":""#);
        self.text.push_str(name);
        self.text.push_str(r#"","path":"#);
        json::write(&path, &mut self.text)?;
        write_value(&mut self.text)?;
        self.text.push_str("}]");
        Ok(())
    }

    /// Opens the document for more operations.
    fn open(&mut self) {
        if self.text.pop().is_some() {
            self.text.push(',');
        } else {
            // Room for three sidecars, so that a usual patch does not grow.
            self.text.reserve(8192);
            self.text.push('[');
        }
    }
}

const VALUE: &str = r#","value":"#;

fn value_member(value: &impl Serialize, text: &mut String) -> Result<(), serde_json::Error> {
    text.push_str(VALUE);
    json::write(value, text)
}

/// A name as one segment of a pointer (RFC 6901, section 3).
#[must_use]
pub fn segment(name: &str) -> Cow<'_, str> {
    if !name.contains(['~', '/']) {
        return Cow::Borrowed(name);
    }
    let mut escaped = String::with_capacity(2 * name.len());
    for character in name.chars() {
        match character {
            '~' => escaped.push_str("~0"),
            '/' => escaped.push_str("~1"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_reads_as_the_rfc_writes_it() {
        let mut patch = Patch::default();
        assert_eq!(patch.as_json(), "[]");
        patch.add("/spec/volumes/-", &serde_json::json!({"name": "x"})).unwrap();
        patch.replace("/a", &1).unwrap();
        patch.remove("/\"quoted\"").unwrap();
        patch.add_as_text("/b", &["x"]).unwrap();
        let expected = r#"[{"op":"add","path":"/spec/volumes/-","value":{"name":"x"}},{"op":"replace","path":"/a","value":1},{"op":"remove","path":"/\"quoted\""},{"op":"add","path":"/b","value":"[\"x\"]"}]"#;
        assert_eq!(patch.as_json(), expected);
    }

    #[test]
    fn patches_are_put_together_in_their_order() {
        let (mut first, mut second) = (Patch::default(), Patch::default());
        first.remove("/a").unwrap();
        second.remove("/b").unwrap();
        first.append(&second);
        first.append(&Patch::default());
        assert_eq!(first.as_json(), r#"[{"op":"remove","path":"/a"},{"op":"remove","path":"/b"}]"#);
    }

    #[test]
    fn segments_are_escaped() {
        assert_eq!(segment("outrigger.dev/status~1"), "outrigger.dev~1status~01");
    }
}
