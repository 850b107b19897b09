//! Looks after all `UserList`s while this process holds the lease: each by itself, so that none waits for another.

use std::collections::BTreeSet;

use kube::Client;

use crate::{
    cluster::snapshot::Snapshot,
    events::{
        plan::IS_STILL_SO,
        recorder::{self, Notes, Recorder},
    },
    runtime::{group::Group, lease::Claim, shutdown::Shutdown},
};

use super::{list::Lists, metrics::Metrics, poolers::agent::AgentClient, reconcile::Reconciler, watches::Watches};

/// What looks after `UserList`s.
#[derive(Clone)]
pub struct UserLists {
    /// The cluster.
    pub client: Client,
    /// What is known of `UserList`s.
    pub lists: Snapshot<Lists>,
    /// What is counted of the news to authors.
    pub events: recorder::Metrics,
    /// What is counted.
    pub metrics: Metrics,
}

impl UserLists {
    /// Looks after them until shutdown, or until it is dropped because the lease is lost.
    pub async fn run(&self, claim: &Claim, shutdown: &Shutdown) {
        let (notes, recorder) = Recorder::new(self.client.clone(), self.events.clone(), IS_STILL_SO);
        tokio::select! {
            () = shutdown.closing() => {}
            () = recorder.of_holder(claim.clone()).run(shutdown.clone()) => {}
            () = self.look_after(claim, &notes, shutdown) => {}
        }
        self.metrics.lists.set(0);
    }

    async fn look_after(&self, claim: &Claim, notes: &Notes, shutdown: &Shutdown) {
        let agents = AgentClient::default();
        loop {
            self.until_a_watch_ends(&agents, claim, notes, shutdown).await;
            tracing::error!("a watch of Secrets has ended; beginning anew");
        }
    }

    /// A watch that ends by itself leaves nobody behind who would tell the lists what they show.
    async fn until_a_watch_ends(&self, agents: &AgentClient, claim: &Claim, notes: &Notes, shutdown: &Shutdown) {
        let mut changes = self.lists.changes();
        let mut watches = Watches::new(self.client.clone(), shutdown.clone());
        let mut reconcilers = Group::default();
        loop {
            let lists = self.lists.load();
            self.metrics.lists.set(i64::try_from(lists.len()).unwrap_or(i64::MAX));
            watches.keep(&lists);
            let wanted: BTreeSet<_> = lists.keys().cloned().collect();
            reconcilers.keep(&wanted, |id| {
                let reconciler = lists.get(id).and_then(|list| Reconciler::new(self, agents, claim, notes, id, list, &watches));
                async {
                    if let Some(reconciler) = reconciler {
                        reconciler.run().await;
                    }
                }
            });
            tokio::select! {
                () = changes.next() => {}
                () = watches.drive() => return,
                id = reconcilers.drive() => tracing::error!(namespace = id.namespace, name = id.name, "a UserList was left; beginning anew"),
            }
        }
    }
}
