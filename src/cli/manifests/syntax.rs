//! What can be wrong with a manifest's text, and where.

use std::fmt;

/// How deep collections may lie in each other. Real manifests stay below 80 (schemas in CRDs).
pub const MAX_DEPTH: usize = 250;

/// A place in a text; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.line, self.column)
    }
}

/// A text that can't be read as JSON or YAML: printed as `line:column: problem`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {problem}")]
pub struct SyntaxError {
    /// Where.
    pub position: Position,
    /// What.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes aren't text.
    #[error("byte {offset} is not UTF-8; save the file as UTF-8")]
    NotUtf8 {
        /// Counted from 0.
        offset: usize,
    },
    /// A byte order mark promises UTF-16 that does not follow.
    #[error("the text begins as UTF-16 but holds something else; save the file as UTF-8")]
    NotUtf16,
    /// The YAML parser's own words.
    #[error("invalid YAML: {0}")]
    Yaml(String),
    /// JSON's grammar is violated.
    #[error("invalid JSON: expected {expected}, found {found}")]
    Json {
        /// What may stand here.
        expected: &'static str,
        /// What stands here.
        found: String,
    },
    /// A string's escape isn't one, or names half a character.
    #[error("invalid JSON: {0} is not an escape")]
    JsonEscape(String),
    /// A number that no JSON reader of Kubernetes holds.
    #[error("the number {0} is out of range; quote it if it is meant as a string")]
    NumberRange(String),
    /// JSON has no infinity.
    #[error("JSON can't hold the number {0}; quote it if it is meant as a string")]
    NotFinite(String),
    /// The tag wants another type than the text has.
    #[error("`{text}` is not a {tag}")]
    Tag {
        /// The scalar.
        text: String,
        /// The tag, as `!!int`.
        tag: String,
    },
    /// `!!binary` with something that isn't base64 of UTF-8 text.
    #[error("the !!binary value is not the base64 of UTF-8 text; write the base64 itself as a string")]
    Binary,
    /// One key twice in one mapping.
    #[error("duplicate key `{0}`; remove one of the two")]
    DuplicateKey(String),
    /// A null, a collection or an integer of more than 64 bits as a key.
    #[error("{0} can't be a key; quote it if it is meant as a string")]
    Key(&'static str),
    /// `<<` with something that isn't a mapping or a list of mappings.
    #[error("a merge key `<<` takes a mapping or a list of mappings")]
    Merge,
    /// An alias inside its own anchor.
    #[error("the alias refers to a value that contains it")]
    Cycle,
    /// Aliases that grow without bound.
    #[error("aliases expand to more than {limit_mebibytes} MiB; write the values out")]
    Expansion {
        /// The limit.
        limit_mebibytes: usize,
    },
    /// Too deep.
    #[error("collections are nested more than {MAX_DEPTH} deep")]
    Depth,
}
