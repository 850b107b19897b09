//! What a review says of its object and author, for the log and for Events. Few reviews have anything to tell there, and
//! only those are read once more for it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;

use crate::events::note::Reference;

/// Whom a review is about. What is missing, or of another type than Kubernetes has it, is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Subject {
    kind: Kind,
    /// The object's namespace.
    pub(super) namespace: String,
    name: String,
    user_info: User,
    dry_run: Option<bool>,
    object: Object,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Kind {
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    generate_name: String,
    owner_references: Option<Vec<OwnerReference>>,
}

impl Subject {
    /// Reads a review that was understood before.
    pub(super) fn read(review: &str) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Review {
            request: Subject,
        }
        serde_json::from_str::<Review>(review).unwrap_or_default().request
    }

    /// The object's kind.
    pub(super) fn kind(&self) -> &str {
        &self.kind.kind
    }

    /// The object's name, or the beginning of the one it would get.
    pub(super) fn name(&self) -> String {
        if self.name.is_empty() { format!("{}…", self.object.metadata.generate_name) } else { self.name.clone() }
    }

    /// Who asks for it.
    pub(super) fn user(&self) -> &str {
        &self.user_info.username
    }

    /// Whether nothing is to come of it.
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run == Some(true)
    }

    /// What made the object, if not a person.
    pub(super) fn controller(&self) -> Option<Reference> {
        Reference::controller(self.object.metadata.owner_references.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_without_a_name_yet_goes_by_the_beginning_of_it() {
        let read = |request: serde_json::Value| Subject::read(&json!({"request": request}).to_string());
        let named = read(json!({"name": "app", "kind": {"group": "", "kind": "Pod"}, "userInfo": {"username": "ada"}, "dryRun": true}));
        assert_eq!((named.name().as_str(), named.kind(), named.user()), ("app", "Pod", "ada"));
        assert!(named.is_dry_run());
        assert_eq!(read(json!({"object": {"metadata": {"generateName": "web-"}}})).name(), "web-…");
        assert_eq!(read(json!({"name": 7})).name(), "…", "what can't be read costs nothing but its words");
    }
}
