//! A profile's policies on a control plane, in a namespace of their own.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Output, Stdio},
};

use hyper::Request;
use kube::Client;
use outrigger::injection::{Outcome, Settings};
use outrigger_bed::{ControlPlane, Namespace, versions};
use serde_json::{Value, json};

use crate::common::{decide_with, patch, patched, restored, webhook::wait_for};

const STATUS: &str = "outrigger.dev/status";

/// Policies that hold for one namespace, and another one for which nothing does.
pub(crate) struct Bound {
    client: Client,
    bound: Namespace<'static>,
    free: Namespace<'static>,
    settings: Settings,
    /// As they were exported.
    pub(crate) policies: String,
}

/// Why a pod is refused.
pub(crate) type Refusal = String;

/// What becomes of a pod.
pub(crate) struct Fates {
    /// Where nothing holds.
    pub(crate) plain: Value,
    /// Where the policies hold.
    pub(crate) by_policy: Result<Value, Refusal>,
    /// By the webhook's decision.
    pub(crate) by_webhook: Result<Value, Refusal>,
}

impl Bound {
    /// Exports a pod's annotations as policies, applies them, and waits until they hold. `values` are the chart's.
    pub(crate) async fn new(cluster: &'static ControlPlane, profile: &Value, values: &str) -> Self {
        let (bound, free) = (cluster.namespace("policy").await, cluster.namespace("plain").await);
        let values_file = cluster.path(&format!("{}.yaml", bound.name()));
        std::fs::write(&values_file, values).unwrap();
        let exported = export(
            profile,
            &[
                &format!("--name={}", bound.name()),
                &format!("--namespace-label=kubernetes.io/metadata.name={}", bound.name()),
                &format!("--values={}", values_file.display()),
                &format!("--api-version={}", served_version()),
            ],
        );
        let policies = String::from_utf8(exported.stdout).unwrap();
        assert!(exported.status.success(), "{profile}: {}", String::from_utf8_lossy(&exported.stderr));
        let _ = cluster.kubectl_with_input(&["apply", "-f", "-"], &policies).await.success();
        let bound = Self { client: bound.client(), bound, free, settings: Settings::from_values(values).unwrap(), policies };
        bound.wait_until_both_hold(profile).await;
        bound
    }

    /// The name of the policies, and of the namespace for which they hold.
    pub(crate) fn name(&self) -> &str {
        self.bound.name()
    }

    /// Where nothing holds.
    pub(crate) fn free(&self) -> &str {
        self.free.name()
    }

    /// The API server learns of policies by a watch of its own.
    async fn wait_until_both_hold(&self, profile: &Value) {
        wait_for("the mutating policy holds", async || {
            let pod = self.create(profile).await.ok()?;
            is_injected(&pod).then_some(())
        })
        .await;
        wait_for("the validating policy holds", async || self.create(&refused(profile)).await.err()).await;
    }

    /// A pod as it comes back from where the policies hold.
    pub(crate) async fn create(&self, pod: &Value) -> Result<Value, Refusal> {
        self.dry_run(&self.bound, pod).await
    }

    /// What becomes of a pod, unless it is not one that the API server takes.
    pub(crate) async fn fates(&self, pod: &Value) -> Result<Fates, Refusal> {
        let plain = self.dry_run(&self.free, pod).await?;
        let (by_policy, by_webhook) = tokio::join!(self.create(pod), self.by_webhook(&plain));
        Ok(Fates { plain, by_policy, by_webhook })
    }

    /// The webhook is called with what the API server has completed already.
    async fn by_webhook(&self, completed: &Value) -> Result<Value, Refusal> {
        let decision = decide_with(completed, None, &self.settings, false);
        if let Outcome::Denied(denials) = &decision.outcome {
            return Err(format!("{denials:?}"));
        }
        self.dry_run(&self.free, &patched(completed, &patch(&decision))).await
    }

    async fn dry_run(&self, namespace: &Namespace<'_>, pod: &Value) -> Result<Value, Refusal> {
        let written = ["name", "annotations", "labels"];
        let metadata = pod["metadata"].as_object().unwrap().iter().filter(|(name, _)| written.contains(&name.as_str()));
        let metadata: BTreeMap<_, _> = metadata.collect();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]});
        let uri = format!("/api/v1/namespaces/{}/pods?dryRun=All", namespace.name());
        let request = Request::post(uri).header("content-type", "application/json").body(pod.to_string().into_bytes()).unwrap();
        self.client.request(request).await.map_err(|error| error.to_string())
    }
}

/// How a pod fared.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcomes {
    Injected,
    Refused,
    LeftAlone,
    /// The webhook would have injected.
    RefusedByPolicyAlone,
}

impl Fates {
    /// Holds both against each other.
    pub(crate) fn compare(&self) -> Outcomes {
        match (&self.by_policy, &self.by_webhook) {
            (Ok(policy), Ok(webhook)) if is_injected(policy) => {
                assert_eq!(comparable(policy), comparable(webhook));
                assert_eq!(comparable(&restored(policy)), comparable(&self.plain), "undone");
                Outcomes::Injected
            }
            (Ok(policy), Ok(webhook)) => {
                assert_eq!(comparable(policy), comparable(&self.plain));
                assert_eq!(comparable(webhook)["annotations"][STATUS]["injected"], json!([]), "skipped: {webhook}");
                Outcomes::LeftAlone
            }
            (Err(_), Err(_)) => Outcomes::Refused,
            (Err(sentence), Ok(_)) => {
                let stricter =
                    ["has a mesh's containers", "has other settings", "named like a sidecar", "volume of its own", "mounts something"];
                assert!(stricter.iter().any(|known| sentence.contains(known)), "{sentence}: {}", self.plain);
                Outcomes::RefusedByPolicyAlone
            }
            (Ok(pod), Err(denial)) => panic!("refused with {denial}, but not by the policy: {pod}"),
        }
    }
}

/// The same pod with other settings than the profile's.
pub(crate) fn refused(profile: &Value) -> Value {
    let mut other = profile.clone();
    other["metadata"]["annotations"]["outrigger.dev/unknown"] = json!("");
    other
}

/// Whether it has been given sidecars.
pub(crate) fn is_injected(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(STATUS).is_some()
}

/// The version in which the test bed's API server serves mutating policies.
fn served_version() -> &'static str {
    versions::mutating_policies_on_request(&versions::kubernetes().unwrap()).unwrap_or("v1")
}

/// Runs `outrigger export policy` on a pod.
pub(crate) fn export(profile: &Value, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(["export", "policy", "-f", "-"]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(profile.to_string().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What is the same for two pods that are alike: annotations and spec, without the random name of the token's volume.
fn comparable(pod: &Value) -> Value {
    let mut annotations: BTreeMap<String, Value> = serde_json::from_value(pod["metadata"]["annotations"].clone()).unwrap_or_default();
    if let Some(status) = annotations.get_mut(STATUS) {
        let text = status.as_str().unwrap();
        *status = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    }
    let mut spec = pod["spec"].to_string();
    if let Some(start) = spec.find("kube-api-access-") {
        let name = spec[start..start + "kube-api-access-xxxxx".len()].to_owned();
        spec = spec.replace(&name, "kube-api-access");
    }
    json!({"annotations": annotations, "spec": serde_json::from_str::<Value>(&spec).unwrap()})
}
