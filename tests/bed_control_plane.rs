//! The first level of the test bed: a control plane that behaves as a stock cluster does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use outrigger_bed::ControlPlane;
use serde_json::json;

#[tokio::test]
async fn a_namespace_has_its_default_service_account() {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("account").await;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(namespace.client());
    accounts.get("default").await.unwrap();
}

#[tokio::test]
async fn a_pod_of_a_new_namespace_gets_the_defaults_of_stock_admission() {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("defaults").await;
    let created = pods(&namespace).create(&PostParams::default(), &root_pod()).await.unwrap();
    let spec = created.spec.unwrap();
    assert_eq!(spec.service_account_name.as_deref(), Some("default"));
    assert!(spec.volumes.unwrap().iter().any(|volume| volume.projected.is_some()), "the token volume of the service account is missing");
    assert!(spec.tolerations.is_some(), "the default tolerations are missing");
}

#[tokio::test]
async fn a_restricted_namespace_refuses_a_pod_that_may_be_root() {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("restricted").await;
    namespace.label("pod-security.kubernetes.io/enforce", "restricted").await;
    // The API server learns of the label by a watch of its own.
    let trial = PostParams { dry_run: true, ..PostParams::default() };
    let refused = async {
        loop {
            if let Err(refusal) = pods(&namespace).create(&trial, &root_pod()).await {
                return refusal.to_string();
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let refusal = tokio::time::timeout(std::time::Duration::from_secs(30), refused).await.unwrap();
    assert!(refusal.contains("violates PodSecurity") && refusal.contains("runAsNonRoot"), "{refusal}");
}

#[tokio::test]
async fn kubectl_speaks_to_the_cluster() {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("kubectl").await;
    let pod = serde_json::to_string(&root_pod()).unwrap();
    let applied = cluster.kubectl_with_input(&["--namespace", namespace.name(), "apply", "-f", "-"], &pod).await.success();
    assert_eq!(applied.trim(), "pod/app created");
    let absent = cluster.kubectl(&["--namespace", namespace.name(), "get", "pod", "absent"]).await;
    assert!(!absent.status.success() && absent.stderr.contains("NotFound"), "{absent:?}");
}

#[tokio::test]
async fn the_server_is_the_version_that_was_asked_for() {
    let cluster = ControlPlane::shared().await;
    let version = cluster.client().apiserver_version().await.unwrap();
    assert_eq!(version.git_version, format!("v{}", outrigger_bed::versions::kubernetes().unwrap()));
}

#[tokio::test]
async fn two_control_planes_live_side_by_side() {
    let (one, other) = tokio::join!(ControlPlane::start(), ControlPlane::start());
    assert_ne!(one.address(), other.address());
    let namespace = one.namespace("alone").await;
    let elsewhere = other.kubectl(&["get", "namespace", namespace.name()]).await;
    assert!(elsewhere.stderr.contains("NotFound"), "{elsewhere:?}");
}

fn pods(namespace: &outrigger_bed::Namespace<'_>) -> Api<Pod> {
    Api::default_namespaced(namespace.client())
}

fn root_pod() -> Pod {
    serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app"},
        "spec": {"containers": [{"name": "app", "image": "localhost/app:1"}]},
    }))
    .unwrap()
}
