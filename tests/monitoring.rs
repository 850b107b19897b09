//! Alerts and dashboard: up to date, readable for Prometheus and Grafana, and about metrics that there are.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "common/committed.rs"]
mod committed;
#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;
#[path = "common/monitoring.rs"]
mod judges;

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use common::{
    https::{pod, review},
    own_certificate::OwnCertificate,
    process::Server,
    webhook::wait_for,
};
use judges::{complaints_of_grafana, prometheus};
use outrigger::monitoring::{self, ALERTS};
use outrigger_bed::ControlPlane;
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

#[test]
fn prometheus_reads_the_rules_and_the_panels() {
    let rules = exported("alerts");
    let expressions: Vec<String> = monitoring::expressions().map(filled_in).collect();
    assert_eq!(prometheus(&json!({"rules": rules, "expressions": expressions})).0, "");

    let broken = rules.replace("absent(", "absent((").replace("$value |", "$value ||");
    let (complaints, _) = prometheus(&json!({"rules": broken, "expressions": ["sum("]}));
    for expected in ["OutriggerAdmissionAbsent", "OutriggerReviewsFail", "sum("] {
        assert!(complaints.contains(expected), "{expected} in {complaints}");
    }
}

/// An alert and some series, one value a minute; and at which minute it is so, and for which value of a label.
struct Case(&'static str, &'static str, &'static [(u32, &'static [&'static str])]);

const CASES: &[Case] = &[
    Case(
        "OutriggerAdmissionAbsent",
        "outrigger_admission_in_flight{namespace='a', pod='1'} 0x20
         outrigger_admission_in_flight{namespace='a', pod='2'} 0x20
         outrigger_ready{namespace='a', pod='1'} 1x20
         outrigger_ready{namespace='a', pod='2'} 0x20
         outrigger_admission_in_flight{namespace='b', pod='1'} 0x20
         outrigger_ready{namespace='b', pod='1'} 1x9 0x9
         outrigger_ready{namespace='b', pod='controllers'} 1x20",
        &[(9, &[]), (10, &["b"])],
    ),
    Case("OutriggerAdmissionAbsent", "outrigger_admission_in_flight{namespace='a', pod='1'} 0x5 stale", &[(5, &[]), (6, &[""])]),
    // A life of a day: renewed after 16 hours.
    Case(
        "OutriggerCertificateExpires",
        "outrigger_certificate_expiry_seconds{namespace='a', pod='1'} 86400x1440
         outrigger_certificate_renewal_seconds{namespace='a', pod='1'} 57600x1440",
        &[(1, &[]), (1199, &[]), (1201, &["a"])],
    ),
    // A life of ten days.
    Case(
        "OutriggerCertificateExpires",
        "outrigger_certificate_expiry_seconds{namespace='a', pod='1'} 864000x14400
         outrigger_certificate_renewal_seconds{namespace='a', pod='1'} 576000x14400",
        &[(12_959, &[]), (12_961, &["a"])],
    ),
    Case(
        "OutriggerSeveralLeaders",
        "outrigger_leading{namespace='a', pod='1'} 1x9
         outrigger_leading{namespace='a', pod='2'} 0x4 1x4
         outrigger_leading{namespace='b', pod='1'} 1x9",
        &[(4, &[]), (5, &["a"])],
    ),
    Case(
        "OutriggerNoLeader",
        "outrigger_leading{namespace='a', pod='1'} 1x4 0x4 1x4000
         outrigger_leading{namespace='a', pod='2'} 0x4000
         outrigger_leading{namespace='b', pod='1'} 1x20 stale
         outrigger_admission_in_flight{namespace='b', pod='3'} 0x4000
         outrigger_leading{namespace='gone', pod='1'} 1x20 stale
         outrigger_admission_in_flight{namespace='gone', pod='3'} 0x20 stale",
        &[(4, &[]), (5, &["a"]), (10, &[]), (30, &["b"]), (3900, &["b"])],
    ),
    Case(
        "OutriggerRepairStalled",
        "outrigger_repair_pass_due_seconds{namespace='a', pod='1'} 600x20 1800x20
         outrigger_leading{namespace='a', pod='1'} 1x41
         outrigger_repair_pass_due_seconds{namespace='a', pod='2'} 0x41
         outrigger_leading{namespace='a', pod='2'} 0x41",
        &[(9, &[]), (11, &["a"]), (25, &[])],
    ),
    Case(
        "OutriggerEventsDropped",
        "outrigger_events_dropped_total{namespace='a', pod='1'} 3x10 3+1x10
         outrigger_events_failed_total{namespace='a', pod='1'} 0x40
         outrigger_events_dropped_total{namespace='b', pod='1'} 0x40
         outrigger_events_failed_total{namespace='b', pod='1'} 0x30 0+1x10",
        &[(9, &[]), (15, &["a"]), (30, &[]), (38, &["b"])],
    ),
    Case(
        "OutriggerDatabaseServerNotLookedAt",
        "outrigger_databases_look_due_seconds{namespace='a', pod='1', server='main'} 600x20 1800x20
         outrigger_databases_look_due_seconds{namespace='b', pod='1', server='main'} 600x5 stale
         outrigger_databases_look_due_seconds{namespace='b', pod='2', server='main'} _x5 6000x40",
        &[(9, &[]), (11, &["a"]), (25, &[])],
    ),
    Case(
        "OutriggerDatabasesNotReady",
        "outrigger_databases_objects{namespace='a', pod='1', reason='AsAsked'} 9x20
         outrigger_databases_objects{namespace='a', pod='1', reason='Absent'} 1x20
         outrigger_databases_objects{namespace='b', pod='1', reason='AsAsked'} 9x20
         outrigger_databases_objects{namespace='b', pod='1', reason='Refused'} _x5 2x9 stale
         outrigger_databases_objects{namespace='b', pod='2', reason='Refused'} _x5 2x9 stale",
        &[(4, &[]), (8, &["b"]), (18, &[])],
    ),
    Case(
        "OutriggerUserListsNotWritten",
        "outrigger_userlists_lists{namespace='a', pod='1', reason='Written'} 3x20
         outrigger_userlists_lists{namespace='b', pod='1', reason='Written'} 3x20
         outrigger_userlists_lists{namespace='b', pod='1', reason='TooFewUsers'} 0x5 1x5 0x5",
        &[(5, &[]), (8, &["b"]), (13, &[])],
    ),
    Case(
        "OutriggerPoolersBehind",
        "outrigger_userlists_pooler_pods_behind{namespace='a', pod='1'} 0x5 2x5 0x5
         outrigger_userlists_pooler_pods_behind{namespace='a', pod='2'} 0x5 2x5 0x5",
        &[(5, &[]), (8, &["a"]), (13, &[])],
    ),
    Case(
        "OutriggerPodsMissingSidecars",
        "outrigger_pods_missing_sidecars{namespace='a', pod='1'} 0x5 3x5
         outrigger_pods_missing_sidecars{namespace='a', pod='2'} 0x11",
        &[(5, &[]), (6, &[""])],
    ),
];

/// Series that appear, vanish and stay.
#[test]
fn alerts_are_raised_when_they_should_be_and_only_then() {
    let asked: Vec<_> = CASES
        .iter()
        .flat_map(|Case(name, series, times)| times.iter().map(move |(minute, expected)| (*name, *series, *minute, *expected)))
        .collect();
    let questions: Vec<_> = asked
        .iter()
        .map(|(name, series, minute, _)| {
            let alert = ALERTS.iter().find(|alert| alert.name == *name).unwrap();
            json!({"series": format!("load 1m\n{}", series.replace('\'', "\"")), "expression": alert.expression, "minute": minute})
        })
        .collect();
    let (complaints, answers) = prometheus(&json!({"rules": exported("alerts"), "questions": questions}));
    assert_eq!(complaints, "");
    for ((name, series, minute, expected), answer) in asked.iter().zip(answers.as_array().unwrap()) {
        let raised = answer.as_array().into_iter().flatten();
        let raised: Vec<_> = raised.map(|element| element["metric"]["namespace"].as_str().unwrap_or_default()).collect();
        assert_eq!(&raised, expected, "{name} at minute {minute} of {series}");
    }
}

#[test]
fn grafana_s_own_types_take_the_dashboard() {
    let dashboard = exported("dashboard");
    assert_eq!(complaints_of_grafana(&dashboard), "");
    let misspelt = complaints_of_grafana(&dashboard.replacen("\"gridPos\"", "\"gridpos\"", 1));
    assert!(misspelt.contains("'\"gridpos\"' does not exist"), "{misspelt}");
}

/// A renamed metric, label or value must not leave an alert behind that can never fire.
#[tokio::test(flavor = "multi_thread")]
async fn each_series_that_is_looked_at_is_there() {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("monitoring").await;
    let folder = tempfile::tempdir().unwrap();
    let certificate = OwnCertificate::write(folder.path());
    let flag = |name: &str, value: &Path| format!("--{name}={}", value.display());
    let arguments = [
        "--roles=admission,controllers",
        "--repair=evict",
        "--repair-interval=1s",
        "--repair-minimum-age=0s",
        &format!("--repair-namespaces={}", namespace.name()),
        "--tls-interval=100ms",
        "--databases",
        &format!("--namespace={}", namespace.name()),
        &flag("tls-cert", &certificate.certificate),
        &flag("tls-key", &certificate.key),
    ];
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/outrigger/crds");
    drop(cluster.kubectl(&["apply", "--server-side", "-f", crds]).await.success());
    // A server that is expected to be looked at is enough.
    let spec = json!({"host": "127.0.0.1", "port": 1, "credentials": {"name": "none"}});
    let database_server =
        json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "PgServer", "metadata": {"name": "monitored"}, "spec": spec});
    drop(cluster.kubectl_with_input(&["create", "-f", "-"], &database_server.to_string()).await.success());
    // Nobody listens there; that spans could be dropped is enough.
    let collector = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")];
    let server = Server::start_with(cluster.kubeconfig_path(), &arguments, &collector);
    server.until_status("/readyz", 200).await;

    // What is counted by labels begins to exist with the first of it.
    let client = server.client_trusting(&certificate.pem);
    let annotated = |annotations: Value| json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app"}]}});
    let refused = annotated(json!({"outrigger.dev/inject": "vnc", "vnc.outrigger.dev/geometry": "flat"}));
    for object in [pod(), refused] {
        client.review(&review("some", &object)).await.unwrap();
    }
    client.review(&json!("no review")).await.unwrap();
    fs::write(&certificate.certificate, "no certificate").unwrap();
    let create = ["--namespace", namespace.name(), "create", "-f", "-"];
    drop(cluster.kubectl_with_input(&create, &without_sidecars().to_string()).await.success());
    let metrics = wait_for("a certificate is refused, a pod is evicted, and a server is to be looked at", async || {
        let (_, metrics) = server.status("/metrics").await.ok()?;
        let counted = [
            "certificate_reloads_total{result=\"failed\"}",
            "repair_evictions_total{outcome=\"evicted\"}",
            "databases_look_due_seconds{server=\"monitored\"}",
        ];
        counted.iter().all(|counter| metrics.contains(counter)).then_some(metrics)
    })
    .await;
    let expressions = ALERTS.iter().map(|alert| alert.expression).chain(monitoring::expressions());
    let absent: BTreeSet<String> = expressions.flat_map(|expression| absent(expression, &metrics)).collect();
    // That would be a defect of ours, which nothing from outside brings about.
    let undecided = r#"(?m)^outrigger_admission_reviews_total\{(.*,)?outcome="failed""#.to_owned();
    assert_eq!(absent, BTreeSet::from([undecided]), "in {metrics}");
}

