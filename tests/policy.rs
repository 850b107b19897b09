//! Exported policies at a real API server: pods must come out as the webhook would have made them, without one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "policy/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;
#[path = "policy/pods.rs"]
mod pods;

use std::collections::BTreeMap;

use cluster::{Bound, Outcomes, export, is_injected, refused};
use common::{container, variable, webhook::wait_for};
use outrigger_bed::ControlPlane;
use pods::pod;
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use serde_json::{Value, json};

const PODS: usize = 40;

/// Makes up pods that ask for a profile, and holds the policies' work against the webhook's.
async fn compare(annotations: &[(&str, &str)], values: &str) {
    let profile = pod(annotations);
    let bound = Bound::new(ControlPlane::shared().await, &profile, values).await;
    let mut runner = TestRunner::deterministic();
    let asking = pods::asking(&profile);
    let mut outcomes: BTreeMap<Outcomes, usize> = BTreeMap::new();
    for _ in 0..PODS {
        let pod = asking.new_tree(&mut runner).unwrap().current();
        if let Ok(fates) = bound.fates(&pod).await {
            *outcomes.entry(fates.compare()).or_default() += 1;
        }
    }
    eprintln!("{annotations:?}: {outcomes:?}");
    let count = |outcome| outcomes.get(&outcome).copied().unwrap_or_default();
    assert!(count(Outcomes::Injected) >= PODS / 10 && count(Outcomes::Refused) > 0, "the pods are too much alike: {outcomes:?}");
}

