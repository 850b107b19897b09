//! One process at a time does what must not be done twice: whoever holds a Lease.
//!
//! The rules are those of Kubernetes' own components: a lease has run out when it was *seen* unchanged for as long as it
//! lasts, so no two clocks are compared; and its holder stops well before others may start. Each write carries the version
//! that was read, so of two who reach for it one is refused.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{Api, ResourceExt, api::Patch};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use super::{
    backoff::{Backoff, jittered},
    complaint::{Complaint, with_causes},
    request::{self, RequestError},
    shutdown::Shutdown,
};

/// How long a lease lasts that is not renewed. After a crash, another process takes over that much later.
const DURATION: Duration = Duration::from_secs(10);
/// A holder that could not renew for this long stops. What it has begun by then has the rest of the duration to end, which
/// is more than a [`WRITE_DEADLINE`].
const RENEW_DEADLINE: Duration = Duration::from_secs(7);
/// How long a write may take that only the holder does: one begun at the last moment has ended before another may hold the lease.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(2);
/// How often the holder renews.
const RENEW_INTERVAL: Duration = Duration::from_secs(3);
/// How often the others look. A lease that was given back is taken that soon.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Between attempts while the API server refuses them, for who wants the lease.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// And for who holds it: several attempts are to fit into the time that is left.
const LONGEST_PAUSE_OF_HOLDER: Duration = Duration::from_secs(1);
/// How long one request about the lease itself may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(2);

/// A process that wants to hold a lease.
#[derive(Debug)]
pub struct Campaign {
    leases: Api<Lease>,
    name: String,
    identity: String,
    seen: Option<Seen>,
    /// Whether a write was sent whose answer is not known.
    is_in_doubt: bool,
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
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the Lease has no version")]
    NoVersion,
}

impl Campaign {
    /// Wants the lease of this name for a process of this identity, which must be its own alone.
    pub fn new(leases: Api<Lease>, name: String, identity: String, registry: &mut Registry) -> Self {
        let leading = Gauge::default();
        registry.register("leading", "Whether this process holds the lease of the controllers", leading.clone());
        Self { leases, name, identity, seen: None, is_in_doubt: false, leading }
    }

