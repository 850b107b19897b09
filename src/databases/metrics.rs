//! What is counted of databases.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Counters and gauges. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    looks: Counter,
    jobs: Family<JobLabels, Counter>,
    statements: Counter,
    status_writes: Counter,
    creation: Histogram,
    unreachable: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    outcome: &'static str,
}

impl Metrics {
    /// Registered.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            looks: Counter::default(),
            jobs: Family::default(),
            statements: Counter::default(),
            status_writes: Counter::default(),
            creation: Histogram::new([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0]),
            unreachable: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("databases");
        registry.register("looks", "Looks at the catalogue of a server, for all its databases at once", metrics.looks.clone());
        registry.register("jobs", "Objects that were worked on, by outcome", metrics.jobs.clone());
        registry.register("statements", "Statements that change a server", metrics.statements.clone());
        registry.register("status_writes", "Statuses that were written", metrics.status_writes.clone());
        registry.register_with_unit("creation", "How long CREATE DATABASE takes", Unit::Seconds, metrics.creation.clone());
        registry.register("servers_unreachable", "Servers that don't answer", metrics.unreachable.clone());
        metrics
    }

    pub(super) fn looked(&self) {
        self.looks.inc();
    }

    pub(super) fn worked(&self, outcome: &'static str) {
        self.jobs.get_or_create_owned(&JobLabels { outcome }).inc();
    }

    pub(super) fn changed_the_server(&self) {
        self.statements.inc();
    }

    pub(super) fn wrote_status(&self) {
        self.status_writes.inc();
    }

    pub(super) fn created(&self, seconds: f64) {
        self.creation.observe(seconds);
    }

    /// Counts a server as unreachable while this is kept.
    pub(super) fn unreachable(&self) -> Unreachable {
        self.unreachable.inc();
        Unreachable(self.unreachable.clone())
    }
}

/// A server that is counted as unreachable.
#[derive(Debug)]
pub(super) struct Unreachable(Gauge);

impl Drop for Unreachable {
    fn drop(&mut self) {
        self.0.dec();
    }
}
