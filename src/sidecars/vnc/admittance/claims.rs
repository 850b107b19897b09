//! Signed role claims: who may be what in which session, and until when. Whoever has the key signs them; nothing is stored.
//!
//! A token is `BASE64URL(claims as JSON) "." BASE64URL(HMAC-SHA-256 of what stands before the dot)`, without padding.

use std::{fmt, io, path::PathBuf};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};

use crate::sidecars::vnc::viewers::Role;

/// The shortest key, in bytes: as long as what HMAC-SHA-256 makes (RFC 2104, section 3).
const SHORTEST_KEY: usize = 32;
/// The new one and the one before it, while clocks and files catch up.
const MOST_KEYS: usize = 2;

/// What a signature vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Seconds since 1970 until which somebody may come in; whoever is in stays.
    pub exp: i64,
    /// The session that it is good for.
    pub session: String,
    /// Who.
    pub user: String,
    /// As what.
    pub role: Role,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// None of the keys has signed it.
    #[error("the signature of the token is not ours")]
    Signature,
    /// It is signed, but says something else.
    #[error("the token's claims are not exp, session, user and role")]
    Content,
    /// It is too late.
    #[error("the token has expired")]
    Expired,
    /// It is another session's.
    #[error("the token is good for another session")]
    Session,
}

/// A key that signs claims.
pub struct Key(hmac::Key);

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

/// Why the key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It can't be read.
    #[error("the key file {path} can't be read", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what it must be.
    #[error("the key file {path} must have one key or two, each a line of at least 32 characters", path = path.display())]
    Content {
        /// Which.
        path: PathBuf,
    },
}

impl Key {
    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= SHORTEST_KEY).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }
}

/// The file with the keys: a line for each, the one that signs first, then the one before it.
#[derive(Debug, Clone)]
pub struct KeyFile(PathBuf);

impl KeyFile {
    /// The file at this path.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Reads the keys. This is done for each viewer who comes: there are few, and a key that was changed is in force at once.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub async fn read(&self) -> Result<Vec<Key>, KeyFileError> {
        let unreadable = |source| KeyFileError::Unreadable { path: self.0.clone(), source };
        let text = SecretSlice::from(tokio::fs::read(&self.0).await.map_err(unreadable)?);
        let lines = text.expose_secret().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let keys: Option<Vec<Key>> = lines.map(Key::new).collect();
        keys.filter(|keys| (1..=MOST_KEYS).contains(&keys.len())).ok_or_else(|| KeyFileError::Content { path: self.0.clone() })
    }
}

/// Signs claims.
#[must_use]
pub fn sign(claims: &Claims, key: &Key) -> SecretString {
    // Strings and a number always make JSON.
    let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).unwrap_or_default());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key.0, claims.as_bytes()));
    format!("{claims}.{signature}").into()
}

/// Whether one of the keys has signed claims that let somebody into this session now. Signatures are compared in constant time.
///
/// # Errors
/// See [`ClaimError`].
pub fn verify(token: &str, keys: &[Key], session: &str, now: i64) -> Result<Claims, ClaimError> {
    let (claims, signature) = token.split_once('.').ok_or(ClaimError::Signature)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| ClaimError::Signature)?;
    if !keys.iter().any(|key| hmac::verify(&key.0, claims.as_bytes(), &signature).is_ok()) {
        return Err(ClaimError::Signature);
    }
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| ClaimError::Content)?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| ClaimError::Content)?;
    if claims.exp <= now {
        return Err(ClaimError::Expired);
    }
    if claims.session != session {
        return Err(ClaimError::Session);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(byte: u8) -> Key {
        Key::new(&[byte; SHORTEST_KEY]).unwrap()
    }

    fn claims() -> Claims {
        Claims { exp: 1000, session: "desk-1".to_owned(), user: "ann".to_owned(), role: Role::Control }
    }

    fn verified(token: &str, now: i64) -> Result<Claims, ClaimError> {
        verify(token, &[key(2), key(1)], "desk-1", now)
    }

    #[test]
    fn b3_claims_are_good_for_their_session_until_they_expire_and_outlive_one_change_of_keys() {
        for signer in [1, 2] {
            assert_eq!(verified(sign(&claims(), &key(signer)).expose_secret(), 999), Ok(claims()));
        }
        assert_eq!(verified(sign(&claims(), &key(3)).expose_secret(), 999), Err(ClaimError::Signature));
        assert_eq!(verified(sign(&claims(), &key(1)).expose_secret(), 1000), Err(ClaimError::Expired));
        let other = Claims { session: "desk-2".to_owned(), ..claims() };
        assert_eq!(verified(sign(&other, &key(1)).expose_secret(), 999), Err(ClaimError::Session));
        for token in ["", ".", "e30.", "e30.e30", "no dot"] {
            assert_eq!(verified(token, 999), Err(ClaimError::Signature), "{token}");
        }
    }

    #[test]
    fn what_is_signed_but_says_something_else_lets_nobody_in() {
        let payload = URL_SAFE_NO_PAD.encode(br#"{"exp":2000,"session":"desk-1","user":"ann","role":"owner"}"#);
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key(1).0, payload.as_bytes()));
        assert_eq!(verified(&format!("{payload}.{signature}"), 0), Err(ClaimError::Content));
    }

    #[tokio::test]
    async fn a_key_file_has_a_key_or_two_and_none_that_is_short() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let keys = KeyFile::new(file.path().to_owned());
        let (one, other) = ("a".repeat(32), "b".repeat(40));
        for (text, count) in [(format!("{one}\n"), 1), (format!("\n{one}\r\n{other}"), 2)] {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(keys.read().await.unwrap().len(), count);
        }
        for text in [String::new(), "short\n".to_owned(), format!("{one}\nshort"), format!("{one}\n{other}\n{one}")] {
            std::fs::write(file.path(), text).unwrap();
            assert!(matches!(keys.read().await, Err(KeyFileError::Content { .. })));
        }
        assert!(matches!(KeyFile::new("/none".into()).read().await, Err(KeyFileError::Unreadable { .. })));
    }

    proptest! {
        #[test]
        fn a_token_with_any_change_lets_nobody_in(at in 0usize..100, byte in 0x21u8..0x7f) {
            let token = sign(&claims(), &key(1));
            let mut changed = token.expose_secret().as_bytes().to_vec();
            let at = at % changed.len();
            prop_assume!(changed[at] != byte);
            changed[at] = byte;
            prop_assert!(verified(std::str::from_utf8(&changed).unwrap(), 999).is_err());
        }
    }
}
