//! The Secrets that we write: how one is told from a stranger's, read, and changed only where it differs.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt, api::Patch};
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::{Value, json};

use crate::{
    api::user_list::DIGEST_ANNOTATION,
    runtime::{
        lease::{Claim, WRITE_DEADLINE},
        request::{self, RequestError},
    },
};

use super::{
    grammar::{self, UserName, Users},
    list::ListId,
    plan::contents::{DigestKey, KEY_LENGTH},
};

/// The label of all Secrets that we write.
pub(super) const MARK: &str = "outrigger.dev/userlist";
/// What the user lists' own labels say besides.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "outrigger");
/// The key of the digests' key.
const DIGEST_KEY: &str = "outrigger.digest-key";
/// The key of the names of removed users, one on each line.
const REMOVED_USERS: &str = "outrigger.removed-users";

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
    pub(super) users: Users,
    pub(super) removed: BTreeSet<UserName>,
    pub(super) key: [u8; KEY_LENGTH],
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

    /// What it remembers, if it is a list. What others have spoilt is forgotten.
    pub(super) fn memory(&self, key: &str) -> Option<Memory> {
        let text = |key: &str| std::str::from_utf8(self.data.get(key)?.expose_secret()).ok();
        let digest_key = <[u8; KEY_LENGTH]>::try_from(self.data.get(DIGEST_KEY)?.expose_secret()).ok()?;
        let removed: BTreeSet<UserName> =
            text(REMOVED_USERS).unwrap_or_default().lines().filter_map(|line| UserName::new(line).ok()).collect();
        let list = self.data.get(key).map(ExposeSecret::expose_secret).unwrap_or_default();
        let entries = grammar::read(list).filter_map(|(_, entry)| entry.ok());
        Some(Memory { users: entries.filter(|(name, _)| !removed.contains(name)).collect(), removed, key: digest_key })
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
    /// That of a list that was never written.
    pub(super) fn new() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut key = [0; KEY_LENGTH];
        aws_lc_rs::rand::fill(&mut key)?;
        Ok(Self { users: Users::new(), removed: BTreeSet::new(), key })
    }

    pub(super) fn digest_key(&self) -> DigestKey {
        DigestKey::new(&self.key)
    }

    /// The keys of the list's Secret by which it remembers.
    pub(super) fn data(&self) -> [(String, SecretSlice<u8>); 2] {
        let names: Vec<&str> = self.removed.iter().map(UserName::as_str).collect();
        [
            (DIGEST_KEY.to_owned(), SecretSlice::from(self.key.to_vec())),
            (REMOVED_USERS.to_owned(), SecretSlice::from(names.join("\n").into_bytes())),
        ]
    }
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
            Some(seen) => {
                let patch = Patch::Merge(self.patch(seen));
                request::within(WRITE_DEADLINE, api.patch_metadata(&self.name, &request::patching(), &patch)).await.map(drop)
            }
            None => self.create(api, list).await,
        };
        match written {
            Ok(()) => Ok(true),
            // It is there, and not shown among ours: a stranger's, or one that we made a moment ago.
            Err(error) if seen.is_none() && error.is_conflict() && !self.is_ours(api, list).await => {
                Err(WriteError::Foreign(self.name.clone()))
            }
            Err(source) => Err(WriteError::Request { name: self.name.clone(), source }),
        }
    }

    async fn is_ours(&self, api: &Api<Secret>, list: &ListId) -> bool {
        let read = request::within(WRITE_DEADLINE, api.get_opt(&self.name)).await;
        // What can't be read now will be next time.
        read.is_ok_and(|secret| secret.is_none_or(|secret| WrittenSecret::read(&secret).belongs_to(list)))
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
