//! A container the user wrote under our name: their fields win, ours fill the gaps.
//!
//! This is the rare path, so it reads the pod's text once more instead of burdening the projection.

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    InjectionError,
    patch::{Patch, segment},
    sidecar::{Container, Volume},
};

/// The image by which a user asks for ours.
const AUTO: &str = "auto";

/// Lists that are merged item by item, and what tells their items apart (`patchMergeKey` in the Kubernetes API).
const KEYED_LISTS: &[(&str, &str)] = &[("env", "name"), ("ports", "containerPort"), ("volumeMounts", "mountPath")];

/// Whether the pod has a volume that is just what we would add.
pub(crate) fn same_volume(pod: &RawValue, volume: &Volume) -> Result<bool, InjectionError> {
    let pod: Value = serde_json::from_str(pod.get()).map_err(InjectionError::NotAPod)?;
    let ours = serde_json::to_value(volume)?;
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    Ok(volumes.is_some_and(|volumes| volumes.contains(&ours)))
}

/// The text of one container of the pod.
pub(crate) fn container_text(pod: &RawValue, list: &str, index: usize) -> Result<Box<RawValue>, InjectionError> {
    #[derive(Deserialize)]
    struct Texts {
        spec: Lists,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Lists {
        #[serde(default)]
        containers: Option<Vec<Box<RawValue>>>,
        #[serde(default)]
        init_containers: Option<Vec<Box<RawValue>>>,
    }
    let texts: Texts = serde_json::from_str(pod.get()).map_err(InjectionError::NotAPod)?;
    let containers = if list == "containers" { texts.spec.containers } else { texts.spec.init_containers };
    let found = containers.unwrap_or_default().into_iter().nth(index);
    found.ok_or_else(|| InjectionError::NotAPod(serde::de::Error::custom(format!("there is no {list}[{index}]"))))
}

/// Whether a user's container asks for our image.
pub(crate) fn takes_our_image(original: &RawValue) -> Result<bool, InjectionError> {
    let original: Map<String, Value> = serde_json::from_str(original.get())?;
    Ok(original.get("image").is_none_or(|image| image == AUTO))
}

/// The user's container with our image and, where it is silent, our fields.
pub(crate) fn merged(original: &RawValue, ours: &Container<'_>) -> Result<Box<RawValue>, InjectionError> {
    let mut merged: Map<String, Value> = serde_json::from_str(original.get())?;
    merged.remove("image");
    let mut merged = Value::Object(merged);
    fill(&mut merged, serde_json::to_value(ours)?);
    Ok(serde_json::value::to_raw_value(&merged)?)
}

/// Puts into `theirs` what only `ours` has.
fn fill(theirs: &mut Value, ours: Value) {
    let (Value::Object(theirs), Value::Object(ours)) = (theirs, ours) else { return };
    for (name, value) in ours {
        match theirs.get_mut(&name) {
            None | Some(Value::Null) => {
                theirs.insert(name, value);
            }
            Some(Value::Array(items)) => items.extend(missing_items(&name, items, value)),
            Some(there) if merges_deep(&name) => fill(there, value),
            Some(_) => {}
        }
    }
}

/// Gives a user's container our fields where it stands, with its image.
pub(crate) fn complete(
    patch: &mut Patch,
    original: &RawValue,
    ours: &Container<'_>,
    stays_plain: bool,
    at: &str,
) -> Result<(), InjectionError> {
    let theirs: Value = serde_json::from_str(original.get())?;
    let mut ours = serde_json::to_value(ours)?;
    if let (true, Value::Object(ours)) = (stays_plain, &mut ours) {
        // Only an init container may have one (KEP-753).
        ours.remove("restartPolicy");
    }
    add_missing(&theirs, ours, at, patch)
}

fn add_missing(theirs: &Value, ours: Value, at: &str, patch: &mut Patch) -> Result<(), InjectionError> {
    let (Value::Object(theirs), Value::Object(ours)) = (theirs, ours) else { return Ok(()) };
    for (name, value) in ours {
        let member = format!("{at}/{}", segment(&name));
        match theirs.get(&name) {
            None | Some(Value::Null) => patch.add(&member, &value)?,
            Some(Value::Array(items)) => {
                for item in missing_items(&name, items, value) {
                    patch.add(&format!("{member}/-"), &item)?;
                }
            }
            Some(there) if merges_deep(&name) => add_missing(there, value, &member, patch)?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// Security contexts are merged field by field, so that a user's one field doesn't cost the pod its standard. Resources
/// and probes are wholes: a limit of theirs below a request of ours would be refused.
fn merges_deep(name: &str) -> bool {
    matches!(name, "securityContext" | "capabilities" | "seccompProfile")
}

/// Our items of a keyed list that the user's list lacks.
fn missing_items(name: &str, theirs: &[Value], ours: Value) -> Vec<Value> {
    let Some((_, key)) = KEYED_LISTS.iter().find(|(list, _)| *list == name) else { return Vec::new() };
    let Value::Array(ours) = ours else { return Vec::new() };
    ours.into_iter().filter(|item| !theirs.iter().any(|there| there.get(*key) == item.get(*key))).collect()
}
