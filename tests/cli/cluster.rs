//! The examples at a real API server, which enforces the strictest Pod Security Standard.

use std::time::{Duration, Instant};

use outrigger_bed::ControlPlane;

use crate::program::output;

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_are_accepted_with_and_without_sidecars() {
    let cluster = ControlPlane::shared().await;
    let restricted =
        ["label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted"];
    let _ = cluster.kubectl(&restricted).await.success();
    let _ = cluster.kubectl_with_input(&["apply", "--server-side", "-f", "-"], &output(&["crds"], "")).await.success();
    let _ = cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]).await.success();

    // Where Outrigger is installed, and credentials are.
    let _ = cluster.kubectl(&["create", "namespace", "outrigger"]).await.success();
    for manifests in [output(&["uninject", "-f", "examples/"], ""), output(&["inject", "-f", "examples/"], "")] {
        let applied = apply(cluster, &manifests).await;
        assert!(!applied.contains("would violate PodSecurity"), "{applied}");
        let _ = cluster.kubectl_with_input(&["delete", "--wait=true", "--now", "-f", "-"], &manifests).await.success();
    }
    for (file, field) in [("bad-pg-database", "spec.name"), ("bad-session", "spec.geometry")] {
        let refused = cluster.kubectl(&["apply", "-f", &format!("examples/refused/{file}.yaml")]).await;
        assert!(!refused.status.success() && refused.stderr.contains(field), "{file}: {}", refused.stderr);
    }
}

/// Applies manifests as soon as the namespaces among them have the `ServiceAccount` that their pods need.
async fn apply(cluster: &ControlPlane, manifests: &str) -> String {
    let start = Instant::now();
    loop {
        let applied = cluster.kubectl_with_input(&["apply", "--server-side", "-f", "-"], manifests).await;
        if applied.status.success() {
            return applied.stdout + &applied.stderr;
        }
        let is_waiting = applied.stderr.contains("serviceaccount \"default\" not found");
        assert!(is_waiting && start.elapsed() < DEADLINE, "{}", applied.stderr);
    }
}
