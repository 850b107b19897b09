//! Keeps the CA young and trusted: renews it, and puts it into the webhook configurations. Only the holder of the lease does this.

use std::time::{Duration, SystemTime};

use kube::{Api, api::Patch, core::DynamicObject};
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;

use crate::{
    cluster::snapshot::Snapshot,
    runtime::{
        backoff::Backoff,
        certificate::{Authority, CertificateError},
        complaint::{Complaint, with_causes},
        lease::{Claim, WRITE_DEADLINE},
        request::{self, RequestError},
        shutdown::Shutdown,
    },
};

use super::{
    plan::{Policy, Publication, Step, is_published, next_step, publication},
    registration::Registrations,
    ring::Ring,
    secret::{CaSecret, Observed},
};

/// How often the clock on the wall is asked.
const TICK: Duration = Duration::from_secs(5);
/// What failed is tried again after about this; somebody else's write is seen by then.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// And no later than after this.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// This many conflicts in a row are no coincidence any more.
const CONFLICTS: u32 = 5;

/// What the keeper sees and writes.
#[derive(Debug, Clone)]
pub struct Keeper {
    /// Where the CAs are.
    pub secret: CaSecret,
    /// What is seen there.
    pub observed: Snapshot<Observed>,
    /// The configuration of the webhooks for pods.
    pub mutating: Target,
    /// The configuration of the webhooks for our kinds.
    pub validating: Target,
    /// How the CAs live.
    pub policy: Policy,
}

/// One webhook configuration.
#[derive(Debug, Clone)]
pub struct Target {
    /// The configurations of its kind.
    pub api: Api<DynamicObject>,
    /// Its name.
    pub name: String,
    /// What is seen of it.
    pub observed: Snapshot<Registrations>,
}

/// What all webhooks trust, and since when they all do.
#[derive(Debug, Clone)]
struct Trusted {
    authorities: Vec<CertificateDer<'static>>,
    since: Instant,
}

/// What is said of failures in a row.
#[derive(Debug, Default)]
struct Failures {
    conflicts: u32,
    complaint: Complaint,
}

