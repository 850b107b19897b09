//! Who may see and change who is connected: whoever has the administrator's token.

use std::{io, path::PathBuf};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use secrecy::{ExposeSecret, SecretSlice};

/// The shortest token, in bytes: nobody guesses that much, and an empty file lets nobody in.
const SHORTEST_TOKEN: usize = 16;

/// The file with the token. It is read for each request, so that another token is in force at once.
#[derive(Debug, Clone)]
pub struct TokenFile(PathBuf);

/// Why nobody can be told from the administrator.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// There is no token.
    #[error("there is no file {path} with the administrator's token", path = path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// It can't be read.
    #[error("the file {path} with the administrator's token can't be read", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could be guessed.
    #[error("the administrator's token in {path} has fewer than {SHORTEST_TOKEN} characters", path = path.display())]
    Short {
        /// Which.
        path: PathBuf,
    },
}

impl TokenFile {
    /// The file at this path.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Whether this is the token. Digests are compared, so that not even its length shows in the time that takes.
    ///
    /// # Errors
    /// See [`TokenFileError`].
    pub async fn has(&self, token: &str) -> Result<bool, TokenFileError> {
        let path = || self.0.clone();
        let content = tokio::fs::read(&self.0).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => TokenFileError::Missing { path: path() },
            _ => TokenFileError::Unreadable { path: path(), source },
        })?;
        let content = SecretSlice::from(content);
        let expected = content.expose_secret().trim_ascii();
        if expected.len() < SHORTEST_TOKEN {
            return Err(TokenFileError::Short { path: path() });
        }
        let [given, expected] = [token.as_bytes(), expected].map(|token| digest(&SHA256, token));
        Ok(verify_slices_are_equal(given.as_ref(), expected.as_ref()).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_token_of_the_file_is_the_administrators_and_another_one_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let administrator = TokenFile::new(file.path().to_owned());
        for token in ["the first of the tokens", "the other of the tokens"] {
            std::fs::write(file.path(), format!("{token}\n")).unwrap();
            assert!(administrator.has(token).await.unwrap());
            for other in ["", "the", "the first of the token"] {
                assert!(!administrator.has(other).await.unwrap(), "{other}");
            }
        }
    }

    #[tokio::test]
    async fn a_token_that_is_missing_or_could_be_guessed_is_nobodys() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let administrator = TokenFile::new(file.path().to_owned());
        for token in ["", "\n", "fifteen letters"] {
            std::fs::write(file.path(), token).unwrap();
            assert!(matches!(administrator.has(token.trim()).await, Err(TokenFileError::Short { .. })), "{token:?}");
        }
        assert!(matches!(TokenFile::new("/none".into()).has("").await, Err(TokenFileError::Missing { .. })));
        assert!(matches!(TokenFile::new("/".into()).has("").await, Err(TokenFileError::Unreadable { .. })));
    }
}
