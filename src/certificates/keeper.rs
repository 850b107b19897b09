//! Keeps the CA young and trusted: renews it, and puts it into the webhook configurations. Only the holder of the lease does this.

use std::time::{Duration, SystemTime};

use kube::{
    Api,
    api::{Patch, PatchParams},
    core::DynamicObject,
};
use tokio::time::Instant;

use crate::{
    cluster::snapshot::Snapshot,
    runtime::{
        certificate::{Authority, CertificateError},
        complaint::Complaint,
        lease::Claim,
        shutdown::Shutdown,
    },
};

use super::{
    plan::{Policy, Publication, Step, is_published, next_step, publication},
    registration::Registrations,
    ring::Ring,
    secret::{CaSecret, Observed, is_conflict},
};

/// How often the clock on the wall is asked, and what failed is tried again.
const TICK: Duration = Duration::from_secs(5);

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

impl Keeper {
    /// Does what is to be done until shutdown, or until it is dropped because the lease is lost.
    pub async fn run(&self, claim: &Claim, shutdown: &Shutdown) {
        let (mut ring, mut mutating, mut validating) =
            (self.observed.changes(), self.mutating.observed.changes(), self.validating.observed.changes());
        let mut trusted_since = None;
        let mut complaint = Complaint::default();
        loop {
            match self.step(&mut trusted_since, claim).await {
                Ok(()) => complaint.settle(),
                Err(error) if error.is_conflict() => tracing::debug!(error = &error as &dyn std::error::Error, "somebody else was quicker"),
                Err(error) if complaint.is_new(&error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the CA can't be looked after; trying again");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = shutdown.closing() => return,
                // Another ring is not trusted yet.
                () = ring.next() => trusted_since = None,
                () = mutating.next() => {}
                () = validating.next() => {}
                () = tokio::time::sleep(TICK.min(self.policy.settling())) => {}
            }
        }
    }

    /// Publishes what is not published, then changes the ring if it is time. Each write is seen by the watches, which
    /// bring the next step.
    async fn step(&self, trusted_since: &mut Option<Instant>, claim: &Claim) -> Result<(), KeeperError> {
        let observed = self.observed.load();
        let Observed::Present { version, ring: Ok(ring) } = &*observed else { return Ok(()) };
        let now = SystemTime::now();
        let trusted = ring.trusted(now);
        for target in [&self.mutating, &self.validating] {
            if let Registrations::Present(registration) = &*target.observed.load()
                && let Some(publication) = publication(registration, &trusted, now)
            {
                target.publish(publication, claim).await?;
            }
        }
        let seen = [self.mutating.observed.load(), self.validating.observed.load()];
        *trusted_since = is_published(&seen, &trusted, now).then(|| trusted_since.unwrap_or_else(Instant::now));
        let trusted_for = trusted_since.map(|since| since.elapsed());
        match next_step(ring, trusted_for, now, &self.policy) {
            Some(step) => self.advance(step, ring, version, claim).await,
            None => Ok(()),
        }
    }

    async fn advance(&self, step: Step, ring: &Ring, version: &str, claim: &Claim) -> Result<(), KeeperError> {
        let now = SystemTime::now();
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
        self.api.patch_metadata(&self.name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        tracing::info!(configuration = self.name, "the CA was published in a webhook configuration");
        Ok(())
    }
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A CA can't be made.
    #[error("a CA can't be made")]
    Make(#[from] CertificateError),
    /// The API server refuses a write.
    #[error("the API server refuses the write")]
    Refused(#[from] kube::Error),
    /// Another replica may hold the lease by now.
    #[error("the lease is lost")]
    LeaseLost,
}

impl KeeperError {
    /// Whether somebody else was quicker: what they wrote is about to be seen.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::LeaseLost) || matches!(self, Self::Refused(error) if is_conflict(error))
    }
}
