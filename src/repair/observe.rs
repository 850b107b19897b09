//! What is seen of pods: the metadata of all of them, page by page, and the whole of single ones.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::ListParams,
    core::{DynamicObject, ObjectList, PartialObjectMeta},
    discovery::ApiResource,
};

use crate::runtime::request::{self, RequestError};

use super::plan::Sighting;

/// Pods in a page.
const PAGE_SIZE: u32 = 500;
/// Pods that have come to their end need nothing any more.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";
/// How long one page, or one pod, may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(20);
/// What an API server answers to a list that goes on after too long.
const EXPIRED: u16 = 410;

/// All pods, in pages. Each page is of the time of the first, unless the pages take so long that the API server has
/// forgotten that time.
pub(super) struct Pages {
    scopes: Vec<Api<Pod>>,
    next: Option<String>,
}

impl Pages {
    /// The pods of these namespaces; of all if none is named.
    pub(super) fn of(client: &Client, namespaces: &[String]) -> Self {
        let mut scopes: Vec<_> = namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect();
        if scopes.is_empty() {
            scopes.push(Api::all(client.clone()));
        }
        Self { scopes, next: None }
    }

    /// The metadata of the next pods; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<PartialObjectMeta<Pod>>>, RequestError> {
        let Some(scope) = self.scopes.last() else { return Ok(None) };
        let page = match page(scope, self.next.as_deref()).await {
            // The answer brings a token by which the list goes on, with pods as they are by now.
            Err(RequestError::Refused(kube::Error::Api(status))) if status.code == EXPIRED => {
                let token = status.metadata.as_ref().and_then(|metadata| metadata.continue_.clone());
                page(scope, Some(&token.ok_or(kube::Error::Api(status))?)).await
            }
            page => page,
        }?;
        self.next = page.metadata.continue_.filter(|token| !token.is_empty());
        if self.next.is_none() {
            self.scopes.pop();
        }
        Ok(Some(page.items))
    }
}

async fn page(scope: &Api<Pod>, token: Option<&str>) -> Result<ObjectList<PartialObjectMeta<Pod>>, RequestError> {
    let first = ListParams::default().fields(UNFINISHED).limit(PAGE_SIZE);
    let parameters = token.into_iter().fold(first, ListParams::continue_token);
    request::within(REQUEST_DEADLINE, scope.list_metadata(&parameters)).await
}

/// A pod as a whole: its text, for the decision that the webhook would make, and whether it has come to its end.
pub(super) struct Whole {
    pub(super) text: String,
    pub(super) is_finished: bool,
}

/// The pod that was seen in a page, if it is still there.
pub(super) async fn whole(client: &Client, seen: &Sighting) -> Result<Option<Whole>, RequestError> {
    let pods: Api<DynamicObject> = Api::namespaced_with(client.clone(), &seen.namespace, &ApiResource::erase::<Pod>(&()));
    let pod = request::within(REQUEST_DEADLINE, pods.get_opt(&seen.pod.name)).await?;
    let Some(pod) = pod.filter(|pod| pod.metadata.uid.as_ref() == Some(&seen.pod.uid)) else { return Ok(None) };
    let phase = pod.data.pointer("/status/phase").and_then(serde_json::Value::as_str);
    let is_finished = matches!(phase, Some("Succeeded" | "Failed"));
    Ok(Some(Whole { text: serde_json::to_string(&pod).map_err(kube::Error::SerdeError)?, is_finished }))
}
