//! Releases that did not come to their end: the next command of Helm goes on from there.

use outrigger_bed::ControlPlane;
use serde_json::Value;

use crate::helm::{CHART, Helm, RELEASE, set};

/// There is no node, so an installation that waits for its pods fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_failed_is_upgraded_rolled_back_and_taken_away() {
    let Some(helm) = Helm::obtain("a_release_that_failed_is_upgraded_rolled_back_and_taken_away") else { return };
    // Of its own: an installation is one a cluster.
    let cluster = ControlPlane::start().await;
    let helm = helm.at(&cluster);
    let install = ["install", RELEASE, CHART, "--namespace", RELEASE, "--create-namespace", "--wait", "--timeout=3s"];
    assert!(!helm.run(&install).success, "no pod ever runs");
    assert_eq!(status(&helm), "failed");

    let upgrade = |values: &[&'static str]| [&["upgrade", RELEASE, CHART, "--namespace", RELEASE][..], &set(values)].concat();
    helm.output(&upgrade(&["guard.enabled=true", "databases.enabled=true", "databases.namespaces={default}"]));
    assert_eq!(status(&helm), "deployed");
    let guard = ["get", "validatingadmissionpolicy", "outrigger-guard", "--ignore-not-found", "-o", "name"];
    assert!(!cluster.kubectl(&guard).await.success().is_empty());

    // An upgrade that fails half-way leaves what it had changed; a rollback takes that back.
    let failing = [&upgrade(&["certificates.mode=cert-manager"])[..], &["--wait", "--timeout=3s"]].concat();
    assert!(!helm.run(&failing).success, "nobody knows what a Certificate is");
    helm.output(&["rollback", RELEASE, "2", "--namespace", RELEASE]);
    assert_eq!(status(&helm), "deployed");
    for (kind, name) in [("secret", "outrigger-ca"), ("role", "outrigger-controllers"), ("validatingadmissionpolicy", "outrigger-guard")] {
        drop(cluster.kubectl(&["get", kind, name, "--namespace", RELEASE]).await.success());
    }
    helm.output(&["rollback", RELEASE, "1", "--namespace", RELEASE]);
    assert!(cluster.kubectl(&guard).await.success().is_empty(), "the first had none");

    // The hooks need a node.
    helm.output(&["uninstall", RELEASE, "--namespace", RELEASE, "--no-hooks"]);
    let left = "mutatingwebhookconfigurations,validatingwebhookconfigurations,validatingadmissionpolicies,clusterroles,clusterrolebindings";
    let left = cluster.kubectl(&["get", left, "-o", "name", "--selector=app.kubernetes.io/instance=outrigger"]).await.success();
    assert_eq!(left, "");
}

fn status(helm: &Helm) -> String {
    let said: Value = serde_json::from_str(&helm.output(&["status", RELEASE, "--namespace", RELEASE, "-o", "json"])).unwrap();
    said["info"]["status"].as_str().unwrap().to_owned()
}
