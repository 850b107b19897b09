//! What is counted of user lists.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

use crate::{api::condition, cluster::snapshot::Snapshot};

use super::list::Lists;

/// What a list is counted under that nobody has looked at yet.
const NEW: &str = "New";

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
    /// Gauges and counters, registered, with what is said of lists.
    pub fn new(registry: &mut Registry, lists: Snapshot<Lists>) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("userlists");
        registry.register("watched", "UserLists that are looked after", metrics.lists.clone());
        registry.register("secret_writes", "Secrets that were created or changed", metrics.writes.clone());
        registry.register("pooler_restarts", "Workloads that were restarted for a list", metrics.restarts.clone());
        registry.register("pooler_reloads", "Pods that were told to RELOAD, by outcome", metrics.reloads.clone());
        registry.register_collector(Box::new(Told(lists)));
        metrics
    }

    pub(super) fn count_reload(&self, outcome: &'static str) {
        self.reloads.get_or_create_owned(&ReloadLabels { outcome }).inc();
    }
}

/// What was last said of lists, counted when somebody asks.
#[derive(Debug)]
struct Told(Snapshot<Lists>);

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let known = self.0.load();
        let mut reasons = BTreeMap::from([("Written", 0_i64)]);
        let (mut behind, mut skipped) = (0, 0);
        for list in known.values() {
            let ready = list.status.conditions.iter().find(|condition| condition.type_ == condition::READY);
            *reasons.entry(ready.map_or(NEW, |ready| ready.reason.as_str())).or_default() += 1;
            behind += list.status.poolers.iter().map(|pooler| i64::from(pooler.pods - pooler.applied_pods)).sum::<i64>();
            skipped += i64::from(list.status.skipped_secrets.unwrap_or_default());
        }
        let mut metric =
            encoder.encode_descriptor("lists", "UserLists, by the reason of their condition Ready", None, MetricType::Gauge)?;
        for (reason, count) in reasons {
            ConstGauge::new(count).encode(metric.encode_family(&[("reason", reason)])?)?;
        }
        for (name, help, count) in [
            ("pooler_pods_behind", "Pods of poolers that don't use their newest list", behind),
            ("secrets_skipped", "Secrets that were left out of lists", skipped),
        ] {
            ConstGauge::new(count).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
