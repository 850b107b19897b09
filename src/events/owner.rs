//! From a pod's controller to the object its author wrote: a Deployment behind a `ReplicaSet`, a `CronJob` behind a Job.

use std::fmt::Debug;

use k8s_openapi::api::{apps::v1::ReplicaSet, batch::v1::Job};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::note::Reference;

/// What controls a pod's controller, if anything does. Only `ReplicaSet`s and Jobs are asked: people seldom write these
/// themselves, and what controls them is what they wrote.
///
/// # Errors
/// The API server refuses, or does not answer.
pub(super) async fn above(client: &Client, namespace: &str, controller: &Reference) -> Result<Option<Reference>, kube::Error> {
    let client = client.clone();
    match (controller.group(), controller.kind.as_str()) {
        ("apps", "ReplicaSet") => controller_of(&Api::<ReplicaSet>::namespaced(client, namespace), controller).await,
        ("batch", "Job") => controller_of(&Api::<Job>::namespaced(client, namespace), controller).await,
        _ => Ok(None),
    }
}

async fn controller_of<K>(api: &Api<K>, object: &Reference) -> Result<Option<Reference>, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let found = api.get_metadata_opt(&object.name).await?;
    // Another object may have its name by now.
    let found = found.filter(|found| found.metadata.uid.as_deref() == Some(&object.uid));
    Ok(found.and_then(|found| Reference::controller(found.metadata.owner_references.as_deref().unwrap_or_default())))
}
