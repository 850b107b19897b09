//! The queue of notes, and the task that writes Events from it.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Event, apimachinery::pkg::apis::meta::v1::Time};
use kube::{Api, Client, api::Patch};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior},
};

use crate::runtime::{
    complaint::{Complaint, with_causes},
    lease::Claim,
    request::{self, RequestError},
    shutdown::Shutdown,
};

use super::{
    note::{Note, Reference},
    owner,
    plan::{Entry, Ledger, Moment, Step},
};

/// Notes that wait. They are small, and a flood of them says nothing new.
const QUEUE: usize = 1000;
/// Between two writes: at most ten a second, so that no flood of ours becomes one of the API server's.
const PACE: Duration = Duration::from_millis(100);
/// How often it is looked for what was only counted, or could not be written.
const FLUSH: Duration = Duration::from_secs(30);
/// How long one request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Controllers whose owners are remembered.
const OWNERS: usize = 10_000;
/// The cause that an API server names when it refuses to create anything more in a namespace.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// What is counted. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    written: Counter,
    dropped: Counter,
    failed: Counter,
}

impl Metrics {
    /// Counters, registered.
    pub fn new(registry: &mut Registry) -> Self {
        let counted = Self::default();
        let metrics = registry.sub_registry_with_prefix("events");
        metrics.register("written", "Events created or updated", counted.written.clone());
        metrics.register(
            "dropped",
            "News that was not told: too much at once, or an Event that could not be written",
            counted.dropped.clone(),
        );
        metrics.register("failed", "Attempts to write an Event that failed", counted.failed.clone());
        counted
    }
}

/// Where notes are handed in. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Notes {
    queue: mpsc::Sender<Note>,
    dropped: Counter,
}

/// What becomes Events.
pub struct Recorder {
    client: Client,
    queue: mpsc::Receiver<Note>,
    /// The right to write, if only the holder of the lease may.
    claim: Option<Claim>,
    ledger: Ledger,
    owners: HashMap<String, Reference>,
    pace: Interval,
    metrics: Metrics,
    complaint: Complaint,
}

impl Notes {
    /// Hands in a note and returns at once. When the queue is full, it is dropped and counted.
    pub fn tell(&self, note: Note) {
        let is_queued = note.checked().is_some_and(|note| self.queue.try_send(note).is_ok());
        if !is_queued {
            self.dropped.inc();
        }
    }

    /// Hands in a note as soon as there is room in the queue, for those who may wait.
    pub async fn hand_in(&self, note: Note) {
        let is_queued = match note.checked() {
            Some(note) => self.queue.send(note).await.is_ok(),
            None => false,
        };
        if !is_queued {
            self.dropped.inc();
        }
    }

    /// A queue that nobody reads, for where no API server is.
    #[must_use]
    pub fn nowhere() -> Self {
        Self { queue: mpsc::channel(1).0, dropped: Counter::default() }
    }
}

