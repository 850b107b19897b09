//! The Secrets that we write: how one is told from a stranger's, read, and changed only where it differs.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt, api::Patch, core::PartialObjectMeta};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde_json::{Value, json};

use crate::{
    api::user_list::{DIGEST_ANNOTATION, REMOVED_USERS_KEY, RESERVED_KEYS},
    runtime::{
        lease::{Claim, WRITE_DEADLINE},
        request::{self, RequestError},
    },
};

use super::{
    grammar::{self, Password, UserName},
    list::ListId,
    origins,
    plan::{
        Past,
        contents::{DigestKey, KEY_LENGTH},
    },
};

/// The label of all Secrets that we write.
pub(super) const MARK: &str = "outrigger.dev/userlist";
/// What the user lists' own labels say besides.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "outrigger");
/// The key of the digests' key.
const DIGEST_KEY: &str = "outrigger.digest-key";
/// The key of what is known of the Secrets that gave users: a line for each entry of the list, then for each removed user who has none.
const ORIGINS: &str = "outrigger.origins";
/// The key of the console's passwords, the newest first, one on each line: a pooler that has not read the newest list takes an older one.
const CONSOLE_PASSWORDS: &str = "outrigger.console-passwords";
/// The key of the second after which pods must have started (RFC 3339).
const FRESH_SINCE: &str = "outrigger.fresh-since";

/// A Secret with our label, as it was seen.
#[derive(Debug)]
pub(super) struct WrittenSecret {
    pub(super) name: String,
    version: String,
    /// The uid of the `UserList` that it belongs to.
    owner: Option<String>,
    labels: BTreeMap<String, String>,
    pub(super) digest: Option<String>,
    data: BTreeMap<String, SecretSlice<u8>>,
}

/// What a Secret of ours is to be.
#[derive(Debug)]
pub(super) struct Desired {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) digest: Option<String>,
    pub(super) data: BTreeMap<String, SecretSlice<u8>>,
}

/// What a Secret of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    List,
    Admin,
}

/// What the list's Secret remembers.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pub(super) past: Past,
    /// The newest first.
    pub(super) console_passwords: Vec<SecretString>,
    pub(super) key: [u8; KEY_LENGTH],
    /// Pods that started before this second may let in somebody whom the list does not remember, or can't keep out.
    pub(super) fresh_since: Option<Timestamp>,
}

/// Why a Secret was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("Secret {0} exists and isn't this UserList's: choose another name, or delete it")]
    Foreign(String),
    #[error("Secret {name} can't be written")]
    Request {
        name: String,
        #[source]
        source: RequestError,
    },
    #[error("Secret {0} does not keep the label {MARK}, by which it is seen: let the policy that takes it away leave it there")]
    Label(String),
    #[error("the lease is lost")]
    LeaseLost,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Admin => "admin",
        }
    }
}

impl WrittenSecret {
    pub(super) fn read(secret: &Secret) -> Self {
        let owners = secret.metadata.owner_references.iter().flatten();
        let data = secret.data.iter().flatten().map(|(key, value)| (key.clone(), SecretSlice::from(value.0.clone())));
        Self {
            name: secret.name_any(),
            version: secret.resource_version().unwrap_or_default(),
            owner: owners.clone().find(|owner| owner.controller == Some(true) && owner.kind == "UserList").map(|owner| owner.uid.clone()),
            labels: secret.labels().clone(),
            digest: secret.annotations().get(DIGEST_ANNOTATION).cloned(),
            data: data.collect(),
        }
    }

    pub(super) fn belongs_to(&self, list: &ListId) -> bool {
        self.owner.as_deref() == Some(&list.uid)
    }

    /// Whether it is this list's, and one of a digest.
    pub(super) fn is_list_of(&self, list: &ListId, digest: &str) -> bool {
        let role = self.labels.get(MARK).map(String::as_str);
        self.belongs_to(list) && role == Some(Role::List.as_str()) && self.digest.as_deref() == Some(digest)
    }

