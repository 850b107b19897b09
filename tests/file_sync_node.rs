//! The file mirror as a sidecar of pods that really run.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "common/product_image.rs"]
mod product_image;
#[path = "common/running.rs"]
mod running;
#[path = "common/until.rs"]
mod until;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ConfigMap, Event, Secret},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use outrigger_bed::{Namespace, Node, image};
use serde_json::{Value, json};

use product_image::product_image;
use running::{create, injected, pods, restricted, until_phase};
use until::until;

const HEALTH_PORT: u16 = 15801;

#[tokio::test(flavor = "multi_thread")]
async fn injected_pods_see_their_files_before_they_start_and_what_changes_after() {
    let name = "injected_pods_see_their_files";
    let Some(product) = product_image().await else { return };
    let Some(node) = Node::start(name).await else { return };
    node.import_image(product).await;
    let folder = tempfile::tempdir().unwrap();
    node.import_image(&image::answer(folder.path()).unwrap()).await;
    let namespace = node.cluster().namespace("mirrored").await;
    namespace.label("pod-security.kubernetes.io/enforce", "restricted").await;
    put(&namespace, "kind: ConfigMap").await;

    the_commands_that_help_are_shown_in_an_event(&node, &namespace).await;
    a_job_sees_its_files_and_ends(&namespace).await;
    a_job_with_both_sidecars_completes(&namespace).await;
    an_app_is_told_of_changes(&node, &namespace).await;
}

/// Nobody gave the account a right: the app waits, and an Event says what to do, which is done.
async fn the_commands_that_help_are_shown_in_an_event(node: &Node, namespace: &Namespace<'_>) {
    create(namespace, &reader("waiting", &[])).await;
    let events: Api<Event> = Api::default_namespaced(namespace.client());
    let message = until("an Event says what is missing", async || {
        let events = events.list(&ListParams::default()).await.unwrap();
        let messages = events.items.into_iter().filter_map(|event| event.message);
        let messages: Vec<String> = messages.filter(|message| message.contains("Startup probe")).collect();
        messages.iter().find(|message| message.contains("allow it with")).cloned().ok_or_else(|| format!("{messages:?}"))
    })
    .await;
    let (_, commands) = message.split_once("allow it with: ").unwrap();
    assert_eq!(phase(namespace, "waiting").await, "Pending", "it waits");
    for command in commands.trim().split(" && ") {
        let arguments: Vec<&str> = command.split(' ').skip(1).collect();
        drop(node.cluster().kubectl(&arguments).await.success());
    }
    until_phase(namespace, "waiting", "Succeeded").await;
}

/// It reads a file at once, fails without it, and its sidecar doesn't keep it from ending.
async fn a_job_sees_its_files_and_ends(namespace: &Namespace<'_>) {
    create(namespace, &reader("job", &[])).await;
    until_phase(namespace, "job", "Succeeded").await;
    create(namespace, &reader("together", &[("file-sync.outrigger.dev/publish", "together")])).await;
    until_phase(namespace, "together", "Succeeded").await;
    create(namespace, &reader("once", &[("file-sync.outrigger.dev/mode", "once")])).await;
    until_phase(namespace, "once", "Succeeded").await;
}

