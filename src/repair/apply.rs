//! The eviction of a pod.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::runtime::request::{self, RequestError};

use super::plan::Sighting;

/// How long the API server may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// What it answers when a disruption budget forbids the eviction for now.
const TOO_MANY_REQUESTS: u16 = 429;

/// What became of an eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eviction {
    /// The pod was told to go.
    Done,
    /// A disruption budget forbids it for now.
    OverBudget,
    /// It is gone already, or another pod has its name.
    Gone,
}

impl Eviction {
    /// The outcome as a metric's label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Done => "evicted",
            Self::OverBudget => "over_budget",
            Self::Gone => "gone",
        }
    }
}

/// Evicts the pod that was seen, and no other that has its name by now. Disruption budgets are the API server's to judge.
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
        Err(RequestError::Refused(kube::Error::Api(status))) if status.code == TOO_MANY_REQUESTS => Ok(Eviction::OverBudget),
        Err(RequestError::Refused(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => Ok(Eviction::Gone),
        Err(error) => Err(error),
    }
}
