//! What each of the sidecars adds to a pod, setting by setting.

use outrigger::{
    api::annotations::TABLE,
    sidecars::{file_sync::settings, setting},
};

use super::*;

// ---- VNC ----

#[test]
fn a1_a6_vnc_shares_socket_and_cookie_read_only_with_chosen_containers_alone() {
    let mut pod = with(&[VNC], ("vnc.outrigger.dev/containers", "app"));
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "worker"}));
    let pod = injected(&pod);
    let app = container(&pod, "app");
    assert_eq!(variable(app, "DISPLAY"), Some(":99"));
    assert_eq!(variable(app, "XAUTHORITY"), Some("/run/outrigger/xauth/cookie"));
    assert_eq!(
        app["volumeMounts"],
        json!([
            {"name": "outrigger-x11", "mountPath": "/tmp/.X11-unix", "readOnly": true},
            {"name": "outrigger-xauth", "mountPath": "/run/outrigger/xauth", "readOnly": true},
        ])
    );
    assert_eq!(container(&pod, "worker"), &json!({"name": "worker"}));
    let vnc = container(&pod, "outrigger-vnc");
    assert_eq!(vnc["ports"], json!([{"name": "vnc-ws", "containerPort": 6080, "protocol": "TCP"}]));
    assert_eq!(vnc["command"], json!(["outrigger", "vnc"]));
    assert_eq!(vnc["startupProbe"]["exec"]["command"], json!(["outrigger", "vnc", "probe"]));
}

/// Which user the X server runs as, whether clients may share memory, and the cookie's mode.
#[test]
fn vnc_users_by_the_chosen_containers_alone() {
    let user = |user: i64| json!({"runAsUser": user});
    let table = [
        ("unknown", json!(null), json!(null), json!(null), (1000, "false", "0444")),
        ("pod says", user(2000), json!(null), json!(null), (2000, "true", "0440")),
        ("container says", json!(null), user(3000), json!(null), (3000, "true", "0440")),
        ("container over pod", user(2000), user(3000), json!(null), (3000, "true", "0440")),
        ("an unchosen container doesn't count", json!(null), user(3000), user(4000), (3000, "true", "0440")),
        ("root", user(0), json!(null), json!(null), (1000, "false", "0444")),
    ];
    for (case, of_pod, of_app, of_worker, (expected, shm, cookie)) in table {
        let mut pod = with(&[VNC], ("vnc.outrigger.dev/containers", "app"));
        let spec = pod["spec"].as_object_mut().unwrap();
        spec.insert("securityContext".into(), of_pod);
        spec.insert(
            "containers".into(),
            json!([{"name": "app", "securityContext": of_app}, {"name": "worker", "securityContext": of_worker}]),
        );
        let pod = injected(&pod);
        let vnc = container(&pod, "outrigger-vnc");
        assert_eq!(vnc["securityContext"]["runAsUser"], expected, "{case}");
        assert_eq!(variable(vnc, "VNC_MIT_SHM"), Some(shm), "{case}");
        assert_eq!(variable(vnc, "VNC_COOKIE_MODE"), Some(cookie), "{case}");
    }
}

#[test]
fn vnc_users_of_several_chosen_containers_must_agree() {
    let mut pod = pod(&[VNC]);
    pod["spec"]["containers"] =
        json!([{"name": "a", "securityContext": {"runAsUser": 7}}, {"name": "b", "securityContext": {"runAsUser": 8}}]);
    let mixed = injected(&pod);
    assert_eq!(container(&mixed, "outrigger-vnc")["securityContext"]["runAsUser"], 1000);
    assert_eq!(variable(container(&mixed, "outrigger-vnc"), "VNC_MIT_SHM"), Some("false"));
    pod["metadata"]["annotations"]["vnc.outrigger.dev/user-id"] = json!("7");
    assert_eq!(container(&injected(&pod), "outrigger-vnc")["securityContext"]["runAsUser"], 7);
}

