//! What is written for a plan: the list with its tombstones and probe, and the digest by which it is known.

use std::{collections::BTreeSet, fmt::Write};

use aws_lc_rs::hmac;
use secrecy::{ExposeSecret, SecretString};

use crate::userlists::grammar::{self, Password, UserName, Users};

use super::Plan;

/// Bytes of a key for digests.
pub(in crate::userlists) const KEY_LENGTH: usize = 32;
/// Bytes that a list may have with all that is remembered of it. What a Secret may hold is a mebibyte (Kubernetes, `MaxSecretSize`).
pub(in crate::userlists) const CAPACITY: usize = 1_000_000;
/// Bytes of the password of a tombstone.
pub(in crate::userlists) const TOMBSTONE_PASSWORD: usize = 64;

/// The key under which lists are digested. It lives in the written Secret alone, so that a digest says nothing to those who can't read that.
#[derive(Debug, Clone)]
pub(in crate::userlists) struct DigestKey(hmac::Key);

/// What is written.
#[derive(Debug, Clone)]
pub(in crate::userlists) struct Contents {
    pub(in crate::userlists) list: SecretString,
    pub(in crate::userlists) digest: String,
    /// What the probe signs in with.
    pub(in crate::userlists) probe: Option<Password>,
}

/// Why a list can't be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::userlists) enum ContentsError {
    #[error("the probeUser can't be in a list: {0}")]
    Probe(#[from] grammar::NameError),
}

impl DigestKey {
    pub(in crate::userlists) fn new(key: &[u8; KEY_LENGTH]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// 64 hexadecimal digits that only the holder of the key can make.
    fn digest(&self, purpose: &str, content: &[u8]) -> String {
        let mut signing = hmac::Context::with_key(&self.0);
        signing.update(purpose.as_bytes());
        signing.update(&[0]);
        signing.update(content);
        signing.sign().as_ref().iter().fold(String::with_capacity(TOMBSTONE_PASSWORD), |mut text, byte| {
            // Writing to a text can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// By which a list is known.
    pub(in crate::userlists) fn of_list(&self, list: &[u8]) -> String {
        self.digest("list", list)
    }

    fn password(&self, purpose: &str, content: &[u8]) -> Option<Password> {
        Password::new(&self.digest(purpose, content)).ok()
    }
}

/// The list of a plan: the same plan under the same key gives the same bytes.
///
/// A removed user stays as a tombstone, with a password that nobody knows, unless all pods start anew: PgBouncer's memory of a user whom a
/// RELOAD no longer finds is one with an empty password, or with the old one. Where nobody asks for passwords, a tombstone would let them in.
pub(in crate::userlists) fn contents(
    plan: &Plan,
    tombstones: &BTreeSet<UserName>,
    probe: Option<&str>,
    key: &DigestKey,
) -> Result<Contents, ContentsError> {
    let mut entries: Users = plan.users.clone();
    for name in tombstones {
        if let Some(password) = key.password("tombstone", name.as_str().as_bytes()) {
            entries.entry(name.clone()).or_insert(password);
        }
    }
    let probe = match probe {
        None => None,
        Some(user) => {
            let user = UserName::new(user)?;
            let password = key.password("probe", grammar::render(&entries).expose_secret().as_bytes());
            entries.extend(password.clone().map(|password| (user, password)));
            password
        }
    };
    let list = grammar::render(&entries);
    let digest = key.of_list(list.expose_secret().as_bytes());
    Ok(Contents { list, digest, probe })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    fn plan(users: &[(&str, &str)]) -> Plan {
        let users = users.iter().map(|(user, password)| (name(user), Password::new(password).unwrap())).collect();
        Plan { users, ..Plan::default() }
    }

    fn key(byte: u8) -> DigestKey {
        DigestKey::new(&[byte; KEY_LENGTH])
    }

    fn made(plan: &Plan, tombstones: &[&str], probe: Option<&str>, key: &DigestKey) -> Contents {
        contents(plan, &tombstones.iter().map(|text| name(text)).collect(), probe, key).unwrap()
    }

    #[test]
    fn the_digest_depends_on_the_list_and_on_the_key_alone() {
        let users = plan(&[("a", "1")]);
        let digest = made(&users, &[], None, &key(1)).digest;
        assert_eq!(digest.len(), 64);
        assert_eq!(digest, made(&users, &[], None, &key(1)).digest);
        assert_ne!(digest, made(&plan(&[("a", "2")]), &[], None, &key(1)).digest);
        assert_ne!(digest, made(&users, &[], None, &key(2)).digest, "who guesses the users can't check the guess");
    }

    #[test]
    fn a_tombstone_has_a_password_that_stays_and_that_nobody_can_tell() {
        let list = |key: &DigestKey| made(&plan(&[("a", "1")]), &["gone"], None, key).list.expose_secret().to_owned();
        assert_eq!(list(&key(1)), list(&key(1)));
        assert_ne!(list(&key(1)), list(&key(2)));
        let (_, tombstone) = grammar::read(list(&key(1)).as_bytes()).last().unwrap();
        let (user, password) = tombstone.unwrap();
        assert_eq!((user.as_str(), password.expose_secret().len()), ("gone", 64));
    }

    #[test]
    fn the_probe_s_password_changes_with_the_list() {
        let probe = |users: &[(&str, &str)]| made(&plan(users), &[], Some("probe"), &key(1));
        assert_ne!(probe(&[("a", "1")]).probe, probe(&[("a", "2")]).probe);
        assert_eq!(probe(&[("a", "1")]).probe, probe(&[("a", "1")]).probe);
        assert!(probe(&[("a", "1")]).list.expose_secret().contains("\"probe\" \""));
    }
}
