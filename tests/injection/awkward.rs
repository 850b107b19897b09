//! Pods that are legal, or nearly, and awkward.

use super::*;

fn containers(annotations: &[(&str, &str)], containers: Value) -> Value {
    let mut pod = pod(annotations);
    pod["spec"]["containers"] = containers;
    pod
}

#[test]
fn two_containers_of_one_name_are_refused_before_any_work_is_done() {
    let many: Vec<Value> = (0..400).map(|_| json!({"name": "a", "env": [{"name": "DISPLAY", "value": ":0"}]})).collect();
    assert!(denial(&containers(&[VNC], json!(many))).contains("two containers are named \"a\""));
    let too_many: Vec<Value> = (0..501).map(|n| json!({"name": format!("c{n}")})).collect();
    assert!(denial(&containers(&[VNC], json!(too_many))).contains("at most 500"));
}

#[test]
fn a_container_named_twice_is_served_once_and_a_sidecar_not_at_all() {
    let done = injected(&with(&[VNC], ("vnc.outrigger.dev/containers", "app, app")));
    assert_eq!(container(&done, "app")["volumeMounts"].as_array().unwrap().len(), 2);
    injected(&pod(&[VNC, ("vnc.outrigger.dev/mode", "attach"), ("vnc.outrigger.dev/containers", "app,app")]));
    let named = containers(
        &[VNC, ("vnc.outrigger.dev/containers", "app,outrigger-vnc")],
        json!([{"name": "app"}, {"name": "outrigger-vnc", "image": "x"}]),
    );
    assert!(denial(&named).contains("is a sidecar: take it out"));
}

#[test]
fn once_beside_a_plain_proxy_would_never_end() {
    let mut pod = with(&FILE_SYNC, ("file-sync.outrigger.dev/mode", "once"));
    pod["spec"]["initContainers"] = json!([{"name": "istio-init"}]);
    let message = denial(&pod);
    assert!(message.contains("traffic is redirected to istio-proxy") && message.contains("\"watch\""), "{message}");
}

#[test]
fn a_later_container_of_another_user_opens_the_cookie_and_closes_shared_memory() {
    let mut pod = injected(&containers(&[VNC], json!([{"name": "app", "securityContext": {"runAsUser": 2000}}])));
    assert_eq!(variable(container(&pod, "outrigger-vnc"), "VNC_COOKIE_MODE"), Some("0440"));
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late", "securityContext": {"runAsUser": 3000}}));
    let done = patched(&pod, &patch(&decide(&pod, None)));
    let vnc = container(&done, "outrigger-vnc");
    assert_eq!((variable(vnc, "VNC_COOKIE_MODE"), variable(vnc, "VNC_MIT_SHM")), (Some("0444"), Some("false")));
    assert_eq!(vnc["securityContext"]["runAsUser"], 2000, "it runs already as it was made");
    assert!(patch(&decide(&done, None)).is_empty());
}

#[test]
fn the_user_of_a_container_under_our_name_counts() {
    let pod = containers(
        &[VNC],
        json!([{"name": "outrigger-vnc", "image": "auto", "securityContext": {"runAsUser": 77}}, {"name": "app", "securityContext": {"runAsUser": 2000}}]),
    );
    let done = injected(&pod);
    assert_eq!(variable(container(&done, "outrigger-vnc"), "VNC_MIT_SHM"), Some("false"), "77 shares nothing with 2000");
}

#[test]
fn a_sidecars_own_ports_and_folders_must_be_apart() {
    assert!(denial(&with(&[VNC], ("vnc.outrigger.dev/port", "15803"))).contains("port 15803"));
    let same = [&GUACAMOLE[..], &[("guacamole.outrigger.dev/configuration-folder", "/connections/office")]].concat();
    assert!(denial(&pod(&same)).contains("choose folders apart"));
    let below = [
        &FILE_SYNC[..1],
        &FILE_SYNC[2..],
        &[("file-sync.outrigger.dev/folder", "/run/outrigger/notify/x"), ("file-sync.outrigger.dev/notify-secret", "s")],
    ]
    .concat();
    assert!(denial(&pod(&below)).contains("choose folders apart"));
}

