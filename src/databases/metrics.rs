//! What is counted of databases.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use crate::{
    api::{condition, pg_database::PgDatabase},
    cluster::snapshot::Snapshot,
};

use super::{objects::Objects, status};

/// A look that takes long is not late before this, beside some intervals.
const PATIENCE: Duration = Duration::from_secs(300);
/// So many intervals may pass without a look.
const INTERVALS: u32 = 3;
/// What an object is counted under that nobody has looked at yet.
const NEW: &str = "New";

/// Counters and gauges. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    looks: Counter,
    jobs: Family<JobLabels, Counter>,
    statements: Counter,
    status_writes: Counter,
    creation: Histogram,
    unreachable: Gauge,
    due: Family<ServerLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    server: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    outcome: &'static str,
}

impl Metrics {
    /// Registered, with what there is of objects.
    pub fn new(registry: &mut Registry, objects: Snapshot<Objects<PgDatabase>>) -> Self {
        let metrics = Self {
            looks: Counter::default(),
            jobs: Family::default(),
            statements: Counter::default(),
            status_writes: Counter::default(),
            creation: Histogram::new([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0]),
            unreachable: Gauge::default(),
            due: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("databases");
        registry.register("looks", "Looks at the catalogue of a server, for all its databases at once", metrics.looks.clone());
        registry.register("jobs", "Objects that were worked on, by outcome", metrics.jobs.clone());
        registry.register("statements", "Statements that change a server", metrics.statements.clone());
        registry.register("status_writes", "Statuses that were written", metrics.status_writes.clone());
        registry.register_with_unit("creation", "How long CREATE DATABASE takes", Unit::Seconds, metrics.creation.clone());
        registry.register("servers_unreachable", "Servers that don't answer", metrics.unreachable.clone());
        registry.register(
            "look_due_seconds",
            "When the next look at a server should have come to its end, in seconds since 1970",
            metrics.due.clone(),
        );
        registry.register_collector(Box::new(ByReason(objects)));
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

    /// Looks at a server are due while this is kept, and the first of them now.
    pub(super) fn expect_looks(&self, server: &str, interval: Duration) -> Expected {
        let expected = Expected { due: self.due.clone(), labels: ServerLabels { server: server.to_owned() }, interval };
        expected.looked();
        expected
    }

    /// Counts a server as unreachable while this is kept.
    pub(super) fn unreachable(&self) -> Unreachable {
        self.unreachable.inc();
        Unreachable(self.unreachable.clone())
    }
}

/// A server whose looks are expected.
#[derive(Debug)]
pub(super) struct Expected {
    due: Family<ServerLabels, Gauge>,
    labels: ServerLabels,
    interval: Duration,
}

impl Expected {
    /// One has come to its end, so the next is due.
    pub(super) fn looked(&self) {
        let due = SystemTime::now() + self.interval * INTERVALS + PATIENCE;
        let seconds = due.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.due.get_or_create_owned(&self.labels).set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.due.remove(&self.labels);
    }
}

/// How many objects there are for each reason of their condition Ready, counted when somebody asks.
#[derive(Debug)]
struct ByReason(Snapshot<Objects<PgDatabase>>);

impl Collector for ByReason {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "PgDatabases, by the reason of their condition Ready";
        let mut metric = encoder.encode_descriptor("objects", help, None, MetricType::Gauge)?;
        let known = self.0.load();
        let mut counts = BTreeMap::from([("AsAsked", 0_i64)]);
        for object in known.iter().flat_map(|known| known.values()) {
            *counts.entry(status::reason(object, condition::READY).unwrap_or(NEW)).or_default() += 1;
        }
        for (reason, count) in counts {
            ConstGauge::new(count).encode(metric.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
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
