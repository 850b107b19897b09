//! What is to be done about a pod. Decides only; `pass` looks and `apply` acts.

mod attempts;

pub use attempts::{Attempts, Permission};

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    api::annotations::STATUS,
    events::note::{Reason, Reference},
    injection::{Decision, Outcome, Standing},
};

/// How repair is done.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether pods are evicted.
    pub evict: bool,
    /// Whether pods with outdated sidecars are evicted too.
    pub evict_outdated: bool,
    /// Younger pods are left alone: they may be about to go, or to change.
    pub minimum_age: Duration,
}

/// What a page tells of a pod.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The pod.
    pub pod: Reference,
    /// Its namespace.
    pub namespace: String,
    /// What controls it.
    pub controller: Option<Reference>,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it was told to go.
    pub is_terminating: bool,
    /// What its annotations tell.
    pub standing: Standing,
}

/// What is wrong with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// It has no sidecars, and would get them now.
    Missing,
    /// It has no sidecars, and would be refused now.
    Refused(String),
    /// It would get other sidecars now.
    Outdated,
}

/// What is to be done about a pod.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell its owner.
    Report(Reason, String),
    /// Let its controller replace it.
    Evict,
    /// Nothing for now.
    Leave,
}

/// Whether a pod is worth a closer look.
#[must_use]
pub fn is_suspicious(seen: &Sighting, policy: &Policy, now: Timestamp) -> bool {
    let age = Duration::try_from(now.duration_since(seen.created)).unwrap_or_default();
    matches!(seen.standing, Standing::Missing | Standing::Outdated) && !seen.is_terminating && age >= policy.minimum_age
}

/// What is wrong with a pod whose record alone says enough. Whether its replacement would be refused matters only to those who
/// evict; after an upgrade all pods are outdated, and fetching them all would be a burden.
#[must_use]
pub fn need_by_record(seen: &Sighting, policy: &Policy) -> Option<Need> {
    let is_reported_only = !(policy.evict && policy.evict_outdated);
    (seen.standing == Standing::Outdated && is_reported_only).then_some(Need::Outdated)
}

/// What is wrong with a pod, by what the webhook would decide about it now. One that has come to its end needs nothing.
#[must_use]
pub fn need(decision: &Decision, is_finished: bool) -> Option<Need> {
    match &decision.outcome {
        _ if is_finished => None,
        Outcome::Injected { .. } => Some(Need::Missing),
        Outcome::LeftAsIs => Some(Need::Outdated),
        Outcome::Denied(denials) => {
            Some(Need::Refused(denials.iter().map(|denial| denial.message.as_str()).collect::<Vec<_>>().join("; ")))
        }
        Outcome::NotAsked | Outcome::Skipped { .. } | Outcome::Unchanged => None,
    }
}

/// What is to be done about a pod in need.
#[must_use]
pub fn action(seen: &Sighting, need: &Need, policy: &Policy, attempts: &Attempts, now: Timestamp) -> Action {
    let (reason, message) = report(need, seen.controller.is_some());
    let is_wanted = policy.evict
        && match need {
            Need::Missing => true,
            Need::Outdated => policy.evict_outdated,
            // Its replacement would be refused, and then there were none.
            Need::Refused(_) => false,
        };
    let Some(controller) =
        seen.controller.as_ref().filter(|controller| is_wanted && replaces(controller) && seen.namespace != CLUSTERS_OWN)
    else {
        return Action::Report(reason, message);
    };
    match attempts.permission(&controller.uid, now) {
        Permission::Granted => Action::Evict,
        Permission::Queued => Action::Report(reason, message),
        Permission::Awaiting => Action::Leave,
        Permission::Paused => Action::Report(Reason::Paused, PAUSED.to_owned()),
    }
}

/// The namespace of the cluster's own pods, which nobody but their keeper may disturb.
const CLUSTERS_OWN: &str = "kube-system";

const PAUSED: &str = "a pod was evicted since it had not the sidecars that it would get now, and its replacement has not got them either, so \
    evictions pause, longer each time: look whether the webhook is called, and whether the template brings a record of its own";

/// Whether a controller makes a new pod for one that was evicted, and loses no work by that. A Job's pod would begin anew,
/// and of controllers that we don't know nothing is known.
fn replaces(controller: &Reference) -> bool {
    matches!(
        (controller.group(), controller.kind.as_str()),
        ("apps", "ReplicaSet" | "StatefulSet" | "DaemonSet") | ("", "ReplicationController")
    )
}

/// What a pod's owner reads.
fn report(need: &Need, has_controller: bool) -> (Reason, String) {
    let way_out = if has_controller { "delete it, and its replacement gets them" } else { "delete it and create it again" };
    match need {
        Need::Missing => {
            let what = "a pod runs without the sidecars it asks for, since the webhook was not asked when it was created";
            (Reason::Missing, format!("{what}: {way_out}"))
        }
        Need::Outdated => (Reason::Outdated, format!("a pod's sidecars are not those it would get now ({STATUS} says which): {way_out}")),
        Need::Refused(denial) => {
            let what = "a pod runs without the sidecars it asks for, and would be refused if it were created now";
            (Reason::Missing, format!("{what}: {denial}"))
        }
    }
}

/// What an owner reads when a disruption budget forbids the eviction of its pod for now.
#[must_use]
pub fn over_budget(need: &Need) -> (Reason, String) {
    let (reason, message) = report(need, true);
    (reason, format!("{message}; it is evicted as soon as its PodDisruptionBudget allows that"))
}

/// What its owner reads when a pod was evicted.
#[must_use]
pub const fn evicted(need: &Need) -> &'static str {
    match need {
        Need::Outdated => "a pod whose sidecars were out of date was evicted: its replacement gets those of today",
        Need::Missing | Need::Refused(_) => "a pod without the sidecars it asks for was evicted: its replacement gets them",
    }
}

#[cfg(test)]
mod tests;
