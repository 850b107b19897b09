//! A `caBundle`: which CAs the API server trusts of a webhook's server.

use std::{ops::Range, time::SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::X509Name;

use crate::runtime::certificate::COMMON_NAME;

use super::ring::{is_forgotten, pem};

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// The bundle that trusts all of `trusted`; `None` if it does already. What others have put there stays as it is, byte by
/// byte. Only our own CAs are ever taken out, and only long after their end.
#[must_use]
pub fn merged(bundle: &[u8], trusted: &[CertificateDer<'_>], now: SystemTime) -> Option<Vec<u8>> {
    let (mut kept, mut known) = (Vec::with_capacity(bundle.len()), Vec::new());
    let mut copied = 0;
    for block in blocks(bundle) {
        let Some(certificate) = bundle.get(block.clone()).and_then(|text| CertificateDer::from_pem_slice(text).ok()) else { continue };
        if !trusted.contains(&certificate) && is_ours(&certificate) && is_forgotten(&certificate, now) {
            kept.extend_from_slice(bundle.get(copied..block.start).unwrap_or_default());
            copied = block.end;
        } else {
            known.push(certificate);
        }
    }
    kept.extend_from_slice(bundle.get(copied..).unwrap_or_default());
    let missing: Vec<_> = trusted.iter().filter(|authority| !known.contains(authority)).cloned().collect();
    if missing.is_empty() {
        return (kept != bundle).then_some(kept);
    }
    if kept.last().is_some_and(|last| *last != b'\n') {
        kept.push(b'\n');
    }
    kept.extend_from_slice(pem(&missing).as_bytes());
    Some(kept)
}

/// A bundle as JSON carries it.
#[must_use]
pub fn encoded(bundle: &[u8]) -> String {
    STANDARD.encode(bundle)
}

/// Where certificates stand in a bundle, each with the end of its last line.
fn blocks(bundle: &[u8]) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let mut from = 0;
    while let Some(last_line) = find(bundle, END, from) {
        let end = find(bundle, b"\n", last_line).map_or(bundle.len(), |newline| newline + 1);
        // The last beginning counts: before it may be one that was cut off.
        let beginnings = std::iter::successors(find(bundle, BEGIN, from), |at| find(bundle, BEGIN, at + 1));
        blocks.extend(beginnings.take_while(|at| *at < last_line).last().map(|start| start..end));
        from = end;
    }
    blocks
}

fn find(text: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    text.get(from..)?.windows(wanted.len()).position(|window| window == wanted).map(|at| from + at)
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
    fn adds_what_is_missing_and_leaves_what_others_put_there_as_it_is() {
        with_provider();
        let now = SystemTime::now();
        let ours = [Authority::make(now, DAY).unwrap().certificate().clone()];
        let foreign = foreign();
        let others = [
            foreign.clone(),
            foreign.replace('\r', "").replace('\n', "\r\n"),
            format!("# Example Corp Root\n{foreign}# the end"),
            format!("{foreign}{foreign}"),
            "\n".to_owned(),
            "no certificate at all".to_owned(),
            "-----BEGIN CERTIFICATE-----\ncut off".to_owned(),
            String::new(),
        ];
        for other in others {
            let bundle = merged(other.as_bytes(), &ours, now).unwrap();
            let added = bundle.strip_prefix(other.as_bytes()).unwrap();
            assert_eq!(added.trim_ascii_start(), pem(&ours).as_bytes());
            assert_eq!(merged(&bundle, &ours, now), None, "{other:?}");
        }
    }

    #[test]
    fn takes_out_our_own_long_after_their_end_and_nothing_else() {
        with_provider();
        let now = SystemTime::now();
        let (old, new) = (Authority::make(now, DAY).unwrap(), Authority::make(now + DAY / 2, 10 * DAY).unwrap());
        let trusted = [new.certificate().clone()];
        let foreign = format!("# theirs\n{}", foreign());
        let both = format!("{foreign}{}# ours\n{}", old.certificate_pem(), new.certificate_pem());
        for not_yet in [DAY / 2, DAY, 2 * DAY] {
            assert_eq!(merged(both.as_bytes(), &trusted, now + not_yet), None, "{not_yet:?}");
        }
        let alone = merged(both.as_bytes(), &trusted, now + 3 * DAY).unwrap();
        assert_eq!(String::from_utf8(alone).unwrap(), format!("{foreign}# ours\n{}", new.certificate_pem()));
    }

    #[test]
    fn what_is_trusted_is_never_taken_out() {
        with_provider();
        let now = SystemTime::now();
        let ours = Authority::make(now, DAY).unwrap();
        assert_eq!(merged(ours.certificate_pem().as_bytes(), &[ours.certificate().clone()], now + 100 * DAY), None);
    }
}
