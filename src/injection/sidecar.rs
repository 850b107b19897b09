//! The pieces a sidecar is made of, in the form in which they enter a pod.
//!
//! They serialise in the order in which people write them, so that offline output reads well.

use std::borrow::Cow;

use serde::Serialize;

use crate::api::annotations::SidecarKind;

/// What one sidecar asks of a pod.
#[derive(Debug)]
pub(crate) struct Rig<'a> {
    /// Which sidecar.
    pub(crate) kind: SidecarKind,
    /// Its container.
    pub(crate) container: Container<'a>,
    /// Where the container belongs.
    pub(crate) placement: Placement,
    /// Volumes it needs in the pod.
    pub(crate) volumes: Vec<Volume<'a>>,
    /// Volumes of the pod it uses; they must be there already.
    pub(crate) borrowed_volumes: Vec<BorrowedVolume<'a>>,
    /// What the chosen containers of the pod get, in the containers' order.
    pub(crate) grants: Vec<Grant<'a>>,
}

/// A volume the user names for us to use.
#[derive(Debug)]
pub(crate) struct BorrowedVolume<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The annotation that names it.
    pub(crate) key: &'static str,
    /// Whether we write to it.
    pub(crate) written: bool,
}

/// What one container of the pod gets.
#[derive(Debug)]
pub(crate) struct Grant<'a> {
    /// The container's name.
    pub(crate) container: &'a str,
    /// Volumes mounted into it.
    pub(crate) mounts: Vec<Mount<'a>>,
    /// Variables set in it.
    pub(crate) env: Vec<Variable<'a>>,
}

/// Where a sidecar's container stands among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// An init container after a mesh's own and before the app's.
    BeforeInit,
    /// An init container after the app's.
    AfterInit,
    /// A plain container directly after the mesh's proxy, else first.
    BesideProxy,
}

impl Placement {
    /// Whether the container goes among the init containers.
    #[must_use]
    pub(crate) const fn is_init(self) -> bool {
        matches!(self, Self::BeforeInit | Self::AfterInit)
    }
}

/// A container, as `core/v1` has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container<'a> {
    pub(crate) name: &'static str,
    pub(crate) image: &'a str,
    pub(crate) image_pull_policy: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restart_policy: Option<&'static str>,
    pub(crate) command: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ports: Vec<Port>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<Variable<'a>>,
    pub(crate) resources: Resources<'a>,
    pub(crate) volume_mounts: Vec<Mount<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) startup_probe: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) liveness_probe: Option<Probe>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lifecycle: Option<Lifecycle>,
    pub(crate) security_context: SecurityContext,
}

