//! Text as part of SQL. What users write becomes SQL through these two types alone.

use std::fmt::{self, Write};

/// The longest name in bytes: NAMEDATALEN - 1. The server cuts a longer one with no more than a notice.
const LONGEST_NAME: usize = 63;

/// Why a text can be no name, or no text, of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotingError {
    /// Names have at least one character.
    #[error("a name is empty")]
    Empty,
    /// The server would cut it, and mean another object.
    #[error("the name {0:?} is longer than 63 bytes, and the server would cut it")]
    TooLong(String),
    /// PostgreSQL's strings can't hold NUL.
    #[error("a text has a NUL character, which PostgreSQL can't hold")]
    Nul,
}

/// A name of a database, role, schema or the like, exactly as its author wrote it: always in quotes, so that case is kept and no
/// word is reserved (PostgreSQL manual, "Identifiers and Key Words").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identifier<'a>(&'a str);

impl<'a> Identifier<'a> {
    /// The name, if it can be one.
    pub fn new(name: &'a str) -> Result<Self, QuotingError> {
        match name {
            "" => Err(QuotingError::Empty),
            name if name.contains('\0') => Err(QuotingError::Nul),
            name if name.len() > LONGEST_NAME => Err(QuotingError::TooLong(name.to_owned())),
            name => Ok(Self(name)),
        }
    }
}

impl fmt::Display for Identifier<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quoted(f, '"', self.0)
    }
}

/// A text as a value, for the statements that take no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    /// The text, if it can be one.
    pub fn new(text: &'a str) -> Result<Self, QuotingError> {
        if text.contains('\0') { Err(QuotingError::Nul) } else { Ok(Self(text)) }
    }
}

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.contains('\\') {
            return quoted(f, '\'', self.0);
        }
        // As quote_literal() does it, so that no setting of the session changes what a backslash means.
        f.write_str(" E")?;
        quoted(f, '\'', &self.0.replace('\\', "\\\\"))
    }
}

/// The text between quotes; quotes in it are doubled.
fn quoted(f: &mut fmt::Formatter<'_>, quote: char, text: &str) -> fmt::Result {
    f.write_char(quote)?;
    for character in text.chars() {
        if character == quote {
            f.write_char(quote)?;
        }
        f.write_char(character)?;
    }
    f.write_char(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kopf_k2_case_is_kept() {
        assert_eq!(Identifier::new("MyDb").unwrap().to_string(), "\"MyDb\"");
    }

    #[test]
    fn kopf_k3_no_word_is_reserved() {
        assert_eq!(Identifier::new("select").unwrap().to_string(), "\"select\"");
    }

    #[test]
    fn kopf_k4_what_the_server_would_cut_is_no_name() {
        assert!(Identifier::new(&"a".repeat(63)).is_ok());
        assert_eq!(Identifier::new(&"ü".repeat(32)), Err(QuotingError::TooLong("ü".repeat(32))));
    }

    #[test]
    fn quotes_are_doubled_and_backslashes_mean_themselves() {
        assert_eq!(Identifier::new("a\"; DROP ROLE b --").unwrap().to_string(), "\"a\"\"; DROP ROLE b --\"");
        assert_eq!(Literal::new("it's").unwrap().to_string(), "'it''s'");
        assert_eq!(Literal::new(r"a\'b").unwrap().to_string(), r" E'a\\''b'");
    }

    #[test]
    fn nothing_and_nul_are_no_names() {
        assert_eq!(Identifier::new(""), Err(QuotingError::Empty));
        assert_eq!(Identifier::new("a\0b"), Err(QuotingError::Nul));
        assert_eq!(Literal::new("a\0b"), Err(QuotingError::Nul));
    }
}
