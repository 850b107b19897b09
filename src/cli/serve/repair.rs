//! How pods without the sidecars they should have are repaired.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use clap::{Args, ValueEnum, value_parser};

use crate::{
    api::duration,
    injection::Settings,
    repair::{Metrics, Repair, plan::Policy},
};

use super::Process;

/// Looks follow one another no faster: each asks for all pods.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// What is done about pods that have not the sidecars they would get now.
#[derive(Debug, Args)]
pub(super) struct RepairArgs {
    /// What is done about pods that slipped by while the webhook was away, or have outdated sidecars.
    #[arg(long = "repair", value_enum, value_name = "MODE", default_value_t = Mode::Report, env = "OUTRIGGER_REPAIR")]
    mode: Mode,

    /// The time between two looks at all pods.
    #[arg(long = "repair-interval", value_name = "DURATION", default_value = "5m", value_parser = duration::at_least(SHORTEST_INTERVAL), env = "OUTRIGGER_REPAIR_INTERVAL")]
    interval: Duration,

    /// Look at the pods of these namespaces alone.
    #[arg(long = "repair-namespaces", value_name = "NAME", value_delimiter = ',', env = "OUTRIGGER_REPAIR_NAMESPACES")]
    namespaces: Vec<String>,

    /// Leave out the pods of these namespaces: those that the webhook is not asked about.
    #[arg(long = "repair-excluded-namespaces", value_name = "NAME", value_delimiter = ',', env = "OUTRIGGER_REPAIR_EXCLUDED_NAMESPACES")]
    excluded_namespaces: Vec<String>,

    /// Leave pods alone that are younger. No controller's pod is evicted while one that lacks something is younger than ten times that.
    #[arg(long = "repair-minimum-age", value_name = "DURATION", default_value = "1m", value_parser = duration::parse, env = "OUTRIGGER_REPAIR_MINIMUM_AGE")]
    minimum_age: Duration,

    /// How many pods are evicted in a minute at most.
    #[arg(
        long = "repair-evictions-per-minute", value_name = "COUNT", default_value_t = 6, value_parser = value_parser!(u32).range(1..=6000),
        env = "OUTRIGGER_REPAIR_EVICTIONS_PER_MINUTE"
    )]
    evictions_per_minute: u32,

    /// Evict pods with outdated sidecars too, not only those that have none.
    #[arg(long = "repair-outdated", env = "OUTRIGGER_REPAIR_OUTDATED")]
    outdated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Events on their owners, and metrics.
    Report,
    /// Also evict them, where a controller replaces them and disruption budgets allow it.
    Evict,
    /// Nothing.
    Off,
}

impl RepairArgs {
    /// What looks after the pods, if anything is to.
    pub(super) fn repair(&self, process: &mut Process, settings: Settings) -> Result<Option<Repair>> {
        if self.mode == Mode::Off {
            return Ok(None);
        }
        Ok(Some(Repair {
            client: process.client_with_retries()?,
            evictions: process.client.clone(),
            namespaces: process.namespaces(),
            settings: Arc::new(settings),
            policy: Policy {
                evict: self.mode == Mode::Evict,
                evict_outdated: self.outdated,
                minimum_age: self.minimum_age,
                excluded: self.excluded_namespaces.clone(),
            },
            interval: self.interval,
            pace: Duration::from_secs(60) / self.evictions_per_minute,
            scope: self.namespaces.clone(),
            events: process.events(),
            metrics: Metrics::new(&mut process.registry),
        }))
    }
}
