//! What holds for every pod: the patch applies, twice is as good as once, nothing a user wrote is lost, and undoing it
//! gives back what was there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use common::*;
use outrigger::{api::annotations::NamespaceDefaults, injection::Outcome};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Any JSON a newer Kubernetes might put where we don't look.
fn unknown() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z/~]{1,4}", inner, 0..3).prop_map(|map| json!(map))
        ]
    })
}

/// A member that is missing, null, or there.
fn slot(value: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![3 => Just(None), 1 => Just(Some(Value::Null)), 4 => value.prop_map(Some)]
}

fn object(members: Vec<(&'static str, Option<Value>)>) -> Value {
    Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>())
}

fn env() -> impl Strategy<Value = Value> {
    let name = prop_oneof![4 => "[A-Z]{1,3}", 1 => Just("DISPLAY".to_owned()), 1 => Just("XAUTHORITY".to_owned())];
    let value = prop_oneof![Just(json!(":99")), Just(json!("/run/outrigger/xauth/cookie")), ".{0,4}".prop_map(Value::from)];
    prop::collection::vec((name, value).prop_map(|(name, value)| json!({"name": name, "value": value})), 0..4).prop_map(Value::from)
}

fn mounts() -> impl Strategy<Value = Value> {
    let path = prop_oneof![3 => "/[a-z]{1,4}", 1 => Just("/srv/files".to_owned()), 1 => Just("/tmp/.X11-unix".to_owned())];
    let name = prop_oneof![Just("outrigger-files"), Just("outrigger-x11"), Just("data")];
    let mount =
        (name, path, any::<bool>()).prop_map(|(name, path, read_only)| json!({"name": name, "mountPath": path, "readOnly": read_only}));
    prop::collection::vec(mount, 0..3).prop_map(Value::from)
}

fn container(name: &'static str) -> impl Strategy<Value = Value> {
    let user = slot((0..3_i64).prop_map(|user| json!({"runAsUser": user, "futureUser": 1})));
    let image = prop_oneof![Just(None), Just(Some(json!("auto"))), Just(Some(json!("app:1")))];
    (slot(env()), slot(mounts()), user, image, slot(unknown()), any::<bool>()).prop_map(
        move |(env, mounts, user, image, unknown, native)| {
            let restart = native.then(|| json!("Always"));
            object(vec![
                ("name", Some(json!(name))),
                ("image", image),
                ("env", env),
                ("volumeMounts", mounts),
                ("securityContext", user),
                ("restartPolicy", restart),
                ("futureKnob", unknown),
            ])
        },
    )
}

/// Containers with different names, some of them injectors', some ours.
fn containers(names: &'static [&'static str], least: usize) -> impl Strategy<Value = Value> {
    prop::sample::subsequence(names, least..=names.len())
        .prop_shuffle()
        .prop_flat_map(|names| names.into_iter().map(container).collect::<Vec<_>>())
        .prop_map(Value::from)
}

