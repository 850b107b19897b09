//! What can be counted of the provisioner.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::model::{Finding, Severity};

/// Upper bounds of the duration of a pass, in seconds.
const DURATIONS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    passes: Family<[(&'static str, &'static str); 1], Counter>,
    duration: Histogram,
    changes: Counter,
    findings: Family<[(&'static str, &'static str); 1], Gauge>,
    refused: Gauge,
    last_success: Gauge<f64, AtomicU64>,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            passes: Family::default(),
            duration: Histogram::new(DURATIONS),
            changes: Counter::default(),
            findings: Family::default(),
            refused: Gauge::default(),
            last_success: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("guacamole");
        registry.register("passes", "Comparisons of files and database, by whether the database answered", metrics.passes.clone());
        registry.register_with_unit("pass", "How long a comparison took, with what it wrote", Unit::Seconds, metrics.duration.clone());
        registry.register("changes", "What was written: connections, groups and users", metrics.changes.clone());
        registry.register("findings", "What authors should look at now, by how bad it is", metrics.findings.clone());
        registry.register(
            "removals_refused",
            "Connections that would be removed if that were not too many at once",
            metrics.refused.clone(),
        );
        let help = "When files and database were last found, or made, alike, in seconds since 1970";
        registry.register("last_success_timestamp_seconds", help, metrics.last_success.clone());
        metrics
    }

    /// Counts a pass: whether the database answered, and whether it then held all that the files want.
    pub(crate) fn passed(&self, duration: Duration, is_success: bool, is_alike: bool) {
        self.passes.get_or_create(&[("outcome", if is_success { "success" } else { "failure" })]).inc();
        self.duration.observe(duration.as_secs_f64());
        if is_alike {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_success.set(now.as_secs_f64());
        }
    }

    pub(crate) fn changed(&self, changes: usize) {
        self.changes.inc_by(changes as u64);
    }

    pub(crate) fn found(&self, findings: &[Finding], refused: usize) {
        for (severity, label) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
            let count = findings.iter().filter(|finding| finding.severity == severity).count();
            self.findings.get_or_create(&[("severity", label)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.refused.set(i64::try_from(refused).unwrap_or(i64::MAX));
    }
}
