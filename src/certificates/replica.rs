//! Each replica's own certificate: signed in memory by the CA of all, and signed anew before it ends or when the CA changes.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::pki_types::CertificateDer;

use crate::{
    cluster::snapshot::Snapshot,
    runtime::{
        certificate::{Authority, CertificateError, Served, Validity, validity},
        complaint::{Complaint, with_causes},
        shutdown::Shutdown,
    },
};

use super::{ring::Ring, secret::Observed};

/// How often the clock on the wall is asked. Timers alone stand still while a machine sleeps.
const TICK: Duration = Duration::from_secs(10);

/// Signs the certificate that this process serves.
#[derive(Debug)]
pub struct Signer {
    /// The names and addresses it is for.
    pub names: Vec<String>,
    /// How long it is good for; no longer than its CA.
    pub lifetime: Duration,
    /// Where it is served.
    pub served: Arc<Served>,
}

/// What the served certificate was signed with.
#[derive(Debug)]
struct Signed {
    authority: CertificateDer<'static>,
    validity: Validity,
}

impl Signer {
    /// Signs whenever it must until shutdown, with the CA that was seen last if none is to be seen now.
    pub async fn run(self, observed: Snapshot<Observed>, shutdown: Shutdown) {
        let mut changes = observed.changes();
        let (mut last, mut signed) = (None, None);
        let mut complaint = Complaint::default();
        loop {
            let current = observed.load();
            last = current.ring().cloned().or(last);
            let failure = match self.sign_if_due(last.as_deref(), signed.as_ref(), SystemTime::now()) {
                Ok(new) => {
                    signed = new.or(signed);
                    complaint.settle();
                    None
                }
                Err(error) => {
                    self.served.count_failure();
                    if complaint.is_new(&error) {
                        tracing::error!(error = with_causes(&error), "no certificate can be signed; serving the old one");
                    }
                    Some(error)
                }
            };
            self.served.judge(lack(&current, last.as_deref(), failure.as_ref(), SystemTime::now()));
            tokio::select! {
                () = shutdown.closing() => return,
                () = changes.next() => {}
                () = tokio::time::sleep(TICK.min(self.lifetime / 10)) => {}
            }
        }
    }

    fn sign_if_due(&self, ring: Option<&Ring>, signed: Option<&Signed>, now: SystemTime) -> Result<Option<Signed>, CertificateError> {
        let Some(authority) = ring.map(|ring| &*ring.signing) else { return Ok(None) };
        if !is_due(authority, signed, now) {
            return Ok(None);
        }
        let certificate = authority.sign(&self.names, now, self.lifetime)?;
        let validity = validity(&certificate)?;
        self.served.replace(certificate)?;
        tracing::info!(until = %jiff::Timestamp::try_from(validity.end).unwrap_or_default(), "serving a new certificate");
        Ok(Some(Signed { authority: authority.certificate().clone(), validity }))
    }
}

/// Why no new certificate could be signed now.
fn lack(current: &Observed, last: Option<&Ring>, failure: Option<&CertificateError>, now: SystemTime) -> Option<String> {
    if let Some(error) = failure {
        return Some(format!("no certificate can be signed: {error}"));
    }
    if let Some(validity) = last.map(|ring| ring.signing.validity()).filter(|validity| !validity.contains(now)) {
        let time = |time: SystemTime| jiff::Timestamp::try_from(time).unwrap_or_default();
        return Some(format!(
            "the CA is not good by this machine's clock (from {} to {}): the holder of the lease replaces it, if its clock agrees",
            time(validity.start),
            time(validity.end)
        ));
    }
    current.lack().map(|lack| if last.is_some() { format!("{lack}; signing with the CA that it held before") } else { lack })
}

