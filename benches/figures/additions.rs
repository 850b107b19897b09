//! What our own program adds to a pod, so that others can add the same.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, Volume, VolumeMount};
use serde::{Deserialize, Serialize};

/// What a pod is given, by the value of its annotation.
pub(crate) type Additions = BTreeMap<String, Addition>;

/// What a pod is given.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Addition {
    annotations: BTreeMap<String, String>,
    init_containers: Vec<Container>,
    volumes: Vec<Volume>,
    /// For each container.
    env: Vec<EnvVar>,
    volume_mounts: Vec<VolumeMount>,
}

impl Addition {
    /// The difference between a pod and what became of it. All is added at the end of its list, and the same to each container.
    pub(crate) fn between(before: &Pod, after: &Pod) -> Self {
        let (container, changed) = (container(before), container(after));
        let annotations = after.metadata.annotations.clone().unwrap_or_default();
        let known = before.metadata.annotations.clone().unwrap_or_default();
        Self {
            annotations: annotations.into_iter().filter(|(name, _)| !known.contains_key(name)).collect(),
            init_containers: tail(lists(before).0, lists(after).0),
            volumes: tail(lists(before).1, lists(after).1),
            env: tail(container.env.as_deref(), changed.env.as_deref()),
            volume_mounts: tail(container.volume_mounts.as_deref(), changed.volume_mounts.as_deref()),
        }
    }

    /// Adds it.
    pub(crate) fn apply_to(&self, pod: &mut Pod) {
        pod.metadata.annotations.get_or_insert_default().extend(self.annotations.clone());
        let spec = pod.spec.as_mut().unwrap();
        for container in &mut spec.containers {
            container.env.get_or_insert_default().extend(self.env.iter().cloned());
            container.volume_mounts.get_or_insert_default().extend(self.volume_mounts.iter().cloned());
        }
        spec.init_containers.get_or_insert_default().extend(self.init_containers.iter().cloned());
        spec.volumes.get_or_insert_default().extend(self.volumes.iter().cloned());
    }
}

fn container(pod: &Pod) -> &Container {
    pod.spec.as_ref().unwrap().containers.first().unwrap()
}

fn lists(pod: &Pod) -> (Option<&[Container]>, Option<&[Volume]>) {
    let spec = pod.spec.as_ref().unwrap();
    (spec.init_containers.as_deref(), spec.volumes.as_deref())
}

fn tail<T: Clone>(before: Option<&[T]>, after: Option<&[T]>) -> Vec<T> {
    after.unwrap_or_default().iter().skip(before.unwrap_or_default().len()).cloned().collect()
}
