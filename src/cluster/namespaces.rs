//! Namespaces, as injection needs them: which ones there are, and whose annotations are defaults for their pods.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;

use crate::api::annotations::{self, DEFAULTS_ENABLED, DEFAULTS_LABEL, NamespaceDefaults};

use super::{
    snapshot::Writer,
    watch::{Entries, Projection},
};

/// Which namespaces there are, and which of them give defaults.
#[derive(Debug, Default)]
pub struct Namespaces {
    known: HashMap<String, Option<Arc<NamespaceDefaults>>>,
    /// Whether namespaces can be watched at all. If not, none will ever come.
    watched: bool,
}

/// What is known of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knowledge {
    /// It is there, with defaults for its pods or without.
    Known(Option<Arc<NamespaceDefaults>>),
    /// It is not there yet: its event may arrive any moment.
    Awaited,
    /// Namespaces can't be watched, so nothing is known of any.
    Unwatched,
}

impl Namespaces {
    /// Namespaces as a watch would have found them.
    #[must_use]
    pub const fn new(known: HashMap<String, Option<Arc<NamespaceDefaults>>>) -> Self {
        Self { known, watched: true }
    }

    /// Whether there was a list of them: each cluster has some. If they can't be watched, none will come.
    #[must_use]
    pub fn are_listed(&self) -> bool {
        !self.watched || !self.known.is_empty()
    }

    /// What is known of a namespace.
    #[must_use]
    pub fn get(&self, name: &str) -> Knowledge {
        match self.known.get(name) {
            Some(defaults) => Knowledge::Known(defaults.clone()),
            None if self.watched => Knowledge::Awaited,
            None => Knowledge::Unwatched,
        }
    }
}

/// Keeps a namespace's name and, where its label says so, its annotations under our prefixes.
#[derive(Debug)]
pub struct NamespaceProjection(pub Writer<Namespaces>);

impl Projection for NamespaceProjection {
    type Object = PartialObjectMeta<Namespace>;
    type Entry = Option<Arc<NamespaceDefaults>>;

    const NAME: &'static str = "namespaces";

    fn project(&self, object: &Self::Object) -> Option<Self::Entry> {
        let labels = object.metadata.labels.as_ref();
        let gives_defaults = labels.and_then(|labels| labels.get(DEFAULTS_LABEL)).is_some_and(|value| value == DEFAULTS_ENABLED);
        let annotations = object.metadata.annotations.as_ref().filter(|_| gives_defaults);
        Some(annotations.map(|annotations| Arc::new(annotations::under_our_prefixes(annotations))))
    }

    fn publish(&self, known: Option<&Entries<Self::Entry>>) {
        let by_name = |known: &Entries<Self::Entry>| known.iter().map(|((_, name), defaults)| (name.clone(), defaults.clone())).collect();
        self.0.store(known.map_or_else(Namespaces::default, |known| Namespaces::new(by_name(known))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::snapshot::snapshot;

    fn entry(manifest: serde_json::Value) -> Option<Arc<NamespaceDefaults>> {
        let (writer, _) = snapshot(Namespaces::default());
        NamespaceProjection(writer).project(&serde_json::from_value(manifest).unwrap()).unwrap()
    }

    #[test]
    fn only_labelled_namespaces_give_defaults_and_only_ours_are_kept() {
        let annotations = serde_json::json!({"outrigger.dev/inject": "vnc", "example.com/large": "x".repeat(1000)});
        let labelled =
            |value| serde_json::json!({"metadata": {"name": "n", "labels": {"outrigger.dev/defaults": value}, "annotations": annotations}});
        let kept = entry(labelled("enabled")).unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["outrigger.dev/inject"]);
        assert_eq!(entry(labelled("disabled")), None);
        assert_eq!(entry(serde_json::json!({"metadata": {"name": "n", "annotations": annotations}})), None);
    }
}
