//! What is counted of repair. While this process doesn't hold the lease, there is nothing to show.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Gauges and counters of repair.
#[derive(Debug, Clone)]
pub struct Metrics {
    missing: Gauge,
    outdated: Gauge,
    passes: Counter,
    evictions: Family<EvictionLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvictionLabels {
    outcome: &'static str,
}

/// How many pods of each sort a pass has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) missing: i64,
    pub(super) outdated: i64,
}

impl Metrics {
    /// Gauges and counters, registered.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics =
            Self { missing: Gauge::default(), outdated: Gauge::default(), passes: Counter::default(), evictions: Family::default() };
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
