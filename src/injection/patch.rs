//! An RFC 6902 patch, written operation by operation: only what is added is ever named.

use std::borrow::Cow;

use serde::Serialize;

/// A JSON patch. It is written as text at once: most of it is copied into an answer without being looked at again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    /// The operations, with commas between them.
    operations: Vec<u8>,
}

impl Patch {
    /// Puts a value where there is none, or into a list; on a member that is there, it replaces (RFC 6902, section 4.1).
    pub fn add(&mut self, path: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.operation("add", path, Some(value))
    }

    /// Puts a value in the place of another.
    pub fn replace(&mut self, path: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.operation("replace", path, Some(value))
    }

    /// Takes a value away.
    pub fn remove(&mut self, path: &str) -> Result<(), serde_json::Error> {
        self.operation("remove", path, None::<&()>)
    }

    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Adds the operations of another patch behind these.
    pub fn append(&mut self, other: &Self) {
        if !other.is_empty() {
            self.separate();
            self.operations.extend_from_slice(&other.operations);
        }
    }

    /// The patch as a JSON document.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        [b"[", self.operations.as_slice(), b"]"].concat()
    }

    fn operation(&mut self, name: &str, path: &str, value: Option<&impl Serialize>) -> Result<(), serde_json::Error> {
        self.separate();
        self.operations.extend_from_slice(br#"{"op":""#);
        self.operations.extend_from_slice(name.as_bytes());
        self.operations.extend_from_slice(br#"","path":"#);
        serde_json::to_writer(&mut self.operations, path)?;
        if let Some(value) = value {
            self.operations.extend_from_slice(br#","value":"#);
            serde_json::to_writer(&mut self.operations, value)?;
        }
        self.operations.push(b'}');
        Ok(())
    }

    fn separate(&mut self) {
        if self.operations.is_empty() {
            // Room for one sidecar, so that a usual patch grows once or twice.
            self.operations.reserve(4096);
        } else {
            self.operations.push(b',');
        }
    }
}

/// A name as one segment of a pointer (RFC 6901, section 3).
#[must_use]
pub fn segment(name: &str) -> Cow<'_, str> {
    if name.contains(['~', '/']) { Cow::Owned(name.replace('~', "~0").replace('/', "~1")) } else { Cow::Borrowed(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_reads_as_the_rfc_writes_it() {
        let mut patch = Patch::default();
        assert_eq!(patch.to_json(), b"[]");
        patch.add("/spec/volumes/-", &serde_json::json!({"name": "x"})).unwrap();
        patch.replace("/a", &1).unwrap();
        patch.remove("/\"quoted\"").unwrap();
        let expected = br#"[{"op":"add","path":"/spec/volumes/-","value":{"name":"x"}},{"op":"replace","path":"/a","value":1},{"op":"remove","path":"/\"quoted\""}]"#;
        assert_eq!(patch.to_json(), expected);
    }

    #[test]
    fn patches_are_put_together_in_their_order() {
        let (mut first, mut second) = (Patch::default(), Patch::default());
        first.remove("/a").unwrap();
        second.remove("/b").unwrap();
        first.append(&second);
        first.append(&Patch::default());
        assert_eq!(first.to_json(), br#"[{"op":"remove","path":"/a"},{"op":"remove","path":"/b"}]"#);
    }

    #[test]
    fn segments_are_escaped() {
        assert_eq!(segment("outrigger.dev/status~1"), "outrigger.dev~1status~01");
    }
}