/// The provisioner's database is nowhere to be found: that keeps no Job from its end.
async fn a_job_with_both_sidecars_completes(namespace: &Namespace<'_>) {
    let secrets: Api<Secret> = Api::default_namespaced(namespace.client());
    for (name, key, text) in [
        ("office", "connection.yaml", "name: Office\nprotocol: ssh\nparameters: {hostname: office}\n"),
        ("properties", "guacamole.properties", "postgresql-hostname: nowhere.invalid\npostgresql-password: unused\n"),
    ] {
        let secret: Secret = serde_json::from_value(json!({"metadata": {"name": name}, "stringData": {key: text}})).unwrap();
        secrets.create(&PostParams::default(), &secret).await.unwrap();
    }
    let annotations = [
        ("outrigger.dev/inject", "file-sync, guacamole"),
        ("guacamole.outrigger.dev/connections", "office"),
        ("guacamole.outrigger.dev/configuration", "properties"),
    ];
    let pod = injected(&reader("both", &annotations));
    let template = json!({"metadata": {"annotations": pod["metadata"]["annotations"]}, "spec": pod["spec"]});
    let job: Job =
        serde_json::from_value(json!({"metadata": {"name": "both"}, "spec": {"backoffLimit": 0, "template": template}})).unwrap();
    let jobs: Api<Job> = Api::default_namespaced(namespace.client());
    jobs.create(&PostParams::default(), &job).await.unwrap();
    until("the Job is complete", async || {
        let status = jobs.get("both").await.unwrap().status.unwrap_or_default();
        if status.succeeded == Some(1) && status.completion_time.is_some() { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

/// The address to call is the app's own, which starts after the first sync: neither waits for the other.
async fn an_app_is_told_of_changes(node: &Node, namespace: &Namespace<'_>) {
    let app = json!({"name": "app", "image": "localhost/answer:1", "imagePullPolicy": "IfNotPresent", "args": ["8080"], "securityContext": restricted(1234)});
    create(namespace, &pod("app", &[("file-sync.outrigger.dev/notify-url", "http://localhost:8080/reload")], &app)).await;
    until_phase(namespace, "app", "Running").await;
    let address = pods(namespace).get("app").await.unwrap().status.unwrap().pod_ip.unwrap();
    let told = async || {
        let text =
            reqwest::get(format!("http://{address}:{HEALTH_PORT}/metrics")).await.map_err(|error| error.to_string())?.text().await.unwrap();
        let count = text.lines().find_map(|line| line.strip_prefix("outrigger_file_sync_notifications_total ")).unwrap();
        count.parse::<u64>().map_err(|error| error.to_string())
    };
    until("the app was told of the first sync", async || if told().await? >= 1 { Ok(()) } else { Err("it was not".to_owned()) }).await;

    let before = told().await.unwrap();
    put(namespace, "kind: Changed").await;
    until("the app was told of the change", async || if told().await? > before { Ok(()) } else { Err("it was not".to_owned()) }).await;
    let read =
        ["-n", namespace.name(), "exec", "app", "-c", "outrigger-file-sync", "--", "outrigger", "inject", "-f", "/srv/files/object.yaml"];
    let read = node.cluster().kubectl(&read).await.success();
    assert!(read.contains("Changed"), "{read}");
}

/// A pod whose app is a program that reads the mirrored file, and fails if it is not there.
fn reader(name: &str, annotations: &[(&str, &str)]) -> Value {
    let app = json!({
        "name": "app",
        "image": image::product::REFERENCE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["outrigger", "inject", "-f", "/srv/files/object.yaml"],
        "securityContext": restricted(1234),
    });
    pod(name, annotations, &app)
}

fn pod(name: &str, annotations: &[(&str, &str)], app: &Value) -> Value {
    let mut all = json!({
        "outrigger.dev/inject": "file-sync",
        "file-sync.outrigger.dev/folder": "/srv/files",
        "file-sync.outrigger.dev/label": "mirrored",
    });
    for (key, value) in annotations {
        all[*key] = json!(value);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": all},
        "spec": {"restartPolicy": "Never", "automountServiceAccountToken": false, "containers": [app]},
    })
}

/// The object that is mirrored, with a manifest for a file.
async fn put(namespace: &Namespace<'_>, text: &str) {
    let objects: Api<ConfigMap> = Api::default_namespaced(namespace.client());
    let object: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "files", "labels": {"mirrored": "yes"}},
        "data": {"object.yaml": format!("apiVersion: v1\n{text}\nmetadata: {{name: x}}\n")},
    }))
    .unwrap();
    if objects.get_opt("files").await.unwrap().is_some() {
        objects.replace("files", &PostParams::default(), &object).await.unwrap();
    } else {
        objects.create(&PostParams::default(), &object).await.unwrap();
    }
}

async fn phase(namespace: &Namespace<'_>, name: &str) -> String {
    pods(namespace).get(name).await.unwrap().status.and_then(|status| status.phase).unwrap_or_default()
}
