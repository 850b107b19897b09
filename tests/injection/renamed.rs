//! Uninjection after somebody has renamed containers by hand.

use super::*;
use outrigger::injection::{Uninjection, uninject};

fn undone(pod: &Value) -> (Value, Vec<String>) {
    let Uninjection { patch, warnings } = uninject(&pod.to_string()).unwrap().unwrap();
    (patched(pod, &patch), warnings)
}

/// A pod of these containers, each with a variable of its own.
fn pod_of(annotations: &[(&str, &str)], containers: &[&str]) -> Value {
    let mut pod = pod(annotations);
    let container = |name: &&str| json!({"name": name, "image": "app", "env": [{"name": "OWN", "value": name}]});
    pod["spec"]["containers"] = containers.iter().map(container).collect();
    pod
}

fn rename(pod: &mut Value, from: &str, to: &str) {
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    containers.iter_mut().find(|container| container["name"] == from).unwrap()["name"] = json!(to);
}

#[test]
fn a_renamed_container_is_known_by_its_mounts_of_our_volumes() {
    for written in [pod_of(&[VNC], &["app"]), pod_of(&[VNC], &["app", "other"]), all_three(), pod(&[VNC])] {
        let mut done = injected(&written);
        rename(&mut done, "app", "web");
        let mut expected = written;
        rename(&mut expected, "app", "web");
        let (restored, warnings) = undone(&done);
        assert_eq!(restored, expected);
        assert_eq!(warnings, ["container web was taken for app under another name: it has what was added to app"]);
    }
}

#[test]
fn several_renamed_containers_that_were_given_the_same_are_all_undone() {
    let mut written = pod_of(&[VNC], &["one", "two"]);
    let mut done = injected(&written);
    for pod in [&mut written, &mut done] {
        rename(pod, "one", "second");
        rename(pod, "two", "first");
    }
    let (restored, warnings) = undone(&done);
    assert_eq!(restored, written);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn a_copy_beside_a_renamed_container_is_left_and_told() {
    let mut done = injected(&pod_of(&[VNC], &["app"]));
    rename(&mut done, "app", "web");
    let mut copy = container(&done, "web").clone();
    copy["name"] = json!("copy");
    done["spec"]["containers"].as_array_mut().unwrap().push(copy);
    let (restored, warnings) = undone(&done);
    assert_eq!(restored["spec"]["containers"], done["spec"]["containers"], "which of the two was injected is not known");
    let [lost, mounts @ ..] = &warnings[..] else { panic!("{warnings:?}") };
    let expected = "container app is gone: if it has another name now, take away the mounts at /tmp/.X11-unix";
    assert!(lost.starts_with(expected) && lost.contains("the variables DISPLAY, XAUTHORITY"), "{lost}");
    assert_eq!(mounts.len(), 4, "{warnings:?}");
    let expected = "container web still mounts the volume outrigger-x11 at /tmp/.X11-unix, which is taken away: remove the mount";
    assert_eq!(mounts[0], expected);
}

#[test]
fn a_container_that_was_taken_out_is_told_and_strangers_keep_what_they_have() {
    let mut done = injected(&pod_of(&[VNC], &["app"]));
    let stranger = json!({"name": "stranger", "env": [{"name": "DISPLAY", "value": ":7"}], "volumeMounts": [{"name": "own", "mountPath": "/tmp/.X11-unix"}]});
    done["spec"]["containers"] = json!([stranger]);
    let (restored, warnings) = undone(&done);
    assert_eq!(restored["spec"]["containers"], json!([stranger]));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("container app is gone: "), "{warnings:?}");
}

#[test]
fn a_mount_of_our_volume_that_somebody_added_stays_and_is_told() {
    let mut done = injected(&pod_of(&[VNC], &["app"]));
    let mounts = done["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
    mounts.push(json!({"name": "outrigger-x11", "mountPath": "/elsewhere"}));
    let (restored, warnings) = undone(&done);
    assert_eq!(container(&restored, "app")["volumeMounts"], json!([{"name": "outrigger-x11", "mountPath": "/elsewhere"}]));
    assert_eq!(warnings, ["container app still mounts the volume outrigger-x11 at /elsewhere, which is taken away: remove the mount"]);
}

#[test]
fn nothing_is_told_where_nothing_was_renamed() {
    let done = injected(&all_three());
    assert_eq!(undone(&done).1, Vec::<String>::new());
}