#[test]
fn vnc_attaches_to_the_one_container_that_brings_the_x_server() {
    let pod = injected(&with(&[VNC], ("vnc.outrigger.dev/mode", "attach")));
    let app = container(&pod, "app");
    assert!(app.get("env").is_none(), "its display is its own");
    assert_eq!(app["volumeMounts"], json!([{"name": "outrigger-x11", "mountPath": "/tmp/.X11-unix"}]), "writable, for its socket");
    let vnc = container(&pod, "outrigger-vnc");
    assert_eq!(variable(vnc, "VNC_MODE"), Some("attach"));
    assert_eq!(variable(vnc, "XAUTHORITY"), None, "no cookie of ours");

    let mut two = with(&[VNC], ("vnc.outrigger.dev/mode", "attach"));
    two["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "worker"}));
    let message = denial(&two);
    assert!(message.contains("set vnc.outrigger.dev/containers to one of app, worker"), "{message}");
}

#[test]
fn a10_vnc_gives_shared_memory_on_request() {
    let pod = injected(&with(&[VNC], ("vnc.outrigger.dev/shared-memory", "256Mi")));
    let volume = pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "outrigger-shm").unwrap();
    assert_eq!(volume["emptyDir"], json!({"medium": "Memory", "sizeLimit": "256Mi"}));
    assert!(container(&pod, "app")["volumeMounts"].as_array().unwrap().iter().any(|mount| mount["mountPath"] == "/dev/shm"));
}

/// A Secret that is not named is neither mounted nor told of.
#[test]
fn vnc_knows_of_secrets_by_annotation_alone() {
    let open = injected(&pod(&[VNC])).to_string();
    for word in ["VNC_TICKETS", "VNC_CLAIMS_KEYS_FILE", "VNC_TLS_FOLDER", "outrigger-vnc-access", "outrigger-vnc-tls"] {
        assert!(!open.contains(word), "{word}");
    }
    let tls = injected(&with(&[VNC], ("vnc.outrigger.dev/tls-secret", "desk-tls"))).to_string();
    assert!(tls.contains("VNC_TLS_FOLDER") && !tls.contains("VNC_TICKETS"));
}

#[test]
fn vnc_says_nothing_of_tokens_where_none_is_asked_for() {
    for (key, value) in [("vnc.outrigger.dev/session", "desk-1"), ("vnc.outrigger.dev/token-in-address", "true")] {
        let message = denial(&with(&[VNC], (key, value)));
        assert!(message.contains(key) && message.contains("vnc.outrigger.dev/access-secret") && message.contains("leave"), "{message}");
        let asked = injected(&with(&[VNC, ("vnc.outrigger.dev/access-secret", "desk-access")], (key, value)));
        assert!(variable(container(&asked, "outrigger-vnc"), "VNC_CLAIMS_KEYS_FILE").is_some());
    }
    injected(&with(&[VNC], ("vnc.outrigger.dev/token-in-address", "false")));
}

#[test]
fn every_sidecar_is_told_the_version_of_whoever_added_it() {
    let pod = injected(&all_three());
    for name in ["outrigger-vnc", "outrigger-file-sync", "outrigger-guacamole"] {
        assert_eq!(variable(container(&pod, name), "OUTRIGGER_VERSION"), Some(env!("CARGO_PKG_VERSION")), "{name}");
    }
}

/// The sidecar's program can read every variable that annotations set.
#[test]
fn vnc_variables_are_settings_of_the_program() {
    for key in TABLE.iter().filter(|key| key.sidecar() == Some(SidecarKind::Vnc)) {
        let Some(variable) = key.variable else { continue };
        let known = outrigger::sidecars::vnc::settings::TABLE.iter().any(|row| row.name == variable);
        assert!(known, "{} sets {variable}", key.name);
    }
}

// ---- file sync ----

#[test]
fn file_sync_uses_the_pods_service_account_through_a_token_of_its_own() {
    let mut pod = pod(&FILE_SYNC);
    pod["spec"]["automountServiceAccountToken"] = json!(false);
    pod["spec"]["initContainers"] = json!([{"name": "migrate"}]);
    let pod = injected(&pod);
    let mounts = |name| container(&pod, name)["volumeMounts"].to_string();
    assert!(mounts("outrigger-file-sync").contains("/var/run/secrets/kubernetes.io/serviceaccount"));
    for name in ["app", "migrate"] {
        assert!(!mounts(name).contains("serviceaccount"), "no other container mounts it");
        assert_eq!(
            container(&pod, name)["volumeMounts"],
            json!([{"name": "outrigger-files", "mountPath": "/srv/files", "readOnly": true}])
        );
    }
    let volume = pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "outrigger-file-sync-token").unwrap();
    let sources = volume["projected"]["sources"].as_array().unwrap();
    assert_eq!(sources[0]["serviceAccountToken"], json!({"path": "token", "expirationSeconds": 3607}));
    assert_eq!(sources[2]["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"], "metadata.namespace");
}