impl Keeper {
    /// Does what is to be done until shutdown, or until it is dropped because the lease is lost.
    pub async fn run(&self, claim: &Claim, shutdown: &Shutdown) {
        let (mut ring, mut mutating, mut validating) =
            (self.observed.changes(), self.mutating.observed.changes(), self.validating.observed.changes());
        let (mut trusted, mut failures) = (None, Failures::default());
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let stepped = tokio::select! {
                () = shutdown.closing() => return,
                stepped = self.step(&mut trusted, claim, SystemTime::now()) => stepped,
            };
            let Err(error) = stepped else {
                failures = Failures::default();
                backoff.reset();
                tokio::select! {
                    () = shutdown.closing() => return,
                    () = ring.next() => {}
                    () = mutating.next() => {}
                    () = validating.next() => {}
                    () = tokio::time::sleep(TICK.min(self.policy.settling())) => {}
                }
                continue;
            };
            failures.voice(&error);
            // Not sooner, whatever changes: what changes may be somebody who undoes what we do.
            tokio::select! {
                () = shutdown.closing() => return,
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }

    /// Publishes what is not published, and changes the ring if it is time, whether or not all could be published. Each
    /// write is seen by the watches, which bring the next step. The error is the first of all.
    async fn step(&self, trusted: &mut Option<Trusted>, claim: &Claim, now: SystemTime) -> Result<(), KeeperError> {
        let observed = self.observed.load();
        let Observed::Present { version, ring: Ok(ring) } = &*observed else {
            *trusted = None;
            return Ok(());
        };
        let authorities = ring.trusted(now);
        let published = self.publish(&authorities, claim, now).await;
        let seen = [self.mutating.observed.load(), self.validating.observed.load()];
        *trusted = is_published(&seen, &authorities, now).then(|| Trusted::after(trusted.take(), authorities));
        let trusted_for = trusted.as_ref().map(|trusted| trusted.since.elapsed());
        let advanced = match next_step(ring, trusted_for, now, &self.policy) {
            Some(step) => self.advance(step, ring, version, claim, now).await,
            None => Ok(()),
        };
        published.and(advanced)
    }

    /// Writes both configurations where they lack a CA. That one can't be written is no reason to leave the other.
    async fn publish(&self, authorities: &[CertificateDer<'_>], claim: &Claim, now: SystemTime) -> Result<(), KeeperError> {
        let mut result = Ok(());
        for target in [&self.mutating, &self.validating] {
            if let Registrations::Present(registration) = &*target.observed.load()
                && let Some(publication) = publication(registration, authorities, now)
            {
                result = result.and(target.publish(publication, claim).await);
            }
        }
        result
    }

    async fn advance(&self, step: Step, ring: &Ring, version: &str, claim: &Claim, now: SystemTime) -> Result<(), KeeperError> {
        let make = || Authority::make(now, self.policy.lifetime);
        let changed = match step {
            Step::Replace => ring.announcing(make()?).promoted(),
            Step::Announce => ring.announcing(make()?),
            Step::Promote => ring.promoted(),
        };
        if !claim.is_current() {
            return Err(KeeperError::LeaseLost);
        }
        self.secret.write(&changed, version, now).await?;
        tracing::info!(?step, reason = step.reason(), "the CA was changed");
        Ok(())
    }
}

impl Target {
    async fn publish(&self, Publication { patch }: Publication, claim: &Claim) -> Result<(), KeeperError> {
        if !claim.is_current() {
            return Err(KeeperError::LeaseLost);
        }
        request::within(WRITE_DEADLINE, self.api.patch_metadata(&self.name, &request::patching(), &Patch::Strategic(patch))).await?;
        tracing::info!(configuration = self.name, "the CA was published in a webhook configuration");
        Ok(())
    }
}

impl Trusted {
    /// What is trusted now; since when, if it was so before.
    fn after(before: Option<Self>, authorities: Vec<CertificateDer<'static>>) -> Self {
        let since = before.filter(|before| before.authorities == authorities).map_or_else(Instant::now, |before| before.since);
        Self { authorities, since }
    }
}

impl Failures {
    fn voice(&mut self, error: &KeeperError) {
        self.conflicts = if error.is_conflict() { self.conflicts.saturating_add(1) } else { 0 };
        match error {
            KeeperError::LeaseLost => tracing::debug!(error = with_causes(error), "a step was not taken"),
            _ if (1..CONFLICTS).contains(&self.conflicts) => tracing::debug!(error = with_causes(error), "somebody else was quicker"),
            _ if self.complaint.is_new(error) => {
                tracing::error!(error = with_causes(error), conflicts = self.conflicts, "the CA can't be looked after; trying again");
            }
            _ => {}
        }
    }
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A CA can't be made.
    #[error("a CA can't be made")]
    Make(#[from] CertificateError),
    /// A write came to nothing.
    #[error("the CA's Secret or a webhook configuration can't be written")]
    Write(#[from] RequestError),
    /// Another replica may hold the lease by now.
    #[error("the lease is lost")]
    LeaseLost,
}

impl KeeperError {
    /// Whether somebody else was quicker: what they wrote is about to be seen.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Write(error) if error.is_conflict())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;
    use k8s_openapi::api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::Secret,
    };
    use kube::{Client, ResourceExt, discovery::ApiResource};
    use rustls::pki_types::pem::PemObject;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        certificates::{registration::Registration, ring::SECRET_TYPE},
        cluster::snapshot::{Writer, snapshot},
        runtime::{
            certificate::tests::with_provider,
            fake_api::{FakeApi, Fate},
        },
    };

    const SECRET: &str = "/api/v1/namespaces/default/secrets/ca";
    const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/w";
    const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/w";
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

    /// A keeper, and the API server it writes to.
    struct World {
        api: FakeApi,
        keeper: Keeper,
        secret: Writer<Observed>,
        mutating: Writer<Registrations>,
        validating: Writer<Registrations>,
    }

    impl World {
        fn new(ring: &Ring, bundle: &[u8], fate: impl Fn(&Uri) -> Fate + Send + Sync + 'static) -> Self {
            let api = FakeApi::default();
            let mut data = ring.data(SystemTime::now());
            data.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            api.put(SECRET, json!({"metadata": {"name": "ca"}, "type": SECRET_TYPE, "data": data}));
            for (path, kind) in [(MUTATING, "MutatingWebhookConfiguration"), (VALIDATING, "ValidatingWebhookConfiguration")] {
                let webhook = json!({"name": "a", "clientConfig": {"caBundle": super::super::bundle::encoded(bundle)}});
                let api_version = "admissionregistration.k8s.io/v1";
                api.put(path, json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "w"}, "webhooks": [webhook]}));
            }
            let client = api.client(fate);
            let (secret, observed) = snapshot(Observed::Unknown);
            let (mutating, validating) = (snapshot(Registrations::Unknown), snapshot(Registrations::Unknown));
            let keeper = Keeper {
                secret: CaSecret { api: Api::default_namespaced(client.clone()), name: "ca".to_owned() },
                observed,
                mutating: target(&client, &ApiResource::erase::<MutatingWebhookConfiguration>(&()), mutating.1),
                validating: target(&client, &ApiResource::erase::<ValidatingWebhookConfiguration>(&()), validating.1),
                policy: Policy { lifetime: LIFETIME },
            };
            let world = Self { api, keeper, secret, mutating: mutating.0, validating: validating.0 };
            world.see();
            world
        }

