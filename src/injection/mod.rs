//! What is added to a pod, decided purely: pod, namespace defaults and settings in, a JSON patch out.
//!
//! [`inject`] reads like the story: what does the pod ask for (`request`); can it have it; what does each sidecar need
//! (`vnc`, `file_sync`, `guacamole`); what of that is missing and what stands in the way (`plan`); which operations add
//! it (`patch`); and what must be remembered to undo it (`record`).

mod build;
mod digest;
mod file_sync;
mod guacamole;
pub mod json;
mod merge;
mod mesh;
mod own_desktop;
mod patch;
mod plan;
mod pod;
pub mod policy;
mod record;
mod renamed;
mod request;
mod settings;
mod sidecar;
mod standing;
mod uninject;
mod vnc;

pub use build::VERSION_VARIABLE;
pub use patch::{Patch, segment};
pub use pod::{Pod, Text};
pub use record::{Added, Before, Merged, Record};
pub use settings::{Resources, Settings, SettingsError, SidecarSettings};
pub use standing::{Standing, standing};
pub use uninject::{Uninjection, uninject};

use serde_json::value::RawValue;

use crate::api::annotations::{Annotations, NamespaceDefaults, STATUS, SidecarKind};

use build::Builder;
use pod::Spec;
use request::Request;

/// Containers a pod may have to be given sidecars. Kubelets are tested with a tenth of it.
const MAX_CONTAINERS: usize = 500;

/// What is known beside the pod.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The annotations of the pod's namespace, if it is labelled to give defaults.
    pub defaults: Option<&'a NamespaceDefaults>,
    /// The installation's settings.
    pub settings: &'a Settings,
    /// Whether this is a manifest, which no API server has completed yet.
    pub offline: bool,
}

/// What was decided about a pod.
#[derive(Debug)]
pub struct Decision {
    /// The decision.
    pub outcome: Outcome,
    /// What the pod's author should know, each a short sentence.
    pub warnings: Vec<String>,
}

/// The decisions there are.
#[derive(Debug)]
pub enum Outcome {
    /// The pod asks for nothing.
    NotAsked,
    /// The pod asked, and can't have it.
    Skipped {
        /// Why not.
        reason: SkipReason,
        /// What writes that on the pod; empty where it is written already, or can't be.
        patch: Patch,
    },
    /// The pod has all it asked for.
    Unchanged,
    /// The pod was injected under other settings, and stays as it is.
    LeftAsIs,
    /// The pod gets what it asked for.
    Injected {
        /// Which sidecars it has then.
        sidecars: Vec<SidecarKind>,
        /// How.
        patch: Patch,
    },
    /// The pod is refused: something must be changed first.
    Denied(Vec<Denial>),
}

/// Why a pod that asked gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// The X socket and ports would be its node's.
    HostNetwork,
    /// Our images are Linux images.
    Windows,
    /// A mirror pod shows a static pod: its node has started it already.
    MirrorPod,
}

impl SkipReason {
    /// The reason in one sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::HostNetwork => "the pod uses its node's network, where sidecars would open their ports and sockets to everybody",
            Self::Windows => "the pod runs on Windows, and the sidecars' images are for Linux",
            Self::MirrorPod => "the pod mirrors a static pod that its node has started already",
        }
    }

    /// The reason as a metric's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::HostNetwork => "host_network",
            Self::Windows => "windows",
            Self::MirrorPod => "mirror_pod",
        }
    }
}

/// One thing that must be changed before a pod can have what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The annotation it is about, if it is about one.
    pub key: Option<&'static str>,
    /// What is wrong, and the way out.
    pub message: String,
}

