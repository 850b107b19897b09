//! RFC 6902 operations, built by hand: only what is added is ever named.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// One operation of a JSON patch.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Puts a value where there is none, or into a list.
    Add {
        /// Where, as an RFC 6901 pointer.
        path: String,
        /// What.
        value: Box<RawValue>,
    },
    /// Puts a value in the place of another.
    Replace {
        /// Where, as an RFC 6901 pointer.
        path: String,
        /// What.
        value: Box<RawValue>,
    },
    /// Takes a value away.
    Remove {
        /// Where, as an RFC 6901 pointer.
        path: String,
    },
}

impl Operation {
    /// An `add` of any value.
    pub fn add(path: impl Into<String>, value: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self::Add { path: path.into(), value: to_raw_value(value)? })
    }

    /// A `replace` by any value.
    pub fn replace(path: impl Into<String>, value: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self::Replace { path: path.into(), value: to_raw_value(value)? })
    }

    /// A `remove`.
    #[must_use]
    pub fn remove(path: impl Into<String>) -> Self {
        Self::Remove { path: path.into() }
    }
}

/// A name as one segment of a pointer (RFC 6901, section 3).
#[must_use]
pub fn segment(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_read_as_the_rfc_writes_them() {
        let patch = [
            Operation::add("/spec/volumes/-", &serde_json::json!({"name": "x"})).unwrap(),
            Operation::replace("/a", &1).unwrap(),
            Operation::remove("/b"),
        ];
        let expected = r#"[{"op":"add","path":"/spec/volumes/-","value":{"name":"x"}},{"op":"replace","path":"/a","value":1},{"op":"remove","path":"/b"}]"#;
        assert_eq!(serde_json::to_string(&patch).unwrap(), expected);
    }

    #[test]
    fn segments_are_escaped() {
        assert_eq!(segment("outrigger.dev/status~1"), "outrigger.dev~1status~01");
    }
}