#[test]
fn file_sync_writes_to_a_volume_of_the_pod_where_one_is_named() {
    let mut pod = with(&FILE_SYNC, ("file-sync.outrigger.dev/volume", "config"));
    pod["spec"]["volumes"] = json!([{"name": "config", "emptyDir": {}}]);
    pod["spec"]["containers"] =
        json!([{"name": "app", "volumeMounts": [{"name": "config", "mountPath": "/srv/files"}]}, {"name": "worker"}]);
    let done = injected(&pod);
    assert_eq!(container(&done, "app"), &pod["spec"]["containers"][0], "it mounts it already");
    assert_eq!(container(&done, "worker")["volumeMounts"], json!([{"name": "config", "mountPath": "/srv/files", "readOnly": true}]));
    assert!(!names(&done, "volumes").contains(&"outrigger-files"));

    pod["spec"]["volumes"] = json!([{"name": "other", "emptyDir": {}}]);
    let message = denial(&pod);
    assert!(message.contains("names the volume \"config\", which the pod does not have: it has other"), "{message}");
}

/// How an annotation sets each variable of the file mirror's programs people come from.
#[test]
fn file_sync_variables() {
    let table = [
        ("METHOD", "mode", "poll", "poll"),
        ("NAMESPACE", "namespaces", "default,production", "default,production"),
        ("NAMESPACE", "namespaces", "ALL", "ALL"),
        ("FOLDER", "folder", "/etc/dashboards", "/etc/dashboards"),
        ("LABEL", "label", "grafana_dashboard", "grafana_dashboard"),
        ("LABEL_VALUE", "label-value", "1", "1"),
        ("RESOURCE", "kinds", "configmaps", "configmap"),
        ("RESOURCE", "kinds", "secrets", "secret"),
        ("RESOURCE", "kinds", "both", "both"),
        ("REQ_URL", "notify-url", "http://localhost:8080/reload", "http://localhost:8080/reload"),
        ("REQ_METHOD", "notify-method", "POST", "POST"),
        ("REQ_PAYLOAD", "notify-payload", "{\"event\":\"config-updated\"}", "{\"event\":\"config-updated\"}"),
        ("REQ_USERNAME_FILE", "notify-secret", "reload-user", "/run/outrigger/notify/username"),
        ("REQ_PASSWORD_FILE", "notify-secret", "reload-user", "/run/outrigger/notify/password"),
        ("REQ_SKIP_INIT", "notify-initial", "false", "true"),
        ("REQ_SKIP_INIT", "notify-initial", "true", "false"),
        ("UNIQUE_FILENAMES", "unique-filenames", "true", "true"),
        ("FOLDER_ANNOTATION", "folder-annotation", "example.com/folder", "example.com/folder"),
        ("RESOURCE_NAME", "names", "a, b", "a, b"),
        ("SCRIPT", "script", "/usr/local/bin/reload", "/usr/local/bin/reload"),
        ("ENABLE_5XX", "notify-retry-5xx", "true", "true"),
        ("IGNORE_ALREADY_PROCESSED", "ignore-processed", "true", "true"),
        ("LOG_LEVEL", "log-level", "debug", "debug"),
        ("DEFAULT_FILE_MODE", "file-mode", "0640", "0640"),
        ("PUBLISH", "publish", "together", "together"),
        ("URL_REFRESH", "url-refresh", "5m", "300"),
        ("URL_REFRESH", "url-refresh", "0", "0"),
        ("POLL_INTERVAL", "interval", "1m30s", "90"),
        ("HEALTH_PORT", "health-port", "9000", "9000"),
    ];
    for (name, key, written, expected) in table {
        let key = format!("file-sync.outrigger.dev/{key}");
        let mut annotations: Vec<_> = FILE_SYNC.into_iter().filter(|(given, _)| *given != key).collect();
        annotations.push((&key, written));
        let pod = injected(&pod(&annotations));
        assert_eq!(variable(container(&pod, "outrigger-file-sync"), name), Some(expected), "{key}: {written}");
        understood(&pod);
    }
}

/// What the sidecar makes of the variables it is given.
fn understood(pod: &Value) -> String {
    let sidecar = container(pod, "outrigger-file-sync");
    // As the kubelet hands them over.
    let given = |row: &setting::Row| variable(sidecar, row.name).map(|value| value.replace("$$", "$"));
    format!("{:?}", settings::read(given).unwrap())
}

#[test]
fn what_nobody_writes_is_what_the_annotations_page_says_holds_by_default() {
    let silent = understood(&injected(&pod(&FILE_SYNC)));
    assert!(silent.contains("namespaces: Own"), "{silent}");
    for key in TABLE.iter().filter(|key| key.sidecar() == Some(SidecarKind::FileSync) && key.variable.is_some()) {
        let Some(default) = key.default else { continue };
        let written = injected(&with(&FILE_SYNC, (key.name, default)));
        assert_eq!(understood(&written), silent, "{}: {default}", key.name);
    }
}

