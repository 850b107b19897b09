//! The first level of the test bed itself: a control plane as a stock cluster has it, and its end.

use outrigger_bed::ControlPlane;

#[tokio::test]
async fn a_namespace_has_its_default_service_account() {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("account").await;
    let accounts: kube::Api<k8s_openapi::api::core::v1::ServiceAccount> = kube::Api::default_namespaced(namespace.client());
    accounts.get("default").await.unwrap();
}
