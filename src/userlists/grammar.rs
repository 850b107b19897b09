//! `userlist.txt`: what can be written there so that every `PgBouncer` reads it as it is meant.
//!
//! An entry is a line `"name" "password"`, with a quote inside written twice (PgBouncer manual, "Authentication file format"). `PgBouncer`
//! stops at the first line that it can't read, and everybody after it is locked out; so nothing is written that it could misread, and a
//! line that others wrote is read only if `PgBouncer` would read the same there ([`auth_file`]).

use std::{collections::BTreeMap, fmt, sync::Arc};

use secrecy::{ExposeSecret, SecretString};

use crate::postgres::{
    auth_file::{self, Entry, Fault, LONGEST_NAME, LONGEST_PASSWORD},
    scram,
};

/// A user's name that a list can hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

/// A password, or the hash of one, that a list can hold. Clones share it; it is wiped with the last.
#[derive(Clone)]
pub struct Password(Arc<SecretString>);

/// Users with their passwords, sorted by the bytes of their names.
pub type Users = BTreeMap<UserName, Password>;

/// Why a name can't be in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing to call the user by.
    #[error("its user name is empty: write the role's name")]
    Empty,
    /// A line of the list ends where the name goes on.
    #[error("its user name has a line break or a NUL, which a userlist.txt can't hold: write it without")]
    ControlCharacter,
    /// `PgBouncer` would read no further.
    #[error("its user name takes {0} bytes, quotes counted twice, and PgBouncer reads {LONGEST_NAME}: choose a shorter one")]
    TooLong(usize),
}

/// Why a password can't be in a list. None repeats any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Whoever proves an empty password by SCRAM would be let in.
    #[error("its password is empty: write one, or delete the Secret if the user is to go")]
    Empty,
    /// Nobody types that; `echo` adds it.
    #[error("its password ends with a line break, as echo adds one: write it without, as printf does")]
    TrailingLineBreak,
    /// A line of the list ends where the password goes on.
    #[error("its password has a line break or a NUL, which a userlist.txt can't hold: choose another one")]
    ControlCharacter,
    /// `PgBouncer` would read no further.
    #[error("its password takes {0} bytes, quotes counted twice, and PgBouncer reads {LONGEST_PASSWORD}: choose a shorter one")]
    TooLong(usize),
}

/// Why a line of a list can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// `PgBouncer` could not read it, or not as it was meant.
    #[error("it {0}")]
    Unreadable(#[from] Fault),
    /// It is in an encoding of its own.
    #[error("it is no UTF-8 text: write it anew")]
    Encoding,
    /// Its name can't be in a list.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Its password can't be in a list.
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// How a password is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// `md5` and 32 hexadecimal digits.
    Md5,
    /// A SCRAM verifier (RFC 5803, as PostgreSQL writes it).
    Scram,
}

impl UserName {
    /// A name, if a list can hold it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let length = quoted_length(text);
        match () {
            () if text.is_empty() => Err(NameError::Empty),
            () if has_control_character(text) => Err(NameError::ControlCharacter),
            () if length > LONGEST_NAME => Err(NameError::TooLong(length)),
            () => Ok(Self(text.into())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Password {
    /// A password, if a list can hold it.
    pub fn new(text: &str) -> Result<Self, PasswordError> {
        let length = quoted_length(text);
        match () {
            () if text.is_empty() => Err(PasswordError::Empty),
            () if has_control_character(text.trim_end_matches(['\r', '\n'])) => Err(PasswordError::ControlCharacter),
            () if has_control_character(text) => Err(PasswordError::TrailingLineBreak),
            () if length > LONGEST_PASSWORD => Err(PasswordError::TooLong(length)),
            () => Ok(Self(Arc::new(SecretString::from(text)))),
        }
    }

    /// How `PgBouncer` takes it.
    #[must_use]
    pub fn form(&self) -> Form {
        let text = self.expose_secret();
        let is_md5 = |hash: &str| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.strip_prefix("md5") {
            Some(hash) if is_md5(hash) => Form::Md5,
            _ if scram::is_verifier(text) => Form::Scram,
            _ => Form::Plain,
        }
    }

    /// Whether this is a verifier of that password.
    #[must_use]
    pub fn is_verifier_of(&self, password: &Self) -> bool {
        scram::fits(self.expose_secret(), password.expose_secret())
    }

    /// The secret itself, to sign in with.
    #[must_use]
    pub fn secret(&self) -> SecretString {
        SecretString::clone(&self.0)
    }
}

impl ExposeSecret<str> for Password {
    fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.expose_secret().as_bytes(), other.expose_secret().as_bytes()).is_ok()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[password]")
    }
}

/// Line breaks and NUL. All else is a character like any other between quotes.
fn has_control_character(text: &str) -> bool {
    text.contains(['\n', '\r', '\0'])
}

fn quoted_length(text: &str) -> usize {
    text.len() + text.bytes().filter(|byte| *byte == b'"').count()
}

/// Bytes of an entry with its line break.
#[must_use]
pub fn entry_length(name: &str, password: &str) -> usize {
    quoted_length(name) + quoted_length(password) + r#""" """#.len() + 1
}

/// The list: the same users give the same bytes.
#[must_use]
pub fn render(users: &Users) -> SecretString {
    let lengths = users.iter().map(|(name, password)| entry_length(name.as_str(), password.expose_secret()));
    // At its full length from the start: what grows leaves copies behind that nobody wipes.
    let mut text = String::with_capacity(lengths.sum());
    for (name, password) in users {
        push_quoted(&mut text, name.as_str());
        text.push(' ');
        push_quoted(&mut text, password.expose_secret());
        text.push('\n');
    }
    SecretString::from(text)
}

fn push_quoted(text: &mut String, field: &str) {
    text.push('"');
    for (index, part) in field.split('"').enumerate() {
        if index > 0 {
            text.push_str(r#""""#);
        }
        text.push_str(part);
    }
    text.push('"');
}

/// The users of a list that somebody wrote, each with the number of its line, from 1. Empty lines and comments (`;`) are passed over.
pub fn read(list: &[u8]) -> impl Iterator<Item = (usize, Result<(UserName, Password), LineError>)> {
    auth_file::entries(list).map(|(number, entry)| (number, entry.map_err(LineError::from).and_then(read_entry)))
}

fn read_entry(entry: Entry<'_>) -> Result<(UserName, Password), LineError> {
    let name = entry.name.text().ok_or(LineError::Encoding)?;
    let password = SecretString::from(entry.password.text().ok_or(LineError::Encoding)?);
    Ok((UserName::new(&name)?, Password::new(password.expose_secret())?))
}

#[cfg(test)]
mod tests;