#[test]
fn dollars_in_values_stay_dollars() {
    let pod = injected(&with(&FILE_SYNC, ("file-sync.outrigger.dev/notify-payload", "a$(LABEL)$$b")));
    assert_eq!(variable(container(&pod, "outrigger-file-sync"), "REQ_PAYLOAD"), Some("a$$(LABEL)$$$$b"), "as the kubelet unescapes it");
}

#[test]
fn a_denial_says_that_the_namespace_wrote_the_value() {
    let defaults =
        NamespaceDefaults::from([("outrigger.dev/inject".into(), "vnc".into()), ("vnc.outrigger.dev/geometry".into(), "big".into())]);
    let Outcome::Denied(denials) = decide(&pod(&[]), Some(&defaults)).outcome else { panic!("refused") };
    assert!(denials[0].message.contains("vnc.outrigger.dev/geometry (a default of the namespace) is \"big\""), "{denials:?}");
}

#[test]
fn a_volume_completed_by_the_api_server_is_still_the_same() {
    let mut pod = pod(&GUACAMOLE);
    pod["spec"]["volumes"] =
        json!([{"name": "outrigger-guacamole", "secret": {"secretName": "guacamole-properties", "optional": true, "defaultMode": 420}}]);
    injected(&pod);
}

#[test]
fn a_volume_nobody_can_write_to_is_no_place_for_files() {
    let mut pod = with(&FILE_SYNC, ("file-sync.outrigger.dev/volume", "config"));
    pod["spec"]["volumes"] = json!([{"name": "config", "configMap": {"name": "c"}}]);
    assert!(denial(&pod).contains("which nobody can write to"));
}

#[test]
fn a_container_for_our_image_gets_our_policy_whatever_the_api_server_filled_in() {
    let pod = containers(
        &[VNC],
        json!([{"name": "app"}, {"name": "outrigger-vnc", "image": "auto", "imagePullPolicy": "Always", "resources": {}, "terminationMessagePath": "/dev/termination-log"}]),
    );
    let done = injected(&pod);
    let vnc = container(&done, "outrigger-vnc");
    assert_eq!(vnc["imagePullPolicy"], "IfNotPresent");
    assert_eq!(vnc["resources"]["requests"]["cpu"], "100m");
    assert_eq!(restored(&done), pod);
}

#[test]
fn edits_in_a_merged_container_survive_its_undoing() {
    for image in ["mine:1", "auto"] {
        let pod =
            containers(&[VNC], json!([{"name": "app"}, {"name": "outrigger-vnc", "image": image, "env": [{"name": "OWN", "value": "1"}]}]));
        let mut done = injected(&pod);
        let list = if image == "auto" { "initContainers" } else { "containers" };
        let index = done["spec"][list].as_array().unwrap().iter().position(|container| container["name"] == "outrigger-vnc").unwrap();
        done["spec"][list][index]["env"].as_array_mut().unwrap().push(json!({"name": "MINE", "value": "2"}));
        done["spec"][list][index]["workingDir"] = json!("/home");
        let undone = restored(&done);
        let vnc = container(&undone, "outrigger-vnc");
        assert_eq!(
            vnc,
            &json!({"name": "outrigger-vnc", "image": image, "workingDir": "/home", "env": [{"name": "OWN", "value": "1"}, {"name": "MINE", "value": "2"}]})
        );
    }
}