        /// Shows the keeper what is there, as the watches do.
        fn see(&self) {
            let secret: Secret = serde_json::from_value(self.api.object(SECRET).unwrap()).unwrap();
            let ring = Ring::read(&secret).map(std::sync::Arc::new).map_err(std::sync::Arc::new);
            self.secret.store(Observed::Present { version: secret.resource_version().unwrap(), ring });
            for (path, writer) in [(MUTATING, &self.mutating), (VALIDATING, &self.validating)] {
                let configuration = serde_json::from_value(self.api.object(path).unwrap()).unwrap();
                writer.store(Registrations::Present(Registration::read(&configuration).unwrap()));
            }
        }

        /// Steps until nothing is left to do at this time.
        async fn settle(&self, now: SystemTime) {
            loop {
                let before = self.api.writes().len();
                self.keeper.step(&mut None, &current(), now).await.unwrap();
                self.see();
                if self.api.writes().len() == before {
                    return;
                }
            }
        }

        /// The CAs that each webhook trusts.
        fn trusted(&self) -> [Vec<CertificateDer<'static>>; 2] {
            [&self.mutating, &self.validating].map(|seen| match &*seen.load() {
                Registrations::Present(seen) => CertificateDer::pem_slice_iter(&seen.webhooks[0].bundle).map(Result::unwrap).collect(),
                other => panic!("{other:?}"),
            })
        }

