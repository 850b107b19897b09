//! Together with other injectors, at a real API server: whoever comes first, nobody's work is lost.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use common::{
    container, names,
    other_webhook::{Mutation, OtherWebhook},
    restored, variable,
    webhook::{Webhook, wait_for},
};
use outrigger_bed::Namespace;
use serde_json::{Value, json};

const OURS: [&str; 3] = ["outrigger-file-sync", "outrigger-vnc", "outrigger-guacamole"];
const FILES: &str = "/srv/files";

/// A container that satisfies Pod Security `restricted`.
fn restricted(name: &str) -> Value {
    json!({
        "name": name,
        "image": "image",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "runAsNonRoot": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

/// A native sidecar of somebody else.
fn native(name: &str) -> Value {
    let mut container = restricted(name);
    container["restartPolicy"] = json!("Always");
    container
}

/// A pod that asks for all three sidecars, with an init container and volumes of its own.
fn pod(name: &str) -> Value {
    let mut app = restricted("app");
    app["env"] = json!([{"name": "LANG", "value": "C"}]);
    app["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "annotations": {
                "outrigger.dev/inject": "vnc, file-sync, guacamole",
                "file-sync.outrigger.dev/folder": FILES,
                "file-sync.outrigger.dev/label": "app",
                "guacamole.outrigger.dev/connections": "office",
                "guacamole.outrigger.dev/configuration": "guacamole-properties",
            },
        },
        "spec": {
            "initContainers": [restricted("migrate")],
            "containers": [app],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "cache", "emptyDir": {}}],
        },
    })
}

/// The same pod, opted out.
fn without_ours(mut pod: Value) -> Value {
    pod["metadata"]["annotations"]["outrigger.dev/inject"] = json!("none");
    pod["metadata"]["name"] = json!("plain");
    pod
}

/// Applies a pod and the same one opted out, and gives both back as the API server has them.
async fn applied(webhook: &Webhook, namespace: &Namespace<'_>, pod: &Value) -> (Value, Value) {
    for pod in [pod, &without_ours(pod.clone())] {
        drop(webhook.apply(namespace.name(), &pod.to_string()).await.success());
    }
    let name = pod["metadata"]["name"].as_str().unwrap();
    (webhook.get(namespace.name(), &format!("pod/{name}")).await, webhook.get(namespace.name(), "pod/plain").await)
}

/// A pod's specification; the volume of its ServiceAccount's token is named at random.
fn spec(pod: &Value) -> Value {
    let text = pod["spec"].to_string();
    let Some(start) = text.find("kube-api-access-") else { return pod["spec"].clone() };
    serde_json::from_str(&text.replace(&text[start..start + 21], "kube-api-access-x")).unwrap()
}

/// Takes ours away again, and compares with the pod that never had it.
fn assert_undone(injected: &Value, plain: &Value) {
    assert_eq!(spec(&restored(injected)), spec(plain));
}

/// Ours are there, once each.
fn assert_once(pod: &Value) {
    let all = [names(pod, "initContainers"), names(pod, "containers")].concat();
    for name in OURS {
        assert_eq!(all.iter().filter(|there| **there == name).count(), 1, "{name} in {all:?}");
    }
}

/// A container of somebody else has what ours give.
fn assert_served(pod: &Value, name: &str) {
    let container = container(pod, name);
    assert_eq!(variable(container, "DISPLAY"), Some(":99"), "{container}");
    let mounts: Vec<&str> =
        container["volumeMounts"].as_array().unwrap().iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
    for path in ["/tmp/.X11-unix", FILES] {
        assert_eq!(mounts.iter().filter(|there| **there == path).count(), 1, "{path} in {mounts:?}");
    }
}

fn has(pod: &Value, list: &str, name: &str) -> bool {
    names(pod, list).contains(&name)
}

/// Adds a container that says nothing of environment and mounts.
fn add_container(pod: &Value) -> Vec<Value> {
    if has(pod, "containers", "logger") {
        return Vec::new();
    }
    vec![json!({"op": "add", "path": "/spec/containers/-", "value": restricted("logger")})]
}

/// Puts a native sidecar before all init containers.
fn add_first_init(pod: &Value) -> Vec<Value> {
    if has(pod, "initContainers", "secrets") {
        return Vec::new();
    }
    vec![json!({"op": "add", "path": "/spec/initContainers/0", "value": native("secrets")})]
}

