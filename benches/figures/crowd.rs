//! Memory in a cluster with many pods.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams};
use outrigger_bed::ControlPlane;
use serde_json::{Value, json};

use super::{
    process::Memory,
    servers::{Server, Yard},
};

/// As many as a cluster of a hundred full nodes.
pub(crate) const PODS: usize = 10_000;
const AT_ONCE: usize = 32;
/// How long a controller may take to lead, which one before it was killed, and to look at all pods.
const PATIENCE: Duration = Duration::from_secs(90);
const PASSES: &str = "outrigger_repair_passes_total";

/// Memory before there are pods and once there are, each of a process that has looked at all of them.
pub(crate) struct Crowd {
    pub(crate) before: Memory,
    /// With as many that need nothing.
    pub(crate) content: Memory,
    /// With as many more that all lack what they ask for, of which their owners are told.
    pub(crate) in_need: Memory,
}

/// Fills namespaces with pods. Nothing runs them: they are objects of the API server.
pub(crate) async fn memory(cluster: &ControlPlane, yard: &Yard) -> Crowd {
    let before = resident(yard);
    let content = cluster.namespace("content").await;
    create_all(content.client(), &json!({})).await;
    let with_content = resident(yard);
    let in_need = cluster.namespace("in-need").await;
    create_all(in_need.client(), &json!({"outrigger.dev/inject": "vnc"})).await;
    Crowd { before, content: with_content, in_need: resident(yard) }
}

async fn create_all(client: Client, annotations: &Value) {
    eprintln!("creating {PODS} pods");
    let pods: Api<Pod> = Api::default_namespaced(client);
    stream::iter(0..PODS).for_each_concurrent(AT_ONCE, |number| create(&pods, number, annotations)).await;
}

async fn create(pods: &Api<Pod>, number: usize, annotations: &Value) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{number}"), "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
}

fn resident(yard: &Yard) -> Memory {
    let server = yard.outrigger_with_controllers();
    wait_for_a_pass(&server);
    server.process.memory()
}

/// Waits until a server's controllers have looked at all pods once.
pub(crate) fn wait_for_a_pass(server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    while server.metric(PASSES).is_none_or(|passes| passes == 0) {
        assert!(Instant::now() < deadline, "the controllers don't look at pods");
        std::thread::sleep(Duration::from_millis(100));
    }
}