    /// What it remembers, if it is a list, of whose users one is the probe. What others have spoilt is forgotten, unless it is known; of a list
    /// that they have changed the names alone are taken, for whoever it names may be remembered by a pooler.
    pub(super) fn memory(&self, key: &str, namespace: &str, probe: Option<&str>, known: Option<&Memory>) -> Option<Memory> {
        let text = |key: &str| std::str::from_utf8(self.data.get(key)?.expose_secret()).ok();
        let digest_key = <[u8; KEY_LENGTH]>::try_from(self.data.get(DIGEST_KEY)?.expose_secret()).ok()?;
        let removed: BTreeSet<UserName> =
            text(REMOVED_USERS_KEY).unwrap_or_default().lines().filter_map(|line| UserName::new(line).ok()).collect();
        let list = self.list(key);
        let entries: Vec<_> = grammar::read(list).filter_map(|(_, entry)| entry.ok()).collect();
        let is_intact = self.digest.as_ref() == Some(&DigestKey::new(&digest_key).of_list(list));
        if let Some(known) = known.filter(|_| !is_intact) {
            let mut memory = known.clone();
            let names = entries.into_iter().map(|(name, _)| name);
            let is_new = |name: &UserName| !known.past.users.contains_key(name) && probe != Some(name.as_str());
            memory.past.removed.extend(names.filter(is_new));
            return Some(memory);
        }
        let origins = text(ORIGINS).filter(|_| is_intact).unwrap_or_default();
        let origins = origins::read(origins, names(list, &removed).into_iter(), namespace);
        let users = entries.into_iter().filter(|(name, _)| !removed.contains(name) && probe != Some(name.as_str())).collect();
        let console_passwords = text(CONSOLE_PASSWORDS).unwrap_or_default().lines().map(SecretString::from).collect();
        let fresh_since = text(FRESH_SINCE).and_then(|text| text.parse().ok());
        Some(Memory { past: Past { users, removed, origins }, console_passwords, key: digest_key, fresh_since })
    }

    /// The password of this user in its list.
    pub(super) fn password_of(&self, key: &str, user: &str) -> Option<Password> {
        let mut entries = grammar::read(self.list(key)).filter_map(|(_, entry)| entry.ok());
        entries.find(|(name, _)| name.as_str() == user).map(|(_, password)| password)
    }

    /// Its list, which may be under another key if the spec has named another before.
    fn list(&self, key: &str) -> &[u8] {
        let before = || self.data.iter().find(|(key, _)| !key.starts_with(RESERVED_KEYS)).map(|(_, list)| list);
        self.data.get(key).or_else(before).map(ExposeSecret::expose_secret).unwrap_or_default()
    }

    fn is(&self, desired: &Desired) -> bool {
        let holds = |key: &String, value: &SecretSlice<u8>| {
            self.data.get(key).is_some_and(|seen| verify_slices_are_equal(seen.expose_secret(), value.expose_secret()).is_ok())
        };
        let labels = desired.labels();
        self.data.len() == desired.data.len()
            && desired.data.iter().all(|(key, value)| holds(key, value))
            && self.digest == desired.digest
            && labels.iter().all(|(key, value)| self.labels.get(*key).is_some_and(|label| label == value))
    }
}

impl Memory {
    /// That of a list that was never written, or of which nothing is known any more.
    pub(super) fn new() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut key = [0; KEY_LENGTH];
        aws_lc_rs::rand::fill(&mut key)?;
        Ok(Self { past: Past::default(), console_passwords: Vec::new(), key, fresh_since: None })
    }

    pub(super) fn digest_key(&self) -> DigestKey {
        DigestKey::new(&self.key)
    }

    /// All that a list's Secret holds: the list under its key, and what is remembered beside it.
    pub(super) fn data(&self, key: &str, list: &SecretString, namespace: &str) -> BTreeMap<String, SecretSlice<u8>> {
        let list = list.expose_secret().as_bytes();
        let Past { removed, origins, .. } = &self.past;
        let console: Vec<&str> = self.console_passwords.iter().map(ExposeSecret::expose_secret).collect();
        let fresh_since = self.fresh_since.map(|since| (FRESH_SINCE, since.to_string().into_bytes()));
        let origins = origins::render(names(list, removed).into_iter(), origins, namespace);
        let removed: Vec<&str> = removed.iter().map(UserName::as_str).collect();
        let data = [
            (key, list.to_vec()),
            (DIGEST_KEY, self.key.to_vec()),
            (REMOVED_USERS_KEY, removed.join("\n").into_bytes()),
            (ORIGINS, origins.into_bytes()),
            (CONSOLE_PASSWORDS, console.join("\n").into_bytes()),
        ];
        data.into_iter().chain(fresh_since).map(|(key, value)| (key.to_owned(), SecretSlice::from(value))).collect()
    }
}

