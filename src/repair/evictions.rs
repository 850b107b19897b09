//! What follows from a look: pods are evicted one after another, or their owners are told why they are not.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::runtime::{complaint::with_causes, request::RequestError};

use super::{
    apply::{Eviction, evict},
    look::{Candidate, Controller},
    pass::Reign,
    plan::{self, Need, Permission, Siblings, Sighting},
};

/// Evictions that are tried after one look: those that a disruption budget forbids cost no time.
const TRIES: usize = 500;

/// Whether others may be tried after one eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

impl Reign<'_> {
    /// Evicts at the pace that is set, for as long as the time between two looks, and tells all others what they wait for.
    pub(super) async fn evict(&mut self, controllers: BTreeMap<String, Controller>) {
        self.complaints.eviction.settle();
        let end = Instant::now() + self.repair.interval.max(self.repair.pace);
        let mut tries = TRIES;
        for (uid, controller) in in_turn(controllers, &self.last_turn) {
            let Controller { siblings, candidate: Some(candidate) } = controller else { continue };
            match self.permission(&candidate, siblings) {
                Permission::Granted if tries > 0 && self.next_eviction.max(Instant::now()) <= end => {
                    self.last_turn = uid;
                    tries = match self.try_evict(candidate, siblings).await {
                        Next::GoOn => tries - 1,
                        Next::Stop => 0,
                    };
                }
                Permission::Granted | Permission::Queued => self.tell(&candidate.seen, plan::report(&candidate.need, true)).await,
                Permission::Awaiting => {}
                Permission::Paused(setback) => self.tell(&candidate.seen, plan::paused(setback)).await,
            }
        }
    }

    fn permission(&self, Candidate { controller, need, .. }: &Candidate, siblings: Siblings) -> Permission {
        let permission = self.attempts.permission(&controller.uid, need, Instant::now().into_std());
        let has_settled = plan::has_settled(need, siblings, &self.repair.policy, self.begun.elapsed(), Timestamp::now());
        if permission == Permission::Granted && !has_settled { Permission::Queued } else { permission }
    }

    async fn try_evict(&mut self, candidate: Candidate, siblings: Siblings) -> Next {
        let Candidate { seen, controller, need } = candidate;
        tokio::time::sleep_until(self.next_eviction).await;
        // It may have been its turn only after minutes, and its annotations may say something else by now.
        if !matches!(self.need(&seen).await, Ok(Some(still)) if still == need) {
            return Next::GoOn;
        }
        if !self.claim.is_current() {
            return Next::Stop;
        }
        let result = evict(&self.repair.evictions, &seen).await;
        self.repair.metrics.count_eviction(result.as_ref().map_or("failed", Eviction::label));
        if !matches!(result, Ok(Eviction::OverBudget | Eviction::Gone)) {
            self.next_eviction = Instant::now() + self.repair.pace;
        }
        // It may have happened even if no answer says so.
        if matches!(result, Ok(Eviction::Done) | Err(_)) {
            self.attempts.evicted(&controller.uid, &seen, siblings.youngest, Instant::now().into_std());
        }
        self.answer(result, &seen, &need).await
    }

    /// Tells the owner what became of its pod, and the log where that is not as it should be.
    async fn answer(&mut self, result: Result<Eviction, RequestError>, seen: &Sighting, need: &Need) -> Next {
        let (namespace, pod) = (&seen.namespace, &seen.pod.name);
        match result {
            Ok(Eviction::Done) => {
                tracing::info!(namespace, pod, ?need, "a pod was evicted");
                self.tell(seen, plan::evicted(need)).await;
            }
            Ok(Eviction::OverBudget) => self.tell(seen, plan::over_budget(need)).await,
            Ok(Eviction::Gone) => {}
            Ok(Eviction::Refused(answer)) => {
                if self.complaints.eviction.is_first() {
                    tracing::warn!(namespace, pod, answer, "a pod can't be evicted; of others this is not said until the next look");
                }
                self.tell(seen, plan::refused(need, &answer)).await;
            }
            Ok(Eviction::Throttled) => {
                tracing::warn!("the API server has too much to do, so no more pods are evicted until the next look");
                return Next::Stop;
            }
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!(namespace, pod, error, "nobody knows whether a pod was evicted, so no more are until the next look");
                return Next::Stop;
            }
        }
        Next::GoOn
    }
}

/// All controllers, beginning after the one whose turn it was last: whoever can't be evicted holds up nobody else for good.
fn in_turn(mut controllers: BTreeMap<String, Controller>, last: &str) -> impl Iterator<Item = (String, Controller)> + use<> {
    let mut later = controllers.split_off(last);
    let last = later.remove_entry(last);
    later.into_iter().chain(controllers).chain(last)
}