impl Container<'_> {
    /// The port on which the kubelet probes it, if it does.
    #[must_use]
    pub(crate) fn health_port(&self) -> Option<u16> {
        match &self.liveness_probe.as_ref()?.way {
            ProbeWay::HttpGet(get) => Some(get.port),
            ProbeWay::Exec(_) => None,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    pub(crate) name: &'static str,
    pub(crate) container_port: u16,
    pub(crate) protocol: &'static str,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Variable<'a> {
    pub(crate) name: &'static str,
    #[serde(flatten)]
    pub(crate) source: VariableSource<'a>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum VariableSource<'a> {
    Value(Cow<'a, str>),
    ValueFrom(ValueFrom),
}

/// A field of the pod, which is known when the container starts.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ValueFrom {
    pub(crate) field_ref: FieldRef,
}

#[derive(Debug, Serialize)]
pub(crate) struct Resources<'a> {
    pub(crate) requests: Amounts<'a>,
    pub(crate) limits: Amounts<'a>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Amounts<'a> {
    pub(crate) cpu: &'a str,
    pub(crate) memory: &'a str,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mount<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) mount_path: Cow<'a, str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) read_only: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Probe {
    #[serde(flatten)]
    pub(crate) way: ProbeWay,
    pub(crate) period_seconds: u16,
    pub(crate) timeout_seconds: u16,
    pub(crate) failure_threshold: u16,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ProbeWay {
    HttpGet(HttpGet),
    Exec(Exec),
}

#[derive(Debug, Serialize)]
pub(crate) struct HttpGet {
    pub(crate) path: &'static str,
    pub(crate) port: u16,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lifecycle {
    pub(crate) post_start: Handler,
}

#[derive(Debug, Serialize)]
pub(crate) struct Handler {
    pub(crate) exec: Exec,
}

#[derive(Debug, Serialize)]
pub(crate) struct Exec {
    pub(crate) command: Vec<&'static str>,
}

/// What Pod Security `restricted` asks of a container, and a read-only root besides.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecurityContext {
    pub(crate) run_as_user: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_as_group: Option<i64>,
    pub(crate) run_as_non_root: bool,
    pub(crate) allow_privilege_escalation: bool,
    pub(crate) read_only_root_filesystem: bool,
    pub(crate) capabilities: Capabilities,
    pub(crate) seccomp_profile: SeccompProfile,
}

#[derive(Debug, Serialize)]
pub(crate) struct Capabilities {
    pub(crate) drop: [&'static str; 1],
}

#[derive(Debug, Serialize)]
pub(crate) struct SeccompProfile {
    pub(crate) r#type: &'static str,
}

impl SecurityContext {
    /// The context of a sidecar that runs as `user`; the group follows unless the pod sets one.
    #[must_use]
    pub(crate) const fn restricted(user: i64, pod_sets_group: bool) -> Self {
        Self {
            run_as_user: user,
            run_as_group: if pod_sets_group { None } else { Some(user) },
            run_as_non_root: true,
            allow_privilege_escalation: false,
            read_only_root_filesystem: true,
            capabilities: Capabilities { drop: ["ALL"] },
            seccomp_profile: SeccompProfile { r#type: "RuntimeDefault" },
        }
    }
}

/// A volume of the pod, as `core/v1` has it.
#[derive(Debug, Serialize)]
pub(crate) struct Volume<'a> {
    pub(crate) name: Cow<'a, str>,
    #[serde(flatten)]
    pub(crate) source: VolumeSource<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum VolumeSource<'a> {
    EmptyDir(EmptyDir<'a>),
    Secret(SecretVolume<'a>),
    Projected(Projected),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EmptyDir<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) medium: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size_limit: Option<&'a str>,
}

/// A mounted Secret. It is optional, so that a missing one doesn't hold the pod back: the sidecar reports it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretVolume<'a> {
    pub(crate) secret_name: &'a str,
    pub(crate) optional: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Projected {
    pub(crate) sources: Vec<ProjectedSource>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ProjectedSource {
    ServiceAccountToken(ServiceAccountToken),
    ConfigMap(ConfigMapItems),
    #[serde(rename = "downwardAPI")]
    DownwardApi(DownwardItems),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceAccountToken {
    pub(crate) path: &'static str,
    pub(crate) expiration_seconds: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct ConfigMapItems {
    pub(crate) name: &'static str,
    pub(crate) items: [KeyToPath; 1],
}

#[derive(Debug, Serialize)]
pub(crate) struct KeyToPath {
    pub(crate) key: &'static str,
    pub(crate) path: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct DownwardItems {
    pub(crate) items: [DownwardItem; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DownwardItem {
    pub(crate) path: &'static str,
    pub(crate) field_ref: FieldRef,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FieldRef {
    pub(crate) field_path: &'static str,
}

impl<'a> Volume<'a> {
    /// A scratch folder in memory, bounded.
    #[must_use]
    pub(crate) const fn memory(name: &'a str, size_limit: &'a str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            source: VolumeSource::EmptyDir(EmptyDir { medium: Some("Memory"), size_limit: Some(size_limit) }),
        }
    }

    /// A scratch folder on the node's disk.
    #[must_use]
    pub(crate) const fn scratch(name: &'a str) -> Self {
        Self { name: Cow::Borrowed(name), source: VolumeSource::EmptyDir(EmptyDir { medium: None, size_limit: None }) }
    }

    /// A Secret's keys as files.
    #[must_use]
    pub(crate) fn secret(name: impl Into<Cow<'a, str>>, secret: &'a str) -> Self {
        Self { name: name.into(), source: VolumeSource::Secret(SecretVolume { secret_name: secret, optional: true }) }
    }

    /// What a Kubernetes client needs, from the pod's own ServiceAccount: the volume that the API server's
    /// ServiceAccount admission would mount, but for one container alone.
    #[must_use]
    pub(crate) fn service_account(name: &'a str) -> Self {
        let sources = vec![
            ProjectedSource::ServiceAccountToken(ServiceAccountToken { path: "token", expiration_seconds: 3607 }),
            ProjectedSource::ConfigMap(ConfigMapItems { name: "kube-root-ca.crt", items: [KeyToPath { key: "ca.crt", path: "ca.crt" }] }),
            ProjectedSource::DownwardApi(DownwardItems {
                items: [DownwardItem { path: "namespace", field_ref: FieldRef { field_path: "metadata.namespace" } }],
            }),
        ];
        Self { name: Cow::Borrowed(name), source: VolumeSource::Projected(Projected { sources }) }
    }
}

impl<'a> Mount<'a> {
    /// A mount the container may write to.
    #[must_use]
    pub(crate) fn writable(name: impl Into<Cow<'a, str>>, mount_path: impl Into<Cow<'a, str>>) -> Self {
        Self { name: name.into(), mount_path: mount_path.into(), read_only: false }
    }

    /// A mount the container may only read.
    #[must_use]
    pub(crate) fn read_only(name: impl Into<Cow<'a, str>>, mount_path: impl Into<Cow<'a, str>>) -> Self {
        Self { name: name.into(), mount_path: mount_path.into(), read_only: true }
    }
}

impl<'a> Variable<'a> {
    /// A variable with a literal value.
    #[must_use]
    pub(crate) fn new(name: &'static str, value: impl Into<Cow<'a, str>>) -> Self {
        Self { name, source: VariableSource::Value(value.into()) }
    }

    /// A variable with the value of a field of the pod ("Downward API", Kubernetes documentation).
    #[must_use]
    pub(crate) const fn of_pod(name: &'static str, field_path: &'static str) -> Self {
        Self { name, source: VariableSource::ValueFrom(ValueFrom { field_ref: FieldRef { field_path } }) }
    }

    /// The literal value, if it has one.
    #[must_use]
    pub(crate) fn value(&self) -> Option<&str> {
        match &self.source {
            VariableSource::Value(value) => Some(value),
            VariableSource::ValueFrom(_) => None,
        }
    }
}
