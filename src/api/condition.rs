//! Conditions (`metav1.Condition`) as our kinds use them: which types there are, and how one is set without a needless change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The object is as its author asked.
pub const READY: &str = "Ready";
/// The outside object bears our mark and belongs to this one; another object that asks for the same is refused.
pub const CLAIMED: &str = "Claimed";
/// The outside object differs from the spec; the message lists the fields.
pub const DRIFTED: &str = "Drifted";
/// The server answers to our credentials.
pub const REACHABLE: &str = "Reachable";
/// Every pooler uses the newest list.
pub const APPLIED: &str = "Applied";
/// The session's pod has a node.
pub const POD_SCHEDULED: &str = "PodScheduled";
/// Somebody looks at the session's desktop.
pub const CLIENT_CONNECTED: &str = "ClientConnected";
/// Nobody has used the session for a while.
pub const IDLE: &str = "Idle";
/// The session has come to its end and isn't started again by itself.
pub const FINISHED: &str = "Finished";

/// Whether a condition is there and true.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// What is known about one condition now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Which condition.
    pub type_: &'static str,
    /// Whether it holds; none if that is unknown.
    pub holds: Option<bool>,
    /// Why, in one CamelCase word for programs.
    pub reason: &'static str,
    /// Why, in a sentence for people; never a secret.
    pub message: String,
    /// The `metadata.generation` it speaks of.
    pub generation: Option<i64>,
}

/// Sets a condition. The transition time moves only when the status does: an unchanged world causes no write.
pub fn set(conditions: &mut Vec<Condition>, observation: Observation, now: &Time) {
    let status = match observation.holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let stored = conditions.iter_mut().find(|condition| condition.type_ == observation.type_);
    let last_transition_time = match &stored {
        Some(condition) if condition.status == status => condition.last_transition_time.clone(),
        _ => now.clone(),
    };
    let condition = Condition {
        type_: observation.type_.to_owned(),
        status: status.to_owned(),
        reason: observation.reason.to_owned(),
        message: observation.message,
        last_transition_time,
        observed_generation: observation.generation,
    };
    match stored {
        Some(stored) => *stored = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn ready(holds: bool) -> Observation {
        Observation { type_: READY, holds: Some(holds), reason: "Tested", message: "as tested".into(), generation: Some(2) }
    }

    fn second(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        set(&mut conditions, ready(true), &second(1));
        let first = conditions.clone();
        set(&mut conditions, ready(true), &second(2));
        assert_eq!(conditions, first);
        assert!(is_true(&conditions, READY) && !is_true(&conditions, CLAIMED));
        set(&mut conditions, ready(false), &second(3));
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, second(3));
    }
}
