//! What is to be done about a pod. Decides only; `pass` looks and `apply` acts.

mod attempts;
mod message;

pub use attempts::{Attempts, Permission, Setback};
pub use message::{evicted, over_budget, paused, refused, report};

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    events::note::Reference,
    injection::{Decision, Outcome, Standing},
};

/// Pods younger than this many times the minimum age tell what becomes of new pods just now.
const SETTLED: u32 = 10;
/// Times of creation are whole seconds: a replacement's is to be another than that of any pod before it.
const TELLS_APART: Duration = Duration::from_secs(1);

/// How repair is done.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether pods are evicted.
    pub evict: bool,
    /// Whether pods with outdated sidecars are evicted too.
    pub evict_outdated: bool,
    /// Younger pods are left alone: they may be about to go, or to change.
    pub minimum_age: Duration,
    /// Namespaces whose pods the webhook is never asked about.
    pub excluded: Vec<String>,
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
    /// A hash of its record, to tell whether that of another pod is the same.
    pub record: Option<u64>,
}

/// What a look tells of a controller's pods.
#[derive(Debug, Clone, Copy)]
pub struct Siblings {
    /// When the youngest was created.
    pub youngest: Timestamp,
    /// When the youngest was created that lacks something.
    pub youngest_in_need: Option<Timestamp>,
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

impl Policy {
    /// For how long new pods must have come well, or not at all, before others are evicted for them.
    fn settling_time(&self) -> Duration {
        self.minimum_age.saturating_mul(SETTLED).max(TELLS_APART)
    }
}

impl Siblings {
    /// The siblings with one more pod, or with the first.
    #[must_use]
    pub fn with(siblings: Option<Self>, seen: &Sighting) -> Self {
        let in_need = matches!(seen.standing, Standing::Missing | Standing::Outdated).then_some(seen.created);
        Self {
            youngest: siblings.map_or(seen.created, |siblings| siblings.youngest.max(seen.created)),
            youngest_in_need: siblings.and_then(|siblings| siblings.youngest_in_need).max(in_need),
        }
    }
}

/// Whether a pod asks for sidecars that the webhook is asked about.
#[must_use]
pub fn is_of_concern(seen: &Sighting, policy: &Policy) -> bool {
    seen.standing != Standing::Settled && !policy.excluded.contains(&seen.namespace)
}

/// Whether a pod is worth a closer look.
#[must_use]
pub fn is_suspicious(seen: &Sighting, policy: &Policy, now: Timestamp) -> bool {
    let is_in_need = matches!(seen.standing, Standing::Missing | Standing::Outdated);
    is_in_need && !seen.is_terminating && age(seen.created, now) >= policy.minimum_age
}

fn age(created: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(created)).unwrap_or_default()
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

/// Whether a pod in need is to be evicted when its controller's turn comes. The owners of all others are told, and that is all.
#[must_use]
pub fn is_to_be_evicted(seen: &Sighting, need: &Need, policy: &Policy) -> bool {
    let is_wanted = match need {
        Need::Missing => policy.evict,
        Need::Outdated => policy.evict && policy.evict_outdated,
        // Its replacement would be refused, and then there were none.
        Need::Refused(_) => false,
    };
    is_wanted && seen.namespace != CLUSTERS_OWN && seen.controller.as_ref().is_some_and(replaces)
}

/// Whether new pods come as they should, as far as can be seen. Those of the last minutes tell even a holder of the lease that knows of no
/// evictions: if the controller's youngest pod in need is as young as that, its replacement would be no better. And while an
/// upgrade goes on, replicas of the webhook before it still answer for a while.
#[must_use]
pub fn has_settled(need: &Need, siblings: Siblings, policy: &Policy, held_for: Duration, now: Timestamp) -> bool {
    let settling = policy.settling_time();
    let is_quiet = siblings.youngest_in_need.is_none_or(|created| age(created, now) >= settling);
    let can_be_told_apart = age(siblings.youngest, now) >= TELLS_APART;
    is_quiet && can_be_told_apart && (*need != Need::Outdated || held_for >= settling)
}

/// The namespace of the cluster's own pods, which nobody but their keeper may disturb.
const CLUSTERS_OWN: &str = "kube-system";

/// Whether a controller makes a new pod for one that was evicted, and loses no work by that. A Job's pod would begin anew,
/// and of controllers that we don't know nothing is known.
fn replaces(controller: &Reference) -> bool {
    matches!(
        (controller.group(), controller.kind.as_str()),
        ("apps", "ReplicaSet" | "StatefulSet" | "DaemonSet") | ("", "ReplicationController")
    )
}

#[cfg(test)]
mod tests;
