//! Pods that slipped by: found, reported to their owners, and evicted where that is wanted, at a real API server with the
//! real controller manager. There is no kubelet, so pods stay Pending unless a test says otherwise.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use std::collections::BTreeMap;

use common::{installation::Installation, process::Server, webhook::wait_for};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use outrigger::api::annotations::STATUS;
use outrigger_bed::ControlPlane;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const MISSING: &str = "outrigger_pods_missing_sidecars";
const OUTDATED: &str = "outrigger_pods_outdated";
const PASSES: &str = "outrigger_repair_passes_total";
const EVICTED: &str = r#"outrigger_repair_evictions_total{outcome="evicted"}"#;
const OVER_BUDGET: &str = r#"outrigger_repair_evictions_total{outcome="over_budget"}"#;
const REFUSED: &str = r#"outrigger_repair_evictions_total{outcome="refused"}"#;

/// Starts controllers that look at this installation's pods once a second.
fn controllers(installation: &Installation<'_>, arguments: &[&str]) -> Server {
    let scope = format!("--repair-namespaces={}", installation.name());
    let often = ["--roles=controllers", "--repair-interval=1s", "--repair-minimum-age=0s", "--repair-evictions-per-minute=6000", &scope];
    installation.process(&[&often[..], arguments].concat())
}

/// A template of pods that ask for a desktop.
fn template(labels: &Value, annotations: &Value) -> Value {
    json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": [{"name": "app", "image": "app"}]}})
}

/// A workload of apps/v1 whose pods ask for a desktop.
fn workload(kind: &str, name: &str, replicas: usize) -> Value {
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template(&labels, &asks())},
    })
}

fn asks() -> Value {
    json!({"outrigger.dev/inject": "vnc"})
}

fn pod(name: &str, annotations: &Value) -> Value {
    let mut pod = template(&json!({"app": name}), annotations);
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    pod
}

async fn apply(installation: &Installation<'_>, manifests: &[Value]) {
    let placed = manifests.iter().cloned().map(|mut manifest| {
        manifest["metadata"]["namespace"] = json!(installation.name());
        manifest
    });
    installation.apply(&placed.collect::<Vec<_>>()).await;
}

/// The pods with this label, by uid, and whether each has a record.
async fn pods(installation: &Installation<'_>, app: &str) -> BTreeMap<String, bool> {
    let api: Api<Pod> = Api::default_namespaced(installation.namespace.client());
    let pods = api.list(&ListParams::default().labels(&format!("app={app}"))).await.unwrap();
    let kept = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    kept.map(|pod| (pod.uid().unwrap(), pod.annotations().contains_key(STATUS))).collect()
}

async fn until_pods(installation: &Installation<'_>, app: &str, count: usize, with_sidecars: bool) -> BTreeMap<String, bool> {
    wait_for(&format!("{count} pods of {app} are there, with sidecars: {with_sidecars}"), async || {
        let pods = pods(installation, app).await;
        (pods.len() == count && pods.values().all(|has_record| *has_record == with_sidecars)).then_some(pods)
    })
    .await
}

async fn until_metric(server: &Server, name: &str, expected: u64) {
    wait_for(&format!("{name} is {expected}"), async || (server.metric(name).await == Some(expected)).then_some(())).await;
}

/// Waits until the pods were looked at this often after now.
async fn more_passes(server: &Server, count: u64) {
    let before = server.metric(PASSES).await.unwrap();
    wait_for("more looks", async || (server.metric(PASSES).await? >= before + count).then_some(())).await;
}

/// The Events of an object as `kubectl get events` shows them: reasons and messages.
async fn events(installation: &Installation<'_>, object: &str) -> Vec<String> {
    let columns = "custom-columns=OBJECT:.involvedObject.name,KIND:.involvedObject.kind,REASON:.reason,MESSAGE:.message";
    let text = installation.kubectl(&["get", "events", "--no-headers", "-o", columns]).await;
    let (kind, name) = object.split_once('/').unwrap();
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_object = lines.filter(|words| words[0] == name && words[1].eq_ignore_ascii_case(kind) && words[2].starts_with("Sidecars"));
    of_object.map(|words| words[2..].join(" ")).collect()
}