impl Recorder {
    /// A queue, and the task behind it, which is to be run. News that goes on in the same words is written once in the time
    /// `repeat`. Within a runtime.
    #[must_use]
    pub fn new(client: Client, metrics: Metrics, repeat: Duration) -> (Notes, Self) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let notes = Notes { queue: sender, dropped: metrics.dropped.clone() };
        let (ledger, owners, complaint) = (Ledger::new(repeat), HashMap::new(), Complaint::default());
        (notes, Self { client, queue, claim: None, ledger, owners, pace, metrics, complaint })
    }

    /// The same, which writes only while this claim is current.
    #[must_use]
    pub fn of_holder(self, claim: Claim) -> Self {
        Self { claim: Some(claim), ..self }
    }

    /// Writes Events until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.closing() => {}
            () = self.record() => {}
        }
    }

    async fn record(&mut self) {
        let mut flush = tokio::time::interval(FLUSH);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = flush.tick() => self.flush().await,
                note = self.queue.recv() => match note {
                    Some(note) => self.take(note).await,
                    // Nobody can hand in any more.
                    None => return,
                },
            }
        }
    }

    async fn take(&mut self, mut note: Note) {
        note.about = self.top_owner(&note.namespace, note.about).await;
        let now = Moment { wall: Timestamp::now(), steady: Instant::now().into_std() };
        match self.ledger.add(note, now) {
            Step::Create(entry) => self.write(&entry, true).await,
            Step::Update(entry) => self.write(&entry, false).await,
            Step::Count => {}
        }
    }

    async fn flush(&mut self) {
        for entry in self.ledger.due(Instant::now().into_std()) {
            self.write(&entry, false).await;
        }
        self.metrics.dropped.inc_by(self.ledger.lost());
    }

    /// The object that people wrote. If it can't be found, the nearest that is known does for now.
    async fn top_owner(&mut self, namespace: &str, about: Reference) -> Reference {
        if let Some(owner) = self.owners.get(&about.uid) {
            return owner.clone();
        }
        self.pace.tick().await;
        let found = match request::within(REQUEST_DEADLINE, owner::above(&self.client, namespace, &about)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(kind = about.kind, error = with_causes(&error), "an owner's owner is not known");
                return about;
            }
        };
        if self.owners.len() >= OWNERS {
            // Any will do: the order of a map is as good as chance.
            let one = self.owners.keys().next().cloned();
            one.and_then(|uid| self.owners.remove(&uid));
        }
        let owner = found.unwrap_or_else(|| about.clone());
        self.owners.insert(about.uid, owner.clone());
        owner
    }

    async fn write(&mut self, entry: &Entry, is_new: bool) {
        self.pace.tick().await;
        if self.claim.as_ref().is_some_and(|claim| !claim.is_current()) {
            // Whoever holds the lease next finds the same.
            return self.ledger.failed(entry);
        }
        match self.try_write(entry, is_new).await {
            Ok(()) => {
                self.complaint.settle();
                self.metrics.written.inc();
            }
            Err(error) => {
                self.metrics.failed.inc();
                self.ledger.failed(entry);
                if self.complaint.is_first() {
                    tracing::warn!(
                        namespace = entry.note.namespace,
                        reason = entry.note.reason.as_str(),
                        error = with_causes(&error),
                        hint = hint(&error),
                        "an Event can't be written; trying again, and saying no more until one can"
                    );
                }
            }
        }
    }

    async fn try_write(&self, entry: &Entry, is_new: bool) -> Result<(), RequestError> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &entry.note.namespace);
        if !is_new {
            let change = json!({"count": entry.count, "lastTimestamp": Time(entry.last), "message": entry.note.message});
            match request::within(REQUEST_DEADLINE, events.patch(&entry.name, &request::patching(), &Patch::Merge(change))).await {
                Ok(_) => return Ok(()),
                // It has run out: write it anew.
                Err(RequestError::Refused(kube::Error::Api(status))) if status.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let event = event(entry).map_err(kube::Error::SerdeError)?;
        request::within(REQUEST_DEADLINE, events.create(&request::creating(), &event)).await.map(drop)
    }
}

/// What mends it, if that is known.
fn hint(error: &RequestError) -> Option<&'static str> {
    let RequestError::Refused(kube::Error::Api(status)) = error else { return None };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    let is_terminating = causes.any(|cause| cause.reason == NAMESPACE_TERMINATING);
    (status.is_forbidden() && !is_terminating).then_some("grant create and patch on events")
}

/// In core/v1, whose counts `kubectl get events` and `kubectl describe` both show.
fn event(entry: &Entry) -> Result<Event, serde_json::Error> {
    let Note { namespace, about, reason, message } = &entry.note;
    serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": entry.name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": about.api_version, "kind": about.kind, "name": about.name, "namespace": namespace, "uid": about.uid,
        },
        "type": reason.event_type(),
        "reason": reason.as_str(),
        "message": message,
        "count": entry.count,
        "firstTimestamp": Time(entry.first),
        "lastTimestamp": Time(entry.last),
        "source": {"component": "outrigger"},
        "reportingComponent": "outrigger",
        "reportingInstance": "",
    }))
}

#[cfg(test)]
mod tests;
