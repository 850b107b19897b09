//! The workloads that run poolers, and their pods.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    core::v1::Pod,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch},
    core::DynamicObject,
    discovery::ApiResource,
};
use serde_json::json;

use crate::{
    api::{
        selector::LabelSelector,
        user_list::{DIGEST_ANNOTATION, Pooler, WorkloadKind},
    },
    runtime::{
        lease::WRITE_DEADLINE,
        request::{self, RequestError},
    },
    userlists::plan::pooler::PodSight,
};

/// How long the API server may take to list.
const LIMIT: Duration = Duration::from_secs(10);
/// More pods than any pooler has; those after them would not be told.
const MOST_PODS: u32 = 500;
/// More workloads than a selector should choose.
const MOST_WORKLOADS: u32 = 64;

/// A workload that runs a pooler.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) kind: WorkloadKind,
    pub(super) name: String,
    /// Its pods, as a list request takes them.
    pods: String,
    /// The digest that its pods' template was given.
    pub(super) restarted_for: Option<String>,
}

/// Why a pooler can't be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkloadError {
    #[error("{0}")]
    Absent(String),
    #[error("{what} can't be read or changed")]
    Request {
        what: String,
        #[source]
        source: RequestError,
    },
}

pub(super) fn resource(kind: WorkloadKind) -> ApiResource {
    match kind {
        WorkloadKind::Deployment => ApiResource::erase::<Deployment>(&()),
        WorkloadKind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        WorkloadKind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
    }
}

/// The workloads that a spec's pooler means.
pub(super) async fn workloads(client: &Client, namespace: &str, pooler: &Pooler) -> Result<Vec<Workload>, WorkloadError> {
    let resource = resource(pooler.kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let failed = |what: String| move |source| WorkloadError::Request { what, source };
    let found = if let Some(name) = &pooler.name {
        let found = request::within(LIMIT, api.get_opt(name)).await.map_err(failed(format!("{} {name}", resource.kind)))?;
        vec![found.ok_or_else(|| WorkloadError::Absent(format!("{} {name} does not exist", resource.kind)))?]
    } else {
        let selector = pooler.selector.as_ref().map(LabelSelector::to_query).unwrap_or_default();
        let chosen = ListParams::default().labels(&selector).limit(MOST_WORKLOADS);
        request::within(LIMIT, api.list(&chosen)).await.map_err(failed(resource.plural.clone()))?.items
    };
    Ok(found.iter().filter_map(|object| Workload::read(pooler.kind, object)).collect())
}

impl Workload {
    /// `None` if it chooses no pods.
    fn read(kind: WorkloadKind, object: &DynamicObject) -> Option<Self> {
        let selector: LabelSelector = serde_json::from_value(object.data.pointer("/spec/selector")?.clone()).ok()?;
        let pods = Some(selector.to_query()).filter(|query| !query.is_empty())?;
        let annotations = object.data.pointer("/spec/template/metadata/annotations");
        let restarted_for = annotations.and_then(|annotations| annotations.get(DIGEST_ANNOTATION)?.as_str());
        Some(Self { kind, name: object.name_any(), pods, restarted_for: restarted_for.map(ToOwned::to_owned) })
    }

    /// Its pods, without those that have ended or are about to.
    pub(super) async fn pods(&self, client: &Client, namespace: &str) -> Result<Vec<PodSight>, WorkloadError> {
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let chosen = ListParams::default().labels(&self.pods).limit(MOST_PODS);
        let listed = request::within(LIMIT, api.list(&chosen)).await;
        let listed = listed.map_err(|source| WorkloadError::Request { what: "its pods".to_owned(), source })?;
        let mut pods: Vec<_> = listed.items.iter().filter(|pod| is_alive(pod)).map(sight).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pods)
    }

    /// Replaces its pods by its own strategy, as `kubectl rollout restart` does.
    pub(super) async fn restart(&self, client: &Client, namespace: &str, digest: &str) -> Result<(), WorkloadError> {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(self.kind));
        let template = json!({"spec": {"template": {"metadata": {"annotations": {DIGEST_ANNOTATION: digest}}}}});
        let patched = request::within(WRITE_DEADLINE, api.patch_metadata(&self.name, &request::patching(), &Patch::Merge(template))).await;
        patched.map(drop).map_err(|source| WorkloadError::Request { what: format!("{:?} {}", self.kind, self.name), source })
    }
}

fn is_alive(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

fn sight(pod: &Pod) -> PodSight {
    let status = pod.status.as_ref();
    let mut conditions = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
    PodSight {
        name: pod.name_any(),
        address: status.and_then(|status| status.pod_ip.as_deref()?.parse().ok()),
        is_ready: conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        annotations: pod.annotations().clone(),
    }
}