#[test]
fn the_kubelet_shows_what_file_sync_waits_for() {
    let pod = injected(&pod(&FILE_SYNC));
    let sidecar = container(&pod, "outrigger-file-sync");
    assert_eq!(sidecar["startupProbe"]["exec"]["command"], json!(["outrigger", "file-sync", "probe"]));
    assert_eq!(sidecar["livenessProbe"]["httpGet"], json!({"path": "/livez", "port": 15801}));
}

#[test]
fn file_sync_mounts_notify_credentials_as_files_of_an_optional_secret() {
    let pod = injected(&with(&FILE_SYNC, ("file-sync.outrigger.dev/notify-secret", "reload-user")));
    let volume = pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "outrigger-file-sync-notify").unwrap();
    assert_eq!(volume["secret"], json!({"secretName": "reload-user", "optional": true}));
}

/// Whether the author is warned of an app that can't read what will be written: pod, app, kinds and mode.
#[test]
fn file_sync_warns_of_files_that_the_app_can_not_read() {
    let (user, none) = (|user: i64| json!({"runAsUser": user}), json!({}));
    let table = [
        ("of an image's user nothing is known", &none, &none, "secrets", "", false),
        ("the sidecar runs as the pod's user", &user(2000), &none, "secrets", "", false),
        ("the app runs as another", &none, &user(2000), "secrets", "", true),
        ("over the pod's user", &user(3000), &user(2000), "both", "", true),
        ("all may read the files of ConfigMaps", &none, &user(2000), "configmaps", "", false),
        ("unless the mode says otherwise", &none, &user(2000), "configmaps", "0400", true),
        ("a mode for all", &none, &user(2000), "secrets", "0444", false),
        ("root reads all", &none, &user(0), "secrets", "", false),
        ("the pod's fsGroup", &json!({"fsGroup": 7}), &user(2000), "secrets", "", false),
        ("which a mode for the owner leaves out", &json!({"fsGroup": 7}), &user(2000), "secrets", "0400", true),
        ("the pod's group", &json!({"runAsGroup": 7}), &user(2000), "secrets", "", false),
        ("a container's own group", &json!({"runAsGroup": 7}), &json!({"runAsUser": 2000, "runAsGroup": 8}), "secrets", "", true),
        ("the sidecar's group", &none, &json!({"runAsUser": 2000, "runAsGroup": 1000}), "secrets", "", false),
        ("a further group", &json!({"supplementalGroups": [1000]}), &user(2000), "secrets", "", false),
    ];
    for (case, of_pod, of_app, kinds, mode, expected) in table {
        let mut annotations = [&FILE_SYNC[..], &[("file-sync.outrigger.dev/kinds", kinds)]].concat();
        annotations.extend((!mode.is_empty()).then_some(("file-sync.outrigger.dev/file-mode", mode)));
        let mut pod = pod(&annotations);
        pod["spec"]["securityContext"] = of_pod.clone();
        pod["spec"]["containers"][0]["securityContext"] = of_app.clone();
        let warnings = decide(&pod, None).warnings;
        assert_eq!(warnings.len(), usize::from(expected), "{case}: {warnings:?}");
        for part in ["container app runs as user 2000", "fsGroup", "file-sync.outrigger.dev/file-mode to \"0444\""] {
            assert!(warnings.iter().all(|warning| warning.contains(part)), "{case}: {warnings:?}");
        }
        let again = decide(&injected(&pod), None).warnings;
        assert_eq!(again, warnings, "{case}: the same is said of the pod that has its sidecar");
    }
}

#[test]
fn file_sync_warns_of_an_app_that_would_be_called_before_it_starts() {
    let warned = |mode: &str, url: &str| {
        let more = [("file-sync.outrigger.dev/mode", mode), ("file-sync.outrigger.dev/notify-url", url)];
        decide(&pod(&[&FILE_SYNC[..], &more].concat()), None).warnings
    };
    let warnings = warned("once", "http://localhost:8080/reload");
    assert!(warnings.len() == 1 && warnings[0].contains("file-sync.outrigger.dev/notify-url is called while"), "{warnings:?}");
    assert!(warned("watch", "http://localhost:8080/reload").is_empty(), "it is called again");
    assert!(warned("once", "http://reloader.tools/").is_empty());
}

// ---- Guacamole ----