/// Sorts the volumes by name, from the last to the first.
fn sort_volumes(pod: &Value) -> Vec<Value> {
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let mut sorted = volumes.clone();
    sorted.sort_by_key(|volume| std::cmp::Reverse(volume["name"].as_str().unwrap().to_owned()));
    if sorted == *volumes { Vec::new() } else { vec![json!({"op": "replace", "path": "/spec/volumes", "value": sorted})] }
}

const ALL: &[Mutation] = &[add_container, add_first_init, sort_volumes];

/// Webhooks that come before ours, and after: names in the API server's order, with policy and mutations.
type Arrangement = &'static [(&'static str, &'static str, &'static [Mutation])];

/// What holds in whatever order ours and these are called.
async fn assert_composes(arrangement: Arrangement) {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("composed").await;
    namespace.label("pod-security.kubernetes.io/enforce", "restricted").await;
    let mut others = Vec::new();
    for (name, policy, mutations) in arrangement {
        others.push(OtherWebhook::register(webhook.cluster, name, namespace.name(), policy, mutations).await);
    }
    until_mutated(webhook, &namespace, ALL).await;
    let (injected, plain) = applied(webhook, &namespace, &pod("composed")).await;
    for other in others {
        other.delete().await;
    }
    assert_once(&injected);
    assert_served(&injected, "app");
    assert_served(&injected, "logger");
    let inits = names(&injected, "initContainers");
    let place = |name: &str| inits.iter().position(|there| *there == name).unwrap_or_else(|| panic!("{name} in {inits:?}"));
    assert!(place("outrigger-file-sync") < place("migrate"), "{inits:?}");
    assert!(place("migrate") < place("outrigger-vnc") && place("migrate") < place("outrigger-guacamole"), "{inits:?}");
    assert_eq!((inits.len(), place("secrets") < place("migrate")), (5, true), "{inits:?}");
    assert_eq!(names(&injected, "containers"), ["app", "logger"]);
    for volume in ["data", "cache"] {
        assert!(has(&injected, "volumes", volume));
    }
    assert_eq!(injected["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "app");
    assert_undone(&injected, &plain);
}

/// Waits until the API server has learnt of the others.
async fn until_mutated(webhook: &Webhook, namespace: &Namespace<'_>, mutations: &[Mutation]) {
    let probe = without_ours(pod("probe")).to_string();
    wait_for("the API server calls the other webhooks", async || {
        let arguments = ["-n", namespace.name(), "create", "--dry-run=server", "-o", "json", "-f", "-"];
        let shown: Value = serde_json::from_str(&webhook.cluster.kubectl_with_input(&arguments, &probe).await.stdout).ok()?;
        mutations.iter().all(|mutation| mutation(&shown).is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_first_and_once() {
    assert_composes(&[("first", "Never", ALL)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_first_and_again_after_ours() {
    assert_composes(&[("first", "IfNeeded", ALL)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_first_and_again_after_the_other() {
    assert_composes(&[("the-last", "Never", ALL)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_first_and_both_again() {
    assert_composes(&[("the-last", "IfNeeded", ALL)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_container_before_ours_and_the_rest_after() {
    assert_composes(&[("first", "IfNeeded", &[add_first_init]), ("the-last", "Never", &[add_container, sort_volumes])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn container_before_ours_init_container_and_order_of_volumes_after() {
    assert_composes(&[
        ("first", "Never", &[add_container]),
        ("the-last", "IfNeeded", &[add_first_init]),
        ("the-very-last", "IfNeeded", &[sort_volumes]),
    ])
    .await;
}

/// A proxy that a mesh adds, with the capabilities its redirection needs where it has one.
fn mesh_container(name: &str, ports: &Value) -> Value {
    let mut container = restricted(name);
    container["ports"] = ports.clone();
    container["env"] = json!([{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    container["volumeMounts"] = json!([{"name": "mesh-identity", "mountPath": "/var/run/secrets/mesh"}]);
    container["readinessProbe"] = json!({"httpGet": {"path": "/ready", "port": 15021}});
    container
}

fn redirecting_init(name: &str) -> Value {
    json!({
        "name": name,
        "image": "image",
        "securityContext": {"runAsUser": 0, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"]}},
    })
}

/// Applies a pod with what a mesh's injector has put before the app's own containers.
async fn meshed(name: &str, inits: &[Value], containers_before: &[Value], containers_after: &[Value]) -> (Value, Value) {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace(name).await;
    let mut pod = pod(name);
    let spec = &mut pod["spec"];
    let join = |before: &[Value], own: &Value, after: &[Value]| Value::from([before, own.as_array().unwrap(), after].concat());
    spec["initContainers"] = join(inits, &spec["initContainers"], &[]);
    spec["containers"] = join(containers_before, &spec["containers"], containers_after);
    spec["volumes"].as_array_mut().unwrap().insert(0, json!({"name": "mesh-identity", "emptyDir": {"medium": "Memory"}}));
    let (injected, plain) = applied(webhook, &namespace, &pod).await;
    assert_once(&injected);
    assert_served(&injected, "app");
    assert_undone(&injected, &plain);
    (injected, plain)
}

/// A mesh's own containers are left as they were.
fn assert_untouched(injected: &Value, plain: &Value, containers: &[&str]) {
    for name in containers {
        let of = |pod: &Value| container(&json!({"spec": spec(pod)}), name).clone();
        assert_eq!(of(injected), of(plain));
    }
}

/// Plain sidecars wait behind the proxy, and hold back the app.
fn assert_waiting(pod: &Value) {
    for name in OURS {
        assert!(container(pod, name)["lifecycle"]["postStart"]["exec"].is_object(), "{name} holds back those behind it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn istio_with_a_native_proxy() {
    let mut proxy = mesh_container("istio-proxy", &json!([{"name": "http-envoy-prom", "containerPort": 15090}]));
    proxy["restartPolicy"] = json!("Always");
    let (injected, plain) = meshed("istio-native", &[redirecting_init("istio-init"), proxy], &[], &[]).await;
    let expected = ["istio-init", "istio-proxy", "outrigger-file-sync", "migrate", "outrigger-vnc", "outrigger-guacamole"];
    assert_eq!(names(&injected, "initContainers"), expected);
    assert_eq!(names(&injected, "containers"), ["app"]);
    assert_untouched(&injected, &plain, &["istio-init", "istio-proxy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn istio_with_a_plain_proxy_that_holds_the_application() {
    let mut proxy = mesh_container("istio-proxy", &json!([{"name": "http-envoy-prom", "containerPort": 15090}]));
    proxy["lifecycle"] = json!({"postStart": {"exec": {"command": ["pilot-agent", "wait"]}}});
    let (injected, plain) = meshed("istio-held", &[redirecting_init("istio-init")], &[proxy], &[]).await;
    assert_eq!(names(&injected, "initContainers"), ["istio-init", "migrate"]);
    assert_eq!(names(&injected, "containers"), ["istio-proxy", OURS[0], OURS[1], OURS[2], "app"]);
    assert_waiting(&injected);
    assert_untouched(&injected, &plain, &["istio-init", "istio-proxy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn istio_with_a_plain_proxy_behind_the_app() {
    let proxy = mesh_container("istio-proxy", &json!([{"name": "http-envoy-prom", "containerPort": 15090}]));
    let (injected, plain) = meshed("istio-plain", &[redirecting_init("istio-init")], &[], &[proxy]).await;
    assert_eq!(names(&injected, "initContainers"), ["istio-init", "migrate"]);
    assert_eq!(names(&injected, "containers"), ["app", "istio-proxy", OURS[0], OURS[1], OURS[2]]);
    assert_untouched(&injected, &plain, &["istio-init", "istio-proxy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn linkerd_with_its_proxy_first() {
    let mut proxy = mesh_container("linkerd-proxy", &json!([{"name": "linkerd-proxy", "containerPort": 4143}]));
    proxy["lifecycle"] = json!({"postStart": {"exec": {"command": ["/usr/lib/linkerd/linkerd-await", "--timeout=2m"]}}});
    let (injected, plain) = meshed("linkerd", &[redirecting_init("linkerd-init")], &[proxy], &[]).await;
    assert_eq!(names(&injected, "initContainers"), ["linkerd-init", "migrate"]);
    assert_eq!(names(&injected, "containers"), ["linkerd-proxy", OURS[0], OURS[1], OURS[2], "app"]);
    assert_waiting(&injected);
    assert_untouched(&injected, &plain, &["linkerd-init", "linkerd-proxy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn linkerd_with_a_native_proxy() {
    let mut proxy = mesh_container("linkerd-proxy", &json!([{"name": "linkerd-proxy", "containerPort": 4143}]));
    proxy["restartPolicy"] = json!("Always");
    let (injected, plain) = meshed("linkerd-native", &[redirecting_init("linkerd-init"), proxy], &[], &[]).await;
    let expected = ["linkerd-init", "linkerd-proxy", OURS[0], "migrate", OURS[1], OURS[2]];
    assert_eq!(names(&injected, "initContainers"), expected);
    assert_untouched(&injected, &plain, &["linkerd-init", "linkerd-proxy"]);
}

/// Redirects the pod's traffic to a plain proxy, as a mesh whose webhook is called after ours.
fn add_plain_mesh(pod: &Value) -> Vec<Value> {
    if has(pod, "containers", "istio-proxy") {
        return Vec::new();
    }
    vec![
        json!({"op": "add", "path": "/spec/initContainers/0", "value": redirecting_init("istio-init")}),
        json!({"op": "add", "path": "/spec/containers/-", "value": restricted("istio-proxy")}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_mesh_that_comes_later_is_warned_of() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("late-mesh").await;
    let mesh = OtherWebhook::register(webhook.cluster, "the-mesh", namespace.name(), "Never", &[add_plain_mesh]).await;
    until_mutated(webhook, &namespace, &[add_plain_mesh]).await;
    let mut plain = pod("plain-on-request");
    plain["metadata"]["annotations"]["outrigger.dev/native-sidecar"] = json!("false");
    let late = webhook.apply(namespace.name(), &pod("late").to_string()).await;
    let asked = webhook.apply(namespace.name(), &plain.to_string()).await;
    mesh.delete().await;
    assert!(late.stderr.contains("start before istio-proxy") && late.stderr.contains("outrigger.dev/native-sidecar"), "{late:?}");
    assert!(!asked.stderr.contains("start before istio-proxy"), "{asked:?}");
    let asked = webhook.get(namespace.name(), "pod/plain-on-request").await;
    assert_eq!(names(&asked, "initContainers"), ["istio-init", "migrate"]);
}

/// Vault's agents share their token and the secrets with the app through volumes in memory.
#[tokio::test(flavor = "multi_thread")]
async fn vault_with_its_agents_and_volumes() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("vault").await;
    namespace.label("pod-security.kubernetes.io/enforce", "restricted").await;
    let agent = |name: &str, home: &str| {
        let mut agent = restricted(name);
        agent["volumeMounts"] =
            json!([{"name": home, "mountPath": "/home/vault"}, {"name": "vault-secrets", "mountPath": "/vault/secrets"}]);
        agent["env"] = json!([{"name": "VAULT_CONFIG", "value": "e30="}]);
        agent
    };
    let secrets = json!({"name": "vault-secrets", "mountPath": "/vault/secrets"});
    let mut pod = pod("vaulted");
    let spec = &mut pod["spec"];
    spec["initContainers"].as_array_mut().unwrap().insert(0, agent("vault-agent-init", "home-init"));
    spec["containers"][0]["volumeMounts"].as_array_mut().unwrap().push(secrets);
    spec["containers"].as_array_mut().unwrap().push(agent("vault-agent", "home-sidecar"));
    for volume in ["home-init", "home-sidecar", "vault-secrets"] {
        spec["volumes"].as_array_mut().unwrap().push(json!({"name": volume, "emptyDir": {"medium": "Memory"}}));
    }
    let (injected, plain) = applied(webhook, &namespace, &pod).await;
    assert_once(&injected);
    assert_served(&injected, "app");
    assert_eq!(names(&injected, "initContainers"), [OURS[0], "vault-agent-init", "migrate", OURS[1], OURS[2]]);
    assert_eq!(names(&injected, "containers"), ["app", "vault-agent"]);
    assert_untouched(&injected, &plain, &["vault-agent", "vault-agent-init"]);
    assert_undone(&injected, &plain);
}
