//! What the owner of a pod without sidecars is told.

use crate::{
    events::note::{Note, Reason},
    injection::{Decision, InjectionError, Outcome},
};

use super::{pods::messages, subject::Subject};

/// Why a pod gets no sidecars.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    reason: Reason,
    message: String,
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
    pub(super) fn note(self, subject: &Subject) -> Option<Note> {
        if subject.is_dry_run() || subject.namespace.is_empty() {
            return None;
        }
        let about = subject.controller()?;
        Some(Note { namespace: subject.namespace.clone(), about, reason: self.reason, message: self.message })
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
        News { reason: Reason::Denied, message: "a pod was refused: too flat".to_owned() }.note(&Subject::read(&review(owners, dry_run)))
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
