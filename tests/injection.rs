//! What is added to a pod, rule by rule.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "injection/awkward.rs"]
mod awkward;
#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;
#[path = "injection/own_desktop.rs"]
mod own_desktop;
#[path = "injection/renamed.rs"]
mod renamed;
#[path = "injection/sidecars.rs"]
mod sidecars;

use common::*;
use outrigger::{
    api::annotations::{NamespaceDefaults, STATUS, SidecarKind},
    injection::{Outcome, Record, Settings, SkipReason},
};
use serde_json::{Value, json};

/// A pod with one container that asks for sidecars.
fn pod(annotations: &[(&str, &str)]) -> Value {
    let annotations: serde_json::Map<_, _> = annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({"metadata": {"name": "p", "annotations": annotations}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}})
}

const VNC: (&str, &str) = ("outrigger.dev/inject", "vnc");
const FILE_SYNC: [(&str, &str); 3] =
    [("outrigger.dev/inject", "file-sync"), ("file-sync.outrigger.dev/folder", "/srv/files"), ("file-sync.outrigger.dev/label", "app")];
const GUACAMOLE: [(&str, &str); 3] = [
    ("outrigger.dev/inject", "guacamole"),
    ("guacamole.outrigger.dev/connections", "office, lab"),
    ("guacamole.outrigger.dev/configuration", "guacamole-properties"),
];

fn all_three() -> Value {
    let mut annotations = vec![("outrigger.dev/inject", "vnc, file-sync, guacamole")];
    annotations.extend(&FILE_SYNC[1..]);
    annotations.extend(&GUACAMOLE[1..]);
    pod(&annotations)
}

fn with(annotations: &[(&str, &str)], more: (&str, &str)) -> Value {
    pod(&[annotations, &[more]].concat())
}

fn status(pod: &Value) -> Record<'_> {
    Record::parse(pod["metadata"]["annotations"][STATUS].as_str().unwrap()).unwrap()
}

// ---- who gets what ----

#[test]
fn a_pod_that_asks_for_nothing_is_left_alone() {
    assert!(matches!(decide(&pod(&[]), None).outcome, Outcome::NotAsked));
    assert!(matches!(decide(&pod(&[("outrigger.dev/inject", "none")]), None).outcome, Outcome::NotAsked));
}

#[test]
fn namespace_defaults_ask_and_configure_and_the_pod_overrides() {
    let defaults = NamespaceDefaults::from([
        ("outrigger.dev/inject".into(), "vnc".into()),
        ("vnc.outrigger.dev/geometry".into(), "800x600".into()),
        ("vnc.outrigger.dev/clipboard".into(), "off".into()),
    ]);
    let pod = pod(&[("vnc.outrigger.dev/geometry", "640x480")]);
    let decision = decide(&pod, Some(&defaults));
    let pod = patched(&pod, &patch(&decision));
    let vnc = container(&pod, "outrigger-vnc");
    assert_eq!(variable(vnc, "VNC_GEOMETRY"), Some("640x480"));
    assert_eq!(variable(vnc, "VNC_CLIPBOARD"), Some("off"));
    assert_eq!(&*status(&pod).annotations["vnc.outrigger.dev/clipboard"], "off", "the record shows what held, not only what the pod says");
}

#[test]
fn pods_that_cannot_have_sidecars_are_told_why() {
    for (field, reason) in
        [(json!({"hostNetwork": true}), SkipReason::HostNetwork), (json!({"os": {"name": "windows"}}), SkipReason::Windows)]
    {
        let mut pod = pod(&[VNC]);
        pod["spec"].as_object_mut().unwrap().extend(field.as_object().unwrap().clone());
        let decision = decide(&pod, None);
        assert!(matches!(decision.outcome, Outcome::Skipped { reason: found, .. } if found == reason), "{decision:?}");
        assert!(decision.warnings[0].contains(reason.sentence()), "{:?}", decision.warnings);
        let told = patched(&pod, &patch(&decision));
        assert_eq!(&*status(&told).skipped["vnc"], reason.sentence());
        assert_eq!(names(&told, "containers"), ["app"]);
        assert!(patch(&decide(&told, None)).is_empty(), "said once");
        assert_eq!(restored(&told), pod);
    }
}

