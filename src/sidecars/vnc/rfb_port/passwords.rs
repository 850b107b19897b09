//! The file with the passwords of the RFB port: the first line lets a viewer in control, the second, if there is one, lets look.

use std::{io, path::PathBuf};

use secrecy::{ExposeSecret, SecretSlice};

use crate::sidecars::vnc::{
    rfb::vnc_auth::{Challenge, Password, Response},
    viewers::Role,
};

/// Why passwords can't be judged.
#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    /// It can't be read.
    #[error("VNC_RFB_PASSWORD_FILE {path} can't be read", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what it must be.
    #[error(
        "VNC_RFB_PASSWORD_FILE {path} must have a password of 1 to 8 bytes, and in a second line, if at all, another for those who may only \
         look: VNC does not look at more bytes",
        path = path.display()
    )]
    Content {
        /// Which.
        path: PathBuf,
    },
}

/// The passwords.
#[derive(Debug)]
pub struct Passwords {
    control: Password,
    view: Option<Password>,
}

impl Passwords {
    /// The passwords of a file's text.
    fn of(text: &[u8]) -> Option<Self> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let (first, second) = (lines.next()?, lines.next());
        if lines.next().is_some() || second == Some(first) {
            return None;
        }
        let view = match second {
            Some(line) => Some(Password::new(line)?),
            None => None,
        };
        Some(Self { control: Password::new(first)?, view })
    }

    /// What a viewer may do who answers a challenge so. All passwords are tried, however the first try ends.
    #[must_use]
    pub fn role(&self, challenge: &Challenge, response: &Response) -> Option<Role> {
        let controls = self.control.is_known_by(challenge, response);
        let views = self.view.as_ref().is_some_and(|view| view.is_known_by(challenge, response));
        if controls { Some(Role::Control) } else { views.then_some(Role::View) }
    }
}

/// The file at a path.
#[derive(Debug, Clone)]
pub struct PasswordFile(PathBuf);

impl PasswordFile {
    /// The file at this path.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Reads the passwords. This is done for each viewer who comes, so a change is in force at once.
    ///
    /// # Errors
    /// See [`PasswordFileError`].
    pub async fn read(&self) -> Result<Passwords, PasswordFileError> {
        let unreadable = |source| PasswordFileError::Unreadable { path: self.0.clone(), source };
        let text = SecretSlice::from(tokio::fs::read(&self.0).await.map_err(unreadable)?);
        Passwords::of(text.expose_secret()).ok_or_else(|| PasswordFileError::Content { path: self.0.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: Challenge = *b"a new challenge!";

    fn role(text: &str, tried: &str) -> Option<Role> {
        Passwords::of(text.as_bytes()).unwrap().role(&CHALLENGE, &Password::new(tried.as_bytes()).unwrap().respond(&CHALLENGE))
    }

    #[test]
    fn the_first_line_controls_and_the_second_looks() {
        for text in ["control\nlook", "control\nlook\n", "control\r\nlook\r\n"] {
            assert_eq!(role(text, "control"), Some(Role::Control));
            assert_eq!(role(text, "look"), Some(Role::View));
            assert_eq!(role(text, "other"), None);
        }
        assert_eq!((role("control\n", "control"), role("control\n", "look")), (Some(Role::Control), None));
        assert_eq!(role(" a b \n", " a b "), Some(Role::Control), "spaces are part of it");
    }

    #[test]
    fn a_file_has_a_password_or_two_different_ones_and_none_that_is_too_long() {
        for text in ["", "\n", "123456789\n", "control\n\n", "control\n123456789\n", "same\nsame\n", "a\nb\nc\n"] {
            assert!(Passwords::of(text.as_bytes()).is_none(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_can_not_be_used_is_named_and_not_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "longer than 8").unwrap();
        let error = PasswordFile::new(file.path().to_owned()).read().await.unwrap_err().to_string();
        assert!(error.contains(file.path().to_str().unwrap()) && !error.contains("longer"), "{error}");
        assert!(matches!(PasswordFile::new("/none".into()).read().await, Err(PasswordFileError::Unreadable { .. })));
    }
}