/// Whether a certificate must be signed: there is none, another CA signs now, or its time is over or not yet come. A CA
/// that is not good itself signs nothing of use; what is served stays.
fn is_due(authority: &Authority, signed: Option<&Signed>, now: SystemTime) -> bool {
    if !authority.validity().contains(now) {
        return false;
    }
    let Some(signed) = signed else { return true };
    // One that ends with its CA can't be made to last longer.
    let is_old = now >= signed.validity.renewal() && signed.validity.end < authority.validity().end;
    signed.authority != *authority.certificate() || !signed.validity.contains(now) || is_old
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::{
        certificates::ring::RingError,
        cluster::snapshot::{Writer, snapshot},
        runtime::{certificate::tests::with_provider, readiness::Readiness},
    };

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn signed(authority: &Authority, now: SystemTime) -> Signed {
        let leaf = authority.sign(&["localhost".to_owned()], now, 7 * DAY).unwrap();
        Signed { authority: authority.certificate().clone(), validity: validity(&leaf).unwrap() }
    }

    #[test]
    fn signs_at_first_at_two_thirds_and_when_the_clock_jumps() {
        with_provider();
        let now = SystemTime::now();
        let authority = Authority::make(now, 365 * DAY).unwrap();
        assert!(is_due(&authority, None, now));
        let signed = signed(&authority, now);
        assert!(!is_due(&authority, Some(&signed), now + 4 * DAY));
        assert!(is_due(&authority, Some(&signed), now + 5 * DAY), "two thirds are over");
        assert!(is_due(&authority, Some(&signed), now + 30 * DAY), "the machine slept for a month");
        let later = self::signed(&authority, now + 30 * DAY);
        assert!(is_due(&authority, Some(&later), now + DAY), "the clock was ahead and was set right");
    }

    #[test]
    fn signs_when_another_ca_signs_and_never_with_one_that_is_not_good() {
        with_provider();
        let now = SystemTime::now();
        let (old, new) = (Authority::make(now, 365 * DAY).unwrap(), Authority::make(now, 365 * DAY).unwrap());
        let signed = signed(&old, now);
        assert!(is_due(&new, Some(&signed), now));
        let over = now + 366 * DAY;
        assert!(!is_due(&old, None, over) && !is_due(&old, Some(&signed), over));
    }

    #[test]
    fn one_that_ends_with_its_ca_is_not_signed_again_and_again() {
        with_provider();
        let now = SystemTime::now();
        let authority = Authority::make(now, 3 * DAY).unwrap();
        let signed = signed(&authority, now);
        assert!(!is_due(&authority, Some(&signed), now + 2 * DAY + DAY / 2));
    }

    /// A running replica, what it sees of the Secret, and its readiness.
    struct Replica {
        secret: Writer<Observed>,
        readiness: Readiness,
        served: Arc<Served>,
        _running: AbortOnDropHandle<()>,
    }

    impl Replica {
        fn start(observed: Observed, names: &[&str], lifetime: Duration) -> Self {
            with_provider();
            let readiness = Readiness::default();
            let served = Served::new(readiness.gate("certificate"), &mut Registry::default());
            let (secret, observed) = snapshot(observed);
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let signer = Signer { names, lifetime, served: served.clone() };
            let running = AbortOnDropHandle::new(tokio::spawn(signer.run(observed, Shutdown::default())));
            Self { secret, readiness, served, _running: running }
        }

        async fn until_reported(&self, part: &str) {
            let found = async {
                while !self.readiness.report().contains(part) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let found = tokio::time::timeout(Duration::from_secs(20), found).await;
            found.unwrap_or_else(|_| panic!("{part} in {}", self.readiness.report()));
        }
    }

    fn holding(authority: Authority) -> Observed {
        Observed::Present { version: "1".to_owned(), ring: Ok(Arc::new(Ring::new(authority))) }
    }

    #[tokio::test]
    async fn a_replica_whose_secret_is_lost_signs_on_and_says_so() {
        with_provider();
        let replica = Replica::start(holding(Authority::make(SystemTime::now(), DAY).unwrap()), &["localhost"], Duration::from_secs(2));
        replica.until_reported("certificate: ok").await;
        replica.secret.store(Observed::Absent);
        replica.until_reported("does not exist; signing with the CA that it held before").await;
        let before = replica.served.current().unwrap();
        let signed_anew = async {
            while replica.served.current().unwrap().cert == before.cert {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), signed_anew).await.unwrap();
        assert!(replica.readiness.is_ready(), "{}", replica.readiness.report());
        let foreign = Observed::Present { version: "2".to_owned(), ring: Err(Arc::new(RingError::Foreign { found: "Opaque".to_owned() })) };
        replica.secret.store(foreign);
        replica.until_reported(r#"its type is "Opaque""#).await;
        assert!(replica.readiness.is_ready());
    }

    #[tokio::test]
    async fn readiness_names_a_ca_that_is_not_good_and_a_certificate_that_can_not_be_signed() {
        let replica = Replica::start(Observed::Unknown, &["localhost"], DAY);
        replica.until_reported("waiting for the CA's Secret").await;
        replica.secret.store(holding(Authority::make(SystemTime::now() + 10 * DAY, DAY).unwrap()));
        replica.until_reported("the CA is not good by this machine's clock (from 2").await;
        assert!(!replica.readiness.is_ready());
        let nameless = Replica::start(holding(Authority::make(SystemTime::now(), DAY).unwrap()), &["näme"], DAY);
        nameless.until_reported("no certificate can be signed: ").await;
        assert!(!nameless.readiness.is_ready());
    }
}
