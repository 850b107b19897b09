//! A look at all pods, and what follows from it, again and again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{Client, core::ObjectMeta};
use tokio::time::Instant;

use crate::{
    cluster::{
        namespaces::{Knowledge, Namespaces},
        snapshot::Snapshot,
    },
    events::{
        note::{Note, Reason, Reference},
        recorder::Notes,
    },
    injection::{Context, Settings, inject, standing},
    runtime::{backoff::jittered, complaint::Complaint, lease::Claim, request::RequestError, shutdown::Shutdown},
};

use super::{
    apply::{Eviction, evict},
    metrics::{Found, Metrics, Shown},
    observe::{Pages, whole},
    plan::{self, Action, Attempts, Need, Permission, Policy, Sighting},
};

/// Pods that are to be evicted after one look, each of another controller. The others have to wait for the next.
const CANDIDATES: usize = 500;

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
    /// Where owners are told.
    pub notes: Notes,
    /// What is counted.
    pub metrics: Metrics,
}

/// What outlives a pass.
struct Memory {
    attempts: Attempts,
    next_eviction: Instant,
    /// About the list, which nothing goes on without.
    list: Complaint,
    /// About single pods, in one look.
    pod: Complaint,
    /// About evictions that do no good.
    doubt: Complaint,
}

/// What a pass has found so far.
#[derive(Default)]
struct Findings {
    found: Found,
    /// By the controller's uid: its youngest pod, so that any younger one is a replacement.
    candidates: BTreeMap<String, Candidate>,
}

struct Candidate {
    seen: Sighting,
    controller: Reference,
    need: Need,
}

impl Repair {
    /// Looks again and again until shutdown, or until it is dropped because the lease is lost.
    pub async fn run(&self, claim: &Claim, shutdown: &Shutdown) {
        tokio::select! {
            () = shutdown.closing() => {}
            () = self.keep_looking(claim) => {}
        }
    }

