//! Alerts and dashboard: up to date, readable for Prometheus and Grafana, and about metrics that there are.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "common/committed.rs"]
mod committed;
#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use common::{
    https::{pod, review},
    own_certificate::OwnCertificate,
    process::Server,
    webhook::wait_for,
};
use outrigger::monitoring::{self, ALERTS};
use outrigger_bed::{ControlPlane, obtain};
use regex::Regex;
use serde_json::{Value, json};

fn exported(what: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_outrigger")).args(["export", what]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_committed_is_up_to_date() {
    committed::check("charts/outrigger/files/alerts.yaml", exported("alerts"), "monitoring");
    committed::check("charts/outrigger/files/dashboard.json", exported("dashboard"), "monitoring");
    committed::check("docs/runbooks.md", monitoring::runbooks(), "monitoring");
}

/// What Grafana fills in before it asks Prometheus.
fn filled_in(expression: &str) -> String {
    expression.replace("$__rate_interval", "5m").replace("$namespace", "outrigger")
}

/// What Prometheus' own parsers say of rules and of the panels' expressions.
fn complaints_of_prometheus(rules: &str, expressions: &[String]) -> String {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/prometheus-check");
    let mut check = Command::new(obtain::go_program(&module).unwrap()).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let input = json!({"rules": rules, "expressions": expressions}).to_string();
    check.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), complaints.is_empty(), "{complaints}");
    complaints
}

#[test]
fn prometheus_reads_the_rules_and_the_panels() {
    let rules = exported("alerts");
    let expressions: Vec<String> = monitoring::expressions().map(filled_in).collect();
    assert_eq!(complaints_of_prometheus(&rules, &expressions), "");

    let broken = rules.replace("absent(", "absent((").replace("$value |", "$value ||");
    let complaints = complaints_of_prometheus(&broken, &["sum(".to_owned()]);
    for expected in ["OutriggerAdmissionAbsent", "OutriggerReviewsFail", "sum("] {
        assert!(complaints.contains(expected), "{expected} in {complaints}");
    }
}

/// What the compiler says of a dashboard as a value of Grafana's own type.
fn complaints_of_grafana(dashboard: &str) -> String {
    let packages = obtain::grafana_types().unwrap();
    let folder = tempfile::tempdir().unwrap();
    symlink(packages.join("node_modules"), folder.path().join("node_modules")).unwrap();
    let program = format!("import type {{ Dashboard }} from '@grafana/schema';\nexport const dashboard: Dashboard = {dashboard};\n");
    fs::write(folder.path().join("dashboard.ts"), program).unwrap();
    let output = Command::new("node")
        .arg("node_modules/typescript/bin/tsc")
        .args(["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "dashboard.ts"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn grafana_s_own_types_take_the_dashboard() {
    let dashboard = exported("dashboard");
    assert_eq!(complaints_of_grafana(&dashboard), "");
    let misspelt = complaints_of_grafana(&dashboard.replacen("\"gridPos\"", "\"gridpos\"", 1));
    assert!(misspelt.contains("'\"gridpos\"' does not exist"), "{misspelt}");
}

/// A renamed metric must not leave an alert behind that can never fire.
#[tokio::test(flavor = "multi_thread")]
async fn each_metric_that_is_looked_at_is_there() {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("monitoring").await;
    let folder = tempfile::tempdir().unwrap();
    let certificate = OwnCertificate::write(folder.path());
    let flag = |name: &str, value: &Path| format!("--{name}={}", value.display());
    let arguments = [
        "--roles=admission,controllers",
        "--repair=evict",
        "--repair-interval=1s",
        "--repair-minimum-age=1s",
        &format!("--repair-namespaces={}", namespace.name()),
        "--tls-interval=100ms",
        &format!("--namespace={}", namespace.name()),
        &flag("tls-cert", &certificate.certificate),
        &flag("tls-key", &certificate.key),
    ];
    // Nobody listens there; that spans could be dropped is enough.
    let collector = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")];
    let server = Server::start_with(cluster.kubeconfig_path(), &arguments, &collector);
    server.until_status("/readyz", 200).await;

    // What is counted by labels begins to exist with the first of it.
    server.client_trusting(&certificate.pem).review(&review("first", &pod())).await.unwrap();
    OwnCertificate::write(folder.path());
    let create = ["--namespace", namespace.name(), "create", "-f", "-"];
    drop(cluster.kubectl_with_input(&create, &without_sidecars().to_string()).await.success());
    let metrics = wait_for("the certificate is loaded again, and a pod is evicted", async || {
        let (_, metrics) = server.status("/metrics").await.ok()?;
        let counted = ["certificate_reloads_total{result=\"updated\"}", "repair_evictions_total{outcome=\"evicted\"}"];
        counted.iter().all(|counter| metrics.contains(counter)).then_some(metrics)
    })
    .await;

    let names = Regex::new(r"\boutrigger_[a-z_]+").unwrap();
    let expressions = ALERTS.iter().map(|alert| alert.expression).chain(monitoring::expressions());
    let looked_at: BTreeSet<&str> = expressions.flat_map(|expression| names.find_iter(expression)).map(|name| name.as_str()).collect();
    let absent: Vec<_> = looked_at.into_iter().filter(|name| !metrics.contains(&format!("\n{name}"))).collect();
    assert!(absent.is_empty(), "{absent:?} in {metrics}");
}

/// A `ReplicaSet` whose pod asks for a desktop; nobody calls the webhook about it.
fn without_sidecars() -> Value {
    let labels = json!({"app": "web"});
    let containers = json!([{"name": "app", "image": "app"}]);
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {"outrigger.dev/inject": "vnc"}},
                "spec": {"containers": containers},
            },
        },
    })
}
