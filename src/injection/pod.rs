//! A pod as the plan needs to know it: a projection that borrows from the review's bytes.
//!
//! What is not named here is never decoded, so fields newer than this program survive untouched.

use std::{
    borrow::{Borrow, Cow},
    marker::PhantomData,
    ops::Deref,
};

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use super::{InjectionError, json};

/// A member that may be missing, `null`, or there. The difference matters to a patch and to its undoing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Slot<T> {
    /// The member is not there.
    #[default]
    Absent,
    /// The member is there and says `null`.
    Null,
    /// The member has a value.
    Present(T),
}

impl<T> Slot<T> {
    /// The value, if there is one.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

impl<T> Slot<Vec<T>> {
    /// The items; none where the list is missing.
    pub fn items(&self) -> &[T] {
        self.value().map_or(&[], Vec::as_slice)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Slot<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Present))
    }
}

/// The parts of a pod, or of a pod template, that decide what is added to it.
#[derive(Debug, Deserialize)]
pub struct Pod<'a> {
    /// Its metadata.
    #[serde(borrow, default)]
    pub metadata: Slot<Metadata<'a>>,
    /// Its specification.
    #[serde(borrow, default)]
    pub spec: Slot<Spec<'a>>,
}

/// The parts of `metadata` we look at.
#[derive(Debug, Deserialize)]
pub struct Metadata<'a> {
    /// Annotations in the order they were written.
    #[serde(borrow, default)]
    pub annotations: Slot<Pairs<'a>>,
}

/// The parts of `spec` we look at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    /// App containers.
    #[serde(borrow, default)]
    pub containers: Slot<Vec<Container<'a>>>,
    /// Init containers, native sidecars among them.
    #[serde(borrow, default)]
    pub init_containers: Slot<Vec<Container<'a>>>,
    /// Volumes, by name.
    #[serde(borrow, default)]
    pub volumes: Slot<Vec<PodVolume<'a>>>,
    /// Pull secrets, by name.
    #[serde(borrow, default)]
    pub image_pull_secrets: Slot<Vec<Named<'a>>>,
    /// Whether the pod lives in its node's network.
    #[serde(default)]
    pub host_network: Option<bool>,
    /// `Never` and `OnFailure` are for pods that end.
    #[serde(borrow, default)]
    pub restart_policy: Option<Text<'a>>,
    /// Labels a node must have.
    #[serde(borrow, default)]
    pub node_selector: Slot<Pairs<'a>>,
    /// The operating system, if the pod says.
    #[serde(borrow, default)]
    pub os: Option<Named<'a>>,
    /// Users and groups for all containers.
    #[serde(default)]
    pub security_context: Option<PodSecurityContext>,
}

/// A volume: its name, and whether it is of a kind that nobody can write to.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodVolume<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub name: Text<'a>,
    #[serde(default)]
    config_map: Option<IgnoredAny>,
    #[serde(default)]
    secret: Option<IgnoredAny>,
    #[serde(default)]
    projected: Option<IgnoredAny>,
    #[serde(default, rename = "downwardAPI")]
    downward_api: Option<IgnoredAny>,
}

impl PodVolume<'_> {
    /// Whether the kubelet fills it and mounts it read-only.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        self.config_map.is_some() || self.secret.is_some() || self.projected.is_some() || self.downward_api.is_some()
    }
}

/// An item known by its name alone.
#[derive(Debug, Deserialize)]
pub struct Named<'a> {
    /// The name; empty where an item has none.
    #[serde(borrow, default)]
    pub name: Text<'a>,
}

/// A container of the pod.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    /// Its name, unique among all containers of a pod.
    #[serde(borrow, default)]
    pub name: Text<'a>,
    /// `Always` makes an init container a native sidecar.
    #[serde(borrow, default)]
    pub restart_policy: Option<Text<'a>>,
    /// Environment variables.
    #[serde(borrow, default)]
    pub env: Slot<Variables<'a>>,
    /// Declared ports.
    #[serde(borrow, default)]
    pub ports: Slot<Vec<Port<'a>>>,
    /// Mounted volumes.
    #[serde(borrow, default)]
    pub volume_mounts: Slot<Vec<Mount<'a>>>,
    /// Users and groups.
    #[serde(default)]
    pub security_context: Option<SecurityContext>,
}

impl Container<'_> {
    /// Whether an init container is a native sidecar.
    #[must_use]
    pub fn is_native_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