#[test]
fn a_series_that_is_not_there_is_found() {
    let metrics = "# EOF\noutrigger_a_total{kind=\"x\"} 1\noutrigger_b 0\n";
    let there = ["outrigger_b > 0", "sum by (kind, pod) (outrigger_a_total{namespace=~\"$namespace\", kind=~\"x\"})"];
    assert!(there.iter().all(|expression| absent(expression, metrics).is_empty()));
    for gone in ["outrigger_a", "outrigger_b{kind=\"x\"}", "outrigger_a_total{kind=~\"x|y\"}", "sum by (sort) (outrigger_a_total)"] {
        assert_eq!(absent(gone, metrics).len(), 1, "{gone}");
    }
}

/// What of an expression the metrics of a process lack: a name, the value of a label, or a label to group by.
fn absent(expression: &str, metrics: &str) -> Vec<String> {
    let selectors = Regex::new(r"\b(outrigger_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let matchers = Regex::new(r#"([a-z_]+)=~?"([^"]*)""#).unwrap();
    let groups = Regex::new(r"by \(([^)]*)\)").unwrap();
    // Those that Prometheus itself adds.
    let is_own = |label: &&str| !["namespace", "pod"].contains(label);
    let mut wanted = Vec::new();
    for selector in selectors.captures_iter(expression) {
        let name = &selector[1];
        wanted.push(format!(r"(?m)^{name}[ {{]"));
        for matcher in matchers.captures_iter(selector.get(2).map_or("", |found| found.as_str())) {
            let values = matcher[2].split('|').filter(|_| is_own(&&matcher[1]));
            wanted.extend(values.map(|value| format!(r#"(?m)^{name}\{{(.*,)?{}="{value}""#, &matcher[1])));
        }
    }
    let names: Vec<_> = selectors.captures_iter(expression).map(|selector| selector[1].to_owned()).collect();
    for group in groups.captures_iter(expression) {
        let labels = group[1].split(", ").filter(is_own).map(|label| format!(r#"(?m)^({})\{{(.*,)?{label}=""#, names.join("|")));
        wanted.extend(labels.collect::<Vec<_>>());
    }
    wanted.retain(|pattern| !Regex::new(pattern).unwrap().is_match(metrics));
    wanted
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
