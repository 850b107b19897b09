//! What is counted of repair. While this process doesn't hold the lease, there is nothing to show.

use std::{
    iter::Sum,
    time::{Duration, SystemTime},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// Gauges and counters of repair.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    missing: Gauge,
    outdated: Gauge,
    passes: Counter,
    pass_due: Gauge,
    failed_lists: Counter,
    evictions: Family<EvictionLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvictionLabels {
    outcome: &'static str,
}

/// How many pods of each sort a look has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) missing: i64,
    pub(super) outdated: i64,
}

impl Sum for Found {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, found| Self { missing: sum.missing + found.missing, outdated: sum.outdated + found.outdated })
    }
}

impl Metrics {
    /// Gauges and counters, registered.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "pods_missing_sidecars",
            "Pods that the last look found without the sidecars they ask for",
            metrics.missing.clone(),
        );
        registry.register(
            "pods_outdated",
            "Pods that the last look found with sidecars of another version, or of other settings",
            metrics.outdated.clone(),
        );
        let registry = registry.sub_registry_with_prefix("repair");
        registry.register("passes", "Looks at all pods that came to their end", metrics.passes.clone());
        registry.register_with_unit(
            "pass_due",
            "When the next look at all pods should have come to its end, in seconds since 1970",
            Unit::Seconds,
            metrics.pass_due.clone(),
        );
        registry.register("failed_lists", "Lists of pods, of a namespace or of all, that failed", metrics.failed_lists.clone());
        registry.register("evictions", "Pods that were to be evicted, by outcome", metrics.evictions.clone());
        metrics
    }

    pub(super) fn show(&self, found: Found) {
        self.missing.set(found.missing);
        self.outdated.set(found.outdated);
    }

    pub(super) fn passed(&self) {
        self.passes.inc();
    }

    /// A look should come to its end within this time from now.
    pub(super) fn expect_pass_within(&self, time: Duration) {
        let due = (SystemTime::now() + time).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.pass_due.set(i64::try_from(due).unwrap_or(i64::MAX));
    }

    pub(super) fn count_failed_list(&self) {
        self.failed_lists.inc();
    }

    pub(super) fn count_eviction(&self, outcome: &'static str) {
        self.evictions.get_or_create_owned(&EvictionLabels { outcome }).inc();
    }
}

/// Takes back what was shown when it is dropped: another process may know better by then.
#[derive(Debug)]
pub(super) struct Shown<'a>(pub(super) &'a Metrics);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.show(Found::default());
    }
}
