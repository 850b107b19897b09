//! What a pod asks for: its annotations and its namespace's, read by the table.

use std::borrow::Cow;

use crate::api::annotations::{self, Annotations, INJECT, NONE, NamespaceDefaults, Origin, SidecarKind, items};

use super::{Denial, pod::Pod};

/// Unknown keys that are told: looking for the nearest known one takes time, and nobody reads more.
const MAX_UNKNOWN: usize = 20;

/// What a pod asks for.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The annotations that hold for it.
    pub(crate) annotations: Annotations<'a>,
    /// The sidecars it wants, each once.
    pub(crate) sidecars: Vec<SidecarKind>,
    /// What its author should know.
    pub(crate) warnings: Vec<String>,
    /// What must be changed first.
    pub(crate) denials: Vec<Denial>,
}

/// Reads a request. A pod that asks for nothing has no sidecars; bad values of those it asks for are denials.
pub(crate) fn read<'a>(pod: &'a Pod<'_>, defaults: Option<&'a NamespaceDefaults>) -> Request<'a> {
    let mut request = gather(pod, defaults);
    let Some(inject) = request.annotations.written(&INJECT) else { return request };
    if let Err(allowed) = INJECT.kind.check(inject) {
        let denial = bad_value(&request.annotations, &INJECT, inject, &allowed);
        request.denials.push(denial);
        return request;
    }
    request.sidecars = sidecars(inject);
    if !request.sidecars.is_empty() {
        request.denials = bad_values(&request);
        let idle = idle_keys(&request);
        request.warnings.extend(idle);
    }
    request
}

/// Collects annotations, the pod's own before its namespace's.
fn gather<'a>(pod: &'a Pod<'_>, defaults: Option<&'a NamespaceDefaults>) -> Request<'a> {
    let mut annotations = Annotations::default();
    let mut warnings = Vec::new();
    let own = pod.annotations().map(|(name, value)| (name, value, Origin::Pod));
    let inherited = defaults.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str(), Origin::Namespace));
    for (name, value, origin) in own.chain(inherited) {
        if warnings.len() == MAX_UNKNOWN && annotations::find(name).is_none() {
            continue;
        }
        warnings.extend(annotations.add(name, Cow::Borrowed(value), origin));
    }
    Request { annotations, sidecars: Vec::new(), warnings, denials: Vec::new() }
}

/// The sidecars a value of `inject` names, in our order and each once.
fn sidecars(inject: &str) -> Vec<SidecarKind> {
    if inject == NONE {
        return Vec::new();
    }
    SidecarKind::ALL.into_iter().filter(|kind| items(inject).any(|item| item == kind.as_str())).collect()
}

fn bad_values(request: &Request<'_>) -> Vec<Denial> {
    let concerns = |key: &annotations::Key| key.sidecar().is_none_or(|kind| request.sidecars.contains(&kind));
    let checked = request.annotations.iter().filter(|setting| concerns(setting.key));
    checked
        .filter_map(|setting| {
            setting
                .key
                .kind
                .check(&setting.value)
                .err()
                .map(|allowed| bad_value(&request.annotations, setting.key, &setting.value, &allowed))
        })
        .collect()
}

fn bad_value(annotations: &Annotations<'_>, key: &'static annotations::Key, value: &str, allowed: &str) -> Denial {
    Denial {
        key: Some(key.name),
        message: format!("{}{} is {}: it must be {allowed}", key.name, annotations.origin_note(key), quoted(value)),
    }
}

/// A value as it is shown to its author: quoted, and shortened if it is long.
pub(crate) fn quoted(value: &str) -> String {
    const SHOWN: usize = 80;
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", value.get(..end).unwrap_or_default()),
        None => format!("{value:?}"),
    }
}

/// Settings the pod itself makes for sidecars it doesn't ask for: most likely a forgotten word in `inject`.
fn idle_keys(request: &Request<'_>) -> Vec<String> {
    let own = request.annotations.iter().filter(|setting| setting.origin == Origin::Pod);
    let idle = own
        .filter_map(|setting| setting.key.sidecar().filter(|kind| !request.sidecars.contains(kind)).map(|kind| (setting.key.name, kind)));
    idle.map(|(name, kind)| format!("{name} has no effect: {} does not name {}", INJECT.name, kind.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::annotations::VNC_GEOMETRY;

    fn pod(annotations: &[(&str, &str)]) -> String {
        let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
        serde_json::json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app"}]}}).to_string()
    }

    fn read_text(text: &str, defaults: Option<&NamespaceDefaults>) -> Result<(Vec<SidecarKind>, Vec<String>), Vec<Denial>> {
        let pod: Pod<'_> = serde_json::from_str(text).unwrap();
        let request = read(&pod, defaults);
        if request.denials.is_empty() { Ok((request.sidecars, request.warnings)) } else { Err(request.denials) }
    }

    #[test]
    fn the_namespace_asks_for_pods_that_say_nothing() {
        let defaults = NamespaceDefaults::from([(INJECT.name.to_owned(), "vnc".to_owned())]);
        assert_eq!(read_text(&pod(&[]), Some(&defaults)).unwrap().0, [SidecarKind::Vnc]);
        assert_eq!(read_text(&pod(&[(INJECT.name, "none")]), Some(&defaults)).unwrap().0, []);
        assert_eq!(read_text(&pod(&[(INJECT.name, "file-sync")]), Some(&defaults)).unwrap().0, [SidecarKind::FileSync]);
        assert_eq!(read_text(&pod(&[]), None).unwrap().0, []);
    }

    #[test]
    fn a_list_is_read_in_our_order_and_once() {
        let asked = read_text(&pod(&[(INJECT.name, "guacamole, vnc,vnc , ")]), None).unwrap().0;
        assert_eq!(asked, [SidecarKind::Vnc, SidecarKind::Guacamole]);
    }

    #[test]
    fn a_bad_value_is_a_denial_that_names_key_value_and_what_is_allowed() {
        let denials = read_text(&pod(&[(INJECT.name, "vnc"), (VNC_GEOMETRY.name, "big")]), None).unwrap_err();
        assert_eq!(denials.len(), 1);
        let message = &denials[0].message;
        assert!(message.contains("vnc.outrigger.dev/geometry is \"big\": it must be WIDTHxHEIGHT"), "{message}");
        let denials = read_text(&pod(&[(INJECT.name, "desktop")]), None).unwrap_err();
        assert!(denials[0].message.contains("file-sync, vnc, guacamole"), "{}", denials[0].message);
    }

    #[test]
    fn a_bad_value_for_a_sidecar_nobody_asked_for_is_only_a_hint() {
        let (asked, warnings) = read_text(&pod(&[(INJECT.name, "file-sync"), (VNC_GEOMETRY.name, "big")]), None).unwrap();
        assert_eq!(asked, [SidecarKind::FileSync]);
        assert_eq!(warnings, ["vnc.outrigger.dev/geometry has no effect: outrigger.dev/inject does not name vnc"]);
    }

    #[test]
    fn a_refused_pods_author_reads_the_warnings_too() {
        let text = pod(&[(INJECT.name, "vnc"), (VNC_GEOMETRY.name, "big"), ("vnc.outrigger.dev/clipbord", "in")]);
        let pod: Pod<'_> = serde_json::from_str(&text).unwrap();
        let request = read(&pod, None);
        assert_eq!((request.denials.len(), request.warnings.len()), (1, 1), "{:?}", request.warnings);
    }
}
