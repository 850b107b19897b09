//! What the owners of pods read. No sentence names a single pod, so that the same news of many pods is the same sentence.

use crate::{api::annotations::STATUS, events::note::Reason};

use super::{Need, Setback};

/// What is wrong with a pod, and what its owner can do.
#[must_use]
pub fn report(need: &Need, has_controller: bool) -> (Reason, String) {
    let way_out = if has_controller { "delete it, and its replacement gets them" } else { "delete it and create it again" };
    match need {
        Need::Missing => {
            let what = "a pod runs without the sidecars it asks for, since the webhook did not add them when it was created";
            (Reason::Missing, format!("{what}: {way_out}"))
        }
        Need::Outdated => (Reason::Outdated, format!("a pod's sidecars are not those it would get now ({STATUS} says which): {way_out}")),
        Need::Refused(denial) => {
            let what = "a pod runs without the sidecars it asks for, and would be refused if it were created now";
            (Reason::Missing, format!("{what}: {denial}"))
        }
    }
}

/// A disruption budget forbids the eviction for now.
#[must_use]
pub fn over_budget(need: &Need) -> (Reason, String) {
    let (reason, message) = report(need, true);
    (reason, format!("{message}; it is evicted as soon as its PodDisruptionBudget allows that"))
}

/// The API server refuses the eviction, in these words.
#[must_use]
pub fn refused(need: &Need, answer: &str) -> (Reason, String) {
    let (reason, message) = report(need, true);
    (reason, format!("{message}; it can't be evicted, the API server says: {answer}"))
}

/// A pod was evicted.
#[must_use]
pub fn evicted(need: &Need) -> (Reason, String) {
    let message = match need {
        Need::Outdated => "a pod whose sidecars were out of date was evicted: its replacement gets those of today",
        Need::Missing | Need::Refused(_) => "a pod without the sidecars it asks for was evicted: its replacement gets them",
    };
    (Reason::Evicted, message.to_owned())
}

/// Why no more pods are evicted.
#[must_use]
pub fn paused(setback: Setback) -> (Reason, String) {
    let message = match setback {
        Setback::NotReplaced => {
            "a pod was evicted so that its replacement gets its sidecars, and no replacement has come, so no more are evicted: the \
             controller's own Events say what keeps it from creating pods, such as a quota or a policy"
        }
        Setback::NoBetter => {
            "a pod was evicted since it had not the sidecars that it would get now, and its replacement has not got them either, so \
             evictions pause, longer each time: look whether the webhook is called, and with which settings"
        }
        Setback::SameSidecars => {
            "a pod was evicted since its sidecars were out of date, and its replacement has the same again, so no more are evicted: if its \
             template brings them, inject it anew; if an exported policy adds them, export it again; otherwise webhook and controllers \
             have not the same settings"
        }
    };
    (Reason::Paused, message.to_owned())
}
