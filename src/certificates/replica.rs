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
        shutdown::Shutdown,
    },
};

use super::secret::Observed;

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
    /// Signs whenever it must until shutdown.
    pub async fn run(self, observed: Snapshot<Observed>, shutdown: Shutdown) {
        let mut changes = observed.changes();
        let mut signed = None;
        loop {
            let current = observed.load();
            if let Some(lack) = current.lack() {
                self.served.await_first(lack);
            }
            if let Some(ring) = current.ring() {
                match self.sign_if_due(&ring.signing, signed.as_ref(), SystemTime::now()) {
                    Ok(new) => signed = new.or(signed),
                    Err(error) => {
                        self.served.count_failure();
                        tracing::error!(error = &error as &dyn std::error::Error, "no certificate can be signed; serving the old one");
                    }
                }
            }
            self.served.judge();
            tokio::select! {
                () = shutdown.closing() => return,
                () = changes.next() => {}
                () = tokio::time::sleep(TICK.min(self.lifetime / 10)) => {}
            }
        }
    }

    fn sign_if_due(&self, authority: &Authority, signed: Option<&Signed>, now: SystemTime) -> Result<Option<Signed>, CertificateError> {
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
    use super::*;
    use crate::runtime::certificate::tests::with_provider;

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
}
