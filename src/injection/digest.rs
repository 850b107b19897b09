//! A digest of the settings a pod was injected under, and what differs from another's.

use aws_lc_rs::digest::{SHA256, digest};

use crate::api::annotations::{Annotations, INJECT, SidecarKind};

use super::{record::Record, settings::Settings};

/// The digest of all that decides what a pod gets, beside the pod's own containers.
pub(crate) fn settings(annotations: &Annotations<'_>, sidecars: &[SidecarKind], settings: &Settings) -> String {
    let mut written: Vec<(&str, &str)> = annotations
        .iter()
        .filter(|setting| setting.key.sidecar().is_none_or(|kind| sidecars.contains(&kind)))
        .map(|setting| (setting.key.name, setting.value.as_ref()))
        .collect();
    written.sort_unstable();
    let mut digested = Vec::with_capacity(1024);
    // Lengths keep neighbouring texts apart.
    let mut field = |text: &str| {
        digested.extend_from_slice(&text.len().to_le_bytes());
        digested.extend_from_slice(text.as_bytes());
    };
    field(env!("CARGO_PKG_VERSION"));
    for (key, value) in written.iter().filter(|(key, _)| *key != INJECT.name) {
        field(key);
        field(value);
    }
    field(&settings.image_pull_policy);
    settings.image_pull_secrets.iter().for_each(|secret| field(secret));
    for kind in sidecars {
        let installed = settings.sidecar(*kind);
        field(kind.as_str());
        let resources = &installed.resources;
        for value in [&installed.image, &resources.cpu_request, &resources.cpu_limit, &resources.memory_request, &resources.memory_limit] {
            field(value.as_deref().unwrap_or_default());
        }
    }
    let digest = digest(&SHA256, &digested);
    // Eight bytes tell settings apart; the record stays short.
    let (head, _) = digest.as_ref().split_at(8);
    format!("{:016x}", head.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)))
}

/// A warning that names what differs between an earlier injection and today's.
pub(crate) fn difference(earlier: &Record<'_>, today: &Record<'_>) -> String {
    let keys = earlier.annotations.keys().chain(today.annotations.keys());
    let mut different: Vec<&str> =
        keys.filter(|key| earlier.annotations.get(*key) != today.annotations.get(*key)).map(|key| &**key).collect();
    different.sort_unstable();
    different.dedup();
    let what = if !different.is_empty() {
        different.join(", ")
    } else if earlier.version == today.version {
        "the installation's images, resources or pull secrets".to_owned()
    } else {
        format!("version {} then, {} now", &*earlier.version, &*today.version)
    };
    format!("left as injected before, under other settings: {what}; `outrigger inject` brings a manifest up to date")
}
