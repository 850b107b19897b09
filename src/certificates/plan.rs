//! What is to be done about the CAs and the bundles by which the API server trusts them. Decides only; [`super::keeper`] does it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use super::{
    bundle,
    registration::{Registration, Registrations},
    ring::Ring,
};

/// How long CAs live, and how long everybody is given to learn of a new one.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The life of a CA.
    pub lifetime: Duration,
}

/// All API servers learn of a changed bundle by a watch of their own, within moments; this is many moments.
const SETTLING: Duration = Duration::from_secs(30);

impl Policy {
    /// How long a successor is trusted before it signs; less if CAs live for minutes.
    #[must_use]
    pub fn settling(&self) -> Duration {
        SETTLING.min(self.lifetime / 20)
    }
}

/// A change of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make a CA that signs at once: none is good any more, so nothing is lost by not waiting.
    Replace,
    /// Make a successor, to be trusted before it signs.
    Announce,
    /// Let the successor sign.
    Promote,
}

impl Step {
    /// Why this is done, for the log.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Replace => "the CA is not good at this time and has no successor",
            Self::Announce => "two thirds of the CA's life are over",
            Self::Promote => "the CA's successor is trusted everywhere, or the CA is not good any more",
        }
    }
}

/// What is to be done about the ring. `trusted_for` is how long all webhook configurations have carried all of it.
#[must_use]
pub fn next_step(ring: &Ring, trusted_for: Option<Duration>, now: SystemTime, policy: &Policy) -> Option<Step> {
    let signing = ring.signing.validity();
    let next = ring.next.as_ref().filter(|next| next.validity().contains(now));
    match next {
        None if !signing.contains(now) => Some(Step::Replace),
        None => (now >= signing.renewal()).then_some(Step::Announce),
        Some(_) => (!signing.contains(now) || trusted_for >= Some(policy.settling())).then_some(Step::Promote),
    }
}

/// A change of one webhook configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Publication {
    /// A strategic merge patch: it names webhooks by name, never by place, and only applies to the version that was seen.
    pub patch: Value,
}

/// What is to be written so that the webhooks of a configuration trust these CAs; nothing if they do.
#[must_use]
pub fn publication(registration: &Registration, trusted: &[CertificateDer<'_>], now: SystemTime) -> Option<Publication> {
    let changed = registration.webhooks.iter().filter_map(|webhook| {
        let bundle = bundle::merged(&webhook.bundle, trusted, now)?;
        Some(json!({"name": webhook.name, "clientConfig": {"caBundle": bundle::encoded(&bundle)}}))
    });
    let webhooks: Vec<Value> = changed.collect();
    (!webhooks.is_empty())
        .then(|| Publication { patch: json!({"metadata": {"resourceVersion": registration.version}, "webhooks": webhooks}) })
}

/// Whether all webhooks trust these CAs. Nothing is known while a configuration can't be watched.
#[must_use]
pub fn is_published(registrations: &[Arc<Registrations>], trusted: &[CertificateDer<'_>], now: SystemTime) -> bool {
    let is_settled = |registrations: &Arc<Registrations>| match &**registrations {
        Registrations::Unknown => false,
        Registrations::Absent => true,
        Registrations::Present(registration) => publication(registration, trusted, now).is_none(),
    };
    registrations.iter().all(is_settled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        certificates::registration::Webhook,
        runtime::certificate::{Authority, tests::with_provider},
    };

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const POLICY: Policy = Policy { lifetime: Duration::from_secs(365 * 24 * 3600) };

    fn ring(now: SystemTime) -> Ring {
        with_provider();
        Ring::new(Authority::make(now, POLICY.lifetime).unwrap())
    }

    fn registration(bundles: &[&[u8]]) -> Registration {
        let webhook = |(n, bundle): (usize, &&[u8])| Webhook { name: format!("w{n}"), bundle: bundle.to_vec() };
        Registration { version: "7".to_owned(), webhooks: bundles.iter().enumerate().map(webhook).collect() }
    }

    #[test]
    fn a_ca_lives_two_thirds_of_its_life_alone_and_hands_over_when_its_successor_is_trusted() {
        let start = SystemTime::now();
        let ring = ring(start);
        let due = start + DAY * 365 * 2 / 3;
        assert_eq!(next_step(&ring, Some(DAY), due - DAY, &POLICY), None);
        assert_eq!(next_step(&ring, Some(DAY), due, &POLICY), Some(Step::Announce));

        let announced = ring.announcing(Authority::make(due, POLICY.lifetime).unwrap());
        assert_eq!(next_step(&announced, None, due, &POLICY), None, "not all trust it");
        assert_eq!(next_step(&announced, Some(Duration::from_secs(29)), due, &POLICY), None, "not all have heard of it");
        assert_eq!(next_step(&announced, Some(Duration::from_secs(30)), due, &POLICY), Some(Step::Promote));

        let promoted = announced.promoted();
        assert_eq!(next_step(&promoted, Some(DAY), due, &POLICY), None);
        assert_eq!(promoted.trusted(due).len(), 2, "what the old one signed is still served for a moment");
        assert_eq!(promoted.trusted(start + DAY * 366).len(), 2, "it may be our clock that says it is over");
        assert_eq!(promoted.trusted(start + DAY * 366 * 2), [promoted.signing.certificate().clone()]);
    }

    #[test]
    fn a_machine_that_slept_past_the_end_waits_for_nobody() {
        let start = SystemTime::now();
        let ring = ring(start);
        let late = start + DAY * 400;
        assert_eq!(next_step(&ring, None, late, &POLICY), Some(Step::Replace));
        let announced = ring.announcing(Authority::make(start + DAY * 300, POLICY.lifetime).unwrap());
        assert_eq!(next_step(&announced, None, late, &POLICY), Some(Step::Promote));
        let both_over = start + DAY * 800;
        assert_eq!(next_step(&announced, None, both_over, &POLICY), Some(Step::Replace));
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_leave_a_ca_of_the_future() {
        let now = SystemTime::now();
        assert_eq!(next_step(&ring(now + DAY * 400), Some(DAY), now, &POLICY), Some(Step::Replace));
    }

    #[test]
    fn only_webhooks_that_lack_a_ca_are_written_and_only_their_bundle() {
        let now = SystemTime::now();
        let trusted = ring(now).trusted(now);
        let whole = bundle::merged(b"", &trusted, now).unwrap();
        let Publication { patch } = publication(&registration(&[&whole, b""]), &trusted, now).unwrap();
        let expected = json!({
            "metadata": {"resourceVersion": "7"},
            "webhooks": [{"name": "w1", "clientConfig": {"caBundle": bundle::encoded(&whole)}}],
        });
        assert_eq!(patch, expected);
        assert_eq!(publication(&registration(&[&whole]), &trusted, now), None, "an unchanged world causes no write");
    }

    #[test]
    fn published_is_what_is_seen_everywhere() {
        let now = SystemTime::now();
        let trusted = ring(now).trusted(now);
        let whole = bundle::merged(b"", &trusted, now).unwrap();
        let done = Arc::new(Registrations::Present(registration(&[&whole])));
        let missing = Arc::new(Registrations::Present(registration(&[b""])));
        let (absent, unknown) = (Arc::new(Registrations::Absent), Arc::new(Registrations::Unknown));
        let published = |one: &Arc<Registrations>, other: &Arc<Registrations>| is_published(&[one.clone(), other.clone()], &trusted, now);
        assert!(published(&done, &done) && published(&done, &absent));
        assert!(!published(&done, &missing) && !published(&done, &unknown));
    }
}
