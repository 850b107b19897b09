//! `ConfigMap`s and Secrets as the API server sends them, of which little is kept.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use kube::core::{DynamicResourceScope, ObjectMeta, Resource};
use serde::Deserialize;

use super::plan::{Kind, Object, ObjectId, Rules, digest};

/// An object with its contents. They are dropped as soon as the files are written.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payload {
    metadata: ObjectMeta,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
    #[serde(default)]
    binary_data: Option<BTreeMap<String, String>>,
}

/// Contents by key.
pub(super) type Contents = BTreeMap<String, Vec<u8>>;

impl Payload {
    /// Its version, from which a watch goes on.
    #[must_use]
    pub(super) fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }

    /// What one of its annotations says.
    #[must_use]
    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// The value of one key of a Secret, if it is text.
    #[must_use]
    pub(super) fn secret_text(&self, key: &str) -> Option<String> {
        let (_, value) = decoded(key.to_owned(), self.data.as_ref()?.get(key)?)?;
        String::from_utf8(value).ok()
    }

    /// Which object it is.
    #[must_use]
    pub(super) fn id(&self, kind: Kind) -> ObjectId {
        let meta = |field: &Option<String>| field.clone().unwrap_or_default();
        ObjectId { namespace: meta(&self.metadata.namespace), kind, name: meta(&self.metadata.name) }
    }

    /// What is kept of it, and the contents of the keys that are mirrored.
    #[must_use]
    pub(super) fn read(self, kind: Kind, rules: &Rules) -> (Object, Contents) {
        let id = self.id(kind);
        let folder = self.metadata.annotations.unwrap_or_default().remove(&rules.folder_annotation);
        let mut contents = Contents::new();
        for (key, value) in self.data.unwrap_or_default().into_iter().filter(|(key, _)| rules.is_mirrored(key)) {
            contents.extend(match kind {
                Kind::ConfigMap => Some((key, value.into_bytes())),
                Kind::Secret => decoded(key, &value),
            });
        }
        let binary = self.binary_data.unwrap_or_default().into_iter().filter(|(key, _)| rules.is_mirrored(key));
        contents.extend(binary.filter_map(|(key, value)| decoded(key, &value)));
        let keys = contents.iter().map(|(key, bytes)| (key.clone(), digest(bytes))).collect();
        (Object { id, folder: folder.filter(|folder| !folder.is_empty()), keys }, contents)
    }
}

/// The API server has checked that it can be decoded.
fn decoded(key: String, value: &str) -> Option<(String, Vec<u8>)> {
    STANDARD.decode(value).ok().map(|bytes| (key, bytes))
}

impl Resource for Payload {
    type DynamicType = Kind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        Cow::Borrowed(match kind {
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
        })
    }

    fn group(_: &Kind) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn version(_: &Kind) -> Cow<'_, str> {
        Cow::Borrowed("v1")
    }

    fn plural(kind: &Kind) -> Cow<'_, str> {
        Cow::Borrowed(kind.plural())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl fmt::Debug for Payload {
    /// Without what may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Payload")
            .field("namespace", &self.metadata.namespace)
            .field("name", &self.metadata.name)
            .finish_non_exhaustive()
    }
}
