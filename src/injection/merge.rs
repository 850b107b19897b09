//! A container the user wrote under our name: their fields win, ours fill the gaps.
//!
//! This is the rare path, so it reads the pod's text once more instead of burdening the projection.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    InjectionError,
    patch::{Patch, segment},
    record::Merged,
    sidecar::{Container, Volume},
};

/// The image by which a user asks for ours.
const AUTO: &str = "auto";

/// Lists that are merged item by item, and what tells their items apart (`patchMergeKey` in the Kubernetes API).
const KEYED_LISTS: &[(&str, &str)] = &[("env", "name"), ("ports", "containerPort"), ("volumeMounts", "mountPath")];

/// Whether the pod has a volume that is what we would add, whatever the API server has filled in besides.
pub(crate) fn same_volume(pod: &RawValue, volume: &Volume) -> Result<bool, InjectionError> {
    let pod: Value = serde_json::from_str(pod.get()).map_err(InjectionError::NotAPod)?;
    let ours = serde_json::to_value(volume)?;
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    Ok(volumes.into_iter().flatten().any(|theirs| contains(theirs, &ours)))
}

/// Whether `larger` has every member of `smaller`, and may have more.
fn contains(larger: &Value, smaller: &Value) -> bool {
    match (larger, smaller) {
        (Value::Object(larger), Value::Object(smaller)) => {
            smaller.iter().all(|(name, value)| larger.get(name).is_some_and(|there| contains(there, value)))
        }
        (Value::Array(larger), Value::Array(smaller)) => {
            larger.len() == smaller.len() && larger.iter().zip(smaller).all(|(larger, smaller)| contains(larger, smaller))
        }
        _ => larger == smaller,
    }
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

/// A user's container under our name, and what ours adds to it.
pub(crate) struct Merge {
    theirs: Map<String, Value>,
    gaps: Vec<Gap>,
}

/// Something that only our container has.
struct Gap {
    /// The path of the list or map it belongs to, within the container.
    parent: String,
    /// The member's name, or the key of a list's item.
    name: String,
    /// Whether it is an item of a list.
    is_item: bool,
    value: Value,
}

impl Merge {
    /// Holds a user's container against ours, which goes or stays among the init containers or not.
    pub(crate) fn new(original: &RawValue, ours: &Container<'_>, among_init: bool) -> Result<Self, InjectionError> {
        let mut theirs: Map<String, Value> = serde_json::from_str(original.get())?;
        let Value::Object(mut ours) = serde_json::to_value(ours)? else { return Ok(Self { theirs, gaps: Vec::new() }) };
        if takes_our_image(&theirs) {
            // The API server completes what it is given: for an image without a tag, with the policy to pull it always.
            theirs.retain(|name, _| name != "image" && name != "imagePullPolicy");
        } else {
            ours.remove("image");
            ours.remove("imagePullPolicy");
        }
        if among_init && ours.contains_key("startupProbe") {
            // One that is to run on must be a native sidecar there, in whatever style ours would be.
            ours.insert("restartPolicy".to_owned(), Value::from("Always"));
        } else if !among_init {
            // Only an init container may have one (KEP-753).
            ours.remove("restartPolicy");
            theirs.remove("restartPolicy");
        }
        let mut gaps = Vec::new();
        find_gaps(&theirs, ours, "", &mut gaps);
        Ok(Self { theirs, gaps })
    }

    /// The whole container, for a place of ours.
    pub(crate) fn whole(&self) -> Result<Box<RawValue>, InjectionError> {
        let mut whole = Value::Object(self.theirs.clone());
        for gap in &self.gaps {
            match whole.pointer_mut(&gap.parent) {
                Some(Value::Object(members)) => drop(members.insert(gap.name.clone(), gap.value.clone())),
                Some(Value::Array(items)) => items.push(gap.value.clone()),
                _ => {}
            }
        }
        Ok(serde_json::value::to_raw_value(&whole)?)
    }

    /// Fills the gaps where the container stands.
    pub(crate) fn fill(&self, patch: &mut Patch, at: &str) -> Result<(), InjectionError> {
        for gap in &self.gaps {
            let name = if gap.is_item { Cow::Borrowed("-") } else { segment(&gap.name) };
            patch.add(&format!("{at}{}/{name}", gap.parent), &gap.value)?;
        }
        Ok(())
    }

    /// The gaps, for the record.
    pub(crate) fn filled(&self) -> Vec<String> {
        self.gaps.iter().map(|gap| format!("{}/{}", gap.parent, segment(&gap.name))).collect()
    }
}

/// Whether a user's container asks for our image.
pub(crate) fn asks_for_our_image(original: &RawValue) -> Result<bool, InjectionError> {
    Ok(takes_our_image(&serde_json::from_str(original.get())?))
}

fn takes_our_image(theirs: &Map<String, Value>) -> bool {
    theirs.get("image").is_none_or(|image| image == AUTO)
}

fn find_gaps(theirs: &Map<String, Value>, ours: Map<String, Value>, at: &str, gaps: &mut Vec<Gap>) {
    for (name, value) in ours {
        if contradicts(theirs, &name) {
            continue;
        }
        let member = format!("{at}/{name}");
        match (theirs.get(&name), value) {
            (None | Some(Value::Null), value) => gaps.push(Gap { parent: at.to_owned(), name, is_item: false, value }),
            // What the API server writes for nothing is nothing.
            (Some(Value::Object(there)), value) if there.is_empty() => {
                gaps.push(Gap { parent: at.to_owned(), name, is_item: false, value });
            }
            (Some(Value::Array(items)), Value::Array(ours)) => gaps.extend(missing_items(&name, items, ours, &member)),
            (Some(Value::Object(there)), Value::Object(ours)) if merges_deep(&name) => find_gaps(there, ours, &member, gaps),
            (Some(_), _) => {}
        }
    }
}

/// Whether a field of our security context would contradict one of theirs: the API server or the kubelet refuses both.
fn contradicts(theirs: &Map<String, Value>, ours: &str) -> bool {
    match ours {
        "allowPrivilegeEscalation" => theirs.get("privileged") == Some(&Value::Bool(true)),
        "runAsNonRoot" => theirs.get("runAsUser") == Some(&Value::from(0)),
        _ => false,
    }
}

/// Security contexts are merged field by field, so that a user's one field doesn't cost the pod its standard. Resources
/// and probes are wholes: a limit of theirs below a request of ours would be refused.
fn merges_deep(name: &str) -> bool {
    matches!(name, "securityContext" | "capabilities" | "seccompProfile")
}

/// Our items of a keyed list that the user's list lacks.
fn missing_items(list: &str, theirs: &[Value], ours: Vec<Value>, member: &str) -> Vec<Gap> {
    let Some(key) = key_of(list) else { return Vec::new() };
    let same = |there: &Value, item: &Value| there.get(key) == item.get(key) || (list == "ports" && there.get("name") == item.get("name"));
    let missing = ours.into_iter().filter(|item| !theirs.iter().any(|there| same(there, item)));
    missing.map(|item| Gap { parent: member.to_owned(), name: key_text(&item, key), is_item: true, value: item }).collect()
}

fn key_of(list: &str) -> Option<&'static str> {
    KEYED_LISTS.iter().find(|(name, _)| *name == list).map(|(_, key)| *key)
}