async fn until_event(installation: &Installation<'_>, object: &str, reason: &str) -> String {
    wait_for(&format!("{object} is told {reason}"), async || {
        events(installation, object).await.into_iter().find(|event| event.split(' ').next() == Some(reason))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_slipped_by_is_counted_and_their_top_owners_are_told() {
    let installation = Installation::new(ControlPlane::shared().await, "repair-report").await;
    let mut on_its_node = pod("on-its-node", &asks());
    on_its_node["spec"]["hostNetwork"] = json!(true);
    let mut refused = pod("refused", &asks());
    refused["metadata"]["annotations"]["vnc.outrigger.dev/geometry"] = json!("flat");
    let bare = [pod("bare", &asks()), refused, pod("opted-out", &json!({"outrigger.dev/inject": "none"})), pod("plain", &json!({}))];
    apply(&installation, &bare).await;
    apply(&installation, &[on_its_node, workload("Deployment", "web", 2)]).await;
    let before = until_pods(&installation, "web", 2, false).await;

    let server = controllers(&installation, &[]);
    until_metric(&server, MISSING, 4).await;
    let told = until_event(&installation, "deployment/web", "SidecarsMissing").await;
    assert!(told.contains("since the webhook did not add them") && told.ends_with("its replacement gets them"), "{told}");
    assert!(until_event(&installation, "pod/bare", "SidecarsMissing").await.ends_with("create it again"));
    let told = until_event(&installation, "pod/refused", "SidecarsMissing").await;
    assert!(told.contains("would be refused") && told.contains("vnc.outrigger.dev/geometry"), "{told}");
    let described = installation.kubectl(&["describe", "deployment", "web"]).await;
    assert!(described.contains("SidecarsMissing"), "{described}");

    more_passes(&server, 2).await;
    for quiet in ["pod/on-its-node", "pod/opted-out", "pod/plain"] {
        assert!(events(&installation, quiet).await.is_empty(), "{quiet}");
    }
    assert_eq!(events(&installation, "deployment/web").await.len(), 1, "each look finds them, and one Event says so");
    assert_eq!(pods(&installation, "web").await, before, "nothing is evicted");
    assert_eq!(server.metric(EVICTED).await, None);

    // What a labelled namespace gives, its pods lack too.
    installation.kubectl(&["label", "namespace", installation.name(), "outrigger.dev/defaults=enabled"]).await;
    installation.kubectl(&["annotate", "namespace", installation.name(), "outrigger.dev/inject=vnc"]).await;
    until_metric(&server, MISSING, 5).await;
    until_event(&installation, "pod/plain", "SidecarsMissing").await;
    assert!(events(&installation, "pod/opted-out").await.is_empty(), "it opts out of defaults too");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_with_a_controller_are_evicted_and_come_back_with_sidecars() {
    let installation = Installation::new(ControlPlane::shared().await, "repair-evict").await;
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"},
        "spec": {"template": {"metadata": {"labels": {"app": "work"}, "annotations": asks()},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "app"}]}}},
    });
    apply(&installation, &[pod("bare", &asks()), workload("ReplicaSet", "web", 3), workload("StatefulSet", "db", 1), job]).await;
    until_pods(&installation, "web", 3, false).await;
    let (bare, work) = (until_pods(&installation, "bare", 1, false).await, until_pods(&installation, "work", 1, false).await);
    until_pods(&installation, "db", 1, false).await;

    let _webhook = installation.webhook(&[]).await;
    let server = controllers(&installation, &["--repair=evict"]);
    until_pods(&installation, "web", 3, true).await;
    until_pods(&installation, "db", 1, true).await;
    until_event(&installation, "replicaset/web", "SidecarsRepaired").await;
    until_event(&installation, "pod/bare", "SidecarsMissing").await;
    until_event(&installation, "job/work", "SidecarsMissing").await;
    until_metric(&server, MISSING, 2).await;
    more_passes(&server, 2).await;
    assert_eq!(server.metric(EVICTED).await, Some(4), "each once: {}", server.log());
    assert_eq!(pods(&installation, "bare").await, bare, "nobody would replace it");
    assert_eq!(pods(&installation, "work").await, work, "its work would be lost");
}

/// A budget that allows no pod of this application to go.
fn budget(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name},
        "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": app}}},
    })
}

