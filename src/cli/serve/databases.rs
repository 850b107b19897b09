//! How `PgDatabase`s are made real.
#![allow(clippy::doc_markdown, reason = "these comments are what --help prints: plain text")]

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use kube::{Api, core::DynamicObject};

use crate::{
    api::{duration, pg_database::PgDatabase, pg_server::PgServer},
    cluster::{
        snapshot::{Snapshot, snapshot},
        watch::Scope,
    },
    databases::{
        Databases, Metrics,
        objects::{Followed, Objects, ObjectsProjection},
    },
};

use super::Process;

/// Looks at a catalogue follow one another no faster.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// What is done about `PgServer`s and `PgDatabase`s.
#[derive(Debug, Args)]
pub(super) struct DatabasesArgs {
    /// Make PgDatabases real.
    #[arg(id = "databases", long = "databases", env = "OUTRIGGER_DATABASES")]
    enabled: bool,

    /// Look after the databases of these PgServers alone: another installation has the others.
    #[arg(
        id = "databases_servers",
        long = "databases-servers",
        value_name = "NAME",
        value_delimiter = ',',
        env = "OUTRIGGER_DATABASES_SERVERS"
    )]
    only: Vec<String>,

    /// The time between two looks at the catalogue of a server, for changes made by hand.
    #[arg(id = "databases_interval", long = "databases-interval", value_name = "DURATION", default_value = "1m", value_parser = duration::at_least(SHORTEST_INTERVAL), env = "OUTRIGGER_DATABASES_INTERVAL")]
    interval: Duration,

    /// How long a PgDatabase that is deleted waits for a database that can't be dropped; then the database stays, and the object goes.
    #[arg(id = "databases_patience", long = "databases-patience", value_name = "DURATION", default_value = "24h", value_parser = duration::parse, env = "OUTRIGGER_DATABASES_PATIENCE")]
    patience: Duration,
}

impl DatabasesArgs {
    /// What makes databases real, if anything is to.
    pub(super) fn databases(&self, process: &mut Process, namespace: &str) -> Result<Option<Databases>> {
        if !self.enabled {
            return Ok(None);
        }
        let objects = follow::<PgDatabase>(process);
        Ok(Some(Databases {
            client: process.client_with_retries()?,
            namespace: namespace.to_owned(),
            metrics: Metrics::new(&mut process.registry, objects.clone()),
            objects,
            servers: follow::<PgServer>(process),
            only: self.only.clone(),
            interval: self.interval,
            patience: self.patience,
            events: process.events(),
        }))
    }
}

fn follow<K: Followed>(process: &mut Process) -> Snapshot<Objects<K>> {
    let (writer, observed) = snapshot(None);
    let api: Api<DynamicObject> = Api::all_with(process.client.clone(), &K::resource());
    process.watch(ObjectsProjection::<K>(writer), api, Scope::All);
    observed
}
