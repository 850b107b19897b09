//! JSON Pointers (RFC 6901).

use std::fmt;
use std::str::FromStr;

/// A text that isn't a JSON Pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// Neither empty nor beginning with `/`.
    #[error("`{0}` is not a JSON pointer: it must be empty or begin with `/`")]
    NoSlash(String),
    /// `~` without `0` or `1`.
    #[error("`{0}` is not a JSON pointer: `~` is written `~0` and `/` in a key `~1`")]
    Escape(String),
}

/// A path to a value: the unescaped keys and indices, the root being no token at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// The keys and indices.
    #[must_use]
    pub fn tokens(&self) -> &[String] {
        &self.0
    }

    /// The pointer to a child.
    #[must_use]
    pub fn child(&self, token: impl Into<String>) -> Self {
        let mut tokens = self.0.clone();
        tokens.push(token.into());
        Self(tokens)
    }

    /// The pointer to the parent, and the last token. `None` for the root.
    #[must_use]
    pub fn split_last(&self) -> Option<(Self, &str)> {
        let (last, parent) = self.0.split_last()?;
        Some((Self(parent.to_vec()), last))
    }

    /// Whether it points to `self` or below.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
}

/// An array index as RFC 6901 section 4 writes it: digits, without leading zeros.
pub(super) fn array_index(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = token.len() > 1 && token.starts_with('0');
    if digits && !leading_zero { token.parse().ok() } else { None }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let path = text.strip_prefix('/').ok_or_else(|| PointerError::NoSlash(text.to_owned()))?;
        let unescaped: Option<Vec<String>> = path.split('/').map(unescape).collect();
        unescaped.map(Self).ok_or_else(|| PointerError::Escape(text.to_owned()))
    }
}

fn unescape(token: &str) -> Option<String> {
    let mut parts = token.split('~');
    let mut unescaped = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (_, Some(rest)) => ('/', rest),
            _ => return None,
        };
        unescaped.push(character);
        unescaped.push_str(rest);
    }
    Some(unescaped)
}

impl fmt::Display for Pointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|token| write!(formatter, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_6901_are_read_and_written() {
        let table: [(&str, &[&str]); 7] = [
            ("", &[]),
            ("/foo", &["foo"]),
            ("/foo/0", &["foo", "0"]),
            ("/", &[""]),
            ("/a~1b", &["a/b"]),
            ("/m~0n", &["m~n"]),
            ("/~01", &["~1"]),
        ];
        for (text, tokens) in table {
            let pointer: Pointer = text.parse().expect(text);
            assert_eq!(pointer.tokens(), tokens);
            assert_eq!(pointer.to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!("foo".parse::<Pointer>(), Err(PointerError::NoSlash("foo".into())));
        assert_eq!("/a~".parse::<Pointer>(), Err(PointerError::Escape("/a~".into())));
        assert_eq!("/a~2".parse::<Pointer>(), Err(PointerError::Escape("/a~2".into())));
    }
}