    async fn keep_looking(&self, claim: &Claim) {
        let _shown = Shown(&self.metrics);
        // Defaults that are not known yet would hide who lacks what they give.
        self.namespaces.wait_for(|namespaces| namespaces.are_listed().then_some(())).await;
        let mut memory = Memory {
            attempts: Attempts::default(),
            next_eviction: Instant::now(),
            list: Complaint::default(),
            pod: Complaint::default(),
            doubt: Complaint::default(),
        };
        loop {
            match self.pass(&mut memory, claim).await {
                Ok(()) => memory.list.settle(),
                Err(error) if memory.list.is_new(&error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "pods can't be listed, so none is repaired; trying again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(jittered(self.interval)).await;
        }
    }

    async fn pass(&self, memory: &mut Memory, claim: &Claim) -> Result<(), RequestError> {
        memory.attempts.forget(Timestamp::now());
        memory.pod.settle();
        let mut findings = Findings::default();
        let mut pages = Pages::of(&self.client, &self.scope);
        while let Some(page) = pages.next().await? {
            for pod in page {
                self.look_at(&pod.metadata, &mut findings, memory, claim).await;
            }
        }
        self.metrics.show(findings.found);
        memory.voice_doubt();
        self.evict(findings.candidates, memory, claim).await;
        self.metrics.passed();
        Ok(())
    }

    async fn look_at(&self, metadata: &ObjectMeta, findings: &mut Findings, memory: &mut Memory, claim: &Claim) {
        let Some(seen) = self.sighting(metadata) else { return };
        if let Some(controller) = &seen.controller {
            memory.attempts.learn(&controller.uid, seen.created, seen.standing);
        }
        if !plan::is_suspicious(&seen, &self.policy, Timestamp::now()) {
            return;
        }
        match self.need(&seen).await {
            Ok(Some(need)) => self.settle(seen, need, findings, memory, claim),
            Err(error) if memory.pod.is_first() => {
                tracing::warn!(
                    namespace = seen.namespace,
                    pod = seen.pod.name,
                    error = &error as &dyn std::error::Error,
                    "a pod can't be looked at; of others this is not said until the next look"
                );
            }
            Ok(None) | Err(_) => {}
        }
    }

    /// What the metadata tells; nothing of a pod whose namespace is not known yet.
    fn sighting(&self, metadata: &ObjectMeta) -> Option<Sighting> {
        let namespace = metadata.namespace.clone()?;
        let defaults = match self.namespaces.load().get(&namespace) {
            Knowledge::Known(defaults) => defaults,
            Knowledge::Unwatched => None,
            Knowledge::Awaited => return None,
        };
        let context = Context { defaults: defaults.as_deref(), settings: &self.settings, offline: false };
        Some(Sighting {
            standing: metadata
                .annotations
                .as_ref()
                .map_or_else(|| standing(&BTreeMap::new(), context), |written| standing(written, context)),
            pod: Reference {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                name: metadata.name.clone()?,
                uid: metadata.uid.clone()?,
            },
            namespace,
            controller: Reference::controller(metadata.owner_references.as_deref().unwrap_or_default()),
            created: metadata.creation_timestamp.as_ref()?.0,
            is_terminating: metadata.deletion_timestamp.is_some(),
        })
    }

    /// What a suspicious pod needs, by its record or by what the webhook would decide about the whole of it.
    async fn need(&self, seen: &Sighting) -> Result<Option<Need>, RequestError> {
        if let Some(need) = plan::need_by_record(seen, &self.policy) {
            return Ok(Some(need));
        }
        let Some(whole) = whole(&self.client, seen).await? else { return Ok(None) };
        let defaults = match self.namespaces.load().get(&seen.namespace) {
            Knowledge::Known(defaults) => defaults,
            Knowledge::Unwatched | Knowledge::Awaited => None,
        };
        let context = Context { defaults: defaults.as_deref(), settings: &self.settings, offline: false };
        // What can't be decided about is no pod of ours.
        Ok(inject(&whole.text, context).ok().and_then(|decision| plan::need(&decision, whole.is_finished)))
    }

    /// Counts a pod in need, and reports it or keeps it for eviction.
    fn settle(&self, seen: Sighting, need: Need, findings: &mut Findings, memory: &Memory, claim: &Claim) {
        match need {
            Need::Missing | Need::Refused(_) => findings.found.missing += 1,
            Need::Outdated => findings.found.outdated += 1,
        }
        match plan::action(&seen, &need, &self.policy, &memory.attempts, Timestamp::now()) {
            Action::Report(reason, message) => self.tell(&seen, reason, message, claim),
            Action::Evict => findings.keep(seen, need),
            Action::Leave => {}
        }
    }

    fn tell(&self, seen: &Sighting, reason: Reason, message: String, claim: &Claim) {
        if claim.is_current() {
            let about = seen.controller.clone().unwrap_or_else(|| seen.pod.clone());
            self.notes.tell(Note { namespace: seen.namespace.clone(), about, reason, message });
        }
    }

    /// Evicts at the pace that is set, for as long as the time between two looks. Whoever can't be evicted for now costs no time.
    async fn evict(&self, candidates: BTreeMap<String, Candidate>, memory: &mut Memory, claim: &Claim) {
        let end = Instant::now() + self.interval.max(self.pace);
        for Candidate { seen, controller, need } in candidates.into_values() {
            // The rest of the look may have shown that an earlier replacement is no better.
            if memory.attempts.permission(&controller.uid, Timestamp::now()) != Permission::Granted {
                continue;
            }
            if memory.next_eviction.max(Instant::now()) > end {
                return;
            }
            tokio::time::sleep_until(memory.next_eviction).await;
            // It may have been its turn only after minutes, and its annotations may say something else by now.
            if !matches!(self.need(&seen).await, Ok(Some(still)) if still == need) {
                continue;
            }
            if !claim.is_current() {
                return;
            }
            let result = evict(&self.evictions, &seen).await;
            self.metrics.count_eviction(result.as_ref().map_or("failed", |eviction| eviction.label()));
            // It may have happened even if no answer says so.
            if matches!(result, Ok(Eviction::Done) | Err(_)) {
                memory.next_eviction = Instant::now() + self.pace;
                memory.attempts.evicted(&controller.uid, seen.created, Timestamp::now());
            }
            match result {
                Ok(eviction) => self.evicted(eviction, &seen, &need, claim),
                Err(error) if memory.pod.is_first() => {
                    tracing::warn!(
                        namespace = seen.namespace,
                        pod = seen.pod.name,
                        error = &error as &dyn std::error::Error,
                        "a pod can't be evicted; of others this is not said until the next look"
                    );
                }
                Err(_) => {}
            }
        }
    }

    fn evicted(&self, eviction: Eviction, seen: &Sighting, need: &Need, claim: &Claim) {
        match eviction {
            Eviction::Done => {
                tracing::info!(namespace = seen.namespace, pod = seen.pod.name, ?need, "a pod was evicted");
                self.tell(seen, Reason::Evicted, plan::evicted(need).to_owned(), claim);
            }
            Eviction::OverBudget => {
                let (reason, message) = plan::over_budget(need);
                self.tell(seen, reason, message, claim);
            }
            Eviction::Gone => {}
        }
    }
}

impl Memory {
    /// Says it once when evictions are doubted.
    fn voice_doubt(&mut self) {
        if !self.attempts.are_doubtful() {
            self.doubt.settle();
        } else if self.doubt.is_first() {
            tracing::warn!("replacements of several controllers came without sidecars too, so evictions pause: is the webhook called?");
        }
    }
}

impl Findings {
    /// Keeps the youngest pod of each controller. If there are too many controllers, it is another's turn next time.
    fn keep(&mut self, seen: Sighting, need: Need) {
        let Some(controller) = seen.controller.clone() else { return };
        let is_full = self.candidates.len() >= CANDIDATES;
        match self.candidates.get(&controller.uid) {
            Some(kept) if kept.seen.created >= seen.created => {}
            None if is_full => {}
            _ => drop(self.candidates.insert(controller.uid.clone(), Candidate { seen, controller, need })),
        }
    }
}
