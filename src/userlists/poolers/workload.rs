//! The workloads that run poolers, and their pods.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
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
        user_list::{DIGEST_ANNOTATION, LIST_ANNOTATION, Pooler, RESTARTED_ANNOTATION, WorkloadKind},
    },
    runtime::{
        lease::WRITE_DEADLINE,
        request::{self, RequestError},
    },
    userlists::plan::pooler::{LastRestart, Newest, PodSight},
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
    version: String,
    labels: BTreeMap<String, String>,
    /// As its pods' template was given it.
    pub(super) last_restart: LastRestart,
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
        let last_restart = LastRestart::read(|key| annotations?.get(key)?.as_str().map(ToOwned::to_owned));
        let (name, version) = (object.name_any(), object.resource_version().unwrap_or_default());
        Some(Self { kind, name, pods, version, labels: object.labels().clone(), last_restart })
    }

    /// Whether a spec's pooler means it.
    pub(super) fn is_meant_by(&self, pooler: &Pooler) -> bool {
        let is_chosen = || pooler.selector.as_ref().is_some_and(|selector| selector.chooses(&self.labels));
        pooler.kind == self.kind && pooler.name.as_ref().map_or_else(is_chosen, |name| *name == self.name)
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

    /// Replaces its pods by its own strategy, as `kubectl rollout restart` does, unless somebody has changed it since it was seen.
    pub(super) async fn restart(&self, client: &Client, namespace: &str, newest: Newest<'_>, now: Timestamp) -> Result<(), WorkloadError> {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource(self.kind));
        let annotations =
            json!({DIGEST_ANNOTATION: newest.digest, LIST_ANNOTATION: newest.list, RESTARTED_ANNOTATION: format!("{now:.0}")});
        let template = json!({
            "metadata": {"resourceVersion": self.version},
            "spec": {"template": {"metadata": {"annotations": annotations}}},
        });
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
        uid: pod.uid().unwrap_or_default(),
        address: status.and_then(|status| status.pod_ip.as_deref()?.parse().ok()),
        created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        is_ready: conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        annotations: pod.annotations().clone(),
    }
}
