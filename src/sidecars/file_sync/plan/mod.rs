//! Which file belongs where, and whose it is: pure.
//!
//! Objects come and go one at a time. Each claims a place for each of its keys; of several claims to one place, the first in the order of
//! namespace, kind, name and key has it, and the next has it when the first goes. So what stands in the folder depends on the objects alone, not
//! on the order in which they came.

mod digest;
mod path;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use digest::{Digest, Hasher, digest, hexadecimal};
pub use path::{PathError, RESERVED_PREFIX, Rules, Target};

/// What is mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Texts in `data`, bytes in `binaryData`.
    ConfigMap,
    /// Bytes in `data`.
    Secret,
}

impl Kind {
    /// As settings and file names have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }

    /// As the API has it.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
        }
    }
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Its namespace.
    pub namespace: String,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// An object without its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Which one.
    pub id: ObjectId,
    /// The folder its annotation names.
    pub folder: Option<String>,
    /// Its keys, each with the digest of its value.
    pub keys: BTreeMap<String, Digest>,
}

impl Object {
    fn fingerprint(&self) -> Digest {
        let mut hasher = Hasher::default();
        // Lengths keep what stands side by side apart.
        let mut add = |part: &[u8]| {
            hasher.add(&part.len().to_le_bytes());
            hasher.add(part);
        };
        add(self.folder.as_deref().unwrap_or_default().as_bytes());
        for (key, digest) in &self.keys {
            add(key.as_bytes());
            add(digest);
        }
        hasher.finish()
    }
}

/// What a file is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The value of a key, by its digest.
    Value(Digest),
    /// What an address answers, by the digest of the address.
    Link(Digest),
}

impl Source {
    /// The address, if it is made from one.
    #[must_use]
    pub const fn link(self) -> Option<Digest> {
        match self {
            Self::Link(link) => Some(link),
            Self::Value(_) => None,
        }
    }
}

/// Whose claim it is. The order decides who has a place that several claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The object.
    pub id: ObjectId,
    /// Its key.
    pub key: String,
}

/// What a file should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its contents.
    pub source: Source,
    /// Its mode.
    pub mode: u32,
}

/// A key that has no place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The key.
    pub key: String,
    /// Why.
    pub reason: PathError,
}

/// What is kept of an object.
#[derive(Debug)]
struct Held {
    /// Its keys and its folder, so that we know one that did not change.
    fingerprint: Digest,
    claims: Vec<(Target, Claim)>,
}

/// What all objects together want.
#[derive(Debug)]
pub struct Claims {
    rules: Rules,
    objects: BTreeMap<ObjectId, Held>,
    targets: BTreeMap<Target, BTreeMap<Claim, Wanted>>,
}

impl Claims {
    /// Nothing is wanted yet.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self { rules, objects: BTreeMap::new(), targets: BTreeMap::new() }
    }

    /// How names are made.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// An object is there, or has changed. Returns the places to look at, and the keys that have none if that is news.
    pub fn put(&mut self, object: &Object) -> (BTreeSet<Target>, Vec<Refusal>) {
        let fingerprint = object.fingerprint();
        if let Some(held) = self.objects.get(&object.id).filter(|held| held.fingerprint == fingerprint) {
            return (held.claims.iter().map(|(target, _)| target.clone()).collect(), Vec::new());
        }
        let mut touched = self.remove(&object.id);
        let (mut claims, mut refused) = (Vec::new(), Vec::new());
        for (key, digest) in &object.keys {
            if !self.rules.is_mirrored(key) {
                continue;
            }
            match self.rules.target(&object.id, object.folder.as_deref(), key) {
                Ok(target) => {
                    let source = if self.rules.is_link(key) { Source::Link(*digest) } else { Source::Value(*digest) };
                    let claim = Claim { id: object.id.clone(), key: key.clone() };
                    let wanted = Wanted { source, mode: self.rules.mode(object.id.kind) };
                    self.targets.entry(target.clone()).or_default().insert(claim.clone(), wanted);
                    claims.push((target, claim));
                }
                Err(reason) => refused.push(Refusal { key: key.clone(), reason }),
            }
        }
        touched.extend(claims.iter().map(|(target, _)| target.clone()));
        self.objects.insert(object.id.clone(), Held { fingerprint, claims });
        (touched, refused)
    }

    /// An object is gone. Returns the places to look at.
    pub fn remove(&mut self, id: &ObjectId) -> BTreeSet<Target> {
        let mut touched = BTreeSet::new();
        for (target, claim) in self.objects.remove(id).map(|held| held.claims).unwrap_or_default() {
            if let Some(claims) = self.targets.get_mut(&target) {
                claims.remove(&claim);
                if claims.is_empty() {
                    self.targets.remove(&target);
                }
            }
            touched.insert(target);
        }
        touched
    }

    /// Who has a place, and what should stand there.
    #[must_use]
    pub fn winner(&self, target: &Target) -> Option<(&Claim, Wanted)> {
        self.targets.get(target)?.first_key_value().map(|(claim, wanted)| (claim, *wanted))
    }

    /// Who would have a place if others went.
    pub fn losers(&self, target: &Target) -> impl Iterator<Item = &Claim> {
        self.targets.get(target).into_iter().flat_map(|claims| claims.keys().skip(1))
    }

    /// All places that are wanted.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.keys()
    }

    /// How many objects there are.
    #[must_use]
    pub fn object_count(&self) -> usize {
        self.objects.len()
    }

    /// How many places more than one object claims.
    #[must_use]
    pub fn conflict_count(&self) -> usize {
        self.targets.values().filter(|claims| claims.len() > 1).count()
    }
}

/// A file of ours as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// Of its contents.
    pub digest: Digest,
    /// Of the address it was fetched from in this run, if it was.
    pub link: Option<Digest>,
    /// Its mode.
    pub mode: u32,
}

/// What is to be done about a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is as it should be, or nobody wants anything there and nothing of ours is there.
    Keep,
    /// The value of a key is to stand there.
    Write,
    /// What an address answers is to stand there.
    Fetch,
    /// Only its mode is wrong.
    SetMode,
    /// It is ours, and nobody wants it.
    Remove,
}

/// What is to be done about a place where this is wanted and this is ours.
#[must_use]
pub fn step(wanted: Option<Wanted>, present: Option<Present>) -> Step {
    match (wanted, present) {
        (None, None) => Step::Keep,
        (None, Some(_)) => Step::Remove,
        (Some(Wanted { source: Source::Value(digest), mode }), Some(present)) if present.digest == digest => set_mode(mode, present),
        (Some(Wanted { source: Source::Link(link), mode }), Some(present)) if present.link == Some(link) => set_mode(mode, present),
        (Some(Wanted { source: Source::Value(_), .. }), _) => Step::Write,
        (Some(Wanted { source: Source::Link(_), .. }), _) => Step::Fetch,
    }
}

fn set_mode(wanted: u32, present: Present) -> Step {
    if present.mode == wanted { Step::Keep } else { Step::SetMode }
}
