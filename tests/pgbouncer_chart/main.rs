//! The chart pgbouncer: what it renders, what it refuses, what its page says, and which known gaps of such charts it closes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod away;
mod cluster;
#[path = "../common/committed.rs"]
mod committed;
#[path = "../common/values.rs"]
mod documented;
mod exporter;
mod gaps;
#[path = "../common/helm.rs"]
mod helm;
mod helm_test;
mod image;
#[path = "../common/monitoring.rs"]
mod judges;
mod live;
mod monitoring;
mod refused;
mod rendered;
mod tls;
#[path = "../common/until.rs"]
mod until;
mod values;

use helm::{Helm, Outcome, find};
use outrigger_bed::versions;
use serde_json::Value;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/pgbouncer");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/pgbouncer/examples/two-instances.yaml");
const KINDS: [&str; 4] = ["PodMonitor", "ServiceMonitor", "PrometheusRule", "UserList"];

/// One instance, with as little as is needed.
const LEAST: [&str; 2] = ["instances.one.databases.app.host=postgres", "instances.one.existingUserlistSecret=users"];

/// `helm template` of a release `pooler` in the namespace `db`.
fn template(helm: &Helm, arguments: &[&str]) -> Outcome {
    let version = versions::kubernetes().unwrap();
    helm.run(&[&["template", "pooler", CHART, "--namespace", "db", "--kube-version", &version], arguments].concat())
}

/// What is rendered, in a cluster that knows all kinds.
fn objects(helm: &Helm, arguments: &[&str]) -> Vec<Value> {
    let known: Vec<String> = KINDS
        .iter()
        .map(|kind| if *kind == "UserList" { format!("outrigger.dev/v1alpha1/{kind}") } else { format!("monitoring.coreos.com/v1/{kind}") })
        .collect();
    let known: Vec<&str> = known.iter().flat_map(|kind| ["--api-versions", kind]).collect();
    let rendered = template(helm, &[arguments, &known].concat());
    assert!(rendered.success, "{arguments:?}: {}", rendered.stderr);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered.stdout).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The example with more.
fn example(helm: &Helm, more: &[&str]) -> Vec<Value> {
    objects(helm, &[&["--values", EXAMPLE][..], &helm::set(more)].concat())
}

/// The smallest release with more.
fn least(helm: &Helm, more: &[&str]) -> Vec<Value> {
    objects(helm, &helm::set(&[&LEAST, more].concat()))
}

/// The lines of an instance's pgbouncer.ini.
fn ini(objects: &[Value], instance: &str) -> Vec<String> {
    let text = find(objects, &format!("ConfigMap/{instance}"))["data"]["pgbouncer.ini"].as_str().unwrap();
    text.lines().map(str::to_owned).collect()
}

fn pod(objects: &[Value], instance: &str) -> Value {
    find(objects, &format!("Deployment/{instance}"))["spec"]["template"].clone()
}

/// A container of a pod, from either list.
fn container(pod: &Value, name: &str) -> Value {
    let lists = ["initContainers", "containers"].iter().filter_map(|list| pod["spec"][list].as_array());
    lists.flatten().find(|container| container["name"] == name).unwrap_or_else(|| panic!("{name} in {pod}")).clone()
}
