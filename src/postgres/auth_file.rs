//! `PgBouncer`'s `auth_file`, as its `load_auth_file` reads it: who is in a list, and whether all of it would be read and mean what it says.
//!
//! `PgBouncer` forgets all passwords before it reads a list, and stops at the first line that it can't read: whoever stands behind that line
//! is locked out, while RELOAD still succeeds. So a list is looked at before `PgBouncer` sees it. What it would read as something else than
//! was meant, such as a name without a password that takes the next line's name for one, is refused, too.

use std::fmt;

/// Bytes of a name between its quotes, where a doubled quote counts twice.
pub const LONGEST_NAME: usize = 127;
/// Bytes of a password between its quotes, where a doubled quote counts twice. Newer versions take longer ones.
pub const LONGEST_PASSWORD: usize = 2047;

/// Why a list is not to be used. No part of a line is shown: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthFileError {
    /// Nobody is in it.
    #[error("the list of users is empty: nobody could sign in")]
    Empty,
    /// A line can't be read, or not as it was meant.
    #[error("line {line} of the list of users {fault}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is neither a user, nor a comment, nor blank.
    #[error("does not begin with a quote, or with the ; of a comment: write \"name\" \"password\"")]
    NoQuote,
    /// A quoted text does not end, or goes on in the next line.
    #[error("has a quote that is not closed: write a quote within a text twice")]
    Open,
    /// There is no password behind the name.
    #[error("has a name and no password beside it: write \"name\" \"password\"")]
    NoPassword,
    /// There is a quote behind the password, which ends at the quote before.
    #[error("goes on after its password: write a quote within a text twice")]
    Rest,
    /// The name is empty.
    #[error("has an empty name")]
    NoName,
    /// Such a user signs in with an empty password over SCRAM.
    #[error("has an empty password, with which anybody could sign in")]
    EmptyPassword,
    /// The name is too long.
    #[error("has a name of more than {LONGEST_NAME} bytes")]
    LongName,
    /// The password is too long.
    #[error("has a password of more than {LONGEST_PASSWORD} bytes")]
    LongPassword,
    /// The file ends there for `PgBouncer`.
    #[error("has a NUL byte")]
    Nul,
}

/// A user of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name.
    pub name: Quoted<'a>,
    /// The password, or a hash of one.
    pub password: Quoted<'a>,
}

/// What stands between two quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Quoted<'a>(&'a [u8]);

impl Quoted<'_> {
    /// Its text, in which each doubled quote has become one; `None` if it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        Some(std::str::from_utf8(self.0).ok()?.replace("\"\"", "\""))
    }
}

impl fmt::Debug for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[quoted]")
    }
}

/// The users of a list, each with the number of its line, from 1; or what is wrong with the line. Blank lines and comments are passed over.
pub fn entries(list: &[u8]) -> impl Iterator<Item = (usize, Result<Entry<'_>, Fault>)> {
    let lines = list.split(|byte| *byte == b'\n').enumerate();
    lines.filter_map(|(index, line)| Some((index + 1, entry(line).transpose()?)))
}

/// How many users a list has, all of which `PgBouncer` would read; at least one. Who stands in it twice counts twice.
///
/// # Errors
/// Some of it would not be read, or not as it was meant, or nobody is in it.
pub fn count_users(list: &[u8]) -> Result<usize, AuthFileError> {
    let mut count = 0;
    for (line, entry) in entries(list) {
        entry.map_err(|fault| AuthFileError::Line { line, fault })?;
        count += 1;
    }
    if count == 0 { Err(AuthFileError::Empty) } else { Ok(count) }
}

/// The user of a line, rather than nothing or a comment.
fn entry(line: &[u8]) -> Result<Option<Entry<'_>>, Fault> {
    if line.contains(&0) {
        return Err(Fault::Nul);
    }
    match skip_blanks(line).split_first() {
        None | Some((b';', _)) => Ok(None),
        Some((b'"', text)) => user(text).map(Some),
        Some(_) => Err(Fault::NoQuote),
    }
}

/// Reads a line behind its first quote.
fn user(text: &[u8]) -> Result<Entry<'_>, Fault> {
    let (name, rest) = quoted(text)?;
    let Some((b'"', text)) = skip_blanks(rest).split_first() else { return Err(Fault::NoPassword) };
    let (password, rest) = quoted(text)?;
    match (name.len(), password.len()) {
        _ if rest.contains(&b'"') => Err(Fault::Rest),
        (0, _) => Err(Fault::NoName),
        (_, 0) => Err(Fault::EmptyPassword),
        (name, _) if name > LONGEST_NAME => Err(Fault::LongName),
        (_, password) if password > LONGEST_PASSWORD => Err(Fault::LongPassword),
        _ => Ok(Entry { name: Quoted(name), password: Quoted(password) }),
    }
}