#[test]
fn a_mirror_pod_is_not_touched() {
    let decision = decide(&with(&[VNC], ("kubernetes.io/config.mirror", "x")), None);
    assert!(matches!(&decision.outcome, Outcome::Skipped { reason: SkipReason::MirrorPod, patch } if patch.is_empty()), "{decision:?}");
}

#[test]
fn a_sidecar_without_what_it_needs_is_a_denial_that_names_the_annotation() {
    for (given, missing) in [
        (vec![FILE_SYNC[0], FILE_SYNC[2]], "file-sync.outrigger.dev/folder"),
        (vec![FILE_SYNC[0], FILE_SYNC[1]], "file-sync.outrigger.dev/label"),
        (vec![GUACAMOLE[0], GUACAMOLE[2]], "guacamole.outrigger.dev/connections"),
        (vec![GUACAMOLE[0], GUACAMOLE[1]], "guacamole.outrigger.dev/configuration"),
    ] {
        let message = denial(&pod(&given));
        assert!(message.contains(&format!("needs the annotation {missing}")), "{message}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let message = denial(&pod(&[("outrigger.dev/inject", "file-sync, guacamole")]));
    assert!(message.contains("file-sync.outrigger.dev/folder") && message.contains("guacamole.outrigger.dev/connections"), "{message}");
}

// ---- where containers stand ----

#[test]
fn a2_sidecars_are_native_and_stand_around_the_apps_own_init_containers() {
    let mut pod = all_three();
    pod["spec"]["initContainers"] =
        json!([{"name": "istio-init"}, {"name": "istio-proxy", "restartPolicy": "Always"}, {"name": "migrate"}]);
    let pod = injected(&pod);
    assert_eq!(
        names(&pod, "initContainers"),
        ["istio-init", "istio-proxy", "outrigger-file-sync", "migrate", "outrigger-vnc", "outrigger-guacamole"]
    );
    assert_eq!(names(&pod, "containers"), ["app"]);
    for kind in SidecarKind::ALL {
        let sidecar = container(&pod, kind.container());
        assert_eq!(sidecar["restartPolicy"], "Always");
        let startup = &sidecar["startupProbe"];
        assert!(startup["httpGet"]["port"].is_number() || startup["exec"]["command"].is_array(), "{sidecar}");
        assert!(sidecar["livenessProbe"]["httpGet"]["port"].is_number(), "{sidecar}");
        assert!(sidecar.get("readinessProbe").is_none(), "our outage never drops the app from its Service");
        assert!(sidecar.get("lifecycle").is_none());
    }
}

#[test]
fn beside_a_plain_mesh_proxy_sidecars_are_plain_and_wait_behind_it() {
    let mut pod = all_three();
    pod["spec"]["initContainers"] = json!([{"name": "linkerd-init"}]);
    pod["spec"]["containers"] = json!([{"name": "linkerd-proxy"}, {"name": "app"}]);
    let decision = decide(&pod, None);
    assert!(decision.warnings.is_empty(), "{:?}", decision.warnings);
    let pod = patched(&pod, &patch(&decision));
    assert_eq!(names(&pod, "containers"), ["linkerd-proxy", "outrigger-file-sync", "outrigger-vnc", "outrigger-guacamole", "app"]);
    assert_eq!(names(&pod, "initContainers"), ["linkerd-init"]);
    for kind in SidecarKind::ALL {
        let sidecar = container(&pod, kind.container());
        assert!(sidecar.get("restartPolicy").is_none());
        assert_eq!(sidecar["lifecycle"]["postStart"]["exec"]["command"][2], "wait");
    }
    assert_eq!(pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "app");
}

#[test]
fn before_a_plain_proxy_has_come_nothing_waits_and_a_warning_says_so() {
    let mut pod = pod(&FILE_SYNC);
    pod["spec"]["initContainers"] = json!([{"name": "istio-init"}]);
    let decision = decide(&pod, None);
    assert!(decision.warnings[0].contains("istio-proxy"), "{:?}", decision.warnings);
    let pod = patched(&pod, &patch(&decision));
    assert_eq!(names(&pod, "containers"), ["outrigger-file-sync", "app"]);
    assert!(container(&pod, "outrigger-file-sync").get("lifecycle").is_none());
}

#[test]
fn plain_and_native_on_request() {
    let plain = injected(&with(&[VNC], ("outrigger.dev/native-sidecar", "false")));
    assert_eq!(names(&plain, "containers"), ["outrigger-vnc", "app"], "first, so that its postStart holds the app back");
    let mut native = with(&[VNC], ("outrigger.dev/native-sidecar", "true"));
    native["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "istio-proxy"}));
    let decision = decide(&native, None);
    assert!(decision.warnings[0].contains("istio-proxy"), "{:?}", decision.warnings);
    assert_eq!(names(&patched(&native, &patch(&decision)), "initContainers"), ["outrigger-vnc"]);
}

#[test]
fn mode_once_is_an_ordinary_init_container() {
    let pod = injected(&with(&FILE_SYNC, ("file-sync.outrigger.dev/mode", "once")));
    let sidecar = container(&pod, "outrigger-file-sync");
    for absent in ["restartPolicy", "startupProbe", "livenessProbe", "lifecycle"] {
        assert!(sidecar.get(absent).is_none(), "{absent}");
    }
    assert_eq!(names(&pod, "initContainers"), ["outrigger-file-sync"]);
}

// ---- what all sidecars share ----

#[test]
fn sidecars_meet_pod_security_restricted_by_themselves() {
    let pod = injected(&all_three());
    for kind in SidecarKind::ALL {
        let expected = json!({
            "runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": true, "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(container(&pod, kind.container())["securityContext"], expected, "{}", kind.as_str());
    }
}

#[test]
fn the_pods_user_and_group_hold_for_sidecars_unless_that_is_root() {
    let mut pod = pod(&FILE_SYNC);
    pod["spec"]["securityContext"] = json!({"runAsUser": 4711, "runAsGroup": 12});
    let context = &container(&injected(&pod), "outrigger-file-sync")["securityContext"].clone();
    assert_eq!((context["runAsUser"].as_i64(), context.get("runAsGroup")), (Some(4711), None), "the pod's group holds by itself");
    pod["spec"]["securityContext"] = json!({"runAsUser": 0});
    assert_eq!(container(&injected(&pod), "outrigger-file-sync")["securityContext"]["runAsUser"], 1000);
    pod["metadata"]["annotations"]["file-sync.outrigger.dev/user-id"] = json!("65534");
    assert_eq!(container(&injected(&pod), "outrigger-file-sync")["securityContext"]["runAsUser"], 65534);
}

#[test]
fn resources_from_annotation_installation_and_built_in_in_this_order() {
    let settings = Settings::from_values("injection: {fileSync: {resources: {memoryLimit: 64Mi, cpuRequest: 5m}}}").unwrap();
    let pod = with(&FILE_SYNC, ("file-sync.outrigger.dev/cpu-request", "20m"));
    let decision = decide_with(&pod, None, &settings, false);
    let resources = container(&patched(&pod, &patch(&decision)), "outrigger-file-sync")["resources"].clone();
    assert_eq!(resources, json!({"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}));
}

#[test]
fn one_written_amount_moves_the_other_and_two_must_agree() {
    let resources =
        |key: &str, value: &str| container(&injected(&with(&FILE_SYNC, (key, value))), "outrigger-file-sync")["resources"].clone();
    assert_eq!(resources("file-sync.outrigger.dev/memory-limit", "16Mi")["requests"]["memory"], "16Mi");
    assert_eq!(resources("file-sync.outrigger.dev/memory-request", "1Gi")["limits"]["memory"], "1Gi");
    let both = [&FILE_SYNC[..], &[("file-sync.outrigger.dev/cpu-request", "2"), ("file-sync.outrigger.dev/cpu-limit", "1500m")]].concat();
    let message = denial(&pod(&both));
    assert!(message.contains("cpu-request is \"2\", more than file-sync.outrigger.dev/cpu-limit \"1500m\""), "{message}");
}

#[test]
fn images_from_annotation_installation_and_this_version() {
    let image = |pod: &Value, settings: &Settings| {
        let decision = decide_with(pod, None, settings, false);
        container(&patched(pod, &patch(&decision)), "outrigger-vnc")["image"].as_str().unwrap().to_owned()
    };
    let installed = Settings::from_values("injection: {vnc: {image: 'registry.example.com/desktop:2'}}").unwrap();
    assert_eq!(image(&pod(&[VNC]), &Settings::default()), format!("localhost/outrigger-desktop:{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(image(&pod(&[VNC]), &installed), "registry.example.com/desktop:2");
    assert_eq!(image(&with(&[VNC], ("vnc.outrigger.dev/image", "mine:1")), &installed), "mine:1");
}

#[test]
fn pull_secrets_are_added_by_name_and_never_hide_the_service_accounts() {
    let settings = Settings::from_values("injection: {imagePullSecrets: [mirror]}").unwrap();
    let bare = pod(&[VNC]);
    let secrets =
        |pod: &Value, offline| names(&patched(pod, &patch(&decide_with(pod, None, &settings, offline))), "imagePullSecrets").join(",");
    assert_eq!(secrets(&bare, false), "mirror");
    assert_eq!(secrets(&bare, true), "");
    let mut own = bare.clone();
    own["spec"]["imagePullSecrets"] = json!([{"name": "own"}]);
    assert_eq!(secrets(&own, true), "own,mirror");
}

#[test]
fn containers_of_known_injectors_are_not_served_unless_named() {
    let mut pod = pod(&[VNC]);
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "vault-agent"}));
    assert_eq!(container(&injected(&pod), "vault-agent"), &json!({"name": "vault-agent"}));
    pod["metadata"]["annotations"]["vnc.outrigger.dev/containers"] = json!("vault-agent");
    assert!(container(&injected(&pod), "vault-agent").get("env").is_some());
    pod["metadata"]["annotations"]["vnc.outrigger.dev/containers"] = json!("ap");
    assert!(denial(&pod).contains("names \"ap\", which the pod does not have: it has app, vault-agent"));
}

// ---- conflicts ----

#[test]
fn conflicts_say_how_to_solve_them() {
    let cases: Vec<(Value, Value, &[&str])> = vec![
        (
            pod(&[VNC]),
            json!({"env": [{"name": "DISPLAY", "value": ":0"}]}),
            &["sets DISPLAY to \":0\"", "vnc.outrigger.dev/containers", "\"attach\""],
        ),
        (pod(&[VNC]), json!({"env": [{"name": "DISPLAY", "valueFrom": {}}]}), &["sets DISPLAY from elsewhere"]),
        (
            pod(&[VNC]),
            json!({"volumeMounts": [{"name": "x", "mountPath": "/tmp/.X11-unix/"}]}),
            &["mounts x at /tmp/.X11-unix", "\"attach\""],
        ),
        (
            pod(&FILE_SYNC),
            json!({"volumeMounts": [{"name": "cfg", "mountPath": "/srv/files"}]}),
            &["file-sync.outrigger.dev/volume: \"cfg\"", "file-sync.outrigger.dev/folder"],
        ),
        (pod(&[VNC]), json!({"ports": [{"containerPort": 6080}]}), &["port 6080", "taken by container app", "vnc.outrigger.dev/port"]),
        (pod(&FILE_SYNC), json!({"ports": [{"containerPort": 15801}]}), &["port 15801", "file-sync.outrigger.dev/health-port"]),
    ];
    for (mut pod, fields, expected) in cases {
        pod["spec"]["containers"][0].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let message = denial(&pod);
        for part in expected {
            assert!(message.contains(part), "{part:?} in {message:?}");
        }
    }
}

#[test]
fn a_udp_port_of_the_same_number_is_no_conflict() {
    let mut pod = pod(&[VNC]);
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 6080, "protocol": "UDP"}]);
    injected(&pod);
}

#[test]
fn two_sidecars_on_one_port_are_a_conflict() {
    let mut pod = all_three();
    pod["metadata"]["annotations"]["vnc.outrigger.dev/port"] = json!("15801");
    assert!(denial(&pod).contains("port 15801"));
}

#[test]
fn a_volume_under_our_name_is_a_conflict_unless_it_is_the_same() {
    let mut pod = pod(&[VNC]);
    pod["spec"]["volumes"] = json!([{"name": "outrigger-x11", "hostPath": {"path": "/tmp"}}]);
    assert!(denial(&pod).contains("a volume of its own named outrigger-x11, which Outrigger needs: rename it"));
    pod["spec"]["volumes"] = json!([{"name": "outrigger-x11", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]);
    let done = injected(&pod);
    assert!(!status(&done).added.volumes.contains(&"outrigger-x11".into()), "the user wrote it");
    assert_eq!(restored(&done), pod);
}

#[test]
fn what_the_user_wrote_stays_even_if_it_equals_what_we_would_have_written() {
    let mut pod = pod(&[VNC]);
    pod["spec"]["containers"][0]["env"] = json!([{"name": "DISPLAY", "value": ":99"}]);
    let done = injected(&pod);
    assert_eq!(container(&done, "app")["env"].as_array().unwrap().len(), 2);
    assert_eq!(restored(&done), pod);
}

// ---- containers the user wrote under our names ----

#[test]
fn a_container_with_image_auto_takes_our_image_and_place_and_keeps_its_own_words() {
    let mut pod = pod(&[VNC]);
    pod["spec"]["containers"] = json!([
        {"name": "outrigger-vnc", "image": "auto", "env": [{"name": "VNC_GEOMETRY", "value": "1x1"}], "futureKnob": 7,
         "securityContext": {"runAsUser": 77}, "resources": {"limits": {"cpu": "9"}}},
        {"name": "app"},
    ]);
    let done = injected(&pod);
    assert_eq!(names(&done, "containers"), ["app"]);
    let vnc = container(&done, "outrigger-vnc");
    assert!(vnc["image"].as_str().unwrap().starts_with("localhost/outrigger-desktop:"));
    assert_eq!((&vnc["futureKnob"], &vnc["restartPolicy"]), (&json!(7), &json!("Always")));
    assert_eq!(variable(vnc, "VNC_GEOMETRY"), Some("1x1"));
    assert_eq!(variable(vnc, "DISPLAY"), Some(":99"), "ours fill the gaps");
    assert_eq!(vnc["securityContext"]["runAsUser"], 77);
    assert_eq!(vnc["securityContext"]["runAsNonRoot"], true);
    assert_eq!(vnc["resources"], json!({"limits": {"cpu": "9"}}), "a request of ours might exceed a limit of theirs");
    assert!(patch(&decide(&done, None)).is_empty());
    assert_eq!(restored(&done), pod);
}

#[test]
fn a_container_with_its_own_image_stays_where_it_is_and_is_completed() {
    let mut pod = pod(&[VNC]);
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "outrigger-vnc", "image": "mine:1", "ports": [{"name": "web", "containerPort": 6080}]}));
    let done = injected(&pod);
    assert_eq!(names(&done, "containers"), ["app", "outrigger-vnc"]);
    let vnc = container(&done, "outrigger-vnc");
    assert_eq!(vnc["image"], "mine:1");
    assert!(vnc.get("restartPolicy").is_none(), "only init containers may have one");
    assert_eq!(vnc["ports"].as_array().unwrap().len(), 1);
    assert!(vnc["startupProbe"].is_object());
    assert!(patch(&decide(&done, None)).is_empty());
    assert_eq!(restored(&done), pod);
}

#[test]
fn a_pod_whose_only_container_would_move_away_is_refused() {
    let mut pod = pod(&[VNC]);
    pod["spec"]["containers"] = json!([{"name": "outrigger-vnc", "image": "auto"}]);
    assert!(denial(&pod).contains("no container for a sidecar to stand beside"));
}

// ---- again, later, and undone ----

#[test]
fn a_container_that_came_later_gets_what_it_lacks_and_nothing_else_changes() {
    let mut pod = injected(&all_three());
    let before = pod.clone();
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late", "image": "late:1"}));
    pod["spec"]["initContainers"].as_array_mut().unwrap().insert(0, json!({"name": "other-proxy", "restartPolicy": "Always"}));
    pod["spec"]["volumes"].as_array_mut().unwrap().reverse();
    let decision = decide(&pod, None);
    let done = patched(&pod, &patch(&decision));
    let late = container(&done, "late");
    assert_eq!(variable(late, "DISPLAY"), Some(":99"));
    assert_eq!(late["volumeMounts"].as_array().unwrap().len(), 3);
    for kind in SidecarKind::ALL {
        assert_eq!(container(&done, kind.container()), container(&before, kind.container()));
    }
    assert!(patch(&decide(&done, None)).is_empty(), "twice is as good as once");
    let undone = restored(&done);
    assert_eq!(names(&undone, "containers"), ["app", "late"]);
    assert_eq!(container(&undone, "late"), &json!({"name": "late", "image": "late:1"}));
}

#[test]
fn a_pod_injected_under_other_settings_is_left_and_the_difference_named() {
    let mut pod = injected(&with(&[VNC], ("vnc.outrigger.dev/geometry", "800x600")));
    pod["metadata"]["annotations"]["vnc.outrigger.dev/geometry"] = json!("1024x768");
    let decision = decide(&pod, None);
    assert!(matches!(decision.outcome, Outcome::LeftAsIs), "{decision:?}");
    assert!(decision.warnings[0].contains("vnc.outrigger.dev/geometry"), "{:?}", decision.warnings);
}

#[test]
fn a_template_injected_offline_wins_over_namespace_defaults_it_meets_later() {
    let pod = injected(&pod(&[VNC]));
    let defaults = NamespaceDefaults::from([("vnc.outrigger.dev/view-only".into(), "true".into())]);
    let decision = decide(&pod, Some(&defaults));
    assert!(matches!(decision.outcome, Outcome::LeftAsIs));
    assert!(decision.warnings[0].contains("vnc.outrigger.dev/view-only"), "{:?}", decision.warnings);
    let other_image = Settings::from_values("injection: {vnc: {image: other}}").unwrap();
    let decision = decide_with(&pod, None, &other_image, false);
    assert!(decision.warnings[0].contains("the installation's images"), "{:?}", decision.warnings);
}

#[test]
fn a_status_that_is_not_ours_is_refused_with_the_way_out() {
    let message = denial(&with(&[VNC], (STATUS, "{\"added\": 5}")));
    assert!(message.contains("remove it from the manifest"), "{message}");
}

#[test]
fn uninject_gives_back_nulls_missing_maps_and_empty_lists() {
    let defaults = NamespaceDefaults::from([("outrigger.dev/inject".into(), "vnc".into())]);
    for pod in [
        json!({"spec": {"containers": [{"name": "app"}]}}),
        json!({"metadata": null, "spec": {"containers": [{"name": "app", "env": null, "volumeMounts": []}], "volumes": null}}),
        json!({"metadata": {}, "spec": {"containers": [{"name": "app", "env": []}], "volumes": [], "initContainers": []}}),
        json!({"metadata": {"annotations": null}, "spec": {"initContainers": null, "containers": [{"name": "app"}]}}),
    ] {
        let decision = decide(&pod, Some(&defaults));
        let done = patched(&pod, &patch(&decision));
        assert_eq!(restored(&done), pod);
    }
}

#[test]
fn uninject_leaves_what_came_later_in_lists_we_made() {
    let mut pod = injected(&pod(&[VNC]));
    pod["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().push(json!({"name": "token", "mountPath": "/var/run/secrets"}));
    pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "token"}));
    let undone = restored(&pod);
    assert_eq!(undone["spec"]["volumes"], json!([{"name": "token"}]));
    assert_eq!(container(&undone, "app")["volumeMounts"], json!([{"name": "token", "mountPath": "/var/run/secrets"}]));
}

#[test]
fn the_patch_grows_with_the_pod_not_with_its_square() {
    let env: Vec<Value> = (0..2000).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "x"})).collect();
    let containers =
        |count: usize| -> Vec<Value> { (0..count).map(|n| json!({"name": format!("c{n}"), "image": "i", "env": env})).collect() };
    let size = |count: usize| {
        let mut pod = pod(&[VNC]);
        pod["spec"]["containers"] = json!(containers(count));
        patch(&decide(&pod, None)).as_json().len()
    };
    let (one, eleven, hundred_and_one) = (size(1), size(11), size(101));
    let (each, each_of_many) = ((eleven - one) / 10, (hundred_and_one - eleven) / 90);
    assert!(each_of_many <= each + 16, "{each} then {each_of_many} bytes a container");
    assert!(each < 1200, "{each} bytes a container");
}
