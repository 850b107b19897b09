//! What is counted of user lists.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Gauges and counters of user lists. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(super) lists: Gauge,
    pub(super) writes: Counter,
    pub(super) restarts: Counter,
    reloads: Family<ReloadLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    outcome: &'static str,
}

impl Metrics {
    /// Gauges and counters, registered.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("userlists");
        registry.register("watched", "UserLists that are looked after", metrics.lists.clone());
        registry.register("secret_writes", "Secrets that were created or changed", metrics.writes.clone());
        registry.register("pooler_restarts", "Workloads that were restarted for a list", metrics.restarts.clone());
        registry.register("pooler_reloads", "Pods that were told to RELOAD, by outcome", metrics.reloads.clone());
        metrics
    }

    pub(super) fn count_reload(&self, outcome: &'static str) {
        self.reloads.get_or_create_owned(&ReloadLabels { outcome }).inc();
    }
}