fn key_text(item: &Value, key: &str) -> String {
    match item.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// A merged container as its user left it: what we filled in is gone again, and what they have changed since stays.
pub(crate) fn restored(current: &RawValue, merged: &Merged) -> Result<Box<RawValue>, InjectionError> {
    let original: Value = serde_json::from_str(merged.original.get())?;
    let mut container: Value = serde_json::from_str(current.get())?;
    for path in &merged.filled {
        take_away(&mut container, path, &original);
    }
    if let (true, Value::Object(members)) = (merged.moved, &mut container) {
        for name in ["image", "imagePullPolicy", "restartPolicy"] {
            match original.get(name) {
                Some(value) => members.insert(name.to_owned(), value.clone()),
                None => members.remove(name),
            };
        }
    }
    // Their own text, with its order and its numbers, unless they have edited it.
    if container == original { Ok(merged.original.clone()) } else { Ok(serde_json::value::to_raw_value(&container)?) }
}

fn take_away(container: &mut Value, path: &str, original: &Value) {
    let Some((parent, name)) = path.rsplit_once('/') else { return };
    let name = name.replace("~1", "/").replace("~0", "~");
    let before = original.pointer(path);
    match container.pointer_mut(parent) {
        Some(Value::Object(members)) => match before {
            Some(before) => drop(members.insert(name, before.clone())),
            None => drop(members.remove(&name)),
        },
        Some(Value::Array(items)) => {
            let key = parent.strip_prefix('/').and_then(key_of).unwrap_or("name");
            if let Some(place) = items.iter().rposition(|item| key_text(item, key) == name) {
                items.remove(place);
            }
        }
        _ => {}
    }
}
