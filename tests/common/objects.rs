//! Objects as the API server stores them. Tests look many times a second, and a command for each look would take most of the machine.

use kube::{
    Api, Client,
    core::{DynamicObject, GroupVersionKind},
    discovery::ApiResource,
};
use serde_json::Value;

/// An object; none if it isn't there. Its kind is written as kubectl takes it.
pub(crate) async fn stored(client: &Client, namespace: &str, kind: &str, name: &str) -> Option<Value> {
    let api = match kind {
        "namespace" => Api::all_with(client.clone(), &resource("", "v1", "Namespace")),
        "pgserver" => Api::all_with(client.clone(), &resource("outrigger.dev", "v1alpha1", "PgServer")),
        "pgdatabase" => Api::namespaced_with(client.clone(), namespace, &resource("outrigger.dev", "v1alpha1", "PgDatabase")),
        "userlist" => Api::namespaced_with(client.clone(), namespace, &resource("outrigger.dev", "v1alpha1", "UserList")),
        "lease" => Api::namespaced_with(client.clone(), namespace, &resource("coordination.k8s.io", "v1", "Lease")),
        "secret" => Api::namespaced_with(client.clone(), namespace, &resource("", "v1", "Secret")),
        _ => panic!("no test has looked for a {kind} before: add it here"),
    };
    let found: Option<DynamicObject> = api.get_opt(name).await.unwrap();
    found.map(|object| serde_json::to_value(object).unwrap())
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}
