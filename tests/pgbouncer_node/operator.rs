//! The operator's part, by its contract with the chart: it reads the `UserList` that the chart has rendered, gathers the users of the Secrets
//! with its labels, and writes the list and the administrator's password. So the chart is tried without the product's controllers.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use crate::site::{NAMESPACE, Site};

/// What the agents answer with once they use the list.
pub(crate) const DIGEST: &str = "outrigger.dev/userlist-digest";

pub(crate) struct Operator(JoinHandle<()>);

impl Operator {
    pub(crate) fn start(site: &Site) -> Self {
        let secrets = site.secrets();
        let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("outrigger.dev", "v1alpha1", "UserList"), "userlists");
        let lists: Api<DynamicObject> = Api::namespaced_with(site.client(), NAMESPACE, &kind);
        Self(tokio::spawn(async move {
            loop {
                for list in lists.list(&ListParams::default()).await.unwrap() {
                    reconcile(&list.data["spec"], &secrets).await;
                }
                sleep(Duration::from_millis(200)).await;
            }
        }))
    }

    /// Ends it; a failure of its own is the test's.
    pub(crate) async fn end(self) {
        self.0.abort();
        if let Err(error) = self.0.await {
            assert!(error.is_cancelled(), "{error}");
        }
    }
}

async fn reconcile(spec: &Value, secrets: &Api<Secret>) {
    let labels = spec["selector"]["matchLabels"].as_object().unwrap();
    let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect();
    let found = secrets.list(&ListParams::default().labels(&selector.join(","))).await.unwrap();
    let users: BTreeMap<String, String> = found.into_iter().filter_map(|secret| user(spec, &secret)).collect();
    let admin = spec["admin"]["user"].as_str().unwrap();
    let Some(password) = users.get(admin) else { return };
    let lines: Vec<String> = users.iter().map(|(name, password)| format!("\"{name}\" \"{password}\"\n")).collect();
    let (list, digest) = (lines.concat(), digest(&lines.concat()));
    write(secrets, &spec["output"]["name"], &json!({spec["output"]["key"].as_str().unwrap(): list}), &digest).await;
    write(secrets, &spec["admin"]["secret"]["name"], &json!({"adminUser": admin, "adminPassword": password}), "").await;
}

/// Stands for a keyed digest: whatever differs for lists that differ.
fn digest(list: &str) -> String {
    list.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))).to_string()
}

fn user(spec: &Value, secret: &Secret) -> Option<(String, String)> {
    let value = |keys: &Value| {
        let bytes = keys.as_array()?.iter().find_map(|key| secret.data.as_ref()?.get(key.as_str()?))?;
        String::from_utf8(bytes.0.clone()).ok()
    };
    Some((value(&spec["keys"]["username"])?, value(&spec["keys"]["password"])?))
}

async fn write(secrets: &Api<Secret>, name: &Value, data: &Value, digest: &str) {
    let name = name.as_str().unwrap();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "annotations": {DIGEST: digest}},
        "stringData": data,
    });
    secrets.patch(name, &PatchParams::apply("operator").force(), &Patch::Apply(&secret)).await.unwrap();
}
