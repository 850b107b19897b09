//! An installation that looks after user lists, and what a test does there.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use outrigger_bed::ControlPlane;
use serde_json::{Value, json};

use crate::{
    common::{installation::Installation, process::Server},
    until::until,
};

/// The list's Secret, unless a test names another.
pub(crate) const OUTPUT: &str = "pooler-users";
const KEY: &str = "userlist.txt";

/// An installation with rights about user lists in its own namespace.
pub(crate) struct World<'cluster> {
    pub(crate) installation: Installation<'cluster>,
    pub(crate) server: Server,
}

impl<'cluster> World<'cluster> {
    pub(crate) async fn new(cluster: &'cluster ControlPlane, name: &str) -> Self {
        let installation = Installation::new(cluster, name).await;
        grant(&installation, installation.name()).await;
        let server = controllers(&installation);
        Self { installation, server }
    }

    pub(crate) fn name(&self) -> &str {
        self.installation.name()
    }

    pub(crate) async fn apply(&self, manifests: &[Value]) {
        let placed = manifests.iter().cloned().map(|mut manifest| {
            if manifest["metadata"]["namespace"].is_null() {
                manifest["metadata"]["namespace"] = json!(self.name());
            }
            manifest
        });
        self.installation.apply(&placed.collect::<Vec<_>>()).await;
    }

    /// A list of all labelled Secrets of this namespace, with these changes to its spec.
    pub(crate) async fn list(&self, changes: &Value) {
        self.apply(&[list("users", changes)]).await;
    }

    pub(crate) async fn delete(&self, kind: &str, name: &str) {
        self.installation.kubectl(&["delete", kind, name]).await;
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::default_namespaced(self.installation.namespace.client())
    }

    /// A Secret's data as text, if it is there.
    pub(crate) async fn data(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let secret = self.secrets().get_opt(name).await.unwrap()?;
        Some(secret.data.into_iter().flatten().map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect())
    }

    /// The list that is written, if one is.
    pub(crate) async fn written(&self) -> Option<String> {
        self.data(OUTPUT).await?.remove(KEY)
    }

    pub(crate) async fn until_written(&self, expected: &str) {
        let mut seen = None;
        wait_for(&format!("the list is {expected:?}"), async || {
            seen = self.written().await;
            (seen.as_deref() == Some(expected)).then_some(())
        })
        .await;
    }

    pub(crate) async fn status(&self) -> Value {
        self.installation.stored("userlist", "users").await.unwrap()["status"].take()
    }

    /// The status, once a condition has this status and reason for the newest spec.
    pub(crate) async fn until(&self, condition: &str, status: &str, reason: &str) -> Value {
        wait_for(&format!("{condition} is {status} because of {reason}"), async || {
            let mut object = self.installation.stored("userlist", "users").await?;
            let found = object["status"]["conditions"].as_array()?.iter().find(|found| found["type"] == condition)?.clone();
            let is_new = found["observedGeneration"] == object["metadata"]["generation"];
            (is_new && found["status"] == status && found["reason"] == reason).then(|| object["status"].take())
        })
        .await
    }
}

/// Tries until something is there. PgBouncer may make a probe wait for a quarter of a minute, and several of them add up.
pub(crate) async fn wait_for<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    until(what, async || attempt().await.ok_or_else(|| "it is not so".to_owned())).await
}

/// What the chart grants in a namespace.
pub(crate) async fn grant(installation: &Installation<'_>, namespace: &str) {
    let user = installation.name();
    let rbac = "rbac.authorization.k8s.io/v1";
    let here = json!({"name": format!("userlists-of-{user}"), "namespace": namespace});
    let role = json!({"apiVersion": rbac, "kind": "Role", "metadata": here, "rules": [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch", "create", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": ["get", "list", "patch"]},
        {"apiGroups": ["outrigger.dev"], "resources": ["userlists/status"], "verbs": ["patch"]},
    ]});
    let binding = json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": here, "subjects": [{"kind": "User", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": here["name"]}});
    installation.apply(&[role, binding]).await;
}

pub(crate) fn controllers(installation: &Installation<'_>) -> Server {
    installation.process(&["--roles=controllers", "--repair=off", "--log=info,outrigger=debug"])
}

pub(crate) fn list(name: &str, changes: &Value) -> Value {
    let spec = json!({"selector": {"matchLabels": {"pooler": "main"}}, "output": {"name": OUTPUT}});
    let mut list = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "UserList", "metadata": {"name": name}, "spec": spec});
    json_patch::merge(&mut list["spec"], changes);
    list
}

/// A labelled Secret of a user, called as they are.
pub(crate) fn user(name: &str, password: &str) -> Value {
    let data = json!({"username": STANDARD.encode(name), "password": STANDARD.encode(password)});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": {"pooler": "main"}}, "data": data})
}

/// A list of these users without any tombstone or probe.
pub(crate) fn text(users: &[(&str, &str)]) -> String {
    let lines: Vec<String> = users.iter().map(|(name, password)| format!("\"{name}\" \"{password}\"\n")).collect();
    lines.concat()
}
