//! Profiles, and made-up pods that ask for them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A pod with annotations, one container, and a volume that files may be written to.
pub(crate) fn pod(annotations: &[(&str, &str)]) -> Value {
    let annotations: Map<String, Value> = annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], "volumes": [{"name": "files", "emptyDir": {}}]},
    })
}

/// A pod like another, with another spec and further annotations.
pub(crate) fn with(profile: &Value, spec: &Value, annotations: &Value) -> Value {
    let mut pod = profile.clone();
    pod["spec"] = spec.clone();
    let further = annotations.as_object().unwrap().clone();
    pod["metadata"]["annotations"].as_object_mut().unwrap().extend(further);
    pod
}

fn maybe(value: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![2 => Just(None), 1 => value.prop_map(Some)]
}

fn object(members: Vec<(&'static str, Option<Value>)>) -> Value {
    Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>())
}

fn env() -> impl Strategy<Value = Value> {
    let variable = prop_oneof![
        4 => Just(json!({"name": "LANG", "value": "C"})),
        2 => Just(json!({"name": "DISPLAY", "value": ":99"})),
        1 => Just(json!({"name": "XAUTHORITY", "value": "/run/outrigger/xauth/cookie"})),
        1 => prop::sample::select(vec![
            json!({"name": "DISPLAY", "value": ":0"}),
            json!({"name": "XAUTHORITY"}),
            json!({"name": "DISPLAY", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        ]),
    ];
    prop::collection::vec(variable, 0..4).prop_map(Value::from)
}

fn mounts() -> impl Strategy<Value = Value> {
    let path = prop_oneof![
        8 => prop::sample::select(vec!["/data", "/srv", "/srv/files/below", "/x/", "/tmp"]),
        1 => prop::sample::select(vec!["/srv/files", "/srv/files/", "/tmp/.X11-unix", "/dev/shm/", "/run/outrigger/xauth"]),
    ];
    let mount = (prop::sample::select(vec!["data", "files", "settings"]), path, any::<bool>());
    let mount = mount.prop_map(|(name, path, read_only)| json!({"name": name, "mountPath": path, "readOnly": read_only}));
    prop::collection::vec(mount, 0..3).prop_map(Value::from)
}

fn ports() -> impl Strategy<Value = Value> {
    let port = prop_oneof![
        6 => Just(json!({"containerPort": 8080})),
        1 => Just(json!({"containerPort": 6080, "protocol": "UDP"})),
        1 => prop::sample::select(vec![json!({"containerPort": 15801}), json!({"containerPort": 6080, "protocol": "TCP"})]),
    ];
    prop::collection::vec(port, 0..2).prop_map(Value::from)
}

fn user() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => Just(json!({"runAsUser": 2000})),
        2 => Just(json!({"runAsUser": 1000, "runAsGroup": 5})),
        1 => Just(json!({"runAsUser": 0})),
        1 => Just(json!({})),
    ]
}

fn container(name: &'static str) -> impl Strategy<Value = Value> {
    (maybe(env()), maybe(mounts()), maybe(ports()), maybe(user())).prop_map(move |(env, mounts, ports, user)| {
        object(vec![
            ("name", Some(json!(name))),
            ("image", Some(json!("app:1"))),
            ("env", env),
            ("volumeMounts", mounts),
            ("ports", ports),
            ("securityContext", user),
        ])
    })
}

/// Containers of which the first is always there, in any order; some are other injectors', and rarely ours.
fn containers(first: &'static str, others: &'static [&'static str], rare: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let others = prop::sample::subsequence(others, 0..=others.len());
    let rare = prop_oneof![12 => Just(None), 1 => prop::sample::select(rare).prop_map(Some)];
    (others, rare).prop_flat_map(move |(mut names, rare)| {
        names.extend(rare);
        names.push(first);
        Just(names).prop_shuffle().prop_flat_map(|names| names.into_iter().map(container).collect::<Vec<_>>()).prop_map(Value::from)
    })
}

fn volumes() -> impl Strategy<Value = Value> {
    let ours = prop_oneof![20 => Just(None), 1 => Just(Some(json!({"name": "outrigger-no-token", "emptyDir": {}})))];
    let files =
        prop_oneof![10 => Just(json!({"name": "files", "emptyDir": {}})), 1 => Just(json!({"name": "files", "configMap": {"name": "c"}}))];
    (ours, files).prop_map(|(ours, files)| {
        let settings = json!({"name": "settings", "configMap": {"name": "settings"}});
        [json!({"name": "data", "emptyDir": {}}), files, settings].into_iter().chain(ours).collect()
    })
}

fn spec() -> impl Strategy<Value = Value> {
    let init = containers("setup", &["migrate", "vault-agent-init"], &["istio-init", "outrigger-file-sync"]);
    let apps = containers("app", &["editor", "metrics", "vault-agent"], &["istio-proxy", "outrigger-vnc"]);
    let secrets = prop::sample::select(vec![json!([]), json!([{"name": "registry"}]), json!([{"name": "other"}, {"name": "mirror"}])]);
    let rare = prop_oneof![
        20 => Just(None),
        1 => Just(Some(("hostNetwork", json!(true)))),
        1 => Just(Some(("nodeSelector", json!({"kubernetes.io/os": "windows"})))),
    ];
    (maybe(init), apps, volumes(), maybe(user()), maybe(any::<bool>().prop_map(Value::from)), maybe(secrets), rare).prop_map(
        |(init, apps, volumes, user, token, secrets, rare)| {
            let mut members = vec![
                ("initContainers", init),
                ("containers", Some(apps)),
                ("volumes", Some(volumes)),
                ("securityContext", user),
                ("automountServiceAccountToken", token),
                ("imagePullSecrets", secrets),
            ];
            members.extend(rare.map(|(name, value)| (name, Some(value))));
            object(members)
        },
    )
}

fn annotations() -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => Just(json!({})),
        2 => Just(json!({"kubectl.kubernetes.io/default-container": "app", "example.com/note": "\"'\\\n"})),
        1 => Just(json!({"vnc.outrigger.dev/port": "7000"})),
        1 => Just(json!({"outrigger.dev/native-sidecar": "auto"})),
    ]
}

/// Pods that ask for a profile's sidecars.
pub(crate) fn asking(profile: &Value) -> impl Strategy<Value = Value> {
    let profile = profile.clone();
    (spec(), annotations()).prop_map(move |(spec, annotations)| with(&profile, &spec, &annotations))
}
