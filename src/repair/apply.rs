//! The eviction of a pod.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, core::Status};
use serde_json::{Value, json};

use crate::runtime::request::{self, RequestError};

use super::{observe::whole, plan::Sighting};

/// How long the API server may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// What it answers when a disruption budget forbids the eviction for now, and when it has too much to do.
const TOO_MANY_REQUESTS: u16 = 429;
/// The cause that it gives for the former.
const DISRUPTION_BUDGET: &str = "DisruptionBudget";

/// What became of an eviction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Eviction {
    /// The pod was told to go.
    Done,
    /// A disruption budget forbids it for now.
    OverBudget,
    /// It is gone already, or another pod has its name.
    Gone,
    /// It stays: the API server refuses the eviction, in these words.
    Refused(String),
    /// The API server has too much to do.
    Throttled,
}

impl Eviction {
    /// The outcome as a metric's label.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Done => "evicted",
            Self::OverBudget => "over_budget",
            Self::Gone => "gone",
            Self::Refused(_) => "refused",
            Self::Throttled => "throttled",
        }
    }
}

/// Evicts the pod that was seen, and no other that has its name by now. Disruption budgets are the API server's to judge.
///
/// # Errors
/// Nobody knows whether the pod was evicted.
pub(super) async fn evict(client: &Client, seen: &Sighting) -> Result<Eviction, RequestError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &seen.namespace);
    // `Api::evict` sends its options under a name that API servers pass over, and the precondition with it.
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": seen.pod.name, "namespace": seen.namespace},
        "deleteOptions": {"preconditions": {"uid": seen.pod.uid}},
    });
    let parameters = request::creating();
    let posted = pods.create_subresource::<_, Value>("eviction", &seen.pod.name, &parameters, &eviction);
    match request::within(REQUEST_DEADLINE, posted).await {
        Ok(_) => Ok(Eviction::Done),
        Err(RequestError::Refused(kube::Error::Api(status))) => answered(client, seen, status).await,
        Err(error) => Err(error),
    }
}

/// What an answer means that is no success.
async fn answered(client: &Client, seen: &Sighting, status: Box<Status>) -> Result<Eviction, RequestError> {
    match status.code {
        TOO_MANY_REQUESTS if names_a_budget(&status) => Ok(Eviction::OverBudget),
        TOO_MANY_REQUESTS => Ok(Eviction::Throttled),
        404 | 409 => Ok(Eviction::Gone),
        // Even an error of the server's own may be a refusal, as of a pod with two budgets, or mean that nobody knows.
        _ if stays(client, seen).await => Ok(Eviction::Refused(status.message)),
        _ => Err(kube::Error::Api(status).into()),
    }
}

fn names_a_budget(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.reason == DISRUPTION_BUDGET))
}

async fn stays(client: &Client, seen: &Sighting) -> bool {
    matches!(whole(client, seen).await, Ok(Some(pod)) if !pod.is_terminating)
}
