//! How the API server is told to ask us: the webhook configurations, in one place for every way to install them.

use serde_json::{Value, json};

use crate::api::annotations::{DEFAULTS_ENABLED, DEFAULTS_LABEL, INJECT, NONE};

/// The name of both webhook configurations.
pub const NAME: &str = "outrigger";

/// Where the API server finds the webhook server.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// A Service in the cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
    },
    /// An `https` address without a path, for a server outside the cluster.
    Url(String),
}

impl Endpoint {
    /// The client configuration for one path. The bundle is PEM, which the API takes in base64.
    fn client_config(&self, path: &str, ca_bundle: Option<&str>) -> Value {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let mut config = match self {
            Self::Service { namespace, name, port } => {
                json!({"service": {"namespace": namespace, "name": name, "port": port, "path": path}})
            }
            Self::Url(base) => json!({"url": format!("{}{path}", base.trim_end_matches('/'))}),
        };
        if let (Some(bundle), Some(config)) = (ca_bundle, config.as_object_mut()) {
            config.insert("caBundle".to_owned(), json!(STANDARD.encode(bundle)));
        }
        config
    }
}

/// All webhook configurations. Without a bundle, somebody else must write it: cert-manager, or the controllers.
#[must_use]
pub fn manifests(endpoint: &Endpoint, ca_bundle: Option<&str>) -> [Value; 2] {
    let pods = endpoint.client_config("/mutate/pods", ca_bundle);
    let mutating = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/name": NAME}},
        "webhooks": [
            pod_webhook("defaults.pods.outrigger.dev", &pods, true),
            pod_webhook("annotated.pods.outrigger.dev", &pods, false),
        ],
    });
    let validating = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/name": NAME}},
        "webhooks": [
            object_webhook("pgdatabases", endpoint, ca_bundle),
            object_webhook("sessions", endpoint, ca_bundle),
        ],
    });
    [mutating, validating]
}

/// One of the two entries for pods. They are disjoint by namespace, so that no pod is sent twice, and their conditions
/// are judged by the API server, so that a pod that asks for nothing is not sent at all.
fn pod_webhook(name: &str, client_config: &Value, in_labelled_namespaces: bool) -> Value {
    let operator = if in_labelled_namespaces { "In" } else { "NotIn" };
    // Without the guard, a pod without annotations is an evaluation error, and that follows the failure policy.
    let annotated = format!("has(object.metadata.annotations) && '{}' in object.metadata.annotations", INJECT.name);
    let opted_out = format!("{annotated} && object.metadata.annotations['{}'] == '{NONE}'", INJECT.name);
    let condition = if in_labelled_namespaces {
        json!({"name": "not-opted-out", "expression": format!("!({opted_out})")})
    } else {
        json!({"name": "asks-for-sidecars", "expression": format!("{annotated} && !({opted_out})")})
    };
    json!({
        "name": name,
        "clientConfig": client_config,
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"], "scope": "Namespaced"}],
        "namespaceSelector": {"matchExpressions": [{"key": DEFAULTS_LABEL, "operator": operator, "values": [DEFAULTS_ENABLED]}]},
        "matchConditions": [condition],
        "matchPolicy": "Equivalent",
        "reinvocationPolicy": "IfNeeded",
        "sideEffects": "NoneOnDryRun",
        "failurePolicy": "Ignore",
        "timeoutSeconds": 5,
        "admissionReviewVersions": ["v1"],
    })
}

fn object_webhook(resource: &str, endpoint: &Endpoint, ca_bundle: Option<&str>) -> Value {
    json!({
        "name": format!("{resource}.outrigger.dev"),
        "clientConfig": endpoint.client_config(&format!("/validate/{resource}"), ca_bundle),
        "rules": [{
            "apiGroups": ["outrigger.dev"], "apiVersions": ["v1alpha1"], "resources": [resource], "operations": ["CREATE", "UPDATE"],
            "scope": "Namespaced",
        }],
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "timeoutSeconds": 3,
        "admissionReviewVersions": ["v1"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_pod_entries_are_disjoint_by_namespace() {
        let [mutating, _] = manifests(&Endpoint::Url("https://127.0.0.1:1/".to_owned()), Some("PEM"));
        let operators: Vec<_> = mutating["webhooks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hook| &hook["namespaceSelector"]["matchExpressions"][0]["operator"])
            .collect();
        assert_eq!(operators, ["In", "NotIn"]);
        assert_eq!(mutating["webhooks"][0]["clientConfig"], json!({"url": "https://127.0.0.1:1/mutate/pods", "caBundle": "UEVN"}));
    }

    #[test]
    fn a_service_is_named_with_its_path_and_no_bundle_unless_given() {
        let endpoint = Endpoint::Service { namespace: "outrigger".to_owned(), name: "outrigger".to_owned(), port: 443 };
        let [_, validating] = manifests(&endpoint, None);
        let expected = json!({"service": {"namespace": "outrigger", "name": "outrigger", "port": 443, "path": "/validate/sessions"}});
        assert_eq!(validating["webhooks"][1]["clientConfig"], expected);
    }
}
