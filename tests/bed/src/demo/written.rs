//! The examples as their author wrote them: which pods they ask for, and what is to be added to each.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

const INJECT: &str = "outrigger.dev/inject";
const OPTED_OUT: &str = "none";
const DEFAULTS: &str = "outrigger.dev/defaults";

/// A pod that the examples ask for, by itself or by the template of a Deployment.
pub(super) struct WrittenPod {
    /// Its name, or the Deployment's.
    pub(super) name: String,
    pub(super) namespace: String,
    /// The metadata and the specification its author wrote.
    pub(super) object: Value,
    /// How kubectl finds the pod that came of it.
    pub(super) selection: String,
    /// The containers that must have been added.
    pub(super) expected: BTreeSet<String>,
}

/// All pods of a stream of JSON objects, as `kubectl -o json` prints them.
pub(super) fn pods(manifests: &str) -> Result<Vec<WrittenPod>> {
    let objects = serde_json::Deserializer::from_str(manifests).into_iter().collect::<Result<Vec<Value>, _>>();
    let objects = objects.context("kubectl printed something that is not JSON")?;
    let defaults = namespace_defaults(&objects);
    objects.iter().filter_map(|object| written_pod(object, &defaults)).collect()
}

/// What each namespace with defaults asks for.
fn namespace_defaults(objects: &[Value]) -> BTreeMap<&str, &str> {
    let namespaces = objects.iter().filter(|object| text(object, "/kind") == "Namespace");
    let enabled = namespaces.filter(|namespace| entry(namespace, "/metadata/labels", DEFAULTS) == Some("enabled"));
    enabled
        .map(|namespace| (text(namespace, "/metadata/name"), entry(namespace, "/metadata/annotations", INJECT).unwrap_or_default()))
        .collect()
}

fn written_pod(object: &Value, defaults: &BTreeMap<&str, &str>) -> Option<Result<WrittenPod>> {
    let name = text(object, "/metadata/name");
    let (pod, selection) = match text(object, "/kind") {
        "Pod" => (Some(object), Some(format!("--field-selector=metadata.name={name}"))),
        "Deployment" => (object.pointer("/spec/template"), label_selection(object)),
        _ => return None,
    };
    let (Some(pod), Some(selection)) = (pod, selection) else {
        return Some(Err(anyhow::anyhow!("the Deployment {name} of the examples has no template or no matchLabels")));
    };
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
    let asked = entry(pod, "/metadata/annotations", INJECT).or_else(|| defaults.get(namespace).copied()).unwrap_or_default();
    Some(Ok(WrittenPod {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        object: json!({"apiVersion": "v1", "kind": "Pod", "metadata": pod.get("metadata"), "spec": pod.get("spec")}),
        selection,
        expected: sidecars(asked),
    }))
}

fn label_selection(deployment: &Value) -> Option<String> {
    let labels = deployment.pointer("/spec/selector/matchLabels")?.as_object()?;
    let pairs: Vec<String> = labels.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    Some(format!("--selector={}", pairs.join(",")))
}

fn sidecars(asked: &str) -> BTreeSet<String> {
    let words = asked.split(',').map(str::trim).filter(|word| !word.is_empty() && *word != OPTED_OUT);
    words.map(|word| format!("outrigger-{word}")).collect()
}

impl WrittenPod {
    /// The same pod, opted out: what the API server makes of it is what it would have stored without us.
    pub(super) fn opted_out(&self) -> Value {
        let mut annotations = self.annotations().as_object().cloned().unwrap_or_default();
        annotations.insert(INJECT.to_owned(), OPTED_OUT.into());
        let labels = self.object.pointer("/metadata/labels");
        let mut pod = self.object.clone();
        if let Some(metadata) = pod.get_mut("metadata") {
            *metadata = json!({"generateName": "opted-out-", "namespace": self.namespace, "labels": labels, "annotations": annotations});
        }
        pod
    }

    /// The annotations its author wrote.
    pub(super) fn annotations(&self) -> &Value {
        self.object.pointer("/metadata/annotations").unwrap_or(&Value::Null)
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// An entry of a map whose keys have slashes, such as annotations.
fn entry<'a>(object: &'a Value, map: &str, key: &str) -> Option<&'a str> {
    object.pointer(map)?.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_without_a_word_of_its_own_gets_its_namespaces_defaults() {
        let stream = r#"
            {"kind": "Namespace", "metadata": {"name": "desks", "labels": {"outrigger.dev/defaults": "enabled"},
             "annotations": {"outrigger.dev/inject": "vnc, file-sync"}}}
            {"kind": "Pod", "metadata": {"name": "quiet", "namespace": "desks"}, "spec": {}}
            {"kind": "Pod", "metadata": {"name": "out", "namespace": "desks", "annotations": {"outrigger.dev/inject": "none"}}, "spec": {}}
            {"kind": "Deployment", "metadata": {"name": "elsewhere"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {}}}}"#;
        let pods = pods(stream).unwrap();
        let expected: Vec<_> = pods.iter().map(|pod| (pod.name.as_str(), pod.namespace.as_str(), pod.expected.len())).collect();
        assert_eq!(expected, [("quiet", "desks", 2), ("out", "desks", 0), ("elsewhere", "default", 0)]);
        assert_eq!(pods[0].selection, "--field-selector=metadata.name=quiet");
        assert_eq!(pods[2].selection, "--selector=a=b");
        assert_eq!(pods[0].opted_out()["metadata"]["annotations"][INJECT], "none");
    }
}
