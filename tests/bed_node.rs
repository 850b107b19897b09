//! The second level of the test bed: pods really run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::wait::{Condition, await_condition};
use outrigger_bed::{Namespace, Node, image};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

const DEADLINE: Duration = Duration::from_secs(60);
/// Less than a pod's grace period of 30 s, after which the kubelet would kill what has not ended by itself.
const ENDS_BY_ITSELF: Duration = Duration::from_secs(25);
const APP_PORT: u16 = 8080;
const SIDECAR_PORT: u16 = 8081;

#[tokio::test(flavor = "multi_thread")]
async fn a_restricted_pod_with_a_native_sidecar_runs_to_ready_and_ends_cleanly() {
    let Some(node) = Node::start("a_restricted_pod_with_a_native_sidecar").await else { return };
    let folder = tempfile::tempdir().unwrap();
    node.import_image(&image::answer(folder.path()).unwrap()).await;
    let namespace = node.cluster().namespace("native").await;
    namespace.label("pod-security.kubernetes.io/enforce", "restricted").await;

    pods(&namespace).create(&PostParams::default(), &restricted_pod()).await.unwrap();
    let pod = wait_for(&namespace, is_ready()).await;
    let address = pod.status.unwrap().pod_ip.unwrap();
    assert_eq!(get(&address, SIDECAR_PORT, "/"), "ok\n", "the sidecar answers at the pod's address");
    assert_eq!(get(&address, APP_PORT, "/quit"), "ok\n", "the app answers for the last time");

    let quit = Instant::now();
    let pod = wait_for(&namespace, has_phase("Succeeded")).await;
    assert!(quit.elapsed() < ENDS_BY_ITSELF, "the sidecar was ended after {:?}", quit.elapsed());
    let sidecar = pod.status.unwrap().init_container_statuses.unwrap().remove(0);
    assert_eq!(sidecar.state.unwrap().terminated.unwrap().exit_code, 0, "the sidecar ended on SIGTERM");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_run_pods_side_by_side() {
    let (one, other) = tokio::join!(Node::start("two_nodes"), Node::start("two_nodes"));
    let (Some(one), Some(other)) = (one, other) else { return };
    assert_ne!(one.address(), other.address());
    for node in [&one, &other] {
        let folder = tempfile::tempdir().unwrap();
        node.import_image(&image::answer(folder.path()).unwrap()).await;
        let namespace = node.cluster().namespace("beside").await;
        pods(&namespace).create(&PostParams::default(), &restricted_pod()).await.unwrap();
        wait_for(&namespace, is_ready()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_node_outlives_it() {
    let Some(node) = Node::start("nothing_of_a_node_outlives_it").await else { return };
    let name = node.name().to_owned();
    let folder = tempfile::tempdir().unwrap();
    node.import_image(&image::answer(folder.path()).unwrap()).await;
    let namespace = node.cluster().namespace("gone").await;
    pods(&namespace).create(&PostParams::default(), &restricted_pod()).await.unwrap();
    wait_for(&namespace, is_ready()).await;
    assert!(!traces(&name).is_empty(), "a running node can be seen");

    drop(namespace);
    drop(node);
    assert_eq!(traces(&name), Vec::<String>::new());
}

/// Whatever on this machine bears the node's name: processes, mounts, control groups, its network namespace and its link.
fn traces(name: &str) -> Vec<String> {
    let mut traces = Vec::new();
    for process in fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path()) {
        // Processes come and go while we look, and not all folders there are processes.
        let text = |file: &str| String::from_utf8_lossy(&fs::read(process.join(file)).unwrap_or_default()).into_owned();
        // A zombie has ended: when its new parent looks is not the guardian's affair.
        let is_zombie = text("stat").contains(") Z ");
        if !is_zombie && (text("cmdline").contains(name) || text("cgroup").contains(name)) {
            traces.push(text("cmdline"));
        }
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    traces.extend(mounts.lines().filter(|mount| mount.contains(name)).map(str::to_owned));
    let groups = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path().join(name));
    let others = ["/sys/fs/cgroup", "/run/netns", "/sys/class/net"].map(|folder| Path::new(folder).join(name));
    traces.extend(groups.chain(others).filter(|path| path.exists()).map(|path| path.display().to_string()));
    traces
}

fn restricted_pod() -> Pod {
    let container = |name: &str, port: u16| {
        json!({
            "name": name,
            "image": "localhost/answer:1",
            "imagePullPolicy": "IfNotPresent",
            "args": [port.to_string()],
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
                "runAsNonRoot": true,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        })
    };
    let probe = |port: u16| json!({"httpGet": {"path": "/", "port": port}, "periodSeconds": 1});
    let with = |mut container: Value, key: &str, value: Value| {
        container.as_object_mut().unwrap().insert(key.to_owned(), value);
        container
    };
    let app = with(container("app", APP_PORT), "readinessProbe", probe(APP_PORT));
    let sidecar = with(container("sidecar", SIDECAR_PORT), "startupProbe", probe(SIDECAR_PORT));
    let sidecar = with(sidecar, "restartPolicy", json!("Always"));
    serde_json::from_value(json!({
        "metadata": {"name": "app"},
        "spec": {"restartPolicy": "Never", "initContainers": [sidecar], "containers": [app]},
    }))
    .unwrap()
}

fn pods(namespace: &Namespace<'_>) -> Api<Pod> {
    Api::default_namespaced(namespace.client())
}

async fn wait_for(namespace: &Namespace<'_>, condition: impl Condition<Pod>) -> Pod {
    if let Ok(pod) = timeout(DEADLINE, await_condition(pods(namespace), "app", condition)).await {
        return pod.unwrap().unwrap();
    }
    let pod = pods(namespace).get("app").await.unwrap();
    panic!("waited {} s for the pod, whose status is {:#?}", DEADLINE.as_secs(), pod.status);
}

fn is_ready() -> impl Condition<Pod> {
    |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_deref()).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }
}

fn has_phase(phase: &'static str) -> impl Condition<Pod> {
    move |pod: Option<&Pod>| pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()) == Some(phase)
}

/// The body of an answer.
fn get(address: &str, port: u16, path: &str) -> String {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    let mut connection = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: pod\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