/// Why a pod could not be decided about.
#[derive(Debug, thiserror::Error)]
pub enum InjectionError {
    /// A field of the pod is of the wrong type.
    #[error("the pod can't be read: {field}: {problem}")]
    BadField {
        /// Its path.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The JSON is no pod.
    #[error("the pod can't be read")]
    NotAPod(#[source] serde_json::Error),
    /// The record is not one that Outrigger wrote.
    #[error("the annotation {STATUS} can't be read")]
    UnreadableStatus(#[source] serde_json::Error),
    /// An addition could not be written as JSON.
    #[error("the patch can't be written")]
    Patch(#[from] serde_json::Error),
}

/// Where the pod's own text is found again. Only the rare pod that has containers or volumes of its own under our names
/// needs it, so whoever holds it inside something larger looks for it only when asked.
pub type PodText<'a> = &'a dyn Fn() -> Result<&'a RawValue, serde_json::Error>;

/// Decides about a pod, or pod template, from its JSON text.
pub fn inject(text: &str, context: Context<'_>) -> Result<Decision, InjectionError> {
    let pod = Pod::read(text)?;
    inject_pod(&pod, &|| serde_json::from_str(text), context)
}

/// Decides about a pod that was read already. `text` must find what it was read from.
pub fn inject_pod(pod: &Pod<'_>, text: PodText<'_>, context: Context<'_>) -> Result<Decision, InjectionError> {
    let Request { annotations, sidecars, mut warnings, denials } = request::read(pod, context.defaults);
    let empty = Spec::default();
    let spec = pod.spec.value().unwrap_or(&empty);
    let skipped = skip_reason(pod, spec).filter(|_| !sidecars.is_empty());
    if !denials.is_empty() && skipped.is_none() {
        return Ok(Decision { outcome: Outcome::Denied(denials), warnings });
    }
    if sidecars.is_empty() {
        return Ok(Decision { outcome: Outcome::NotAsked, warnings });
    }
    let mut record = fresh_record(&annotations, &sidecars, context.settings);

    if let Some(reason) = skipped {
        let patch = plan::skip(pod, &sidecars, reason, record)?;
        warnings.push(format!("no sidecar was added: {}", reason.sentence()));
        return Ok(Decision { outcome: Outcome::Skipped { reason, patch }, warnings });
    }
    if let Some(denial) = shapeless(spec) {
        return Ok(Decision { outcome: Outcome::Denied(vec![denial]), warnings });
    }
    let earlier = match pod.annotation(STATUS).map(Record::parse).transpose() {
        Ok(earlier) => earlier,
        Err(error) => return Ok(Decision { outcome: Outcome::Denied(vec![unreadable_status(&error)]), warnings }),
    };
    if let Some(earlier) = &earlier {
        if earlier.settings != record.settings && !earlier.injected.is_empty() {
            warnings.push(digest::difference(earlier, &record));
            return Ok(Decision { outcome: Outcome::LeftAsIs, warnings });
        }
        record.added = earlier.added.clone();
        warnings.extend(build::proxy_came_later(&annotations, spec));
    }

    let (style, warning) = build::style(&annotations, spec);
    warnings.extend(warning);
    warnings.extend(build::never_completes(style, spec));
    let builder = Builder { annotations: &annotations, settings: context.settings, spec, style };
    let rigs = match rigs(&builder, &sidecars) {
        Ok(rigs) => rigs,
        Err(denials) => return Ok(Decision { outcome: Outcome::Denied(denials), warnings }),
    };
    if sidecars.contains(&SidecarKind::FileSync) {
        warnings.extend(file_sync::warnings(&builder));
    }
    let outcome = match plan::plan(text, pod, spec, rigs, context, record, earlier.is_some())? {
        Ok(patch) if patch.is_empty() => Outcome::Unchanged,
        Ok(patch) => Outcome::Injected { sidecars, patch },
        Err(denials) => Outcome::Denied(denials),
    };
    Ok(Decision { outcome, warnings })
}

/// A record with everything but the additions.
fn fresh_record<'a>(annotations: &'a Annotations<'_>, sidecars: &[SidecarKind], settings: &Settings) -> Record<'a> {
    Record {
        version: env!("CARGO_PKG_VERSION").into(),
        settings: digest::settings(annotations, sidecars, settings).into(),
        injected: sidecars.iter().map(|kind| kind.as_str().into()).collect(),
        annotations: annotations.iter().map(|setting| (setting.key.name.into(), shortened(&setting.value))).collect(),
        ..Record::default()
    }
}

/// A value for the record, which only names differences: the pod's annotations together are bounded, and hold it already.
fn shortened(value: &str) -> Text<'_> {
    const KEPT: usize = 200;
    match value.char_indices().nth(KEPT) {
        Some((end, _)) => format!("{}… ({} bytes)", value.get(..end).unwrap_or_default(), value.len()).into(),
        None => value.into(),
    }
}

fn skip_reason(pod: &Pod<'_>, spec: &Spec<'_>) -> Option<SkipReason> {
    // The kubelet marks the pods it reports for static ones: "Static Pods", Kubernetes documentation.
    if pod.annotation("kubernetes.io/config.mirror").is_some() {
        Some(SkipReason::MirrorPod)
    } else if runs_on_windows(spec) {
        Some(SkipReason::Windows)
    } else if spec.host_network == Some(true) {
        Some(SkipReason::HostNetwork)
    } else {
        None
    }
}

/// By the field for it, or by the label that scheduled such pods before there was one.
fn runs_on_windows(spec: &Spec<'_>) -> bool {
    let by_label = |pairs: &pod::Pairs<'_>| pairs.0.iter().any(|(key, value)| &**key == "kubernetes.io/os" && &**value == "windows");
    spec.os.as_ref().is_some_and(|os| &*os.name == "windows") || spec.node_selector.value().is_some_and(by_label)
}

/// What the API server would refuse later, and what would make the work of a plan grow without bound until then.
fn shapeless(spec: &Spec<'_>) -> Option<Denial> {
    let mut names = std::collections::HashSet::new();
    let mut containers = spec.init_containers.items().iter().chain(spec.containers.items());
    let count = spec.init_containers.items().len() + spec.containers.items().len();
    if count > MAX_CONTAINERS {
        let message = format!("the pod has {count} containers: sidecars are added to pods of at most {MAX_CONTAINERS}");
        return Some(Denial { key: None, message });
    }
    let twice = containers.find(|container| !names.insert(&*container.name))?;
    Some(Denial { key: None, message: format!("two containers are named {:?}: names must differ", &*twice.name) })
}

fn unreadable_status(error: &serde_json::Error) -> Denial {
    Denial {
        key: Some(STATUS),
        message: format!("{STATUS} is written by Outrigger and can't be read ({error}): remove it from the manifest"),
    }
}

/// What every sidecar asks of the pod, or all that is missing to know.
fn rigs<'a>(builder: &Builder<'a>, sidecars: &[SidecarKind]) -> Result<Vec<sidecar::Rig<'a>>, Vec<Denial>> {
    let mut rigs = Vec::with_capacity(sidecars.len());
    let mut denials: Vec<Denial> = sidecars.iter().filter_map(|kind| build::request_above_limit(builder.annotations, *kind)).collect();
    for kind in sidecars {
        let rig = match kind {
            SidecarKind::Vnc => vnc::rig(builder),
            SidecarKind::FileSync => file_sync::rig(builder),
            SidecarKind::Guacamole => guacamole::rig(builder),
        };
        match rig {
            Ok(rig) => rigs.push(rig),
            Err(denial) => denials.push(denial),
        }
    }
    if denials.is_empty() { Ok(rigs) } else { Err(denials) }
}