    /// Does `work` whenever this process holds the lease. At shutdown work is to end by itself; then the lease is given
    /// back. When the lease is lost, work is dropped where it waits, and begun anew once the lease is won again.
    pub async fn run<W: Future<Output = ()>>(mut self, work: impl Fn(Claim) -> W, shutdown: Shutdown) {
        loop {
            let won = tokio::select! {
                () = shutdown.closing() => None,
                renewal = self.win() => Some(renewal),
            };
            let Some(renewal) = won else {
                // An attempt that was cut off may have been heard.
                if self.is_in_doubt {
                    self.give_back().await;
                }
                return;
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
        let (mut complaint, mut backoff) = (Complaint::default(), Backoff::new(LOOK_INTERVAL, LONGEST_PAUSE));
        loop {
            let renewal = Renewal::now();
            let pause = match self.try_hold().await {
                Ok(true) => return renewal,
                Ok(false) => {
                    complaint.settle();
                    backoff.reset();
                    jittered(LOOK_INTERVAL)
                }
                Err(error) => {
                    if !error.is_conflict() && complaint.is_new(&error) {
                        tracing::warn!(lease = self.name, error = with_causes(&error), "the lease can't be had; trying again");
                    }
                    backoff.pause()
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Renews while work goes on. Tells whether work has ended; otherwise the lease is lost.
    async fn hold(&mut self, renewals: watch::Sender<Renewal>, work: impl Future<Output = ()>) -> bool {
        tokio::pin!(work);
        let mut pause = RENEW_INTERVAL;
        let mut backoff = Backoff::new(LOOK_INTERVAL, LONGEST_PAUSE_OF_HOLDER);
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
                    backoff.reset();
                }
                Ok(false) => return false,
                Err(error) => {
                    pause = backoff.pause();
                    tracing::warn!(lease = self.name, error = with_causes(&error), "the lease can't be renewed; trying again");
                }
            }
        }
    }

    /// Takes or renews the lease if that is ours to do. Tells whether it is ours now.
    async fn try_hold(&mut self) -> Result<bool, LeaseError> {
        let now = self.look().await?;
        if decide(self.seen.as_ref(), &self.identity, now) == Decision::Wait {
            return Ok(false);
        }
        let time = MicroTime(Timestamp::now());
        // Each renewal says again how long it lasts: an earlier version of this program may have taken the lease for less.
        let lasts = DURATION.as_secs();
        let spec = match &self.seen {
            Some(seen) if seen.holder == self.identity => json!({"leaseDurationSeconds": lasts, "renewTime": time}),
            seen => json!({
                "holderIdentity": self.identity,
                "leaseDurationSeconds": lasts,
                "acquireTime": time,
                "renewTime": time,
                "leaseTransitions": seen.as_ref().map_or(0, |seen| seen.transitions.saturating_add(1)),
            }),
        };
        self.write(spec).await?;
        Ok(true)
    }

    /// Reads the lease, and says when that was.
    async fn look(&mut self) -> Result<Instant, LeaseError> {
        let found = request::within(REQUEST_DEADLINE, self.leases.get_opt(&self.name)).await?;
        let now = Instant::now();
        self.seen = found.as_ref().map(|lease| Seen::of(lease, self.seen.as_ref(), now)).transpose()?;
        Ok(now)
    }

    /// Lets others take the lease at once, if it is ours.
    async fn give_back(&mut self) {
        let given = if self.is_in_doubt { self.give_back_as_it_is().await } else { self.vacate().await };
        let given = match given {
            // A renewal that nobody waited for was heard after all.
            Err(error) if error.is_conflict() => self.give_back_as_it_is().await,
            given => given,
        };
        match given {
            Ok(()) => tracing::info!(lease = self.name, "the lease is given back"),
            // It runs out by itself.
            Err(error) => tracing::warn!(lease = self.name, error = with_causes(&error), "the lease can't be given back"),
        }
    }

    /// Reads the lease before it gives it back: what we know of it is outdated.
    async fn give_back_as_it_is(&mut self) -> Result<(), LeaseError> {
        self.look().await?;
        let is_ours = self.seen.as_ref().is_some_and(|seen| seen.holder == self.identity);
        if is_ours { self.vacate().await } else { Ok(()) }
    }

    async fn vacate(&mut self) -> Result<(), LeaseError> {
        self.write(json!({"holderIdentity": ""})).await
    }

    /// Writes over the version that was seen, or creates the lease if none was.
    async fn write(&mut self, spec: Value) -> Result<(), LeaseError> {
        let write = async {
            if let Some(seen) = &self.seen {
                let patch = json!({"metadata": {"resourceVersion": seen.version}, "spec": spec});
                self.leases.patch(&self.name, &request::patching(), &Patch::Merge(patch)).await
            } else {
                let manifest = json!({"metadata": {"name": self.name}, "spec": spec});
                let lease = serde_json::from_value(manifest).map_err(kube::Error::SerdeError)?;
                self.leases.create(&request::creating(), &lease).await
            }
        };
        self.is_in_doubt = true;
        let written = request::within(REQUEST_DEADLINE, write).await;
        self.is_in_doubt = matches!(written, Err(RequestError::Silent(_)));
        let written = written?;
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

#[cfg(test)]
impl Claim {
    /// A claim that was renewed so long ago.
    pub(crate) fn for_test(age: Duration) -> Self {
        let renewal = Renewal { steady: Instant::now() - age, wall: SystemTime::now() };
        Self { renewed: watch::channel(renewal).1 }
    }

    /// A claim that is current for so long.
    pub(crate) fn lasting(time: Duration) -> Self {
        let renewal = Renewal { steady: Instant::now() + time - RENEW_DEADLINE, wall: SystemTime::now() + time };
        Self { renewed: watch::channel(renewal).1 }
    }
}

impl Renewal {
    fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    fn is_current(&self) -> bool {
        // A clock that was set back says nothing; one that was set ahead costs the claim until the next renewal.
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
        matches!(self, Self::Request(error) if error.is_conflict())
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
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    };

    use proptest::prelude::*;
    use tokio::{
        task::JoinHandle,
        time::{sleep, sleep_until, timeout},
    };

    use super::*;
    use crate::runtime::fake_api::{FakeApi, Fate};

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

    /// How long the API server takes to hear a request, and to answer it.
    #[derive(Debug, Clone, Copy)]
    struct Network(Duration, Duration);

    /// A process that wants the lease, and the claims it was given.
    struct Process {
        claims: Arc<Mutex<Option<Claim>>>,
        shutdown: Shutdown,
        running: JoinHandle<()>,
    }

    impl Process {
        fn start(api: &FakeApi, identity: &str, network: impl Fn() -> Network + Send + Sync + 'static) -> Self {
            let client = api.client(move |_| {
                let Network(there, back) = network();
                Fate::Heard { after: there, answered_after: back }
            });
            let campaign = Campaign::new(Api::default_namespaced(client), "l".to_owned(), identity.to_owned(), &mut Registry::default());
            let (claims, shutdown) = (Arc::<Mutex<Option<Claim>>>::default(), Shutdown::default());
            let (given, closing) = (claims.clone(), shutdown.clone());
            let work = move |claim| {
                let (held, closing) = (Held::new(given.clone(), claim), closing.clone());
                async move {
                    closing.closing().await;
                    drop(held);
                }
            };
            let running = tokio::spawn(campaign.run(work, shutdown.clone()));
            Self { claims, shutdown, running }
        }

        fn works(&self) -> bool {
            self.claims.lock().unwrap().is_some()
        }

        /// Whether it would write now.
        fn believes(&self) -> bool {
            self.claims.lock().unwrap().as_ref().is_some_and(Claim::is_current)
        }

        async fn until(&self, works: bool) {
            timeout(LONG, async {
                while self.works() != works {
                    sleep(MOMENT).await;
                }
            })
            .await
            .unwrap();
        }
    }

    /// A claim that work has, until it is dropped.
    struct Held(Arc<Mutex<Option<Claim>>>);

    impl Held {
        fn new(claims: Arc<Mutex<Option<Claim>>>, claim: Claim) -> Self {
            *claims.lock().unwrap() = Some(claim);
            Self(claims)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = None;
        }
    }

    const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    const MOMENT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(600);
    const SECOND: Duration = Duration::from_secs(1);

    fn fast() -> Network {
        Network(Duration::ZERO, Duration::ZERO)
    }

    fn holder(api: &FakeApi) -> String {
        api.object(PATH).unwrap()["spec"]["holderIdentity"].as_str().unwrap().to_owned()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// However long requests take, no two believe at once that the lease is theirs.
        #[test]
        fn two_never_hold_it_at_once(seed in any::<u64>()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let led = runtime.block_on(async {
                let api = FakeApi::default();
                let random = Arc::new(AtomicU64::new(seed));
                let processes: Vec<_> = (0..3).map(|number| {
                    let random = random.clone();
                    Process::start(&api, &number.to_string(), move || {
                        // A generator of Knuth's; its upper bits are random enough. One request in eight takes seconds.
                        let next = |state: u64| state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let bits = next(random.fetch_update(Relaxed, Relaxed, |state| Some(next(state))).unwrap()) >> 33;
                        let slowest = if bits.is_multiple_of(8) { 12_000 } else { 900 };
                        Network(Duration::from_millis(bits % slowest), Duration::from_millis(bits / 8 % slowest))
                    })
                }).collect();
                let mut led = [false; 3];
                for _ in 0..20_000 {
                    sleep(MOMENT * 5).await;
                    assert!(processes.iter().filter(|process| process.believes()).count() <= 1);
                    for (led, process) in led.iter_mut().zip(&processes) {
                        *led |= process.believes();
                    }
                }
                led
            });
            prop_assert!(led.contains(&true), "nobody ever held it");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_counts_from_when_the_renewal_was_begun() {
        let api = FakeApi::default();
        let begun = Instant::now();
        // A look and a write, each just in time.
        let process = Process::start(&api, "me", || Network(SECOND * 9 / 10, SECOND));
        process.until(true).await;
        assert!(begun.elapsed() > SECOND * 3);
        sleep_until(begun + RENEW_DEADLINE - MOMENT).await;
        assert!(process.believes());
        sleep_until(begun + RENEW_DEADLINE).await;
        assert!(!process.believes());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_counts_from_when_it_was_begun() {
        let (api, is_slow) = (FakeApi::default(), Arc::new(AtomicBool::new(false)));
        let slow = is_slow.clone();
        let process = Process::start(&api, "me", move || if slow.load(Relaxed) { Network(SECOND * 9 / 10, SECOND) } else { fast() });
        process.until(true).await;
        is_slow.store(true, Relaxed);
        let first = api.writes().len();
        while api.writes().len() == first {
            sleep(MOMENT).await;
        }
        // It was written after a look that took 1.9 s, and a way of 0.9 s.
        let begun = Instant::now() - SECOND * 28 / 10;
        sleep(SECOND + MOMENT).await;
        api.silence();
        sleep_until(begun + RENEW_DEADLINE - MOMENT * 3).await;
        assert!(process.believes());
        sleep_until(begun + RENEW_DEADLINE).await;
        assert!(!process.believes());
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_dropped_when_the_api_server_falls_silent() {
        let api = FakeApi::default();
        let process = Process::start(&api, "me", fast);
        process.until(true).await;
        api.silence();
        let silent = Instant::now();
        process.until(false).await;
        assert!(silent.elapsed() <= RENEW_DEADLINE + MOMENT, "{:?}", silent.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_given_back_though_a_renewal_was_cut_off() {
        let (api, is_slow) = (FakeApi::default(), Arc::new(AtomicBool::new(false)));
        let slow = is_slow.clone();
        let process = Process::start(&api, "me", move || Network(Duration::ZERO, if slow.load(Relaxed) { SECOND } else { Duration::ZERO }));
        process.until(true).await;
        is_slow.store(true, Relaxed);
        let writes = api.writes().len();
        while api.writes().len() == writes {
            sleep(MOMENT).await;
        }
        process.shutdown.close();
        timeout(LONG, process.running).await.unwrap().unwrap();
        assert_eq!(holder(&api), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_won_unheard_is_given_back() {
        let api = FakeApi::default();
        let process = Process::start(&api, "me", || Network(Duration::ZERO, SECOND));
        while api.object(PATH).is_none() {
            sleep(MOMENT).await;
        }
        assert_eq!((holder(&api).as_str(), process.works()), ("me", false));
        process.shutdown.close();
        timeout(LONG, process.running).await.unwrap().unwrap();
        assert_eq!(holder(&api), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_somebody_touched_is_given_back_and_anothers_is_not() {
        for (now_held_by, left_to) in [("me", ""), ("robber", "robber")] {
            let api = FakeApi::default();
            let process = Process::start(&api, "me", fast);
            process.until(true).await;
            let mut touched = api.object(PATH).unwrap();
            touched["spec"]["holderIdentity"] = json!(now_held_by);
            api.put(PATH, touched);
            process.shutdown.close();
            timeout(LONG, process.running).await.unwrap().unwrap();
            assert_eq!(holder(&api), left_to);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_says_again_how_long_the_lease_lasts() {
        let api = FakeApi::default();
        let mut lease = serde_json::to_value(lease("me", "1")).unwrap();
        lease["spec"]["leaseDurationSeconds"] = json!(1);
        api.put(PATH, lease);
        let process = Process::start(&api, "me", fast);
        process.until(true).await;
        assert_eq!(api.object(PATH).unwrap()["spec"]["leaseDurationSeconds"], DURATION.as_secs());
    }
}
