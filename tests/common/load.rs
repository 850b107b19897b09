//! Pods created at a steady rate, and what became of each.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
};
use outrigger::api::annotations::STATUS;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Between two pods.
const INTERVAL: Duration = Duration::from_millis(40);
/// Requests under way at once. A machine that can't keep up is asked for less: its timeouts would say nothing of the server.
const MOST: usize = 8;

/// Creates pods until it is ended.
pub(crate) struct Load {
    pods: Api<Pod>,
    stop: CancellationToken,
    task: JoinSet<()>,
    outcome: Arc<Mutex<Outcome>>,
}

/// What became of the pods.
#[derive(Debug, Default, Clone)]
pub(crate) struct Outcome {
    pub(crate) accepted: BTreeSet<String>,
    /// Refused because a webhook could not be asked.
    pub(crate) unreviewed: Vec<(Instant, String)>,
    /// Not created for another reason: the API server was away.
    pub(crate) unanswered: Vec<(Instant, String)>,
}

impl Load {
    /// Begins to create annotated pods in the client's namespace.
    pub(crate) fn start(client: Client) -> Self {
        let pods: Api<Pod> = Api::default_namespaced(client);
        let stop = CancellationToken::new();
        let outcome = Arc::<Mutex<Outcome>>::default();
        let mut task = JoinSet::new();
        task.spawn(create(pods.clone(), outcome.clone(), stop.clone()));
        Self { pods, stop, task, outcome }
    }

    /// What became of the pods so far.
    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome.lock().unwrap().clone()
    }

    /// Stops, and asserts that each pod that was accepted had been reviewed.
    pub(crate) async fn end(mut self) -> Outcome {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap();
        let outcome = self.outcome();
        let stored = self.pods.list(&ListParams::default()).await.unwrap();
        let reviewed = stored.iter().filter(|pod| pod.annotations().contains_key(STATUS)).map(ResourceExt::name_any).collect();
        let missed: Vec<_> = outcome.accepted.difference(&reviewed).collect();
        assert!(missed.is_empty(), "of {} accepted pods these were not reviewed: {missed:?}", outcome.accepted.len());
        outcome
    }
}

async fn create(pods: Api<Pod>, outcome: Arc<Mutex<Outcome>>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut requests = JoinSet::new();
    for number in 0.. {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        while requests.try_join_next().is_some() {}
        if requests.len() == MOST {
            requests.join_next().await;
        }
        let (pods, outcome) = (pods.clone(), outcome.clone());
        // One slow request does not lower the rate.
        requests.spawn(async move {
            let name = format!("load-{number}");
            let result = pods.create(&PostParams::default(), &pod(&name)).await;
            let mut outcome = outcome.lock().unwrap();
            match result {
                Ok(_) => drop(outcome.accepted.insert(name)),
                Err(error) if error.to_string().contains("failed calling webhook") => {
                    outcome.unreviewed.push((Instant::now(), error.to_string()));
                }
                Err(error) => outcome.unanswered.push((Instant::now(), error.to_string())),
            }
        });
    }
    while requests.join_next().await.is_some() {}
}

fn pod(name: &str) -> Pod {
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": {"outrigger.dev/inject": "vnc"}},
        // Where there is a node, it is not to run them.
        "spec": {"schedulerName": "nobody", "containers": [{"name": "app", "image": "app"}]},
    });
    serde_json::from_value(manifest).unwrap()
}
