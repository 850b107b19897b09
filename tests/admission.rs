//! `kubectl apply` at a real API server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use common::{
    container, names, restored, variable,
    webhook::{Webhook, wait_for},
};
use serde_json::Value;

const ALL_THREE: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: all
  annotations:
    outrigger.dev/inject: vnc, file-sync, guacamole
    file-sync.outrigger.dev/folder: /srv/files
    file-sync.outrigger.dev/label: app
    guacamole.outrigger.dev/connections: office
    guacamole.outrigger.dev/configuration: guacamole-properties
spec:
  securityContext: {}
  containers:
  - name: app
    image: app:1
    securityContext:
      allowPrivilegeEscalation: false
      runAsNonRoot: true
      capabilities: {drop: [ALL]}
      seccompProfile: {type: RuntimeDefault}
";

/// The samples of one line of the reviews' metric.
fn count(reviews: &str, labels: &str) -> u64 {
    let line = reviews.lines().find(|line| line.contains(labels));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |number| number.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a12_an_annotated_pod_comes_back_with_its_sidecars_under_pod_security_restricted() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("restricted").await;
    namespace.label("pod-security.kubernetes.io/enforce", "restricted").await;
    let applied = webhook.apply(namespace.name(), ALL_THREE).await;
    assert!(applied.status.success(), "{}", applied.stderr);
    assert_eq!(applied.stderr, "", "no warning");
    let pod = webhook.get(namespace.name(), "pod/all").await;
    assert_eq!(names(&pod, "initContainers"), ["outrigger-file-sync", "outrigger-vnc", "outrigger-guacamole"]);
    assert_eq!(variable(container(&pod, "app"), "DISPLAY"), Some(":99"));
    assert_eq!(pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "app");
    // The API server mounts the pod's token into every container that leaves it room.
    for (container_name, token) in [
        ("app", "kube-api-access-"),
        ("outrigger-vnc", "outrigger-no-token"),
        ("outrigger-guacamole", "outrigger-no-token"),
        ("outrigger-file-sync", "outrigger-file-sync-token"),
    ] {
        let mounts = container(&pod, container_name)["volumeMounts"].as_array().unwrap();
        let at_token_folder: Vec<_> =
            mounts.iter().filter(|mount| mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount").collect();
        assert!(
            at_token_folder.len() == 1 && at_token_folder[0]["name"].as_str().unwrap().starts_with(token),
            "{container_name}: {mounts:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_pod_uninjected_equals_one_that_never_was_injected() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("live").await;
    let plain = ALL_THREE.replace("outrigger.dev/inject: vnc, file-sync, guacamole", "outrigger.dev/inject: none");
    assert!(webhook.apply(namespace.name(), &plain.replace("name: all", "name: plain")).await.status.success());
    assert!(webhook.apply(namespace.name(), ALL_THREE).await.status.success());
    let spec = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        // The volume of the ServiceAccount's token is named at random for each pod.
        let text = spec.to_string();
        let start = text.find("kube-api-access-").unwrap();
        spec = serde_json::from_str(&text.replace(&text[start..start + 21], "kube-api-access-x")).unwrap();
        spec
    };
    let plain = webhook.get(namespace.name(), "pod/plain").await;
    let undone = restored(&webhook.get(namespace.name(), "pod/all").await);
    assert_eq!(spec(&undone), spec(&plain));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_annotation_is_refused_with_key_value_and_way_out() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("bad").await;
    let manifest = ALL_THREE
        .replace("outrigger.dev/inject: vnc, file-sync, guacamole", "outrigger.dev/inject: vnc\n    vnc.outrigger.dev/geometry: huge");
    let refused = webhook.apply(namespace.name(), &manifest).await;
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("vnc.outrigger.dev/geometry is \"huge\": it must be WIDTHxHEIGHT"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_desktop_are_mounted_into_its_sidecar_alone_and_their_lack_is_no_obstacle() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("access").await;
    namespace.label("pod-security.kubernetes.io/enforce", "restricted").await;
    let annotated = |lines: &str| ALL_THREE.replace("outrigger.dev/inject: vnc, file-sync, guacamole", lines);
    let manifest = annotated(
        "outrigger.dev/inject: vnc\n    vnc.outrigger.dev/access-secret: desk-access\n    vnc.outrigger.dev/tls-secret: desk-tls\n    \
         vnc.outrigger.dev/origins: \"https://desks.example.com, http://localhost:8080\"\n    vnc.outrigger.dev/max-viewers: \"4\"",
    );
    let applied = webhook.apply(namespace.name(), &manifest).await;
    assert!(applied.status.success(), "{}", applied.stderr);
    let pod = webhook.get(namespace.name(), "pod/all").await;
    let desktop = container(&pod, "outrigger-vnc");
    for (name, value) in [
        ("VNC_CLAIMS_KEYS_FILE", "/run/outrigger/access/claims-keys"),
        ("VNC_ADMINISTRATOR_TOKEN_FILE", "/run/outrigger/access/administrator-token"),
        ("VNC_TICKETS", "true"),
        ("VNC_TLS_FOLDER", "/run/outrigger/tls"),
        ("VNC_ORIGINS", "https://desks.example.com, http://localhost:8080"),
        ("VNC_MAX_VIEWERS", "4"),
    ] {
        assert_eq!(variable(desktop, name), Some(value), "{name}");
    }
    for (volume, secret, path) in
        [("outrigger-vnc-access", "desk-access", "/run/outrigger/access"), ("outrigger-vnc-tls", "desk-tls", "/run/outrigger/tls")]
    {
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let source = &volumes.iter().find(|there| there["name"] == volume).unwrap()["secret"];
        assert_eq!((&source["secretName"], &source["optional"]), (&secret.into(), &true.into()));
        let mounts = |name| container(&pod, name)["volumeMounts"].as_array().unwrap().clone();
        let mount = mounts("outrigger-vnc").into_iter().find(|mount| mount["name"] == volume).unwrap();
        assert_eq!((&mount["mountPath"], &mount["readOnly"]), (&path.into(), &true.into()));
        assert!(!mounts("app").iter().any(|mount| mount["name"] == volume), "the app sees no secret of the sidecar");
    }

    for (line, said) in [
        (
            "vnc.outrigger.dev/origins: desks.example.com",
            "vnc.outrigger.dev/origins is \"desks.example.com\": it must be a comma-separated list",
        ),
        ("vnc.outrigger.dev/max-viewers: \"0\"", "vnc.outrigger.dev/max-viewers is \"0\": it must be a whole number from 1 to 500"),
        (
            "vnc.outrigger.dev/session: desk-1",
            "vnc.outrigger.dev/session is \"desk-1\", and no token is asked for without vnc.outrigger.dev/access-secret",
        ),
    ] {
        let manifest = annotated(&format!("outrigger.dev/inject: vnc\n    {line}")).replace("name: all", "name: refused");
        let refused = webhook.apply(namespace.name(), &manifest).await;
        assert!(!refused.status.success() && refused.stderr.contains(said), "{}", refused.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn warnings_reach_kubectl() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("warned").await;
    let manifest = ALL_THREE
        .replace("file-sync.outrigger.dev/label: app", "file-sync.outrigger.dev/label: app\n    file-sync.outrigger.dev/foldr: /x");
    let applied = webhook.apply(namespace.name(), &manifest).await;
    assert!(applied.status.success(), "{}", applied.stderr);
    assert!(applied.stderr.contains("did you mean file-sync.outrigger.dev/folder?"), "{}", applied.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn namespace_defaults_hold_at_once_and_none_opts_out() {
    let webhook = Webhook::shared().await;
    let name = format!("defaults-{}", std::process::id());
    let manifests = format!(
        "
apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  labels: {{outrigger.dev/defaults: enabled}}
  annotations: {{outrigger.dev/inject: vnc, vnc.outrigger.dev/geometry: 800x600}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: app, namespace: {name}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: silent, namespace: {name}}}
spec: {{serviceAccountName: app, containers: [{{name: app, image: app}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: out, namespace: {name}, annotations: {{outrigger.dev/inject: none}}}}
spec: {{serviceAccountName: app, containers: [{{name: app, image: app}}]}}
"
    );
    let applied = webhook.apply(&name, &manifests).await;
    assert!(applied.status.success(), "{}", applied.stderr);
    let silent = webhook.get(&name, "pod/silent").await;
    assert_eq!(variable(container(&silent, "outrigger-vnc"), "VNC_GEOMETRY"), Some("800x600"));
    assert_eq!(names(&webhook.get(&name, "pod/out").await, "initContainers"), [""; 0]);
    webhook.cluster.kubectl(&["delete", "namespace", &name, "--wait=false"]).await;
}

/// One counter for all tests of this process, so this one has the server to itself: it runs on a control plane of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_asks_for_nothing_never_reaches_us() {
    let webhook = Webhook::alone().await;
    let namespace = webhook.cluster.namespace("silent").await;
    let before = webhook.reviews().await;
    let manifest = "
apiVersion: v1
kind: Pod
metadata: {name: NAME, annotations: {example.com/a: b}}
spec: {containers: [{name: app, image: app}]}
";
    for name in ["one", "two"] {
        let applied = webhook.apply(namespace.name(), &manifest.replace("NAME", name)).await;
        assert!(applied.status.success(), "{}", applied.stderr);
    }
    let bare = manifest.replace("NAME, annotations: {example.com/a: b}", "three");
    assert!(webhook.apply(namespace.name(), &bare).await.status.success(), "no annotations at all");
    let opted_out = manifest.replace("NAME, annotations: {example.com/a: b}", "four, annotations: {outrigger.dev/inject: none}");
    assert!(webhook.apply(namespace.name(), &opted_out).await.status.success());
    assert_eq!(webhook.reviews().await, before);
    assert!(webhook.apply(namespace.name(), ALL_THREE).await.status.success());
    let after = webhook.reviews().await;
    let injected = "webhook=\"pods\",outcome=\"injected\"";
    assert!(count(&after, injected) > count(&before, injected), "the counter counts: {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_sidecars_and_stores_nothing() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("dry").await;
    let shown = webhook
        .cluster
        .kubectl_with_input(&["-n", namespace.name(), "create", "--dry-run=server", "-o", "json", "-f", "-"], ALL_THREE)
        .await;
    let pod: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(names(&pod, "initContainers").len(), 3);
    let stored = webhook.cluster.kubectl(&["-n", namespace.name(), "get", "pods", "-o", "name"]).await;
    assert_eq!(stored.stdout, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_what_is_there() {
    let webhook = Webhook::shared().await;
    let (code, report) = webhook.status("/readyz").await.unwrap();
    assert_eq!(code, 200);
    for gate in ["certificate: ok", "listener: ok", "namespaces: ok"] {
        assert!(report.contains(gate), "{report}");
    }
    let (_, metrics) = webhook.status("/metrics").await.unwrap();
    for metric in
        ["outrigger_build_info{version=", "outrigger_certificate_expiry_seconds", "outrigger_admission_in_flight", "le=\"0.00005\""]
    {
        assert!(metrics.contains(metric), "{metric} in {metrics}");
    }
}

// ---- our own kinds ----

fn server(name: &str, namespace: &str) -> String {
    format!(
        "
apiVersion: outrigger.dev/v1alpha1
kind: PgServer
metadata: {{name: {name}}}
spec:
  host: db.example.com
  credentials: {{name: admin}}
  allow:
  - namespaces: [{namespace}]
    databases: [shop-*]
    owners: ['*']
"
    )
}

fn database(name: &str, server: &str, database: &str) -> String {
    format!(
        "
apiVersion: outrigger.dev/v1alpha1
kind: PgDatabase
metadata: {{name: {name}}}
spec: {{server: {server}, name: {database}}}
"
    )
}

/// A name no other test has.
fn unique(prefix: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_an_unknown_server_is_accepted_with_a_warning() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("absent").await;
    let applied = webhook.apply(namespace.name(), &database("orders", "nowhere", "shop-orders")).await;
    assert!(applied.status.success(), "absence never denies: {}", applied.stderr);
    assert!(applied.stderr.contains("spec.server: \"nowhere\": no PgServer of this name is known"), "{}", applied.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_server_must_consent() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("consent").await;
    let main = unique("main");
    assert!(webhook.apply("default", &server(&main, namespace.name())).await.status.success());
    // The server's event reaches the webhook a moment after its creation.
    let refused = wait_for("the server is known", async || {
        let tried = webhook.apply(namespace.name(), &database("payroll", &main, "payroll")).await;
        if tried.status.success() {
            // Applied once more it would be unchanged, and nobody asked.
            webhook.cluster.kubectl(&["-n", namespace.name(), "delete", "pgdatabase", "payroll"]).await;
        }
        (!tried.status.success()).then_some(tried)
    })
    .await;
    assert!(refused.stderr.contains("spec.name: \"payroll\""), "{}", refused.stderr);
    assert!(refused.stderr.contains("ask those who administer the cluster"), "{}", refused.stderr);
    let allowed = webhook.apply(namespace.name(), &database("orders", &main, "shop-orders")).await;
    assert!(allowed.status.success(), "{}", allowed.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_belongs_to_the_first_whose_claim_is_established() {
    let webhook = Webhook::shared().await;
    let (first, second) = (webhook.cluster.namespace("first").await, webhook.cluster.namespace("second").await);
    let server = unique("shared");
    assert!(webhook.apply(first.name(), &database("a", &server, "shop-orders")).await.status.success());
    let warned = wait_for("the first claim is known", async || {
        let tried = webhook.apply(second.name(), &database("b", &server, "shop-orders")).await;
        assert!(tried.status.success(), "a claim that is not established denies nobody: {}", tried.stderr);
        webhook.cluster.kubectl(&["-n", second.name(), "delete", "pgdatabase", "b"]).await;
        tried.stderr.contains("only the first will get it").then_some(tried)
    })
    .await;
    assert!(warned.stderr.contains(&format!("PgDatabase a in namespace {}", first.name())), "{}", warned.stderr);

    let claimed = r#"{"status":{"conditions":[{"type":"Claimed","status":"True","reason":"Created","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
    let patched = webhook
        .cluster
        .kubectl(&["-n", first.name(), "patch", "pgdatabase", "a", "--subresource=status", "--type=merge", "-p", claimed])
        .await;
    assert!(patched.status.success(), "{}", patched.stderr);
    let refused = wait_for("the established claim is known", async || {
        let tried = webhook.apply(second.name(), &database("b", &server, "shop-orders")).await;
        if tried.status.success() {
            webhook.cluster.kubectl(&["-n", second.name(), "delete", "pgdatabase", "b"]).await;
        }
        (!tried.status.success()).then_some(tried)
    })
    .await;
    assert!(refused.stderr.contains("spec.name: \"shop-orders\"") && refused.stderr.contains("choose another name"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_database_is_refused_by_its_own_rules() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("rules").await;
    let refused = webhook.apply(namespace.name(), &database("bad", "main", "postgres")).await;
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("spec.name") && refused.stderr.contains("postgres"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_an_unknown_template_is_accepted_with_a_warning_and_one_beyond_it_refused() {
    let webhook = Webhook::shared().await;
    let namespace = webhook.cluster.namespace("sessions").await;
    let session = |template: &str| {
        format!(
            "
apiVersion: outrigger.dev/v1alpha1
kind: Session
metadata: {{name: s}}
spec: {{template: {template}, user: alice, geometry: 800x600}}
"
        )
    };
    let applied = webhook.apply(namespace.name(), &session("nowhere")).await;
    assert!(applied.status.success(), "{}", applied.stderr);
    assert!(applied.stderr.contains("no SessionTemplate of this name is known"), "{}", applied.stderr);
    webhook.cluster.kubectl(&["-n", namespace.name(), "delete", "session", "s"]).await;

    let template = "
apiVersion: outrigger.dev/v1alpha1
kind: SessionTemplate
metadata: {name: fixed}
spec: {app: {image: xterm}, overrides: []}
";
    let applied = webhook.apply(namespace.name(), template).await;
    assert!(applied.status.success(), "{}", applied.stderr);
    let refused = wait_for("the template is known", async || {
        let tried = webhook.apply(namespace.name(), &session("fixed")).await;
        if tried.status.success() {
            webhook.cluster.kubectl(&["-n", namespace.name(), "delete", "session", "s"]).await;
        }
        (!tried.status.success()).then_some(tried)
    })
    .await;
    assert!(refused.stderr.contains("spec.geometry"), "{}", refused.stderr);
}