        fn written(&self) -> Vec<String> {
            self.api.writes().into_iter().map(|(path, _)| path).collect()
        }
    }

    fn target(client: &Client, resource: &ApiResource, observed: Snapshot<Registrations>) -> Target {
        Target { api: Api::all_with(client.clone(), resource), name: "w".to_owned(), observed }
    }

    fn current() -> Claim {
        Claim::for_test(Duration::ZERO)
    }

    fn authority(made: SystemTime) -> Authority {
        with_provider();
        Authority::make(made, LIFETIME).unwrap()
    }

    /// A ring whose CA is to get a successor.
    fn due() -> Ring {
        Ring::new(authority(SystemTime::now() - 300 * DAY))
    }

    #[tokio::test]
    async fn a_configuration_that_can_not_be_written_stops_neither_the_other_nor_the_ca() {
        for refused in [MUTATING, VALIDATING] {
            let fate = move |uri: &Uri| if uri.path() == refused { Fate::refused(403) } else { Fate::DONE };
            let world = World::new(&due(), b"", fate);
            let result = world.keeper.step(&mut None, &current(), SystemTime::now()).await;
            assert!(matches!(result, Err(KeeperError::Write(_))), "{result:?}");
            let other = if refused == MUTATING { VALIDATING } else { MUTATING };
            assert_eq!(world.written(), [other, SECRET]);
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_ahead_empties_no_bundle_and_costs_no_ca() {
        let now = SystemTime::now();
        let ring = Ring::new(authority(now));
        let first = ring.signing.certificate().clone();
        let world = World::new(&ring, b"", |_| Fate::DONE);
        world.settle(now).await;
        assert_eq!(world.trusted(), [vec![first.clone()], vec![first.clone()]]);

        // More than a whole life: what signs seems to be over, as after a long sleep.
        world.settle(now + LIFETIME + 30 * DAY).await;
        let ring = world.keeper.observed.load().ring().unwrap().clone();
        assert!(ring.signing.validity().contains(now + LIFETIME + 30 * DAY), "a machine that slept so long needs another CA");
        let both = vec![first.clone(), ring.signing.certificate().clone()];
        assert_eq!(world.trusted(), [both.clone(), both]);
        assert_eq!(ring.retired, std::slice::from_ref(&first));
        // The clock is set right, or the next holder's is.
        world.settle(now).await;
        assert!(world.keeper.observed.load().ring().unwrap().signing.validity().contains(now));
        for trusted in world.trusted() {
            assert!(trusted.contains(&first) && trusted.len() == 3, "others' clocks were right all the time");
        }
        for (path, body) in world.api.writes() {
            let bundle = body.pointer("/webhooks/0/clientConfig/caBundle").and_then(Value::as_str);
            assert!(path == SECRET || !bundle.unwrap().is_empty(), "{body}");
        }
    }

    #[tokio::test]
    async fn who_may_have_lost_the_lease_writes_nothing() {
        let lost = Claim::for_test(Duration::from_secs(8));
        let ring = due();
        let published = ring.signing.certificate_pem().as_bytes().to_vec();
        for bundle in [Vec::new(), published] {
            let world = World::new(&ring, &bundle, |_| Fate::DONE);
            let result = world.keeper.step(&mut None, &lost, SystemTime::now()).await;
            assert!(matches!(result, Err(KeeperError::LeaseLost)), "{result:?}");
            assert_eq!(world.written(), [""; 0]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_has_ended_before_another_may_hold_the_lease() {
        let world = World::new(&due(), b"", |_| Fate::DONE);
        world.api.silence();
        let begun = Instant::now();
        let result = world.keeper.step(&mut None, &current(), SystemTime::now()).await;
        assert!(matches!(result, Err(KeeperError::Write(RequestError::Silent(_)))), "{result:?}");
        assert_eq!(begun.elapsed(), 3 * WRITE_DEADLINE, "three writes, each given up in time");
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_no_write() {
        let world = World::new(&due(), b"", |_| Fate::DONE);
        world.api.silence();
        let (claim, shutdown) = (current(), Shutdown::default());
        let begun = Instant::now();
        let closing = async {
            tokio::time::sleep(WRITE_DEADLINE / 2).await;
            shutdown.close();
        };
        tokio::join!(world.keeper.run(&claim, &shutdown), closing);
        assert_eq!(begun.elapsed(), WRITE_DEADLINE / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_signs_only_after_it_was_trusted_itself_for_long_enough() {
        let now = SystemTime::now();
        let ring = due();
        let old = Trusted { authorities: ring.trusted(now), since: Instant::now() - Duration::from_secs(3600) };
        let announced = ring.announcing(authority(now));
        let both = super::super::ring::pem(&announced.trusted(now));
        let world = World::new(&announced, both.as_bytes(), |_| Fate::DONE);
        let mut trusted = Some(old);
        let settling = world.keeper.policy.settling();
        for _ in 0..2 {
            world.keeper.step(&mut trusted, &current(), now).await.unwrap();
            assert_eq!(world.written(), [""; 0], "the trust in its predecessor is not its own");
            tokio::time::advance(settling / 2).await;
            // Somebody touches the Secret, or the watch begins anew.
            world.api.put(SECRET, world.api.object(SECRET).unwrap());
            world.see();
        }
        world.keeper.step(&mut trusted, &current(), now).await.unwrap();
        assert_eq!(world.written(), [SECRET], "and trust is not forgotten by that");
    }
}
