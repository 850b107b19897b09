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

/// Pods in a page. The annotations of one may be a quarter of a megabyte, and a page is held in memory as a whole.
const PAGE_SIZE: u32 = 100;
/// Pods that have come to their end need nothing any more.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";
/// How long one page, or one pod, may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(20);
/// What an API server answers to a list that goes on after too long.
const EXPIRED: u16 = 410;

/// All pods of a scope, in pages. Each page is of the time of the first, unless the pages take so long that the API server has
/// forgotten that time.
pub(super) struct Pages<'a> {
    pods: &'a Api<Pod>,
    position: Position,
}

enum Position {
    Start,
    After(String),
    End,
}

impl<'a> Pages<'a> {
    pub(super) const fn of(pods: &'a Api<Pod>) -> Self {
        Self { pods, position: Position::Start }
    }

    /// The metadata of the next pods; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<PartialObjectMeta<Pod>>>, RequestError> {
        let page = match &self.position {
            Position::Start => self.page(None).await,
            Position::After(token) => self.page_after(token).await,
            Position::End => return Ok(None),
        }?;
        self.position = page.metadata.continue_.filter(|token| !token.is_empty()).map_or(Position::End, Position::After);
        Ok(Some(page.items))
    }

    async fn page_after(&self, token: &str) -> Result<ObjectList<PartialObjectMeta<Pod>>, RequestError> {
        match self.page(Some(token)).await {
            // The answer brings a token by which the list goes on, with pods as they are by now.
            Err(RequestError::Refused(kube::Error::Api(status))) if status.code == EXPIRED => {
                let token = status.metadata.as_ref().and_then(|metadata| metadata.continue_.clone());
                self.page(Some(&token.ok_or(kube::Error::Api(status))?)).await
            }
            page => page,
        }
    }

    async fn page(&self, token: Option<&str>) -> Result<ObjectList<PartialObjectMeta<Pod>>, RequestError> {
        let first = ListParams::default().fields(UNFINISHED).limit(PAGE_SIZE);
        let parameters = token.into_iter().fold(first, ListParams::continue_token);
        request::within(REQUEST_DEADLINE, self.pods.list_metadata(&parameters)).await
    }
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