const FILES: [(&str, &str); 2] = [("file-sync.outrigger.dev/folder", "/srv/files"), ("file-sync.outrigger.dev/label", "app")];
const CONNECTIONS: [(&str, &str); 2] =
    [("guacamole.outrigger.dev/connections", "office-pc, build-server"), ("guacamole.outrigger.dev/configuration", "guacamole-properties")];

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_for_all_containers() {
    compare(&[("outrigger.dev/inject", "vnc"), ("vnc.outrigger.dev/geometry", "1600x900")], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_for_one_container_as_a_user_of_its_own() {
    let settings =
        [("vnc.outrigger.dev/containers", "app"), ("vnc.outrigger.dev/user-id", "2000"), ("vnc.outrigger.dev/shared-memory", "64Mi")];
    compare(&[&[("outrigger.dev/inject", "vnc")], &settings[..]].concat(), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_that_attaches() {
    compare(&[("outrigger.dev/inject", "vnc"), ("vnc.outrigger.dev/mode", "attach")], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_for_all_containers() {
    compare(&[&[("outrigger.dev/inject", "file-sync")], &FILES[..]].concat(), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_a_volume_of_the_pod_once() {
    let settings = [("file-sync.outrigger.dev/volume", "files"), ("file-sync.outrigger.dev/mode", "once")];
    compare(&[&[("outrigger.dev/inject", "file-sync")], &FILES[..], &settings[..]].concat(), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_with_the_installations_pull_secrets() {
    let values = "injection: {imagePullSecrets: [registry, second]}\n";
    compare(&[&[("outrigger.dev/inject", "vnc, file-sync, guacamole")], &FILES[..], &CONNECTIONS[..]].concat(), values).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_as_plain_containers() {
    let settings = [("outrigger.dev/native-sidecar", "false"), ("vnc.outrigger.dev/containers", "app")];
    compare(&[&[("outrigger.dev/inject", "guacamole,vnc,file-sync")], &settings[..], &FILES[..], &CONNECTIONS[..]].concat(), "").await;
}

/// All sidecars, for all containers.
fn all_three() -> Value {
    pod(&[&[("outrigger.dev/inject", "vnc, file-sync, guacamole")], &FILES[..], &CONNECTIONS[..]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_containers_are_within_the_budget() {
    let profile = all_three();
    let bound = Bound::new(ControlPlane::shared().await, &profile, "").await;
    let container =
        |name: String| json!({"name": name, "image": "app", "env": [{"name": "LANG", "value": "C"}], "ports": [{"containerPort": 80}]});
    let named = |prefix: &str, count: usize| -> Value { (0..count).map(|index| container(format!("{prefix}-{index}"))).collect() };
    let mut spec = json!({"initContainers": named("init", 20), "containers": named("app", 100)});
    let pod = pods::with(&profile, &spec, &json!({}));
    assert_eq!(bound.fates(&pod).await.unwrap().compare(), Outcomes::Injected);

    spec["containers"][99]["ports"][0]["containerPort"] = json!(6080);
    let refused = bound.create(&pods::with(&profile, &spec, &json!({}))).await.unwrap_err();
    assert!(refused.contains("has a port that a sidecar needs (6080, 15801, 15802, 15803)"), "{refused}");

    let silent = json!({"metadata": {"name": "silent"}, "spec": {"containers": named("app", 1000)}});
    assert!(!is_injected(&bound.create(&silent).await.unwrap()), "pods of others cost next to nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_refuses_and_what_it_leaves_alone() {
    let vnc = [("outrigger.dev/inject", "vnc"), ("vnc.outrigger.dev/containers", "app")];
    let bound = Bound::new(ControlPlane::shared().await, &pod(&vnc), "").await;
    let app_with = |members: Value| {
        let mut container = json!({"name": "app", "image": "app"});
        container.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        json!({"containers": [container], "volumes": [{"name": "v", "emptyDir": {}}]})
    };
    let app = app_with(json!({}));
    for (spec, annotations, sentence) in [
        (
            &app,
            json!({"vnc.outrigger.dev/containers": "app "}),
            r#"write outrigger.dev/inject: "vnc", vnc.outrigger.dev/containers: "app""#,
        ),
        (&app, json!({"outrigger.dev/inject": " vnc, "}), "has other settings"),
        (&app, json!({"vnc.outrigger.dev/clipbord": "in"}), "no other annotation of Outrigger"),
        (
            &json!({"containers": [{"name": "x", "image": "x"}]}),
            json!({}),
            "names a container that the pod does not have: it must have app",
        ),
        (
            &app_with(json!({"env": [{"name": "DISPLAY", "value": ":1"}]})),
            json!({}),
            "(DISPLAY=:99, XAUTHORITY=/run/outrigger/xauth/cookie)",
        ),
        (&app_with(json!({"volumeMounts": [{"name": "v", "mountPath": "/tmp/.X11-unix/"}]})), json!({}), "where vnc is mounted"),
    ] {
        let refused = bound.create(&pods::with(&pod(&vnc), spec, &annotations)).await.unwrap_err();
        assert!(refused.contains(sentence), "{refused}");
        assert!(!refused.contains("has not seen the pod"), "one reason: {refused}");
    }
    let asking_for = |list: &str| json!({"outrigger.dev/inject": list});
    for (spec, annotations) in [
        (&app, asking_for("vnc, guacamole")),
        (&app, asking_for("none")),
        (&json!({"hostNetwork": true, "containers": app["containers"]}), json!({})),
    ] {
        let created = bound.create(&pods::with(&pod(&vnc), spec, &annotations)).await.unwrap();
        assert!(!is_injected(&created), "{created}");
    }
}

/// All that an expression, a JSON text or a YAML reader could take for an end of the text, and characters that could be
/// lost on the way.
fn awkward_characters() -> String {
    let ascii: String = (1..=127_u8).map(char::from).collect();
    let others = "\u{80}\u{9f}\u{a0}\u{2028}\u{2029}\u{feff}\u{fffd}\u{ffff}\u{1f980}\u{10ffff}";
    let ends = r#"''' """ \' \\ \u0027 ${VAR} $(VAR) {{x}} ' + object.metadata.name + '"#;
    format!("a{ascii}{others}{ends}\r\n'z")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_stays_a_text() {
    let payload = awkward_characters();
    let settings = [("outrigger.dev/inject", "file-sync"), ("file-sync.outrigger.dev/notify-payload", payload.as_str())];
    let profile = pod(&[&settings[..], &FILES[..]].concat());
    let bound = Bound::new(ControlPlane::shared().await, &profile, "").await;
    let fates = bound.fates(&profile).await.unwrap();
    assert_eq!(fates.compare(), Outcomes::Injected);
    let injected = fates.by_policy.unwrap();
    assert_eq!(variable(container(&injected, "outrigger-file-sync"), "REQ_PAYLOAD"), Some(payload.replace('$', "$$").as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_servers_type_checker_finds_nothing() {
    let cluster = ControlPlane::shared().await;
    let bound = Bound::new(cluster, &all_three(), "").await;
    let checked = wait_for("the types were checked", async || {
        let policy = cluster.kubectl(&["get", "validatingadmissionpolicy", bound.name(), "-o", "json"]).await.success();
        let policy: Value = serde_json::from_str(&policy).unwrap();
        policy["status"]["observedGeneration"].is_number().then_some(policy)
    })
    .await;
    assert_eq!(checked["status"]["typeChecking"].get("expressionWarnings"), None, "{checked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_come_out_as_the_webhook_makes_them() {
    let cluster = ControlPlane::shared().await;
    for example in ["vnc", "file-sync", "guacamole", "guacamole-desktop", "all-three"] {
        let file = format!("{}/examples/{example}.yaml", env!("CARGO_MANIFEST_DIR"));
        let objects = cluster.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", &file]).await.success();
        let objects = serde_json::Deserializer::from_str(&objects).into_iter().map(Result::unwrap);
        let pod = pod_among(objects).unwrap_or_else(|| panic!("{example} has a pod"));
        let mut profile = pod.clone();
        // There is no namespace yet that could have one.
        profile["spec"].as_object_mut().unwrap().remove("serviceAccountName");
        let bound = Bound::new(cluster, &profile, "").await;
        if let Some(account) = pod["spec"]["serviceAccountName"].as_str() {
            for namespace in [bound.name(), bound.free()] {
                let _ = cluster.kubectl(&["-n", namespace, "create", "serviceaccount", account]).await.success();
            }
        }
        assert_eq!(bound.fates(&pod).await.unwrap().compare(), Outcomes::Injected, "{example}");

        let _ = cluster.kubectl(&["-n", bound.name(), "apply", "-f", &file]).await.success();
        wait_for("the pod, or the one that its controller makes, is stored with its sidecars", async || {
            let pods = cluster.kubectl(&["-n", bound.name(), "get", "pods", "-o", "json"]).await.success();
            let pods: Value = serde_json::from_str(&pods).unwrap();
            pods["items"].as_array()?.first().filter(|pod| is_injected(pod)).map(drop)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pod_is_refused_while_a_policy_is_taken_away_in_the_order_of_its_export() {
    let cluster = ControlPlane::shared().await;
    let profile = pod(&[("outrigger.dev/inject", "vnc")]);
    let bound = Bound::new(cluster, &profile, "").await;
    let created = async || bound.create(&profile).await.unwrap_or_else(|refusal| panic!("refused on the way: {refusal}"));
    for object in bound.policies.split("\n---\n") {
        let _ = cluster.kubectl_with_input(&["delete", "-f", "-"], object).await.success();
        // The API server notices by watches of its own.
        if object.contains("kind: ValidatingAdmissionPolicyBinding") {
            wait_for("pods with other settings are no longer refused", async || {
                let _ = created().await;
                bound.create(&refused(&profile)).await.ok()
            })
            .await;
        } else if object.contains("kind: MutatingAdmissionPolicy\n") {
            wait_for("pods get no sidecars any more", async || (!is_injected(&created().await)).then_some(())).await;
        }
    }
    assert!(!is_injected(&created().await));
}

/// The first pod of some objects, or one made of the first template.
fn pod_among(mut objects: impl Iterator<Item = Value>) -> Option<Value> {
    let mut pod = objects.find_map(|object| match object["kind"].as_str() {
        Some("Pod") => Some(object),
        _ => object["spec"].get("template").cloned(),
    })?;
    for (member, value) in [("apiVersion", json!("v1")), ("kind", json!("Pod"))] {
        pod[member] = value;
    }
    pod["metadata"]["name"] = json!("p");
    Some(pod)
}

#[test]
fn a_profile_that_no_policy_can_be_made_of_is_refused() {
    let refused = |profile: &Value| {
        let exported = export(profile, &[]);
        assert!(!exported.status.success() && exported.stdout.is_empty());
        String::from_utf8(exported.stderr).unwrap()
    };
    for (annotations, sentence) in [
        (vec![("example.com/note", "none of ours")], "no pod or pod template has the annotation outrigger.dev/inject"),
        (vec![("outrigger.dev/inject", "none")], "no pod or pod template has the annotation outrigger.dev/inject"),
        (vec![("outrigger.dev/inject", "desk")], r#"outrigger.dev/inject is "desk""#),
        (vec![("outrigger.dev/inject", "file-sync")], "needs the annotation file-sync.outrigger.dev/folder"),
        (
            vec![("outrigger.dev/inject", "vnc"), ("vnc.outrigger.dev/containers", "app, istio-proxy")],
            r#"vnc.outrigger.dev/containers names "istio-proxy", a mesh's container"#,
        ),
    ] {
        let refusal = refused(&pod(&annotations));
        assert!(refusal.contains(sentence), "{refusal}");
    }
    let long = "x".repeat(100_000);
    let payload = [("outrigger.dev/inject", "file-sync"), ("file-sync.outrigger.dev/notify-payload", long.as_str())];
    assert!(refused(&pod(&[&payload[..], &FILES[..]].concat())).contains("too long for a policy"));
    let two = json!({"apiVersion": "v1", "kind": "List", "items": [all_three(), all_three()]});
    assert!(refused(&two).contains("2 workloads ask for sidecars"));
    let no_label = export(&all_three(), &["--namespace-label=team"]);
    assert!(String::from_utf8_lossy(&no_label.stderr).contains("it must be KEY=VALUE"), "{no_label:?}");
}