/// Budgets are about running pods; a kubelet would write this.
async fn run_all(installation: &Installation<'_>) {
    let api: Api<Pod> = Api::default_namespaced(installation.namespace.client());
    let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    for pod in api.list(&ListParams::default()).await.unwrap() {
        api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&running)).await.unwrap();
    }
}

/// Waits until no pod is too young for an eviction.
async fn have_settled(installation: &Installation<'_>) {
    let api: Api<Pod> = Api::default_namespaced(installation.namespace.client());
    let pods = api.list(&ListParams::default()).await.unwrap();
    let youngest = pods.into_iter().filter_map(|pod| pod.metadata.creation_timestamp).max().unwrap();
    wait_for("all pods have settled", async || (Timestamp::now().duration_since(youngest.0).as_secs() >= 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_two_budgets_meet_the_owner_reads_what_the_api_server_says_of_it() {
    let installation = Installation::new(ControlPlane::shared().await, "repair-budgets").await;
    let budgets = [budget("web", "web"), budget("team", "web")];
    apply(&installation, &[&[workload("ReplicaSet", "web", 1), workload("ReplicaSet", "free", 2)], &budgets[..]].concat()).await;
    let before = until_pods(&installation, "web", 1, false).await;
    until_pods(&installation, "free", 2, false).await;
    run_all(&installation).await;
    let _webhook = installation.webhook(&[]).await;
    have_settled(&installation).await;
    let server = controllers(&installation, &["--repair=evict"]);
    until_pods(&installation, "free", 2, true).await;
    wait_for("evictions of web are refused", async || (server.metric(REFUSED).await? >= 2).then_some(())).await;
    let told = until_event(&installation, "replicaset/web", "SidecarsMissing").await;
    assert!(told.contains("more than one PodDisruptionBudget"), "{told}");
    assert_eq!(pods(&installation, "web").await, before);
    until_metric(&server, EVICTED, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disruption_budget_is_respected_until_it_allows_the_eviction() {
    let installation = Installation::new(ControlPlane::shared().await, "repair-budget").await;
    apply(&installation, &[workload("ReplicaSet", "web", 1), budget("web", "web")]).await;
    let before = until_pods(&installation, "web", 1, false).await;
    run_all(&installation).await;
    let _webhook = installation.webhook(&[]).await;
    // Of a pod that is too young, its owner would be told something else first.
    have_settled(&installation).await;
    let server = controllers(&installation, &["--repair=evict"]);
    wait_for("the budget forbids evictions", async || (server.metric(OVER_BUDGET).await? >= 2).then_some(())).await;
    let told = until_event(&installation, "replicaset/web", "SidecarsMissing").await;
    assert!(told.contains("PodDisruptionBudget"), "{told}");
    assert_eq!(pods(&installation, "web").await, before);
    assert_eq!(server.metric(EVICTED).await, None);

    installation.kubectl(&["delete", "pdb", "web"]).await;
    until_pods(&installation, "web", 1, true).await;
    until_metric(&server, EVICTED, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replacements_that_come_back_bare_stop_the_evictions() {
    let installation = Installation::new(ControlPlane::shared().await, "repair-loop").await;
    let names = ["a", "b", "c", "d", "e"];
    apply(&installation, &names.map(|name| workload("ReplicaSet", name, 2))).await;
    let mut before = BTreeMap::new();
    for name in names {
        before.extend(until_pods(&installation, name, 2, false).await);
    }
    // No webhook is registered, so no replacement is any better.
    let server = controllers(&installation, &["--repair=evict"]);
    wait_for("the log says so", async || server.log().contains("so they pause: is the webhook called?").then_some(())).await;
    more_passes(&server, 5).await;
    assert_eq!(server.metric(EVICTED).await, Some(3), "a few are tried, each once: {}", server.log());
    let mut left = 0;
    for name in names {
        left += until_pods(&installation, name, 2, false).await.keys().filter(|uid| before.contains_key(*uid)).count();
    }
    assert_eq!(left, names.len() * 2 - 3, "the others are left alone");
    wait_for("those that were tried are told why no more are", async || {
        let mut paused = 0;
        for name in names {
            let told = events(&installation, &format!("replicaset/{name}")).await;
            paused += told.iter().filter(|event| event.starts_with("SidecarsRepairPaused")).count();
        }
        (paused == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outdated_sidecars_are_reported_and_on_request_renewed() {
    let installation = Installation::new(ControlPlane::shared().await, "repair-outdated").await;
    let folder = tempfile::tempdir().unwrap();
    let values = folder.path().join("values.yaml");
    std::fs::write(&values, "injection: {imagePullPolicy: Always}\n").unwrap();
    let before = installation.webhook(&[&format!("--values={}", values.display())]).await;
    apply(&installation, &[workload("ReplicaSet", "web", 2)]).await;
    let old = until_pods(&installation, "web", 2, true).await;

    let mut reporting = controllers(&installation, &["--repair=evict"]);
    until_metric(&reporting, OUTDATED, 2).await;
    until_event(&installation, "replicaset/web", "SidecarsOutdated").await;
    assert_eq!((reporting.metric(MISSING).await, reporting.metric(EVICTED).await), (Some(0), None));
    assert_eq!(pods(&installation, "web").await, old);
    reporting.signal(rustix::process::Signal::TERM);
    assert!(reporting.exit().await.success(), "{}", reporting.log());

    // The settings of today reach the webhook, and then the pods.
    let today = installation.process(&[]);
    today.until_status("/readyz", 200).await;
    installation.register(today.https, Some(&today.ca())).await;
    wait_for("the API server asks the new webhook", async || {
        let run = ["run", "probe", "--image=app", "--annotations=outrigger.dev/inject=vnc", "--dry-run=server", "-o", "yaml"];
        let probe = installation.kubectl(&run).await;
        (!probe.contains("imagePullPolicy: Always\n    name: outrigger-vnc")).then_some(())
    })
    .await;
    drop(before);
    let server = controllers(&installation, &["--repair=evict", "--repair-outdated"]);
    until_metric(&server, EVICTED, 2).await;
    until_metric(&server, OUTDATED, 0).await;
    let new = until_pods(&installation, "web", 2, true).await;
    assert!(new.keys().all(|uid| !old.contains_key(uid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_listed_page_by_page_and_all_are_found() {
    let installation = Installation::new(ControlPlane::shared().await, "repair-pages").await;
    let api: Api<Pod> = Api::default_namespaced(installation.namespace.client());
    let mut creations = JoinSet::new();
    for number in 0..1200 {
        let annotations = if number % 40 == 0 { asks() } else { json!({}) };
        let manifest: Pod = serde_json::from_value(pod(&format!("p-{number:04}"), &annotations)).unwrap();
        let api = api.clone();
        creations.spawn(async move { api.create(&PostParams::default(), &manifest).await.map(drop).unwrap() });
        if creations.len() == 32 {
            creations.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(created) = creations.join_next().await {
        created.unwrap();
    }
    // One look, of which the log tells each request.
    let scope = format!("--repair-namespaces={}", installation.name());
    let once = ["--roles=controllers", "--repair-interval=1h", "--repair-minimum-age=0", "--log=info,kube_client=trace", &scope];
    let server = installation.process(&once);
    until_metric(&server, MISSING, 30).await;
    let log = server.log();
    let lists: Vec<&str> = log.lines().filter(|line| line.contains("/pods?") && line.ends_with("requesting")).collect();
    assert!(lists.iter().all(|line| line.contains("list_metadata") && line.contains("limit=50")), "{lists:?}");
    assert_eq!(lists.iter().filter(|line| line.contains("continue=")).count(), 23, "{lists:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_controllers_one_acts() {
    let installation = Installation::new(ControlPlane::shared().await, "repair-pair").await;
    apply(&installation, &[workload("ReplicaSet", "web", 4)]).await;
    until_pods(&installation, "web", 4, false).await;
    let _webhook = installation.webhook(&[]).await;
    let pair = [(); 2].map(|()| controllers(&installation, &["--repair=evict"]));
    until_pods(&installation, "web", 4, true).await;
    let acted = wait_for("each eviction is counted", async || {
        let mut acted = Vec::new();
        for server in &pair {
            acted.push((server.metric("outrigger_leading").await?, server.metric(EVICTED).await.unwrap_or(0)));
        }
        acted.sort_unstable();
        (acted.iter().map(|(_, evicted)| evicted).sum::<u64>() >= 4).then_some(acted)
    })
    .await;
    assert_eq!(acted, [(0, 0), (1, 4)], "the holder of the lease alone, and each pod once");
}
