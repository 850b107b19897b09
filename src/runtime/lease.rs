//! One process at a time does what must not be done twice: whoever holds a Lease.
//!
//! The rules are those of Kubernetes' own components: a lease has run out when it was *seen* unchanged for as long as it
//! lasts, so no two clocks are compared; and its holder stops well before others may start. Each write carries the version
//! that was read, so of two who reach for it one is refused.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{complaint::Complaint, shutdown::Shutdown};

/// How long a lease lasts that is not renewed. After a crash, another process takes over that much later.
const DURATION: Duration = Duration::from_secs(10);
/// A holder that could not renew for this long stops. What it has begun has the rest of the duration to end.
const RENEW_DEADLINE: Duration = Duration::from_secs(7);
/// How often the holder renews.
const RENEW_INTERVAL: Duration = Duration::from_secs(3);
/// How often the others look. A lease that was given back is taken that soon.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long one request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(2);

/// A process that wants to hold a lease.
#[derive(Debug)]
pub struct Campaign {
    leases: Api<Lease>,
    name: String,
    identity: String,
    seen: Option<Seen>,
    leading: Gauge,
}

/// The right to do what only the holder does. It runs out by itself.
#[derive(Debug, Clone)]
pub struct Claim {
    renewed: watch::Receiver<Renewal>,
}

/// When the lease was last renewed, by both clocks: the one that never jumps, and the one that goes on while a machine sleeps.
#[derive(Debug, Clone, Copy)]
struct Renewal {
    steady: Instant,
    wall: SystemTime,
}

/// A lease as it was read, and since when it is known to be unchanged.
#[derive(Debug, Clone)]
struct Seen {
    holder: String,
    transitions: i32,
    lasts: Duration,
    version: String,
    since: Instant,
}

/// What to do about a lease.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// It is ours to take or to keep.
    Hold,
    /// Somebody else holds it.
    Wait,
}

