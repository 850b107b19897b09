//! Pods that really run: injected, created and waited for.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use outrigger::injection::{Context, Outcome, Settings, inject};
use outrigger_bed::Namespace;
use serde_json::{Value, json};

use super::until::until;

/// What a container says that the strictest Pod Security Standard admits.
pub(crate) fn restricted(user: u32) -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "runAsUser": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// Creates a pod as the webhook would hand it on.
pub(crate) async fn create(namespace: &Namespace<'_>, pod: &Value) {
    pods(namespace).create(&PostParams::default(), &serde_json::from_value(injected(pod)).unwrap()).await.unwrap();
}

/// A pod as the webhook would hand it on.
pub(crate) fn injected(pod: &Value) -> Value {
    let settings = Settings::default();
    let decision = inject(&pod.to_string(), Context { defaults: None, settings: &settings, offline: false }).unwrap();
    let Outcome::Injected { patch, .. } = &decision.outcome else { panic!("{decision:?}") };
    let patch: json_patch::Patch = serde_json::from_str(patch.as_json()).unwrap();
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

pub(crate) fn pods(namespace: &Namespace<'_>) -> Api<Pod> {
    Api::default_namespaced(namespace.client())
}

pub(crate) async fn until_phase(namespace: &Namespace<'_>, name: &str, expected: &str) {
    until(&format!("the pod {name} is {expected}"), async || {
        let status = pods(namespace).get(name).await.unwrap().status.unwrap_or_default();
        if status.phase.as_deref() == Some(expected) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}
