//! What is counted of reviews. Every label has a few fixed values.

use std::{
    sync::atomic::AtomicI64,
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// From the time of a small pod to that of a client's patience.
const BUCKETS: [f64; 14] = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Counters of one webhook server.
#[derive(Debug, Clone)]
pub struct Metrics {
    reviews: Family<ReviewLabels, Counter>,
    durations: Family<WebhookLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge<i64, AtomicI64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    webhook: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    webhook: &'static str,
}

/// How a review ended, in words for labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) outcome: &'static str,
    pub(crate) reason: &'static str,
}

impl Metrics {
    /// Counters, registered.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            reviews: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("admission");
        registry.register("reviews", "Reviews, by webhook, outcome and reason", metrics.reviews.clone());
        registry.register_with_unit("duration", "Time from a review's last byte to its answer", Unit::Seconds, metrics.durations.clone());
        registry.register("in_flight", "Reviews being read, decided or answered", metrics.in_flight.clone());
        metrics
    }

    /// Counts a review in progress until the guard is dropped.
    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight { gauge: self.in_flight.clone() }
    }

    pub(crate) fn observe(&self, webhook: &'static str, verdict: Verdict, since: Instant) {
        let Verdict { outcome, reason } = verdict;
        self.reviews.get_or_create_owned(&ReviewLabels { webhook, outcome, reason }).inc();
        self.durations.get_or_create_owned(&WebhookLabels { webhook }).observe(Duration::as_secs_f64(&since.elapsed()));
    }
}

pub(crate) struct InFlight {
    gauge: Gauge<i64, AtomicI64>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
