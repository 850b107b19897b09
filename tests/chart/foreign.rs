//! What the charts make of other people's kinds, as an API server takes it that knows them.

use outrigger_bed::{ControlPlane, gaps, obtain, versions};
use serde_json::Value;

use crate::{
    cluster::installed,
    common::webhook::wait_for,
    helm::{Helm, set, title},
};

const POOLERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/pgbouncer");
const GROUPS: [&str; 2] = ["cert-manager.io/", "monitoring.coreos.com/"];
const KNOWN: [&str; 6] = [
    "--api-versions",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "--api-versions",
    "monitoring.coreos.com/v1/PodMonitor",
    "--api-versions",
    "monitoring.coreos.com/v1/PrometheusRule",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_of_foreign_kinds_is_what_they_take() {
    let test = "what_is_made_of_foreign_kinds_is_what_they_take";
    let (Some(cluster), Some(helm)) = (installed().await, Helm::obtain(test)) else { return };
    let definitions = match obtain::foreign_kinds() {
        Ok(definitions) => definitions,
        Err(why) => return gaps::skip(test, &why).unwrap(),
    };
    for definition in definitions {
        // Some are too long for the annotation of a client-side apply.
        let apply = ["apply", "--server-side", "-f", definition.to_str().unwrap()];
        drop(cluster.kubectl(&apply).await.success());
    }
    let version = versions::kubernetes().unwrap();
    let monitored = ["metrics.serviceMonitor.enabled=true", "metrics.alerts.enabled=true"];
    let own = [&set(&[&["certificates.mode=cert-manager"], &monitored[..]].concat())[..], &KNOWN].concat();
    let given =
        set(&["certificates.mode=cert-manager", "certificates.issuerRef.name=company", "certificates.issuerRef.kind=ClusterIssuer"]);
    let poolers = [
        "metrics.podMonitor.enabled=true",
        "defaults.exporter.enabled=true",
        "instances.one.databases.app.host=postgres",
        "instances.one.existingUserlistSecret=users",
    ];
    let poolers = helm.output(
        &[
            &["template", "poolers", POOLERS, "--namespace", "outrigger", "--kube-version", &version],
            &KNOWN[..],
            &set(&[&monitored[..], &poolers].concat()),
        ]
        .concat(),
    );
    let poolers: Vec<Value> = serde_saphyr::from_multiple(&poolers).unwrap();
    for (objects, expected) in [
        (
            helm.objects(&own),
            &[
                "Certificate/outrigger-admission",
                "Certificate/outrigger-root",
                "Issuer/outrigger",
                "Issuer/outrigger-self-signed",
                "PrometheusRule/outrigger",
                "ServiceMonitor/outrigger",
            ][..],
        ),
        (helm.objects(&given), &["Certificate/outrigger-admission"]),
        (poolers, &["PodMonitor/poolers", "PrometheusRule/poolers", "ServiceMonitor/poolers"]),
    ] {
        taken(cluster, &objects, expected).await;
    }
}

/// Applies those of foreign kinds, strictly read.
async fn taken(cluster: &ControlPlane, objects: &[Value], expected: &[&str]) {
    let is_foreign =
        |object: &&Value| object["apiVersion"].as_str().is_some_and(|version| GROUPS.iter().any(|group| version.starts_with(group)));
    let foreign: Vec<&Value> = objects.iter().filter(is_foreign).collect();
    let mut titles: Vec<String> = foreign.iter().map(|object| title(object)).collect();
    titles.sort_unstable();
    assert_eq!(titles, expected);
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": foreign}).to_string();
    // A kind is served a moment after it is defined.
    wait_for("all are taken", async || {
        let apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
        let applied = cluster.kubectl_with_input(&apply, &list).await;
        let is_known = !applied.stderr.contains("no matches for kind") && !applied.stderr.contains("the server could not find");
        assert!(applied.status.success() || !is_known, "{}", applied.stderr);
        applied.status.success().then_some(())
    })
    .await;
}