/// Environment variables, read when somebody asks for one: of all that we look at they are the most, and hardly ever is one ours.
#[derive(Debug)]
pub enum Variables<'a> {
    /// The list as it was written.
    Unread(&'a str),
    /// The list.
    Read(Vec<Variable<'a>>),
}

impl<'a> Variables<'a> {
    /// Whether one of them may have this name. If none may, the list need not be read.
    #[must_use]
    pub fn may_have(&self, name: &str) -> bool {
        match self {
            // A name can be written in many ways with escapes, and in one without.
            Self::Unread(text) => text.contains(name) || text.contains('\\'),
            Self::Read(list) => list.iter().any(|variable| *variable.name == *name),
        }
    }

    /// The list.
    ///
    /// # Errors
    /// It is no list of variables. `container` is whose it is.
    pub fn read(&self, container: &str) -> Result<Cow<'_, [Variable<'a>]>, InjectionError> {
        match self {
            Self::Read(list) => Ok(Cow::Borrowed(list)),
            Self::Unread(text) => json::from_str(text).map(Cow::Owned).map_err(|error| InjectionError::BadField {
                field: format!("env of container {container}"),
                problem: without_position(&error),
            }),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Variables<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(json::UNREAD_LIST, VariablesVisitor(PhantomData))
    }
}

struct VariablesVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> serde::de::Visitor<'de> for VariablesVisitor<'a> {
    type Value = Variables<'a>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list of variables")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Variables::Unread(text))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Deserialize::deserialize(deserializer).map(Variables::Read)
    }
}

/// An environment variable; `value` is missing where it comes from elsewhere.
#[derive(Debug, Clone, Deserialize)]
pub struct Variable<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub name: Text<'a>,
    /// Its literal value.
    #[serde(borrow, default)]
    pub value: Option<Text<'a>>,
}

/// A declared port.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port<'a> {
    /// Its name.
    #[serde(borrow, default)]
    pub name: Option<Text<'a>>,
    /// Its number.
    #[serde(default)]
    pub container_port: Option<i64>,
    /// `TCP` unless said.
    #[serde(borrow, default)]
    pub protocol: Option<Text<'a>>,
}

/// A mounted volume.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount<'a> {
    /// The volume's name.
    #[serde(borrow, default)]
    pub name: Text<'a>,
    /// Where it is mounted.
    #[serde(borrow, default)]
    pub mount_path: Text<'a>,
    /// Whether it is mounted read-only.
    #[serde(default)]
    pub read_only: Option<bool>,
    /// The part of the volume that is mounted.
    #[serde(borrow, default)]
    pub sub_path: Option<Text<'a>>,
}

/// Users and groups a pod asks for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSecurityContext {
    /// The user.
    #[serde(default)]
    pub run_as_user: Option<i64>,
    /// The group.
    #[serde(default)]
    pub run_as_group: Option<i64>,
    /// The group of the pod's volumes, of which every container is a member.
    #[serde(default)]
    pub fs_group: Option<i64>,
    /// Further groups of which every container is a member.
    #[serde(default)]
    pub supplemental_groups: Slot<Vec<i64>>,
}

/// Users and groups a container asks for.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    /// The user.
    #[serde(default)]
    pub run_as_user: Option<i64>,
    /// The group.
    #[serde(default)]
    pub run_as_group: Option<i64>,
}

impl<'a> Pod<'a> {
    /// Reads a pod, or a pod template, from JSON.
    pub fn read(text: &'a str) -> Result<Self, InjectionError> {
        json::from_str(text).map_err(|error| Self::bad_field(text).unwrap_or(InjectionError::NotAPod(error)))
    }

    /// Reads once more, slower, for the path of the field that is wrong.
    fn bad_field(text: &str) -> Option<InjectionError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let error = serde_path_to_error::deserialize::<_, Pod<'_>>(&mut json).err()?;
        let field = error.path().to_string();
        let problem = without_position(&error.into_inner());
        (field != ".").then_some(InjectionError::BadField { field, problem })
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All annotations.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.metadata.value().and_then(|metadata| metadata.annotations.value());
        pairs.into_iter().flat_map(|pairs| pairs.0.iter().map(|(key, value)| (&**key, &**value)))
    }
}

/// What is wrong. The position is one in our own JSON, which nobody but us has seen.
fn without_position(error: &serde_json::Error) -> String {
    let problem = error.to_string();
    problem.split_once(" at line ").map_or(problem.as_str(), |(problem, _)| problem).to_owned()
}

