//! A pod's own desktop as a connection of Guacamole.

use super::*;

const BOTH: [(&str, &str); 3] = [
    ("outrigger.dev/inject", "vnc, guacamole"),
    ("guacamole.outrigger.dev/configuration", "guacamole-properties"),
    ("guacamole.outrigger.dev/desktop", "Desk of {pod}"),
];

fn mounts_of_it(pod: &Value, name: &str) -> Vec<Value> {
    let mounts = container(pod, name).get("volumeMounts").and_then(Value::as_array).cloned().unwrap_or_default();
    mounts.into_iter().filter(|mount| mount["name"] == "outrigger-own-desktop").collect()
}

fn environment<'a>(pod: &'a Value, name: &str, variable: &str) -> Option<&'a Value> {
    container(pod, name)["env"].as_array().unwrap().iter().find(|found| found["name"] == variable)
}

#[test]
fn the_desktop_writes_where_the_provisioner_reads_and_nobody_else_sees_it() {
    let pod = injected(&with(&BOTH, ("guacamole.outrigger.dev/connections-folder", "/srv/c/")));
    let volume = pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "outrigger-own-desktop").unwrap();
    assert_eq!(volume["emptyDir"], json!({"medium": "Memory", "sizeLimit": "1Mi"}));
    let written = json!({"name": "outrigger-own-desktop", "mountPath": "/run/outrigger/guacamole"});
    assert_eq!(mounts_of_it(&pod, "outrigger-vnc"), [written]);
    let read = json!({"name": "outrigger-own-desktop", "mountPath": "/srv/c/own_desktop", "readOnly": true});
    assert_eq!(mounts_of_it(&pod, "outrigger-guacamole"), [read]);
    assert!(mounts_of_it(&pod, "app").is_empty());
}

#[test]
fn the_desktop_is_told_where_it_is_by_the_pod() {
    let pod = injected(&pod(
        &[&BOTH[..], &[("vnc.outrigger.dev/rfb-port", "5905"), ("guacamole.outrigger.dev/desktop-users", "a, b$c")]].concat()
    ));
    let vnc = container(&pod, "outrigger-vnc");
    for (name, value) in [
        ("VNC_RFB_PORT", "5905"),
        ("VNC_RFB_HOST", "::"),
        ("VNC_GUACAMOLE_FOLDER", "/run/outrigger/guacamole"),
        ("VNC_GUACAMOLE_NAME", "Desk of {pod}"),
        ("VNC_GUACAMOLE_USERS", "a, b$$c"),
    ] {
        assert_eq!(variable(vnc, name), Some(value));
    }
    for (name, field) in [("POD_IP", "status.podIP"), ("POD_NAME", "metadata.name")] {
        assert_eq!(environment(&pod, "outrigger-vnc", name), Some(&json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}})));
    }
    assert_eq!(vnc["ports"][1], json!({"name": "vnc-rfb", "containerPort": 5905, "protocol": "TCP"}));
    // As the kubelet hands them over, the program reads them.
    let given = |row: &outrigger::sidecars::setting::Row| match row.name {
        "POD_IP" => Some("fd00::7".to_owned()),
        "POD_NAME" => Some("desk-0".to_owned()),
        name => variable(vnc, name).map(|value| value.replace("$$", "$")),
    };
    let connection = outrigger::sidecars::vnc::settings::read(given, |row| row.name.to_owned()).unwrap().rfb.unwrap().connection.unwrap();
    assert_eq!((connection.name.as_str(), connection.users.as_slice()), ("Desk of desk-0", &["a".to_owned(), "b$c".to_owned()][..]));
    assert_eq!(connection.host.to_string(), "fd00::7");
    assert_eq!(decide(&pod, None).warnings, [""; 0]);
}

/// Provisioners with different files need different owners, or one alone would write.
#[test]
fn a_connection_of_each_pod_has_an_owner_of_each_pod() {
    for (written, owner) in [(None, "default.$(POD_NAME)"), (Some("desks"), "desks.$(POD_NAME)")] {
        let owners = written.map(|written| ("guacamole.outrigger.dev/owner", written));
        let pod = injected(&pod(&BOTH.into_iter().chain(owners).collect::<Vec<_>>()));
        assert_eq!(variable(container(&pod, "outrigger-guacamole"), "OWNER"), Some(owner));
        let names: Vec<_> = container(&pod, "outrigger-guacamole")["env"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        let place = |name: &str| names.iter().position(|found| *found == name);
        assert!(place("POD_NAME").is_some() && place("POD_NAME") < place("OWNER"), "the kubelet knows only what stands before: {names:?}");
        assert_eq!(names.iter().filter(|name| **name == "OWNER").count(), 1);
    }
    let one = injected(&with(&BOTH[..2], ("guacamole.outrigger.dev/desktop", "Desk")));
    assert_eq!(variable(container(&one, "outrigger-guacamole"), "OWNER"), None, "the next pod is to take it over");
}

#[test]
fn without_the_annotation_there_is_no_port_and_no_volume() {
    let mut annotations = vec![BOTH[0], BOTH[1], ("guacamole.outrigger.dev/connections", "office")];
    let silent = injected(&pod(&annotations)).to_string();
    for word in ["VNC_RFB", "VNC_GUACAMOLE", "POD_IP", "own-desktop", "vnc-rfb"] {
        assert!(!silent.contains(word), "{word}");
    }
    for (key, value) in [("vnc.outrigger.dev/rfb-port", "5901"), ("guacamole.outrigger.dev/desktop-users", "alice")] {
        annotations.push((key, value));
        let message = denial(&pod(&annotations));
        assert!(message.contains(key) && message.contains("set guacamole.outrigger.dev/desktop too"), "{message}");
        annotations.pop();
    }
}

#[test]
fn a_desktop_that_is_not_there_can_not_be_registered() {
    let message = denial(&with(&GUACAMOLE, ("guacamole.outrigger.dev/desktop", "Desk")));
    assert!(
        message.contains("guacamole.outrigger.dev/desktop registers the pod's own desktop, and outrigger.dev/inject does not name vnc"),
        "{message}"
    );
}

#[test]
fn a_port_that_is_taken_is_named_by_its_annotation() {
    let mut pod = pod(&BOTH);
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 5900}]);
    assert!(denial(&pod).contains("port 5900 of outrigger-vnc is taken by container app: choose another with vnc.outrigger.dev/rfb-port"));
}
