//! What the tests of injection share: a pod in, the patched pod out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

pub(crate) mod balancer;
pub(crate) mod https;
pub(crate) mod installation;
pub(crate) mod load;
pub(crate) mod objects;
pub(crate) mod other_webhook;
pub(crate) mod own_certificate;
pub(crate) mod process;
pub(crate) mod replicas;
pub(crate) mod webhook;

use outrigger::{
    api::annotations::NamespaceDefaults,
    injection::{Context, Decision, Outcome, Patch, Settings, inject, uninject},
};
use serde_json::Value;

/// The decision about a pod under default settings.
pub(crate) fn decide(pod: &Value, defaults: Option<&NamespaceDefaults>) -> Decision {
    decide_with(pod, defaults, &Settings::default(), false)
}

pub(crate) fn decide_with(pod: &Value, defaults: Option<&NamespaceDefaults>, settings: &Settings, offline: bool) -> Decision {
    inject(&pod.to_string(), Context { defaults, settings, offline }).unwrap()
}

/// The patch of a decision; empty unless something is injected or written.
pub(crate) fn patch(decision: &Decision) -> Patch {
    match &decision.outcome {
        Outcome::Injected { patch, .. } | Outcome::Skipped { patch, .. } => patch.clone(),
        _ => Patch::default(),
    }
}

/// A pod after a patch.
pub(crate) fn patched(pod: &Value, patch: &Patch) -> Value {
    apply(pod, &serde_json::from_str(patch.as_json()).unwrap())
}

/// A pod after a patch as the API server reads it.
pub(crate) fn apply(pod: &Value, patch: &Value) -> Value {
    let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).unwrap_or_else(|error| panic!("the patch applies: {error}\n{patch:?}\n{pod}"));
    pod
}

/// A pod as it comes back from injection; panics with the reason if it is refused or skipped.
pub(crate) fn injected(pod: &Value) -> Value {
    let decision = decide(pod, None);
    assert!(matches!(decision.outcome, Outcome::Injected { .. }), "{decision:?}");
    patched(pod, &patch(&decision))
}

/// What a refused pod's author reads.
pub(crate) fn denial(pod: &Value) -> String {
    match decide(pod, None).outcome {
        Outcome::Denied(denials) => denials.iter().map(|denial| denial.message.as_str()).collect::<Vec<_>>().join("\n"),
        other => panic!("refused, but was {other:?}"),
    }
}

/// A pod after its injection was undone.
pub(crate) fn restored(pod: &Value) -> Value {
    let source = pod.to_string();
    let undone = uninject(&source).unwrap().unwrap_or_default();
    patched(pod, &undone.patch)
}

/// A container of a pod, by name, from either list.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let lists = ["initContainers", "containers"].iter().filter_map(|list| pod["spec"][list].as_array());
    lists.flatten().find(|container| container["name"] == name).unwrap_or_else(|| panic!("{name} in {pod}"))
}

/// The names in one of a pod's lists.
pub(crate) fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    pod["spec"][list].as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect()
}

/// The value of a variable in a container.
pub(crate) fn variable<'a>(container: &'a Value, name: &str) -> Option<&'a str> {
    container["env"].as_array()?.iter().find(|variable| variable["name"] == name)?["value"].as_str()
}
