//! One look at all pods: who lacks what, and whose turn it may be to be evicted.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use jiff::Timestamp;
use kube::core::ObjectMeta;
use tokio::time::Instant;

use crate::{
    api::annotations::STATUS,
    cluster::namespaces::Knowledge,
    events::note::{Reason, Reference},
    injection::{Context, Standing, inject, standing},
    runtime::{complaint::with_causes, request::RequestError},
};

use super::{
    metrics::Found,
    observe::{pages, whole},
    pass::{Reign, Scope},
    plan::{self, Need, Siblings, Sighting},
};

/// Controllers of which a look remembers anything. The pods of others are counted and reported, and not evicted.
const CONTROLLERS: usize = 20_000;

/// What a look has found.
#[derive(Default)]
pub(super) struct Look {
    /// Whether all pods were seen.
    pub(super) is_complete: bool,
    /// By their uids, the controllers of pods that may be evicted.
    pub(super) controllers: BTreeMap<String, Controller>,
}

/// What a look has found of a controller's pods.
pub(super) struct Controller {
    pub(super) siblings: Siblings,
    /// The youngest that is to be evicted.
    pub(super) candidate: Option<Candidate>,
}

/// A pod that is to be evicted when its controller's turn comes.
pub(super) struct Candidate {
    pub(super) seen: Sighting,
    pub(super) controller: Reference,
    pub(super) need: Need,
}

/// What is found of a scope, as far as it was seen.
#[derive(Default)]
struct Findings {
    found: Found,
    controllers: BTreeMap<String, Controller>,
    /// The uids of owners and what they were told: a controller hears once of all its pods.
    told: HashSet<(String, Reason)>,
    room: usize,
}