fn annotations() -> impl Strategy<Value = Value> {
    let inject =
        prop_oneof![Just("vnc"), Just("file-sync"), Just("guacamole"), Just("vnc,file-sync,guacamole"), Just("none"), Just("desk")];
    let more = prop::sample::subsequence(
        vec![
            ("outrigger.dev/native-sidecar", "false"),
            ("vnc.outrigger.dev/shared-memory", "64Mi"),
            ("vnc.outrigger.dev/mode", "attach"),
            ("vnc.outrigger.dev/geometry", "big"),
            ("file-sync.outrigger.dev/mode", "once"),
            ("example.com/note", "a \"quoted\" ~/note"),
        ],
        0..4,
    );
    (inject, more, any::<bool>()).prop_map(|(inject, more, complete)| {
        let mut annotations = Map::from_iter([("outrigger.dev/inject".to_owned(), json!(inject))]);
        if complete {
            for (key, value) in [
                ("file-sync.outrigger.dev/folder", "/srv/files"),
                ("file-sync.outrigger.dev/label", "app"),
                ("guacamole.outrigger.dev/connections", "a,b"),
                ("guacamole.outrigger.dev/configuration", "c"),
            ] {
                annotations.insert(key.to_owned(), json!(value));
            }
        }
        annotations.extend(more.into_iter().map(|(key, value)| (key.to_owned(), json!(value))));
        Value::Object(annotations)
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let apps = containers(&["app", "worker", "istio-proxy", "outrigger-vnc", "vault-agent"], 1);
    let inits = containers(&["migrate", "istio-init", "outrigger-file-sync", "linkerd-proxy"], 0);
    let volumes = prop::sample::subsequence(vec!["data", "outrigger-x11"], 0..=2).prop_map(|names| {
        Value::from(
            names.into_iter().map(|name| json!({"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})).collect::<Vec<_>>(),
        )
    });
    let secrets = Just(json!([{"name": "own"}]));
    let metadata = prop_oneof![
        5 => (slot(annotations()), slot(unknown())).prop_map(|(annotations, unknown)| Some(object(vec![("name", Some(json!("p"))), ("annotations", annotations), ("future", unknown)]))),
        1 => Just(None),
        1 => Just(Some(Value::Null)),
    ];
    (metadata, apps, slot(inits), slot(volumes), slot(secrets), slot(unknown()), prop::bool::weighted(0.05)).prop_map(
        |(metadata, apps, inits, volumes, secrets, unknown, host_network)| {
            let spec = object(vec![
                ("containers", Some(apps)),
                ("initContainers", inits),
                ("volumes", volumes),
                ("imagePullSecrets", secrets),
                ("futureSpec", unknown),
                ("hostNetwork", Some(json!(host_network))),
            ]);
            object(vec![("metadata", metadata), ("spec", Some(spec)), ("status", Some(json!({"futureStatus": []})))])
        },
    )
}

fn defaults() -> impl Strategy<Value = Option<NamespaceDefaults>> {
    let some = annotations().prop_map(|annotations| {
        annotations
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect()
    });
    prop::option::of(some)
}

/// Whether every value of `original` is somewhere sensible in `result`: maps keep their members, lists their items in
/// their order. The two allowed exceptions are a null that was filled, and a container that asked for our image.
fn survives(original: &Value, result: &Value) -> Result<(), String> {
    match (original, result) {
        (Value::Object(original), Value::Object(result)) => original.iter().try_for_each(|(key, value)| match result.get(key) {
            _ if value.is_null() => Ok(()),
            Some(there) => survives(value, there).map_err(|error| format!("{key}: {error}")),
            None => Err(format!("{key} is gone")),
        }),
        (Value::Array(original), Value::Array(result)) => {
            let mut rest = result.iter();
            let moves = |item: &Value| {
                item["name"].as_str().is_some_and(|name| name.starts_with("outrigger-"))
                    && item.get("image").is_none_or(|image| image == "auto")
            };
            original.iter().filter(|item| !moves(item)).try_for_each(|item| {
                rest.any(|candidate| survives(item, candidate).is_ok())
                    .then_some(())
                    .ok_or_else(|| format!("{item} is gone or out of order"))
            })
        }
        _ if original == result => Ok(()),
        _ => Err(format!("{original} became {result}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn applies_survives_repeats_and_undoes(pod in pod(), defaults in defaults()) {
        let decision = decide(&pod, defaults.as_ref());
        let once = patched(&pod, &patch(&decision));
        prop_assert_eq!(survives(&pod, &once), Ok(()));

        let again = decide(&once, defaults.as_ref());
        prop_assert!(patch(&again).is_empty(), "twice is once: {:?}", again);
        if matches!(decision.outcome, Outcome::Injected { .. }) {
            prop_assert!(matches!(again.outcome, Outcome::Unchanged), "{:?}", again);
        }

        prop_assert_eq!(restored(&once), pod);
    }

    #[test]
    fn a_pod_is_never_patched_and_refused_at_once(pod in pod()) {
        let decision = decide(&pod, None);
        if let Outcome::Denied(denials) = &decision.outcome {
            prop_assert!(!denials.is_empty());
            prop_assert!(denials.iter().all(|denial| !denial.message.is_empty()));
        }
    }
}