/// Divides what stands behind a quote at the quote that closes it. A doubled quote closes nothing.
fn quoted(text: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let mut from = 0;
    loop {
        let end = text.iter().skip(from).position(|byte| *byte == b'"').ok_or(Fault::Open)? + from;
        if text.get(end + 1) == Some(&b'"') {
            from = end + 2;
        } else {
            let (before, after) = text.split_at_checked(end).ok_or(Fault::Open)?;
            return Ok((before, after.get(1..).unwrap_or_default()));
        }
    }
}

/// C's `isspace` in the C locale.
fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
    text.get(blanks..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(list: &str) -> Fault {
        match count_users(list.as_bytes()) {
            Err(AuthFileError::Line { fault, .. }) => fault,
            other => panic!("{list:?}: {other:?}"),
        }
    }

    #[test]
    fn what_pgbouncer_reads_is_counted() {
        for (list, count) in [
            ("\"a\" \"b\"", 1),
            ("; nobody\n\n  \"a\"\t\"b\"\r\n\"c\" \"md5\" and a remark\n", 2),
            ("\"a\" \"b\"\n\"a\" \"c\"\n", 2),
            ("\"a\"\"b\" \"\"\"\"\n", 1),
            ("\"a\" \"SCRAM-SHA-256$4096:c2FsdA==$a:b\"\n", 1),
        ] {
            assert_eq!(count_users(list.as_bytes()), Ok(count), "{list:?}");
        }
    }

    #[test]
    fn pgbouncer_g3_g5_g7_what_it_would_not_read_or_would_read_as_something_else_is_refused() {
        let (name, password) = ("n".repeat(LONGEST_NAME + 1), "p".repeat(LONGEST_PASSWORD + 1));
        for (line, expected) in [
            ("# a remark", Fault::NoQuote),
            ("\u{feff}\"a\" \"b\"", Fault::NoQuote),
            ("\"a", Fault::Open),
            ("\"a\" \"b", Fault::Open),
            ("\"a\" \"b\nc\"", Fault::Open),
            ("\"a\"\n\"c\" \"d\"", Fault::NoPassword),
            ("\"a\" = \"b\"", Fault::NoPassword),
            ("\"a\"\"b\"", Fault::NoPassword),
            ("\"a\" \"p\"w1\"", Fault::Rest),
            ("\"\" \"b\"", Fault::NoName),
            ("\"a\" \"\"", Fault::EmptyPassword),
            (&format!("\"{name}\" \"b\""), Fault::LongName),
            (&format!("\"a\" \"{password}\""), Fault::LongPassword),
            ("\"a\" \"b\0\"", Fault::Nul),
        ] {
            assert_eq!(fault(&format!("\"first\" \"x\"\n{line}\n")), expected, "{line:?}");
        }
        let (name, password) = (&name[1..], &password[1..]);
        assert_eq!(count_users(format!("\"{name}\" \"{password}\"").as_bytes()), Ok(1), "the longest are taken");
    }

    #[test]
    fn a_list_without_users_is_refused() {
        for list in ["", "\n", "; \"a\" \"b\"\n"] {
            assert_eq!(count_users(list.as_bytes()), Err(AuthFileError::Empty), "{list:?}");
        }
    }

    #[test]
    fn the_line_is_named_and_nothing_of_it_is_shown() {
        let error = count_users(b"\"a\" \"b\"\n\"c\" \"hunter2\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2 of the list of users has a quote") && !error.contains("hunter2"), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_is_written_with_doubled_quotes_is_read(users in prop::collection::vec(("[^\\n\\x00]{1,60}", "[^\\n\\x00]{1,200}"), 1..20)) {
            let line = |(name, password): &(String, String)| {
                format!("\"{}\" \"{}\"\n", name.replace('"', "\"\""), password.replace('"', "\"\""))
            };
            let fits = users.iter().all(|(name, _)| name.replace('"', "\"\"").len() <= LONGEST_NAME);
            let list: String = users.iter().map(line).collect();
            prop_assert_eq!(count_users(list.as_bytes()).is_ok(), fits);
        }
    }
}