impl Reign<'_> {
    /// Looks at all pods. What of them can't be listed is left out, and what the last look has found there stands.
    pub(super) async fn look(&mut self) -> Look {
        self.complaints.pod.settle();
        let mut look = Look { is_complete: true, ..Look::default() };
        let mut scopes = std::mem::take(&mut self.scopes);
        for scope in &mut scopes {
            match self.look_at_scope(scope, CONTROLLERS - look.controllers.len()).await {
                Ok(findings) => {
                    scope.complaint.settle();
                    scope.found = findings.found;
                    look.controllers.extend(findings.controllers);
                }
                Err(error) => {
                    look.is_complete = false;
                    self.repair.metrics.count_failed_list();
                    scope.complain(&error);
                }
            }
        }
        self.scopes = scopes;
        look
    }

    async fn look_at_scope(&mut self, scope: &Scope, room: usize) -> Result<Findings, RequestError> {
        let mut findings = Findings { room, ..Findings::default() };
        let mut pages = pages(&scope.pods);
        while let Some(page) = pages.next().await? {
            for pod in page {
                self.look_at(&pod.metadata, &mut findings).await;
            }
        }
        Ok(findings)
    }

    async fn look_at(&mut self, metadata: &ObjectMeta, findings: &mut Findings) {
        let policy = &self.repair.policy;
        let Some(seen) = self.sighting(metadata).filter(|seen| plan::is_of_concern(seen, policy)) else { return };
        if let Some(controller) = seen.controller.as_ref().filter(|_| policy.evict) {
            self.attempts.learn(&controller.uid, &seen, Instant::now().into_std());
            findings.see(controller, &seen);
        }
        if !plan::is_suspicious(&seen, policy, Timestamp::now()) {
            return;
        }
        match self.need(&seen).await {
            Ok(Some(need)) => self.settle(seen, need, findings).await,
            Err(error) if self.complaints.pod.is_first() => {
                tracing::warn!(
                    namespace = seen.namespace,
                    pod = seen.pod.name,
                    error = with_causes(&error),
                    "a pod can't be looked at; of others this is not said until the next look"
                );
            }
            Ok(None) | Err(_) => {}
        }
    }

    /// What the metadata tells; nothing of a pod whose namespace is not known yet.
    fn sighting(&mut self, metadata: &ObjectMeta) -> Option<Sighting> {
        let namespace = metadata.namespace.clone()?;
        let none = BTreeMap::new();
        let annotations = metadata.annotations.as_ref().unwrap_or(&none);
        Some(Sighting {
            standing: self.standing(&namespace, annotations)?,
            record: annotations.get(STATUS).map(hash),
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

    fn standing(&mut self, namespace: &str, annotations: &BTreeMap<String, String>) -> Option<Standing> {
        let knowledge = self.repair.namespaces.load().get(namespace);
        let is_watched = knowledge != Knowledge::Unwatched;
        let defaults = match knowledge {
            Knowledge::Known(defaults) => defaults,
            Knowledge::Unwatched => None,
            Knowledge::Awaited => return None,
        };
        let standing = standing(annotations, Context { defaults: defaults.as_deref(), settings: &self.repair.settings, offline: false });
        if is_watched {
            self.complaints.namespaces.settle();
            return Some(standing);
        }
        if self.complaints.namespaces.is_first() {
            tracing::warn!("namespaces can't be watched, so nobody knows which sidecars are outdated, or who lacks what a namespace gives");
        }
        // What its namespace gives may be what makes the difference.
        Some(if standing == Standing::Outdated { Standing::Settled } else { standing })
    }

    /// What a suspicious pod needs, by its record or by what the webhook would decide about the whole of it.
    pub(super) async fn need(&self, seen: &Sighting) -> Result<Option<Need>, RequestError> {
        if let Some(need) = plan::need_by_record(seen, &self.repair.policy) {
            return Ok(Some(need));
        }
        let Some(whole) = whole(&self.repair.client, seen).await? else { return Ok(None) };
        let defaults = match self.repair.namespaces.load().get(&seen.namespace) {
            Knowledge::Known(defaults) => defaults,
            Knowledge::Unwatched | Knowledge::Awaited => None,
        };
        let context = Context { defaults: defaults.as_deref(), settings: &self.repair.settings, offline: false };
        // What can't be decided about is no pod of ours.
        Ok(inject(&whole.text, context).ok().and_then(|decision| plan::need(&decision, whole.is_finished)))
    }

    /// Counts a pod in need, and reports it or keeps it for eviction.
    async fn settle(&self, seen: Sighting, need: Need, findings: &mut Findings) {
        match need {
            Need::Missing | Need::Refused(_) => findings.found.missing += 1,
            Need::Outdated => findings.found.outdated += 1,
        }
        if plan::is_to_be_evicted(&seen, &need, &self.repair.policy) && findings.keep(&seen, &need) {
            return;
        }
        let report = plan::report(&need, seen.controller.is_some());
        if findings.is_news(&seen, report.0) {
            self.tell(&seen, report).await;
        }
    }
}

impl Scope {
    /// Says it once that these pods can't be listed.
    fn complain(&mut self, error: &RequestError) {
        if self.complaint.is_new(error) {
            let namespace = self.namespace.as_deref().unwrap_or("all");
            tracing::warn!(namespace, error = with_causes(error), "pods can't be listed, so none of them is repaired; trying again");
        }
    }
}

impl Findings {
    fn see(&mut self, controller: &Reference, seen: &Sighting) {
        let has_room = self.controllers.len() < self.room;
        let known = self.controllers.get_mut(&controller.uid);
        let siblings = Siblings::with(known.as_ref().map(|known| known.siblings), seen);
        match known {
            Some(known) => known.siblings = siblings,
            None if has_room => {
                self.controllers.insert(controller.uid.clone(), Controller { siblings, candidate: None });
            }
            None => {}
        }
    }

    /// Keeps the youngest pod in need of each controller. Tells whether there is room for that.
    fn keep(&mut self, seen: &Sighting, need: &Need) -> bool {
        let Some(controller) = &seen.controller else { return false };
        let Some(known) = self.controllers.get_mut(&controller.uid) else { return false };
        if known.candidate.as_ref().is_none_or(|kept| kept.seen.created < seen.created) {
            known.candidate = Some(Candidate { seen: seen.clone(), controller: controller.clone(), need: need.clone() });
        }
        true
    }

    /// Whether the pod's owner was not told this in this look.
    fn is_news(&mut self, seen: &Sighting, reason: Reason) -> bool {
        let Some(controller) = &seen.controller else { return true };
        // With more owners than that, some hear it twice; it is written once.
        self.told.len() >= CONTROLLERS || self.told.insert((controller.uid.clone(), reason))
    }
}

fn hash(record: &String) -> u64 {
    let mut hasher = DefaultHasher::new();
    record.hash(&mut hasher);
    hasher.finish()
}
