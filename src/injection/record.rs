//! The record of what was added to a pod: the annotation `outrigger.dev/status`.
//!
//! Completion, `uninject` and repair go by it alone. What it does not name, the user wrote.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::pod::Text;

/// What was done to a pod, and by whom.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record<'a> {
    /// The version of Outrigger that wrote it.
    #[serde(borrow)]
    pub version: Text<'a>,
    /// A digest of all settings that held: another one means that other sidecars would be made today.
    #[serde(borrow)]
    pub settings: Text<'a>,
    /// The sidecars the pod has got.
    #[serde(borrow, default)]
    pub injected: Vec<Text<'a>>,
    /// The sidecars it asked for and has not got, each with the reason.
    #[serde(borrow, default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<Text<'a>, Text<'a>>,
    /// The annotations that held, its namespace's among them.
    #[serde(borrow, default)]
    pub annotations: BTreeMap<Text<'a>, Text<'a>>,
    /// Every addition.
    #[serde(borrow, default)]
    pub added: Added<'a>,
}

/// Every addition to a pod, by name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Added<'a> {
    /// Containers.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Text<'a>>,
    /// Init containers.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Text<'a>>,
    /// Volumes.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Text<'a>>,
    /// Pull secrets.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<Text<'a>>,
    /// Annotations beside this one.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Text<'a>>,
    /// Mount paths, by container.
    #[serde(borrow, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<Text<'a>, Vec<Text<'a>>>,
    /// Environment variables, by container.
    #[serde(borrow, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<Text<'a>, Vec<Text<'a>>>,
    /// Lists and maps made to hold additions, with what was there before. The path names containers, not indices.
    #[serde(borrow, skip_serializing_if = "BTreeMap::is_empty")]
    pub parents: BTreeMap<Text<'a>, Before>,
    /// Containers the user wrote under our names, as they were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<Merged>,
}

/// What stood where a parent was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Before {
    /// Nothing.
    Absent,
    /// A `null`.
    Null,
}

/// A container the user wrote under our name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Merged {
    /// Its name.
    pub name: String,
    /// The list it stood in: `containers` or `initContainers`.
    pub list: String,
    /// Its place there.
    pub index: usize,
    /// Whether it was moved to where ours would stand.
    pub moved: bool,
    /// What of it is ours, as paths within it; an item of a list by its key.
    #[serde(default)]
    pub filled: Vec<String>,
    /// The container as the user wrote it.
    pub original: Box<RawValue>,
}

impl<'a> Record<'a> {
    /// Reads a record from the annotation's text.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Whether a container of this name is ours, or the user's merged with ours.
    #[must_use]
    pub fn knows_container(&self, name: &str) -> bool {
        let added = &self.added;
        added.containers.iter().chain(&added.init_containers).any(|known| **known == *name)
            || added.merged.iter().any(|merged| merged.name == name)
    }
}
