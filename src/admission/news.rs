//! What the owner of a pod without sidecars is told. Only then the review is read once more, for its owner.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;

use crate::{
    events::note::{Note, Reason, Reference},
    injection::{Decision, InjectionError, Outcome},
};

use super::pods::messages;

/// Why a pod gets no sidecars.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    reason: Reason,
    message: String,
}

#[derive(Deserialize)]
struct Review {
    request: Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    dry_run: Option<bool>,
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    owner_references: Option<Vec<OwnerReference>>,
}

impl News {
    /// What there is to tell about a decision.
    pub(super) fn of(decision: &Result<Decision, InjectionError>) -> Option<Self> {
        let (reason, message) = match decision {
            Ok(Decision { outcome: Outcome::Skipped { reason, .. }, .. }) => {
                (Reason::Skipped, format!("no sidecar was added to a pod: {}", reason.sentence()))
            }
            Ok(Decision { outcome: Outcome::Denied(denials), .. }) => (Reason::Denied, format!("a pod was refused: {}", messages(denials))),
            Err(error) => (Reason::Missing, format!("no sidecar was added to a pod: {error}")),
            Ok(_) => return None,
        };
        Some(Self { reason, message })
    }

    /// The note to the pod's controller. Whoever creates a pod without one reads the answer itself, and a dry run has no effects.
    pub(super) fn note(self, review: &str) -> Option<Note> {
        let Request { namespace, dry_run, object } = serde_json::from_str::<Review>(review).ok()?.request;
        if dry_run == Some(true) || namespace.is_empty() {
            return None;
        }
        let about = Reference::controller(&object.metadata.owner_references.unwrap_or_default())?;
        Some(Note { namespace, about, reason: self.reason, message: self.message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn review(owners: &Value, dry_run: &Value) -> String {
        json!({"request": {"uid": "u", "namespace": "shop", "dryRun": dry_run, "object": {"metadata": {"ownerReferences": owners}}}})
            .to_string()
    }

    fn note(owners: &Value, dry_run: &Value) -> Option<Note> {
        News { reason: Reason::Denied, message: "a pod was refused: too flat".to_owned() }.note(&review(owners, dry_run))
    }

    #[test]
    fn the_controller_is_told_and_a_dry_run_tells_nobody() {
        let owner = |controller: bool| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "1", "controller": controller});
        let told = note(&json!([owner(false), owner(true)]), &json!(false)).unwrap();
        assert_eq!((told.namespace.as_str(), told.about.name.as_str(), told.reason), ("shop", "web-1", Reason::Denied));
        assert!(note(&json!([owner(true)]), &Value::Null).is_some());
        assert_eq!(note(&json!([owner(true)]), &json!(true)), None, "a dry run");
        assert_eq!(note(&json!([owner(false)]), &json!(false)), None, "no controller");
        assert_eq!(note(&Value::Null, &json!(false)), None, "no owner");
    }
}