/// A map of texts, kept as the list it was written as.
#[derive(Debug, Default)]
pub struct Pairs<'a>(pub Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> serde::de::Visitor<'de> for PairsVisitor<'a> {
    type Value = Pairs<'a>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a map of strings")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = map.next_entry()? {
            pairs.push((key, value));
        }
        let mut keys: Vec<&str> = pairs.iter().map(|(key, _): &(Text<'a>, Text<'a>)| &**key).collect();
        keys.sort_unstable();
        match keys.iter().zip(keys.iter().skip(1)).find(|(key, next)| key == next) {
            // Readers of JSON differ in which of the two they believe.
            Some((key, _)) => Err(serde::de::Error::custom(format_args!("duplicate key {key:?}"))),
            None => Ok(Pairs(pairs)),
        }
    }
}

/// A text that borrows where it can: inside options and collections, serde's own `Cow` always copies.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text<'_> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'a, T: Into<Cow<'a, str>>> From<T> for Text<'a> {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_missing_from_null_from_empty() {
        let pod: Pod<'_> = serde_json::from_str(r#"{"metadata":{"annotations":null},"spec":{"containers":[]}}"#).unwrap();
        assert!(matches!(pod.metadata.value().unwrap().annotations, Slot::Null));
        let spec = pod.spec.value().unwrap();
        assert!(matches!(&spec.containers, Slot::Present(list) if list.is_empty()));
        assert!(matches!(spec.volumes, Slot::Absent));
    }

    #[test]
    fn unknown_fields_and_types_are_passed_over() {
        let pod: Pod<'_> = serde_json::from_str(
            r#"{"kind":"Pod","status":{"phase":7},"spec":{"futureKnob":{"deep":[1,2]},"containers":[{"name":"app","resizePolicy":[{"x":1}]}]}}"#,
        )
        .unwrap();
        assert_eq!(&*pod.spec.value().unwrap().containers.items()[0].name, "app");
    }

    #[test]
    fn annotations_borrow_where_no_escape_forbids_it() {
        let pod: Pod<'_> = serde_json::from_str(r#"{"metadata":{"annotations":{"a":"plain","b":"with \"quotes\""}}}"#).unwrap();
        assert_eq!(pod.annotation("b"), Some("with \"quotes\""));
        let pairs = pod.metadata.value().unwrap().annotations.value().unwrap();
        assert!(matches!(pairs.0[0].1.0, Cow::Borrowed("plain")));
    }

    fn with_env(env: &str) -> String {
        format!(r#"{{"spec":{{"containers":[{{"name":"app","env":{env}}}]}}}}"#)
    }

    fn env<'a, 'p>(pod: &'a Pod<'p>) -> &'a Variables<'p> {
        pod.spec.value().unwrap().containers.items()[0].env.value().unwrap()
    }

    #[test]
    fn variables_are_read_only_where_one_may_be_meant_however_it_is_written() {
        for written in ["DISPLAY", r"DISPL\u0041Y"] {
            let text = with_env(&format!(r#"[{{"name":"A","value":"1"}}, {{"name":"{written}","valueFrom":{{}}}}]"#));
            let pod = Pod::read(&text).unwrap();
            assert!(matches!(env(&pod), Variables::Unread(_)), "{written}");
            assert!(env(&pod).may_have("DISPLAY"), "{written}");
            let slowly: Pod<'_> = serde_json::from_str(&text).unwrap();
            assert!(env(&slowly).may_have("DISPLAY") && !env(&slowly).may_have("B"));
            for pod in [&pod, &slowly] {
                let read = env(pod).read("app").unwrap();
                let pairs: Vec<_> = read.iter().map(|variable| (&*variable.name, variable.value.as_deref())).collect();
                assert_eq!(pairs, [("A", Some("1")), ("DISPLAY", None)]);
            }
        }
        let text = with_env(r#"[{"name":"A"}]"#);
        assert!(!env(&Pod::read(&text).unwrap()).may_have("DISPLAY"));
    }

    #[test]
    fn variables_of_the_wrong_type_are_named_when_they_are_read() {
        let text = with_env(r#"[{"name":5}]"#);
        let error = env(&Pod::read(&text).unwrap()).read("app").unwrap_err().to_string();
        assert!(error.contains("env of container app: invalid type: integer `5`") && !error.contains("line"), "{error}");
        let error = Pod::read(&with_env("{}")).unwrap_err().to_string();
        assert!(error.contains("spec.containers[0].env"), "{error}");
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        for (text, expected) in [
            (r#"{"spec":{"containers":[null]}}"#, "spec.containers[0]: invalid type: null"),
            (r#"{"spec":{"containers":[{"name":5}]}}"#, "spec.containers[0].name: invalid type: integer `5`"),
            (r#"{"metadata":{"annotations":{"a":true}}}"#, "metadata.annotations"),
        ] {
            let error = Pod::read(text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("line"), "{error}");
        }
    }
}
