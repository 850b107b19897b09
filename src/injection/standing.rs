//! What a pod's annotations tell about its sidecars, for those who look at many pods and fetch few.

use std::{borrow::Cow, collections::BTreeMap};

use crate::api::annotations::STATUS;

use super::{
    Context, digest,
    pod::{Metadata, Pairs, Pod, Slot, Spec, Text},
    record::Record,
    request, skip_reason,
};

/// How a pod stands, as far as its annotations tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is nothing to add: it asks for nothing, or was told why it can't have it, or has a record that can't be read.
    Settled,
    /// It has the sidecars that it would get now.
    Injected,
    /// It has sidecars of another version, or of other settings.
    Outdated,
    /// It asks for sidecars and has no record. Its specification may still say that it can't have any.
    Missing,
}

/// How a pod with these annotations stands.
#[must_use]
pub fn standing(annotations: &BTreeMap<String, String>, context: Context<'_>) -> Standing {
    let pairs = annotations.iter().map(|(name, value)| (Text(Cow::Borrowed(name)), Text(Cow::Borrowed(value)))).collect();
    let metadata = Slot::Present(Metadata { annotations: Slot::Present(Pairs(pairs)) });
    let pod = Pod { metadata, spec: Slot::Absent };
    let request = request::read(&pod, context.defaults);
    let asks_for_nothing = request.sidecars.is_empty() && request.denials.is_empty();
    if asks_for_nothing || skip_reason(&pod, &Spec::default()).is_some() {
        return Standing::Settled;
    }
    match pod.annotation(STATUS).map(Record::parse) {
        None => Standing::Missing,
        Some(Ok(record)) if record.injected.is_empty() => Standing::Settled,
        Some(Ok(record)) => {
            let today = digest::settings(&request.annotations, &request.sidecars, context.settings);
            if *record.settings == *today { Standing::Injected } else { Standing::Outdated }
        }
        Some(Err(_)) => Standing::Settled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::annotations::{INJECT, NamespaceDefaults},
        injection::{Outcome, Settings, inject},
    };
    use serde_json::{Value, json};

    fn context(settings: &Settings) -> Context<'_> {
        Context { defaults: None, settings, offline: false }
    }

    fn map(annotations: &Value) -> BTreeMap<String, String> {
        serde_json::from_value(annotations.clone()).unwrap()
    }

    /// The annotations of a pod after the webhook has seen it.
    fn admitted(annotations: &Value, settings: &Settings) -> BTreeMap<String, String> {
        let mut pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app"}]}});
        let decision = inject(&pod.to_string(), context(settings)).unwrap();
        let Outcome::Injected { patch, .. } = decision.outcome else { panic!("{decision:?}") };
        let patch: json_patch::Patch = serde_json::from_str(patch.as_json()).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
        map(&pod["metadata"]["annotations"])
    }

    #[test]
    fn without_a_record_only_the_annotations_say_whether_sidecars_are_missing() {
        let settings = Settings::default();
        for (annotations, expected) in [
            (json!({}), Standing::Settled),
            (json!({INJECT.name: "none"}), Standing::Settled),
            (json!({INJECT.name: "vnc"}), Standing::Missing),
            (json!({INJECT.name: "vcn"}), Standing::Missing),
            (json!({INJECT.name: "vnc", "kubernetes.io/config.mirror": "x"}), Standing::Settled),
            (json!({INJECT.name: "vnc", STATUS: "not ours"}), Standing::Settled),
        ] {
            assert_eq!(standing(&map(&annotations), context(&settings)), expected, "{annotations}");
        }
        let defaults = NamespaceDefaults::from([(INJECT.name.to_owned(), "vnc".to_owned())]);
        let in_namespace = Context { defaults: Some(&defaults), ..context(&settings) };
        assert_eq!(standing(&BTreeMap::new(), in_namespace), Standing::Missing);
        assert_eq!(standing(&map(&json!({INJECT.name: "none"})), in_namespace), Standing::Settled);
    }

    #[test]
    fn the_record_says_whether_the_sidecars_are_those_of_today() {
        let settings = Settings::default();
        let asks = json!({INJECT.name: "vnc"});
        let mut annotations = admitted(&asks, &settings);
        assert_eq!(standing(&annotations, context(&settings)), Standing::Injected);
        let other = Settings { image_pull_policy: "Always".to_owned(), ..Settings::default() };
        assert_eq!(standing(&annotations, context(&other)), Standing::Outdated);

        let mut record: Value = serde_json::from_str(&annotations[STATUS]).unwrap();
        record["injected"] = json!([]);
        annotations.insert(STATUS.to_owned(), record.to_string());
        assert_eq!(standing(&annotations, context(&other)), Standing::Settled, "it was told why it has none");
    }
}
