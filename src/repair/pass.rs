//! A look at all pods, and what follows from it, again and again.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::time::Instant;

use crate::{
    cluster::{namespaces::Namespaces, snapshot::Snapshot},
    events::{
        note::{Note, Reason},
        plan::IS_STILL_SO,
        recorder::{self, Notes, Recorder},
    },
    injection::Settings,
    runtime::{backoff::jittered, complaint::Complaint, lease::Claim, shutdown::Shutdown},
};

use super::{
    metrics::{Found, Metrics, Shown},
    plan::{Attempts, Policy, Sighting},
};

/// A look that takes longer than several intervals should have ended, with this much to spare, before anybody is told.
const PATIENCE: Duration = Duration::from_mins(15);

/// What looks for pods in need, and what it does about them.
#[derive(Clone)]
pub struct Repair {
    /// The cluster, by a client that tries again by itself: the next look may be minutes away.
    pub client: Client,
    /// The cluster again, by a client that passes on "try again later": of an eviction that is an answer, and the next look is later.
    pub evictions: Client,
    /// What is known of namespaces.
    pub namespaces: Snapshot<Namespaces>,
    /// The installation's settings: those of the webhook, or all sidecars seem to be outdated.
    pub settings: Arc<Settings>,
    /// What is done about which pods.
    pub policy: Policy,
    /// The time between two looks.
    pub interval: Duration,
    /// The time between two evictions.
    pub pace: Duration,
    /// The namespaces that are looked at; all if none is named.
    pub scope: Vec<String>,
    /// What is counted of the news to owners.
    pub events: recorder::Metrics,
    /// What is counted.
    pub metrics: Metrics,
}

/// The time for which this process holds the lease. What is learnt of evictions ends with it, and so does all news that is not told by then.
pub(super) struct Reign<'a> {
    pub(super) repair: &'a Repair,
    pub(super) claim: &'a Claim,
    pub(super) notes: &'a Notes,
    pub(super) scopes: Vec<Scope>,
    pub(super) attempts: Attempts,
    pub(super) begun: Instant,
    pub(super) next_eviction: Instant,
    /// The controller whose turn it was last.
    pub(super) last_turn: String,
    pub(super) complaints: Complaints,
}

/// Pods that are listed together: those of a namespace, or all.
pub(super) struct Scope {
    pub(super) namespace: Option<String>,
    pub(super) pods: Api<Pod>,
    /// What the last look at them has found.
    pub(super) found: Found,
    pub(super) complaint: Complaint,
}

/// What was said of failures that come from many sides.
#[derive(Default)]
pub(super) struct Complaints {
    /// About pods that can't be looked at, in one look.
    pub(super) pod: Complaint,
    /// About pods that can't be evicted, after one look.
    pub(super) eviction: Complaint,
    /// About evictions that do no good.
    doubt: Complaint,
    /// About evictions for newer sidecars that do no good.
    doubt_of_renewals: Complaint,
    /// About namespaces that can't be watched.
    pub(super) namespaces: Complaint,
}

impl Repair {
    /// Looks again and again until shutdown, or until it is dropped because the lease is lost.
    pub async fn run(&self, claim: &Claim, shutdown: &Shutdown) {
        let (notes, recorder) = Recorder::new(self.evictions.clone(), self.events.clone(), IS_STILL_SO);
        tokio::select! {
            () = recorder.of_holder(claim.clone()).run(shutdown.clone()) => {}
            () = self.keep_looking(claim, &notes) => {}
        }
    }

    async fn keep_looking(&self, claim: &Claim, notes: &Notes) {
        let _shown = Shown(&self.metrics);
        self.metrics.expect_pass_within(self.longest_pass());
        // Defaults that are not known yet would hide who lacks what they give.
        self.namespaces.wait_for(|namespaces| namespaces.are_listed().then_some(())).await;
        let mut reign = Reign::begin(self, claim, notes);
        loop {
            reign.pass().await;
            tokio::time::sleep(jittered(self.interval)).await;
        }
    }

    /// In this time a look comes to its end if nothing is wrong.
    fn longest_pass(&self) -> Duration {
        self.interval.saturating_mul(3).saturating_add(PATIENCE)
    }

    fn scopes(&self) -> Vec<Scope> {
        let scope = |namespace: Option<String>, pods| Scope { namespace, pods, found: Found::default(), complaint: Complaint::default() };
        if self.scope.is_empty() {
            return vec![scope(None, Api::all(self.client.clone()))];
        }
        let named = self.scope.iter().map(|name| scope(Some(name.clone()), Api::namespaced(self.client.clone(), name)));
        named.collect()
    }
}

impl<'a> Reign<'a> {
    pub(super) fn begin(repair: &'a Repair, claim: &'a Claim, notes: &'a Notes) -> Self {
        let (scopes, now) = (repair.scopes(), Instant::now());
        Self {
            repair,
            claim,
            notes,
            scopes,
            attempts: Attempts::default(),
            begun: now,
            next_eviction: now,
            last_turn: String::new(),
            complaints: Complaints::default(),
        }
    }

    /// Looks at all pods once, and does what is to be done about them.
    pub(super) async fn pass(&mut self) {
        self.attempts.advance(Instant::now().into_std());
        let look = self.look().await;
        self.repair.metrics.show(self.scopes.iter().map(|scope| scope.found).sum());
        if look.is_complete {
            self.repair.metrics.passed();
            self.repair.metrics.expect_pass_within(self.repair.longest_pass());
        }
        self.voice_doubt();
        self.evict(look.controllers).await;
    }

    /// Says it once when evictions are doubted.
    fn voice_doubt(&mut self) {
        let Complaints { doubt, doubt_of_renewals, .. } = &mut self.complaints;
        if !self.attempts.are_doubtful() {
            doubt.settle();
        } else if doubt.is_first() {
            tracing::warn!("evictions of several controllers' pods gave none its sidecars, so they pause: is the webhook called?");
        }
        if !self.attempts.renewals_are_doubtful() {
            doubt_of_renewals.settle();
        } else if doubt_of_renewals.is_first() {
            tracing::warn!(
                "evictions of several controllers' pods gave none newer sidecars, so they pause: has the webhook the settings of the \
                 controllers, or do templates bring sidecars of their own?"
            );
        }
    }

    /// Hands in what the owner of a pod should know.
    pub(super) async fn tell(&self, seen: &Sighting, (reason, message): (Reason, String)) {
        let about = seen.controller.clone().unwrap_or_else(|| seen.pod.clone());
        self.notes.hand_in(Note { namespace: seen.namespace.clone(), about, reason, message }).await;
    }
}

#[cfg(test)]
mod tests;
