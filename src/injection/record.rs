//! The record of what was added to a pod: the annotation `outrigger.dev/status`.
//!
//! Completion, `uninject` and repair go by it alone. What it does not name, the user wrote.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What was done to a pod, and by whom.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The version of Outrigger that wrote it.
    pub version: String,
    /// A digest of all settings that held: another one means that other sidecars would be made today.
    pub settings: String,
    /// The sidecars the pod has got.
    #[serde(default)]
    pub injected: Vec<String>,
    /// The sidecars it asked for and has not got, each with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, String>,
    /// The annotations that held, its namespace's among them.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Every addition.
    #[serde(default)]
    pub added: Added,
}

/// Every addition to a pod, by name.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Added {
    /// Containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<String>,
    /// Init containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<String>,
    /// Volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Pull secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// Annotations beside this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<String>,
    /// Mount paths, by container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Vec<String>>,
    /// Environment variables, by container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Vec<String>>,
    /// Lists and maps made to hold additions, with what was there before. The path names containers, not indices.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parents: BTreeMap<String, Before>,
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

impl Record {
    /// Reads a record from the annotation's text.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Whether a container of this name is ours, or the user's merged with ours.
    #[must_use]
    pub fn knows_container(&self, name: &str) -> bool {
        let added = &self.added;
        added.containers.iter().chain(&added.init_containers).any(|known| known == name)
            || added.merged.iter().any(|merged| merged.name == name)
    }
}