/// Of whom origins are written: the names of a list in its order, and the removed users who are not in it.
fn names(list: &[u8], removed: &BTreeSet<UserName>) -> Vec<UserName> {
    let mut names: Vec<_> = grammar::read(list).filter_map(|(_, entry)| Some(entry.ok()?.0)).collect();
    let listed: BTreeSet<_> = names.iter().cloned().collect();
    names.extend(removed.difference(&listed).cloned());
    names
}

impl Desired {
    fn labels(&self) -> [(&'static str, &'static str); 2] {
        [(MARK, self.role.as_str()), MANAGED_BY]
    }

    /// Writes it, if what is seen differs. Whether it did.
    pub(super) async fn write(
        &self,
        api: &Api<Secret>,
        list: &ListId,
        seen: Option<&WrittenSecret>,
        claim: &Claim,
    ) -> Result<bool, WriteError> {
        if let Some(seen) = seen {
            if !seen.belongs_to(list) {
                return Err(WriteError::Foreign(self.name.clone()));
            }
            if seen.is(self) {
                return Ok(false);
            }
        }
        if !claim.is_current() {
            return Err(WriteError::LeaseLost);
        }
        let written = match seen {
            Some(seen) => self.write_over(api, self.patch(seen)).await.map(drop),
            None => match self.create(api, list).await {
                // It is there, and not shown among ours: a stranger's, or one of ours that is too new or has lost its label.
                Err(error) if error.is_conflict() => self.label(api, list).await?.and(Err(error)),
                created => created,
            },
        };
        written.map(|()| true).map_err(|source| WriteError::Request { name: self.name.clone(), source })
    }

    /// Gives the one that is there its labels back, if it is ours, so that it is seen with all that it remembers.
    async fn label(&self, api: &Api<Secret>, list: &ListId) -> Result<Result<(), RequestError>, WriteError> {
        match request::within(WRITE_DEADLINE, api.get(&self.name)).await.map(|secret| WrittenSecret::read(&secret)) {
            Ok(found) if found.belongs_to(list) => {
                let patch = json!({"metadata": {"resourceVersion": found.version, "labels": self.label_map()}});
                let patched = self.write_over(api, patch).await;
                let keeps = |labels: &BTreeMap<String, String>| labels.get(MARK).is_some_and(|label| label == self.role.as_str());
                match patched {
                    Ok(patched) if !keeps(patched.labels()) => Err(WriteError::Label(self.name.clone())),
                    patched => Ok(patched.map(drop)),
                }
            }
            Ok(_) => Err(WriteError::Foreign(self.name.clone())),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn write_over(&self, api: &Api<Secret>, patch: Value) -> Result<PartialObjectMeta<Secret>, RequestError> {
        request::within(WRITE_DEADLINE, api.patch_metadata(&self.name, &request::patching(), &Patch::Merge(patch))).await
    }

    /// Over the version that was seen; what we don't want there goes.
    fn patch(&self, seen: &WrittenSecret) -> Value {
        let mut data = self.encoded();
        for key in seen.data.keys().filter(|key| !self.data.contains_key(*key)) {
            data.insert(key.clone(), Value::Null);
        }
        json!({
            "metadata": {"resourceVersion": seen.version, "labels": self.label_map(), "annotations": {DIGEST_ANNOTATION: self.digest}},
            "data": data,
        })
    }

    async fn create(&self, api: &Api<Secret>, list: &ListId) -> Result<(), RequestError> {
        let annotations = self.digest.as_ref().map(|digest| json!({DIGEST_ANNOTATION: digest}));
        let manifest = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {
                "name": self.name, "labels": self.label_map(), "annotations": annotations, "ownerReferences": [list.owner_reference()],
            },
            "data": self.encoded(),
        });
        let secret: Secret = serde_json::from_value(manifest).map_err(kube::Error::SerdeError)?;
        request::within(WRITE_DEADLINE, api.create(&request::creating(), &secret)).await.map(drop)
    }

    fn label_map(&self) -> Value {
        self.labels().into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect::<serde_json::Map<_, _>>().into()
    }

    fn encoded(&self) -> serde_json::Map<String, Value> {
        self.data.iter().map(|(key, value)| (key.clone(), STANDARD.encode(value.expose_secret()).into())).collect()
    }
}

#[cfg(test)]
mod tests;