#[test]
fn guacamole_mounts_each_secret_by_name_optional_and_read_only() {
    let pod = injected(&pod(&GUACAMOLE));
    let mounts = &container(&pod, "outrigger-guacamole")["volumeMounts"];
    assert_eq!(
        *mounts,
        json!([
            {"name": "outrigger-connection-0", "mountPath": "/connections/office", "readOnly": true},
            {"name": "outrigger-connection-1", "mountPath": "/connections/lab", "readOnly": true},
            {"name": "outrigger-guacamole", "mountPath": "/config", "readOnly": true},
            {"name": "outrigger-no-token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
        ])
    );
    for volume in pod["spec"]["volumes"].as_array().unwrap().iter().filter(|volume| volume["name"] != "outrigger-no-token") {
        assert_eq!(volume["secret"]["optional"], true, "a missing one doesn't hold the pod back");
    }
    assert_eq!(container(&pod, "app"), &json!({"name": "app", "image": "app:1"}), "the app gets nothing");
}

/// How an annotation sets each variable of the provisioner people come from.
#[test]
fn guacamole_variables() {
    let table = [
        ("CONNECTIONS_DIR", "connections-folder", "/srv/connections", "/srv/connections"),
        ("CONFIG_DIR", "configuration-folder", "/etc/guacamole", "/etc/guacamole"),
        ("DB_HOST", "database-host", "db.example.com", "db.example.com"),
        ("DB_PORT", "database-port", "5433", "5433"),
        ("DB_NAME", "database-name", "guac", "guac"),
        ("DB_USER", "database-user", "guac", "guac"),
        ("STARTUP_DELAY", "startup-delay", "15s", "15"),
        ("POLL_INTERVAL", "interval", "3m", "180"),
        ("BATCH_SIZE", "batch-size", "500", "500"),
        ("PRUNE", "prune", "false", "false"),
        ("PRUNE_DELAY", "prune-delay", "5m", "300"),
        ("LOG_LEVEL", "log-level", "warn", "warn"),
    ];
    for (name, key, written, expected) in table {
        let key = format!("guacamole.outrigger.dev/{key}");
        let pod = injected(&with(&GUACAMOLE, (&key, written)));
        assert_eq!(variable(container(&pod, "outrigger-guacamole"), name), Some(expected), "{key}: {written}");
    }
    let moved = injected(&with(&GUACAMOLE, ("guacamole.outrigger.dev/connections-folder", "/srv/c/")));
    assert_eq!(container(&moved, "outrigger-guacamole")["volumeMounts"][0]["mountPath"], "/srv/c/office");
}

#[test]
fn guacamole_reads_its_configuration_from_a_volume_of_the_pod_instead() {
    let mut pod = pod(&[GUACAMOLE[0], GUACAMOLE[1], ("guacamole.outrigger.dev/configuration-volume", "state")]);
    assert!(denial(&pod).contains("names the volume \"state\", which the pod does not have: it has none"));
    pod["spec"]["volumes"] = json!([{"name": "state", "persistentVolumeClaim": {"claimName": "guacamole"}}]);
    let done = injected(&pod);
    let mounts = container(&done, "outrigger-guacamole")["volumeMounts"].as_array().unwrap().clone();
    assert!(mounts.contains(&json!({"name": "state", "mountPath": "/config", "readOnly": true})));
    pod["metadata"]["annotations"]["guacamole.outrigger.dev/configuration"] = json!("secret");
    assert!(denial(&pod).contains("exclude each other"));
}

#[test]
fn guacamole_keeps_generated_passwords_in_a_volume_of_the_pod() {
    let mut pod = with(&GUACAMOLE, ("guacamole.outrigger.dev/passwords-volume", "kept"));
    assert!(denial(&pod).contains("names the volume \"kept\", which the pod does not have: it has none"));
    pod["spec"]["volumes"] = json!([{"name": "kept", "secret": {"secretName": "s"}}]);
    assert!(denial(&pod).contains("which nobody can write to"));
    pod["spec"]["volumes"] = json!([{"name": "kept", "persistentVolumeClaim": {"claimName": "passwords"}}]);
    let done = injected(&pod);
    let sidecar = container(&done, "outrigger-guacamole");
    assert_eq!(variable(sidecar, "PASSWORDS_DIR"), Some("/run/outrigger/passwords"));
    let mounts = sidecar["volumeMounts"].as_array().unwrap();
    assert!(mounts.contains(&json!({"name": "kept", "mountPath": "/run/outrigger/passwords"})), "{mounts:?}");
    assert!(!container(&done, "app")["volumeMounts"].to_string().contains("kept"), "nobody else sees them");
}
