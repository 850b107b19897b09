//! What is seen of pods: the metadata of all of them, page by page, and the whole of single ones.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams, core::DynamicObject, discovery::ApiResource};

use crate::runtime::{
    pages::Pages,
    request::{self, RequestError},
};

use super::plan::Sighting;

/// Pods in a page. The annotations of one may be a quarter of a megabyte, and a page is held in memory as a whole; the memory of the
/// largest is what the process keeps.
const PAGE_SIZE: u32 = 50;
/// Pods that have come to their end need nothing any more.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";
/// How long one pod may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(20);

/// The metadata of all pods of a scope that have not come to their end.
pub(super) fn pages(pods: &Api<Pod>) -> Pages<'_, Pod> {
    Pages::of(pods, ListParams::default().fields(UNFINISHED).limit(PAGE_SIZE))
}

/// A pod as a whole: its text, for the decision that the webhook would make, and whether it goes or has come to its end.
pub(super) struct Whole {
    pub(super) text: String,
    pub(super) is_terminating: bool,
    pub(super) is_finished: bool,
}

/// The pod that was seen in a page, if it is still there.
pub(super) async fn whole(client: &Client, seen: &Sighting) -> Result<Option<Whole>, RequestError> {
    let pods: Api<DynamicObject> = Api::namespaced_with(client.clone(), &seen.namespace, &ApiResource::erase::<Pod>(&()));
    let pod = request::within(REQUEST_DEADLINE, pods.get_opt(&seen.pod.name)).await?;
    let Some(pod) = pod.filter(|pod| pod.metadata.uid.as_ref() == Some(&seen.pod.uid)) else { return Ok(None) };
    let phase = pod.data.pointer("/status/phase").and_then(serde_json::Value::as_str);
    Ok(Some(Whole {
        is_terminating: pod.metadata.deletion_timestamp.is_some(),
        is_finished: matches!(phase, Some("Succeeded" | "Failed")),
        text: serde_json::to_string(&pod).map_err(kube::Error::SerdeError)?,
    }))
}