/// Why a lease could not be had.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("the API server refuses it")]
    Refused(#[from] kube::Error),
    #[error("the API server does not answer")]
    Silent(#[from] tokio::time::error::Elapsed),
    #[error("the Lease has no version")]
    NoVersion,
}

impl Campaign {
    /// Wants the lease of this name for a process of this identity, which must be its own alone.
    pub fn new(leases: Api<Lease>, name: String, identity: String, registry: &mut Registry) -> Self {
        let leading = Gauge::default();
        registry.register("leading", "Whether this process holds the lease of the controllers", leading.clone());
        Self { leases, name, identity, seen: None, leading }
    }

    /// Does `work` whenever this process holds the lease. At shutdown work is to end by itself; then the lease is given
    /// back. When the lease is lost, work is dropped where it waits, and begun anew once the lease is won again.
    pub async fn run<W: Future<Output = ()>>(mut self, work: impl Fn(Claim) -> W, shutdown: Shutdown) {
        loop {
            let renewal = tokio::select! {
                () = shutdown.closing() => return,
                renewal = self.win() => renewal,
            };
            tracing::info!(lease = self.name, identity = self.identity, "holding the lease");
            self.leading.set(1);
            let (renewals, renewed) = watch::channel(renewal);
            let has_ended = self.hold(renewals, work(Claim { renewed })).await;
            self.leading.set(0);
            if has_ended {
                return self.give_back().await;
            }
            tracing::warn!(lease = self.name, "the lease is lost; what only its holder does has stopped here");
        }
    }

    /// Waits until the lease is ours.
    async fn win(&mut self) -> Renewal {
        let mut complaint = Complaint::default();
        loop {
            let renewal = Renewal::now();
            match self.try_hold().await {
                Ok(true) => return renewal,
                Ok(false) => complaint.settle(),
                Err(error) if error.is_conflict() => {}
                Err(error) if complaint.is_new() => {
                    tracing::warn!(lease = self.name, error = &error as &dyn std::error::Error, "the lease can't be had; trying again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Renews while work goes on. Tells whether work has ended; otherwise the lease is lost.
    async fn hold(&mut self, renewals: watch::Sender<Renewal>, work: impl Future<Output = ()>) -> bool {
        tokio::pin!(work);
        let mut pause = RENEW_INTERVAL;
        loop {
            let deadline = renewals.borrow().steady + RENEW_DEADLINE;
            let attempt = async {
                tokio::time::sleep(pause).await;
                (Renewal::now(), self.try_hold().await)
            };
            let (renewal, result) = tokio::select! {
                () = &mut work => return true,
                () = tokio::time::sleep_until(deadline) => return false,
                attempted = attempt => attempted,
            };
            match result {
                Ok(true) => {
                    renewals.send_replace(renewal);
                    pause = RENEW_INTERVAL;
                }
                Ok(false) => return false,
                Err(error) => {
                    pause = LOOK_INTERVAL;
                    tracing::warn!(lease = self.name, error = &error as &dyn std::error::Error, "the lease can't be renewed; trying again");
                }
            }
        }
    }

    /// Takes or renews the lease if that is ours to do. Tells whether it is ours now.
    async fn try_hold(&mut self) -> Result<bool, LeaseError> {
        let found = tokio::time::timeout(REQUEST_DEADLINE, self.leases.get_opt(&self.name)).await??;
        let now = Instant::now();
        self.seen = found.as_ref().map(|lease| Seen::of(lease, self.seen.as_ref(), now)).transpose()?;
        if decide(self.seen.as_ref(), &self.identity, now) == Decision::Wait {
            return Ok(false);
        }
        let time = MicroTime(Timestamp::now());
        let spec = match &self.seen {
            Some(seen) if seen.holder == self.identity => json!({"renewTime": time}),
            seen => json!({
                "holderIdentity": self.identity,
                "leaseDurationSeconds": DURATION.as_secs(),
                "acquireTime": time,
                "renewTime": time,
                "leaseTransitions": seen.as_ref().map_or(0, |seen| seen.transitions.saturating_add(1)),
            }),
        };
        self.write(spec).await?;
        Ok(true)
    }

    /// Lets others take the lease at once.
    async fn give_back(&mut self) {
        match self.write(json!({"holderIdentity": ""})).await {
            Ok(()) => tracing::info!(lease = self.name, "the lease is given back"),
            // It runs out by itself.
            Err(error) => tracing::warn!(lease = self.name, error = &error as &dyn std::error::Error, "the lease can't be given back"),
        }
    }

    /// Writes over the version that was seen, or creates the lease if none was.
    async fn write(&mut self, spec: Value) -> Result<(), LeaseError> {
        let write = async {
            if let Some(seen) = &self.seen {
                let patch = json!({"metadata": {"resourceVersion": seen.version}, "spec": spec});
                self.leases.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await
            } else {
                let manifest = json!({"metadata": {"name": self.name}, "spec": spec});
                let lease = serde_json::from_value(manifest).map_err(kube::Error::SerdeError)?;
                self.leases.create(&PostParams::default(), &lease).await
            }
        };
        let written = tokio::time::timeout(REQUEST_DEADLINE, write).await??;
        self.seen = Some(Seen::of(&written, None, Instant::now())?);
        Ok(())
    }
}

impl Claim {
    /// Whether the lease is still ours. Ask right before each write.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.renewed.borrow().is_current()
    }
}

impl Renewal {
    fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    fn is_current(&self) -> bool {
        // A clock that was set back says nothing; one that was set ahead costs the lease, which does no harm.
        let on_the_wall = self.wall.elapsed().unwrap_or_default();
        self.steady.elapsed().max(on_the_wall) < RENEW_DEADLINE
    }
}

impl Seen {
    /// A lease as it was read at `now`; unchanged since then, or since `before` if that was the same version.
    fn of(lease: &Lease, before: Option<&Self>, now: Instant) -> Result<Self, LeaseError> {
        let spec = lease.spec.clone().unwrap_or_default();
        let version = lease.resource_version().ok_or(LeaseError::NoVersion)?;
        let lasts = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs);
        Ok(Self {
            holder: spec.holder_identity.unwrap_or_default(),
            transitions: spec.lease_transitions.unwrap_or_default(),
            lasts,
            since: before.filter(|before| before.version == version).map_or(now, |before| before.since),
            version,
        })
    }
}

impl LeaseError {
    /// Whether somebody else was quicker.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(kube::Error::Api(status)) if status.code == 409)
    }
}

/// Whether a lease is ours to take or keep: nobody holds it, we do, or its holder was not heard of for as long as it lasts.
fn decide(seen: Option<&Seen>, identity: &str, now: Instant) -> Decision {
    match seen {
        Some(seen) if !seen.holder.is_empty() && seen.holder != identity && now < seen.since + seen.lasts => Decision::Wait,
        _ => Decision::Hold,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        let manifest = json!({
            "metadata": {"name": "l", "resourceVersion": version},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 10},
        });
        serde_json::from_value(manifest).unwrap()
    }

    #[test]
    fn a_lease_is_taken_when_nobody_holds_it_and_kept_when_we_do() {
        let now = Instant::now();
        assert_eq!(decide(None, "me", now), Decision::Hold);
        for holder in ["", "me"] {
            let seen = Seen::of(&lease(holder, "1"), None, now).unwrap();
            assert_eq!(decide(Some(&seen), "me", now), Decision::Hold, "{holder:?}");
        }
    }

    #[test]
    fn anothers_lease_runs_out_when_it_was_seen_unchanged_for_as_long_as_it_lasts() {
        let start = Instant::now();
        let first = Seen::of(&lease("other", "1"), None, start).unwrap();
        let later = start + Duration::from_secs(9);
        let unchanged = Seen::of(&lease("other", "1"), Some(&first), later).unwrap();
        assert_eq!(decide(Some(&unchanged), "me", later), Decision::Wait);
        assert_eq!(decide(Some(&unchanged), "me", start + Duration::from_secs(10)), Decision::Hold);
        let renewed = Seen::of(&lease("other", "2"), Some(&unchanged), later).unwrap();
        assert_eq!(decide(Some(&renewed), "me", start + Duration::from_secs(10)), Decision::Wait);
        assert_eq!(decide(Some(&renewed), "me", later + Duration::from_secs(10)), Decision::Hold);
    }

    #[test]
    fn a_claim_runs_out_by_either_clock() {
        let ago = |seconds| Duration::from_secs(seconds);
        let renewal = |steady, wall| Renewal { steady: Instant::now() - ago(steady), wall: SystemTime::now() - ago(wall) };
        assert!(renewal(6, 6).is_current());
        assert!(!renewal(8, 0).is_current());
        assert!(!renewal(0, 8).is_current(), "the machine slept");
        let set_back = Renewal { steady: Instant::now(), wall: SystemTime::now() + ago(3600) };
        assert!(set_back.is_current());
    }

    /// A process in a world of its own time: it looks, writes and believes.
    #[derive(Debug, Clone, Default)]
    struct Process {
        seen: Option<Seen>,
        renewed: Option<Instant>,
    }

    proptest! {
        /// However long requests take and processes sleep, no two believe at once that the lease is theirs.
        #[test]
        fn two_never_hold_it_at_once(turns in prop::collection::vec((0..3_usize, 0..4_000_u64, 0..3_000_u64), 1..200)) {
            let mut now = Instant::now();
            let mut stored: Option<(String, u64)> = None;
            let mut processes = vec![Process::default(); 3];
            for (who, pause, delay) in turns {
                now += Duration::from_millis(pause);
                let name = who.to_string();
                let begun = now;
                let found = stored.as_ref().map(|(holder, version)| lease(holder, &version.to_string()));
                let before = processes[who].seen.clone();
                let seen = found.map(|lease| Seen::of(&lease, before.as_ref(), now).unwrap());
                let decision = decide(seen.as_ref(), &name, now);
                processes[who].seen = seen;
                if decision == Decision::Hold {
                    // The write arrives later; nobody else moved in between in this world, so the version still fits.
                    now += Duration::from_millis(delay);
                    let version = stored.as_ref().map_or(0, |(_, version)| version + 1);
                    stored = Some((name.clone(), version));
                    processes[who].seen = Some(Seen::of(&lease(&name, &version.to_string()), None, now).unwrap());
                    processes[who].renewed = Some(begun);
                } else {
                    processes[who].renewed = None;
                }
                let believing = processes.iter().filter(|process| process.renewed.is_some_and(|renewed| now < renewed + RENEW_DEADLINE));
                prop_assert!(believing.count() <= 1);
            }
        }
    }
}
