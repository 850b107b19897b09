//! Owners hear why their pods have no sidecars: Events, written beside the reviews, at a real API server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use common::{https::Client, installation::Installation, process::Server, webhook::wait_for};
use outrigger_bed::ControlPlane;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const WRITTEN: &str = "outrigger_events_written_total";
const FAILED: &str = "outrigger_events_failed_total";

/// Our Events in the installation's namespace.
async fn events(installation: &Installation<'_>) -> Vec<Value> {
    let text = installation.kubectl(&["get", "events", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&text).unwrap();
    let ours = list["items"].as_array().unwrap().iter().filter(|event| event["source"]["component"] == "outrigger");
    ours.cloned().collect()
}

async fn until_event(installation: &Installation<'_>, kind: &str, name: &str, reason: &str) -> Value {
    wait_for(&format!("{kind} {name} is told {reason}"), async || {
        let is_meant =
            |event: &Value| event["involvedObject"]["kind"] == kind && event["involvedObject"]["name"] == name && event["reason"] == reason;
        events(installation).await.into_iter().find(is_meant)
    })
    .await
}

fn template(annotations: &Value, spec: &Value) -> Value {
    let mut template = json!({
        "metadata": {"labels": {"app": "app"}, "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    for (key, value) in spec.as_object().unwrap() {
        template["spec"][key] = value.clone();
    }
    template
}

fn deployment(installation: &Installation<'_>, name: &str, template: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": installation.name()},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "app"}}, "template": template},
    })
}

/// A review of a pod that can't have sidecars, of a `ReplicaSet` that is not there.
fn skipped(installation: &Installation<'_>, owner: &str, dry_run: bool) -> Value {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true});
    let pod = json!({
        "metadata": {"annotations": {"outrigger.dev/inject": "vnc"}, "ownerReferences": [owner]},
        "spec": {"hostNetwork": true, "containers": [{"name": "app"}]},
    });
    let request = json!({"uid": "u", "namespace": installation.name(), "operation": "CREATE", "dryRun": dry_run, "object": pod});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
}

/// Sends this many reviews, several at a time.
async fn flood(client: &Client, review: &Value, count: usize) {
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (client, review) = (client.clone(), review.clone());
        clients.spawn(async move {
            for _ in 0..count / 8 {
                assert_eq!(client.review(&review).await.unwrap().response()["allowed"], true);
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

async fn server(installation: &Installation<'_>) -> Server {
    let server = installation.process(&[]);
    server.until_status("/readyz", 200).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_refused_pod_reads_why_where_it_looks_first() {
    let installation = Installation::new(ControlPlane::shared().await, "events-denied").await;
    let _webhook = installation.webhook(&[]).await;
    let flat = template(&json!({"outrigger.dev/inject": "vnc", "vnc.outrigger.dev/geometry": "flat"}), &json!({}));
    installation.apply(&[deployment(&installation, "web", &flat)]).await;
    let event = until_event(&installation, "Deployment", "web", "SidecarsDenied").await;
    let message = event["message"].as_str().unwrap();
    assert!(message.contains("vnc.outrigger.dev/geometry is \"flat\""), "{message}");
    assert!(!message.contains("web-"), "it names no single pod: {message}");
    assert_eq!(event["type"], "Warning");
    let shown = installation.kubectl(&["get", "events", "--field-selector=involvedObject.kind=Deployment,involvedObject.name=web"]).await;
    assert!(shown.contains("SidecarsDenied") && shown.contains("deployment/web"), "{shown}");
    let described = installation.kubectl(&["describe", "deployment", "web"]).await;
    assert!(described.contains("SidecarsDenied"), "{described}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cron_job_hears_of_the_pods_of_its_jobs() {
    let installation = Installation::new(ControlPlane::shared().await, "events-cron").await;
    let _webhook = installation.webhook(&[]).await;
    let on_its_node = template(&json!({"outrigger.dev/inject": "vnc"}), &json!({"hostNetwork": true, "restartPolicy": "Never"}));
    let cron_job = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly", "namespace": installation.name()},
        "spec": {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": {"template": on_its_node}}},
    });
    installation.apply(&[cron_job]).await;
    installation.kubectl(&["create", "job", "now", "--from=cronjob/nightly"]).await;
    let event = until_event(&installation, "CronJob", "nightly", "SidecarsSkipped").await;
    assert!(event["message"].as_str().unwrap().contains("its node's network"), "{event}");
    assert_eq!(event["type"], "Normal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_nobody() {
    let installation = Installation::new(ControlPlane::shared().await, "events-dry").await;
    let server = server(&installation).await;
    let client = server.client();
    assert_eq!(client.review(&skipped(&installation, "dry", true)).await.unwrap().response()["allowed"], true);
    client.review(&skipped(&installation, "wet", false)).await.unwrap();
    // They are written in their order.
    until_event(&installation, "ReplicaSet", "wet", "SidecarsSkipped").await;
    assert_eq!(events(&installation).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_skipped_pods_is_one_event_for_each_owner() {
    let installation = Installation::new(ControlPlane::shared().await, "events-flood").await;
    let server = server(&installation).await;
    let client = server.client();
    flood(&client, &skipped(&installation, "first", false), 1000).await;
    // Behind the flood in the queue.
    client.review(&skipped(&installation, "second", false)).await.unwrap();
    until_event(&installation, "ReplicaSet", "second", "SidecarsSkipped").await;
    assert_eq!(events(&installation).await.len(), 2);
    let written = wait_for("both are counted", async || server.metric(WRITTEN).await.filter(|written| *written >= 2)).await;
    assert_eq!(written, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_are_answered_and_failures_are_counted_while_no_event_can_be_written() {
    let installation = Installation::new(ControlPlane::shared().await, "events-forbidden").await;
    installation.kubectl(&["delete", "clusterrolebinding", installation.name()]).await;
    let server = server(&installation).await;
    flood(&server.client(), &skipped(&installation, "web", false), 80).await;
    wait_for("the log says so", async || server.log().contains("grant create and patch on events").then_some(())).await;
    assert_eq!((server.metric(WRITTEN).await, server.metric(FAILED).await), (Some(0), Some(1)));
    assert!(events(&installation).await.is_empty());
}
