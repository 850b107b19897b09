//! What a real API server makes of what the chart renders, and what the chart says after an installation there.

use outrigger_bed::ControlPlane;
use serde_json::json;

use crate::{
    CHART, EXAMPLE,
    helm::{Helm, set},
    template,
};

const KIND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/outrigger/crds/userlists.yaml");

/// Strictly read, and within the strictest Pod Security Standard.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_all_that_is_rendered_without_a_warning() {
    let Some(helm) = Helm::obtain("the_api_server_takes_all_that_is_rendered_without_a_warning") else { return };
    let cluster = ControlPlane::start().await;
    // The release's namespace warns of pods below the standard.
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "db", "labels": {"pod-security.kubernetes.io/warn": "restricted"}},
    });
    let _ = cluster.kubectl_with_input(&["create", "-f", "-"], &namespace.to_string()).await.success();
    let _ = cluster.kubectl(&["create", "-f", KIND]).await.success();
    let _ = cluster.kubectl(&["wait", "--for=condition=Established", "crd/userlists.outrigger.dev"]).await.success();
    let more = [
        "defaults.networkPolicy.enabled=true",
        "defaults.autoscaling.enabled=true",
        "defaults.spread=required",
        "instances.pharia.tls.client.mode=require",
        "instances.pharia.tls.client.secretName=front",
        "instances.temporal.autoscaling.metric=waiting-clients",
        "metrics.dashboard.enabled=true",
    ];
    let rendered = template(&helm, &[&["--values", EXAMPLE][..], &set(&more)].concat());
    assert!(rendered.success, "{}", rendered.stderr);
    let arguments = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"];
    let applied = cluster.kubectl_with_input(&arguments, &rendered.stdout).await;
    assert!(applied.status.success() && applied.stderr.is_empty(), "{}", applied.stderr);
    for expected in ["deployment.apps/pgbouncer-pharia", "userlist.outrigger.dev/pgbouncer-temporal", "pod/pgbouncer-pharia-test-rotation"]
    {
        assert!(applied.stdout.contains(&format!("{expected} serverside-applied")), "{expected}: {}", applied.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_notes_say_what_is_missing_and_what_an_old_version_can_not_do() {
    let Some(helm) = Helm::obtain("the_notes_say_what_is_missing_and_what_an_old_version_can_not_do") else { return };
    // It knows neither our kinds nor Prometheus'.
    let helm = helm.at(ControlPlane::shared().await);
    let notes = |arguments: &[&str]| helm.output(&[&["install", "pooler", CHART, "--dry-run=server"][..], arguments].concat());
    assert!(notes(&[]).contains("There is no instance yet"));
    let by_hand =
        ["defaults.existingUserlistSecret=users", "instances.temporal.version=1.18", "instances.pharia.termination.stopSignal=SIGTERM"];
    let notes = notes(&[&["--values", EXAMPLE][..], &set(&by_hand)].concat());
    for expected in [
        "2 instances of PgBouncer in namespace default",
        "pgbouncer-pharia:5432  PgBouncer 1.24, at most 3 pods, users from the Secret users",
        "pgbouncer-pharia: PgBouncer 1.24 waits for clients to leave when it is told to end",
        "pgbouncer-temporal: PgBouncer 1.18 can't end the sessions of a single user",
        "pgbouncer-temporal: PgBouncer 1.18 of Debian 12 has no fix of CVE-2026-6664",
        "No PodMonitor was made",
    ] {
        assert!(notes.contains(expected), "{expected}: {notes}");
    }
    assert_eq!(notes.matches("CVE").count(), 1, "{notes}");
    let others =
        ["defaults.existingUserlistSecret=users", "image.repository=registry.example.com/pgbouncer", "instances.temporal.version=1.26"];
    let notes = helm.output(&[&["install", "pooler", CHART, "--dry-run=server", "--values", EXAMPLE][..], &set(&others)].concat());
    for expected in [
        "pgbouncer-pharia: see that PgBouncer 1.24 of registry.example.com/pgbouncer has the fix of CVE-2026-6664",
        "pgbouncer-temporal: PgBouncer 1.26 may take 80 KiB of memory for each user, and its limit is 128Mi",
    ] {
        assert!(notes.contains(expected), "{expected}: {notes}");
    }
    let refused = helm.run(&["install", "pooler", CHART, "--dry-run=server", "--values", EXAMPLE]);
    assert!(!refused.success && refused.stderr.contains("no matches for kind \"UserList\""), "{}", refused.stderr);
}
