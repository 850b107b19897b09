//! The Secret that holds the CAs: watched by its name, filled when empty, changed only as the version that was seen.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt, api::Patch};
use serde_json::json;

use crate::{
    cluster::{
        snapshot::{Snapshot, Writer},
        watch::{Entries, Projection},
    },
    runtime::{
        backoff::Backoff,
        certificate::{Authority, CertificateError},
        complaint::{Complaint, with_causes},
        lease::WRITE_DEADLINE,
        request::{self, RequestError},
        shutdown::Shutdown,
    },
};

use super::ring::{Ring, RingError, SECRET_TYPE};

/// A Secret that can't be filled is tried again after about this, or when it changes.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// And no later than after this.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What is known of the Secret.
#[derive(Debug, Clone)]
pub enum Observed {
    /// Nothing yet, or it can't be watched.
    Unknown,
    /// There is no Secret of its name.
    Absent,
    /// It is there.
    Present {
        /// The version that was seen.
        version: String,
        /// What it holds, or why it can't be used.
        ring: Result<Arc<Ring>, Arc<RingError>>,
    },
}

impl Observed {
    /// What it lacks, for whoever waits for the ring.
    #[must_use]
    pub fn lack(&self) -> Option<String> {
        match self {
            Self::Present { ring: Ok(_), .. } => None,
            Self::Unknown => Some("waiting for the CA's Secret".to_owned()),
            Self::Absent => Some("the CA's Secret does not exist".to_owned()),
            Self::Present { ring: Err(error), .. } => Some(format!("the CA's Secret can't be used: {error}")),
        }
    }

    /// The ring, if there is one.
    #[must_use]
    pub fn ring(&self) -> Option<&Arc<Ring>> {
        match self {
            Self::Present { ring: Ok(ring), .. } => Some(ring),
            _ => None,
        }
    }
}

/// Follows the one Secret.
#[derive(Debug)]
pub struct SecretProjection(pub Writer<Observed>);

impl Projection for SecretProjection {
    type Object = Secret;
    type Entry = Observed;

    const NAME: &'static str = "ca-secret";

    fn project(&self, secret: &Secret) -> Option<Observed> {
        Some(Observed::Present { version: secret.resource_version()?, ring: Ring::read(secret).map(Arc::new).map_err(Arc::new) })
    }

    fn publish(&self, known: Option<&Entries<Observed>>) {
        // The watch is of one name.
        self.0.store(known.map_or(Observed::Unknown, |known| known.values().next().cloned().unwrap_or(Observed::Absent)));
    }
}

/// Why the Secret is not filled.
#[derive(Debug, thiserror::Error)]
enum FillError {
    #[error("a CA can't be made")]
    Make(#[from] CertificateError),
    #[error("what it holds can't be read; remove its data to have it filled anew")]
    Unusable(#[source] Arc<RingError>),
    #[error("it can't be written")]
    Write(#[from] RequestError),
}

impl FillError {
    /// Whether somebody else was quicker: what they wrote is about to be seen.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Write(error) if error.is_conflict())
    }
}

/// The Secret by its name.
#[derive(Debug, Clone)]
pub struct CaSecret {
    /// The Secrets of its namespace.
    pub api: Api<Secret>,
    /// Its name.
    pub name: String,
}

impl CaSecret {
    /// Fills the Secret whenever it is found empty, until shutdown: with the CAs that were seen in it before, or with a
    /// new one. When two replicas do so at once, one is refused and takes what the other wrote. What can't be read is left
    /// alone, since a newer version of this program may have written it.
    pub async fn keep_filled(self, observed: Snapshot<Observed>, lifetime: Duration, shutdown: Shutdown) {
        let mut last = None;
        let (mut complaint, mut backoff) = (Complaint::default(), Backoff::new(FIRST_PAUSE, LONGEST_PAUSE));
        let mut changes = observed.changes();
        loop {
            let current = observed.load();
            last = current.ring().cloned().or(last);
            let filled = tokio::select! {
                () = shutdown.closing() => return,
                filled = self.fill(&current, last.as_deref(), lifetime) => filled,
            };
            let pause = if let Err(error) = filled {
                if !error.is_conflict() && complaint.is_new(&error) {
                    tracing::error!(secret = self.name, error = with_causes(&error), "the CA's Secret can't be used or filled");
                }
                backoff.pause()
            } else {
                complaint.settle();
                backoff.reset();
                LONGEST_PAUSE
            };
            tokio::select! {
                () = shutdown.closing() => return,
                () = changes.next() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn fill(&self, observed: &Observed, last: Option<&Ring>, lifetime: Duration) -> Result<(), FillError> {
        let version = match observed {
            Observed::Unknown | Observed::Present { ring: Ok(_), .. } => return Ok(()),
            Observed::Present { ring: Err(error), .. } if !matches!(**error, RingError::Empty) => {
                return Err(FillError::Unusable(error.clone()));
            }
            Observed::Present { version, .. } => Some(version),
            Observed::Absent => None,
        };
        let now = SystemTime::now();
        let ring = last.map_or_else(|| Authority::make(now, lifetime).map(Ring::new), |last| Ok(last.clone()))?;
        match version {
            Some(version) => self.write(&ring, version, now).await?,
            None => self.create(&ring, now).await?,
        }
        tracing::info!(secret = self.name, new = last.is_none(), "the CA's Secret was empty and is filled");
        Ok(())
    }

    /// Writes the ring over the version that was seen.
    ///
    /// # Errors
    /// The API server refuses it, with a conflict if somebody else was quicker; or it does not answer within [`WRITE_DEADLINE`].
    pub async fn write(&self, ring: &Ring, version: &str, now: SystemTime) -> Result<(), RequestError> {
        let patch = json!({"metadata": {"resourceVersion": version}, "data": ring.data(now)});
        request::within(WRITE_DEADLINE, self.api.patch_metadata(&self.name, &request::patching(), &Patch::Merge(patch))).await.map(drop)
    }

    async fn create(&self, ring: &Ring, now: SystemTime) -> Result<(), RequestError> {
        let mut data = ring.data(now);
        // In a patch null takes a key away; in a new object it would become an empty value, which can't be read back.
        if let Some(data) = data.as_object_mut() {
            data.retain(|_, value| !value.is_null());
        }
        let manifest = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.name}, "type": SECRET_TYPE, "data": data,
        });
        let secret: Secret = serde_json::from_value(manifest).map_err(kube::Error::SerdeError)?;
        request::within(WRITE_DEADLINE, self.api.create(&request::creating(), &secret)).await.map(drop)
    }
}
