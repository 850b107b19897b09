//! A worker for each server, and what becomes of objects whose server isn't there.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};

use crate::{
    api::{pg_database::PgDatabase, pg_server::PgServer},
    cluster::snapshot::Snapshot,
    events::{
        plan::IS_STILL_SO,
        recorder::{self, Recorder},
    },
    runtime::{
        backoff::Backoff,
        complaint::{Complaint, with_causes},
        lease::Claim,
        request,
        shutdown::Shutdown,
    },
};

use super::{
    metrics::Metrics,
    objects::Objects,
    plan::Refusal,
    reign::Reign,
    status::{self, Report},
    worker::{READ_DEADLINE, Worker},
};

/// The namespace that each cluster has, and whose uid no other cluster has.
const KUBE_SYSTEM: &str = "kube-system";
/// How often objects without a server are looked at, beside when something changes.
const ORPHANS_INTERVAL: Duration = Duration::from_secs(10);
/// A watch tells of a server after its databases, or before.
const SETTLING: Duration = Duration::from_millis(300);

/// What makes `PgDatabase`s real.
#[derive(Clone)]
pub struct Databases {
    /// The cluster.
    pub client: Client,
    /// The namespace of the installation, where the Secrets of servers are.
    pub namespace: String,
    /// All `PgDatabase`s.
    pub objects: Snapshot<Objects<PgDatabase>>,
    /// All `PgServer`s.
    pub servers: Snapshot<Objects<PgServer>>,
    /// The names of the servers that are looked after; all if none is named.
    pub only: Vec<String>,
    /// The time between two looks at a server's catalogue.
    pub interval: Duration,
    /// How long an object that is going waits for a database that can't be dropped.
    pub patience: Duration,
    /// What is counted of the news to authors.
    pub events: recorder::Metrics,
    /// What is counted.
    pub metrics: Metrics,
}

impl Databases {
    /// Works until shutdown, or until it is dropped because the lease is lost.
    pub async fn run(&self, claim: &Claim, shutdown: &Shutdown) {
        let (notes, recorder) = Recorder::new(self.client.clone(), self.events.clone(), IS_STILL_SO);
        let work = async {
            self.servers.wait_for(|known| known.as_ref().map(drop)).await;
            self.objects.wait_for(|known| known.as_ref().map(drop)).await;
            let cluster = self.cluster().await;
            let reign = Reign { databases: self, client: self.client.clone(), claim, notes: &notes, metrics: &self.metrics, cluster };
            self.keep(&reign).await;
        };
        tokio::select! {
            () = shutdown.closing() => {}
            () = recorder.of_holder(claim.clone()).run(shutdown.clone()) => {}
            () = work => {}
        }
    }

    fn is_ours(&self, server: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == server)
    }

    /// What tells this cluster from all others.
    async fn cluster(&self) -> String {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let (mut complaint, mut backoff) = (Complaint::default(), Backoff::new(Duration::from_secs(1), Duration::from_secs(30)));
        loop {
            match request::within(READ_DEADLINE, api.get_metadata(KUBE_SYSTEM)).await {
                Ok(namespace) => {
                    if let Some(uid) = namespace.metadata.uid {
                        return uid;
                    }
                    tracing::error!("the namespace {KUBE_SYSTEM} has no uid");
                }
                Err(error) if complaint.is_new(&error) => {
                    tracing::warn!(
                        error = with_causes(&error),
                        "the namespace {KUBE_SYSTEM} can't be read, whose uid names this cluster; trying again"
                    );
                }
                Err(_) => {}
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn keep(&self, reign: &Reign<'_>) {
        let mut changes = (self.servers.changes(), self.objects.changes());
        let (mut workers, mut names) = (FuturesUnordered::new(), HashSet::new());
        loop {
            let known = self.servers.load();
            let servers = known.iter().flatten().filter(|(_, server)| server.metadata.deletion_timestamp.is_none());
            for ((_, name), _) in servers.filter(|((_, name), _)| self.is_ours(name)) {
                if names.insert(name.clone()) {
                    let worker = Worker { reign, name: name.clone() };
                    workers.push(async move {
                        worker.run().await;
                        worker.name
                    });
                }
            }
            tokio::select! {
                Some(ended) = workers.next(), if !workers.is_empty() => {
                    names.remove(&ended);
                }
                () = changes.0.next() => {}
                () = self.look_after_orphans(reign, &mut changes.1) => {}
            }
        }
    }

    /// Tells objects that their server isn't there, whenever something changes or some time has passed.
    async fn look_after_orphans(&self, reign: &Reign<'_>, changes: &mut crate::cluster::snapshot::Changes) {
        tokio::time::sleep(SETTLING).await;
        let (objects, servers) = (self.objects.load(), self.servers.load());
        let is_known = |name: &str| (*servers).as_ref().is_some_and(|servers| servers.contains_key(&(String::new(), name.to_owned())));
        let all = objects.iter().flatten().map(|(_, object)| object);
        let orphans: Vec<&Arc<PgDatabase>> =
            all.filter(|object| self.is_ours(&object.spec.server) && !is_known(&object.spec.server)).collect();
        for object in orphans {
            if reign.let_go(object, "there is no such server any more").await {
                continue;
            }
            let message = format!("there is no PgServer {:?}; create it, or delete this object", object.spec.server);
            let report = Report::refused(Refusal { reason: "ServerUnknown", message }, object);
            if let Err(error) = reign.write_status(object, &report).await {
                tracing::debug!(object = ?status::key(object), error = with_causes(&error), "a status can't be written");
            }
        }
        tokio::select! {
            () = changes.next() => {}
            () = tokio::time::sleep(ORPHANS_INTERVAL) => {}
        }
    }
}
