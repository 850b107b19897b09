//! A `caBundle`: which CAs the API server trusts of a webhook's server.

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::X509Name;

use crate::runtime::certificate::COMMON_NAME;

use super::ring::{has_expired, pem};

/// The bundle that trusts all of `trusted`, besides whatever others have put there; `None` if it does already. Only our own
/// CAs are ever taken out, and only after their end.
#[must_use]
pub fn merged(bundle: &[u8], trusted: &[CertificateDer<'_>], now: SystemTime) -> Option<String> {
    // What is no certificate is of no use to the API server either.
    let before: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok).collect();
    let mut after: Vec<CertificateDer<'_>> = before.iter().filter(|known| !(is_ours(known) && has_expired(known, now))).cloned().collect();
    for authority in trusted {
        if !after.contains(authority) {
            after.push(authority.clone());
        }
    }
    (after != before).then(|| pem(&after))
}

/// A bundle as JSON carries it.
#[must_use]
pub fn encoded(bundle: &str) -> String {
    STANDARD.encode(bundle)
}

/// Whether a certificate is a CA that this program made, by its name.
fn is_ours(certificate: &CertificateDer<'_>) -> bool {
    let name = |subject: &X509Name<'_>| subject.iter_common_name().any(|name| name.as_str() == Ok(COMMON_NAME));
    x509_parser::parse_x509_certificate(certificate).is_ok_and(|(_, parsed)| name(parsed.subject()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::certificate::{Authority, tests::with_provider};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn foreign() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn adds_what_is_missing_and_leaves_what_others_put_there() {
        with_provider();
        let now = SystemTime::now();
        let ours = [Authority::make(now, DAY).unwrap().certificate().clone()];
        let foreign = foreign();
        let bundle = merged(foreign.as_bytes(), &ours, now).unwrap();
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(bundle.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(certificates[0], CertificateDer::from_pem_slice(foreign.as_bytes()).unwrap(), "others' are theirs to take out");
        assert_eq!(certificates[1..], ours);
        assert_eq!(merged(bundle.as_bytes(), &ours, now), None);
    }

    #[test]
    fn takes_out_our_own_after_their_end_and_not_before() {
        with_provider();
        let now = SystemTime::now();
        let (old, new) = (Authority::make(now, DAY).unwrap(), Authority::make(now + DAY / 2, DAY).unwrap());
        let both = merged(old.certificate_pem().as_bytes(), &[new.certificate().clone()], now).unwrap();
        assert_eq!(merged(both.as_bytes(), &[new.certificate().clone()], now + DAY / 2), None);
        let alone = merged(both.as_bytes(), &[new.certificate().clone()], now + DAY).unwrap();
        assert_eq!(alone, pem(&[new.certificate().clone()]));
    }

    #[test]
    fn garbage_is_replaced() {
        with_provider();
        let now = SystemTime::now();
        let ours = [Authority::make(now, DAY).unwrap().certificate().clone()];
        assert_eq!(merged(b"garbage", &ours, now).unwrap(), pem(&ours));
    }
}