#[test]
fn a_merged_container_is_not_given_what_contradicts_it() {
    let pod = containers(
        &[VNC],
        json!([{"name": "app"}, {"name": "outrigger-vnc", "image": "mine:1", "ports": [{"name": "vnc-ws", "containerPort": 7000}], "securityContext": {"privileged": true, "runAsUser": 0}}]),
    );
    let done = injected(&pod);
    let vnc = container(&done, "outrigger-vnc");
    assert!(
        vnc["securityContext"].get("allowPrivilegeEscalation").is_none() && vnc["securityContext"].get("runAsNonRoot").is_none(),
        "{vnc}"
    );
    assert_eq!(vnc["ports"].as_array().unwrap().len(), 1, "their port has the name");
}

#[test]
fn a_users_own_sidecar_among_init_containers_runs_on() {
    let mut pod = with(&[VNC], ("outrigger.dev/native-sidecar", "false"));
    pod["spec"]["initContainers"] = json!([{"name": "outrigger-vnc", "image": "mine:1"}]);
    let done = injected(&pod);
    assert_eq!(container(&done, "outrigger-vnc")["restartPolicy"], "Always");
    assert_eq!(restored(&done), pod);
}

#[test]
fn a_pod_that_was_skipped_can_be_injected_when_the_reason_is_gone() {
    let mut pod = pod(&[VNC]);
    pod["spec"]["hostNetwork"] = json!(true);
    let mut told = patched(&pod, &patch(&decide(&pod, None)));
    told["spec"]["hostNetwork"] = json!(false);
    told["metadata"]["annotations"]["vnc.outrigger.dev/geometry"] = json!("800x600");
    let done = injected(&told);
    assert_eq!(names(&done, "initContainers"), ["outrigger-vnc"]);
}

#[test]
fn windows_is_known_by_its_node_label_too_and_bad_values_do_not_matter_then() {
    let mut pod = with(&[VNC], ("vnc.outrigger.dev/geometry", "big"));
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"});
    assert!(matches!(decide(&pod, None).outcome, Outcome::Skipped { reason: SkipReason::Windows, .. }));
}

#[test]
fn settings_of_sidecars_nobody_asked_for_change_nothing() {
    let done = injected(&pod(&[VNC]));
    let defaults = NamespaceDefaults::from([("guacamole.outrigger.dev/prune".into(), "false".into())]);
    assert!(matches!(decide(&done, Some(&defaults)).outcome, Outcome::Unchanged));
}

#[test]
fn a_huge_value_is_not_stored_twice() {
    let payload = "x".repeat(135_000);
    let pod = injected(&with(&FILE_SYNC, ("file-sync.outrigger.dev/notify-payload", &payload)));
    assert!(pod["metadata"]["annotations"][STATUS].as_str().unwrap().len() < 8_000);
}

#[test]
fn a_plain_sidecar_beside_a_job_is_warned_of() {
    let mut pod = with(&[VNC], ("outrigger.dev/native-sidecar", "false"));
    pod["spec"]["restartPolicy"] = json!("Never");
    assert!(decide(&pod, None).warnings[0].contains("never completes"));
}

#[test]
fn shared_memory_that_is_there_is_solved_by_not_asking_for_it() {
    let mut pod = with(&[VNC], ("vnc.outrigger.dev/shared-memory", "64Mi"));
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "own", "mountPath": "/dev/shm"}]);
    assert!(denial(&pod).contains("remove vnc.outrigger.dev/shared-memory"));
}

#[test]
fn unknown_keys_are_told_up_to_a_limit() {
    let mut pod = pod(&[VNC]);
    for n in 0..5_000 {
        pod["metadata"]["annotations"][format!("vnc.outrigger.dev/{}{n}", "unknown".repeat(10))] = json!("");
    }
    assert_eq!(decide(&pod, None).warnings.len(), 20);
    let silent = json!({"metadata": {"annotations": {"outrigger.dev/injct": "vnc"}}, "spec": {"containers": [{"name": "app"}]}});
    assert!(decide(&silent, None).warnings[0].contains("did you mean outrigger.dev/inject?"));
}
