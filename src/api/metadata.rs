//! The part of `metadata` that validators read from raw objects.

use serde::Deserialize;

/// What identifies an object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    /// Empty while the API server still has to generate it.
    pub name: String,
    /// Empty for cluster-scoped objects, and in files.
    pub namespace: String,
    pub deletion_timestamp: Option<String>,
}

impl Metadata {
    /// Whether the object only waits for its finalizers.
    pub(crate) fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}
