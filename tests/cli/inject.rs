//! `inject`, `uninject` and `diff`.

use serde_json::Value;

use crate::program::{Files, VNC, output, pod, run, run_on};

const NAMESPACE: &str = "apiVersion: v1
kind: Namespace
metadata:
  name: desks
  labels: {outrigger.dev/defaults: enabled}
  annotations: {outrigger.dev/inject: vnc, vnc.outrigger.dev/geometry: 800x600}
";

/// Each JSON document of an output.
fn documents(output: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(output).into_iter().collect::<Result<_, _>>().expect("JSON")
}

#[test]
fn injecting_twice_gives_the_same_bytes() {
    let once = output(&["inject", "-f", "examples/"], "");
    assert_eq!(once.matches("name: outrigger-vnc\n").count(), 4, "{once}");
    // The kubelet runs one of them as a probe, too.
    for (program, count) in [("file-sync", 4), ("guacamole-provisioner", 3)] {
        assert_eq!(once.matches(&format!("- {program}\n")).count(), count, "{program}: {once}");
    }
    assert_eq!(output(&["inject", "-f", "-"], &once), once);
}

#[test]
fn uninject_gives_back_what_was_written() {
    let injected = output(&["inject", "-f", "examples/"], "");
    let restored = documents(&output(&["uninject", "-f", "-", "-o", "json"], &injected));
    // Nothing in examples/ was injected before, so this is the input itself.
    let written = documents(&output(&["uninject", "-f", "examples/", "-o", "json"], ""));
    assert_eq!(restored, written);
    assert!(written.len() > 10, "{}", written.len());
}

#[test]
fn uninject_follows_a_renamed_container_and_says_so() {
    let injected = output(&["inject", "-f", "-"], &pod(VNC, ""));
    let run = run_on(&["uninject", "-f", "-", "-o", "json"], &injected.replace("name: app", "name: web"));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(documents(&run.output)[0]["spec"], serde_json::json!({"containers": [{"name": "web", "image": "app"}]}));
    let expected = "warning: standard input:1: Pod/p: container web was taken for app under another name";
    assert!(run.messages.contains(expected), "{}", run.messages);
}

#[test]
fn what_has_no_pod_passes_through_in_order() {
    let input = "kind: Custom\nswitch: 'no'\noctal: '0123'\nfloat: '1e3'\nbig: 123456789012345678901234567890\n? |-\n  a\n  b\n: 1\n---\n- a list\n---\njust text\n";
    let read = documents(&output(&["inject", "-f", "-", "-o", "json"], input));
    let expected = r#"[{"kind":"Custom","switch":"no","octal":"0123","float":"1e3","big":123456789012345678901234567890,"a\nb":1},["a list"],"just text"]"#;
    assert_eq!(Value::from(read), serde_json::from_str::<Value>(expected).expect("JSON"));
    let yaml = output(&["inject", "-f", "-"], input);
    assert_eq!(output(&["inject", "-f", "-"], &yaml), yaml);
    for quoted in ["\"no\"", "\"0123\"", "\"1e3\"", "123456789012345678901234567890"] {
        assert!(yaml.contains(quoted), "{yaml}");
    }
}

#[test]
fn every_way_to_hold_a_pod_is_injected_into() {
    let template = "template: {metadata: {annotations: {outrigger.dev/inject: vnc}}, spec: {containers: [{name: app}]}}";
    for (head, spec) in [
        ("apiVersion: apps/v1\nkind: Deployment", format!("spec: {{{template}}}")),
        ("apiVersion: apps/v1\nkind: StatefulSet", format!("spec: {{{template}}}")),
        ("apiVersion: batch/v1\nkind: CronJob", format!("spec: {{jobTemplate: {{spec: {{{template}}}}}}}")),
        ("apiVersion: v1\nkind: List", format!("items: [{{apiVersion: apps/v1, kind: DaemonSet, spec: {{{template}}}}}]")),
    ] {
        let input = format!("{head}\n{spec}\n");
        assert_eq!(output(&["inject", "-f", "-"], &input).matches("- name: outrigger-vnc\n").count(), 1, "{input}");
    }
}

#[test]
fn a_patch_applied_to_its_document_is_the_result() {
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: Secret}}\n- {}", pod(VNC, "").replace('\n', "\n  "));
    let mut document = documents(&output(&["uninject", "-f", "-", "-o", "json"], &list)).remove(0);
    let patches = output(&["inject", "-f", "-", "-o", "patch"], &list);
    let patch: Value = serde_json::from_str(&patches).expect("one object on one line");
    assert_eq!((&patch["file"], &patch["document"]), (&"standard input".into(), &1.into()));
    assert_eq!((&patch["kind"], &patch["name"], &patch["namespace"]), (&"Pod".into(), &"p".into(), &Value::Null));
    let operations: json_patch::Patch = serde_json::from_value(patch["patch"].clone()).expect("a patch");
    json_patch::patch(&mut document, &operations).expect("it applies");
    assert_eq!(document, documents(&output(&["inject", "-f", "-", "-o", "json"], &list)).remove(0));
    assert_eq!(output(&["inject", "-f", "-", "-o", "patch"], "kind: Other\n"), "");
}

#[test]
fn namespaces_in_the_stream_give_defaults() {
    let input = format!("{NAMESPACE}---\n{}", pod("a: b", "").replace("name: p", "name: p, namespace: desks"));
    let injected = output(&["inject", "-f", "-"], &input);
    assert!(injected.contains("value: \"800x600\""), "{injected}");
    let unlabelled = input.replace("enabled", "disabled");
    assert!(!output(&["inject", "-f", "-"], &unlabelled).contains("outrigger-vnc"));
}

#[test]
fn namespace_files_give_defaults_and_the_flag_names_the_namespace() {
    let files = Files::new(&[("ns.yaml", NAMESPACE), ("pod.yaml", &pod("a: b", ""))]);
    let (pod, namespace) = (files.path("pod.yaml"), files.path("ns.yaml"));
    let arguments = ["inject", "-f", &pod, "--namespace-file", &namespace, "-n", "desks"];
    assert!(output(&arguments, "").contains("value: \"800x600\""));
    let elsewhere = run(&["inject", "-f", &pod, "--namespace-file", &namespace]);
    assert!(!elsewhere.output.contains("outrigger-vnc"), "the pod is in namespace default");
    assert!(elsewhere.messages.contains("assumed namespace default for 1 of 1 workloads"), "{}", elsewhere.messages);
    let no_namespace = run(&["inject", "-f", &pod, "--namespace-file", &pod]);
    assert_eq!(no_namespace.code, Some(2));
    assert!(no_namespace.messages.contains("holds no Namespace"), "{}", no_namespace.messages);
}

#[test]
fn the_charts_values_decide_and_hidden_pull_secrets_are_told() {
    let values = "replicas: 2\ninjection: {imagePullSecrets: [mirror], vnc: {image: registry.example.com/desk:7}}\n";
    let files = Files::new(&[("values.yaml", values), ("bad.yaml", "injection: {vcn: {}}\n")]);
    let run = run_on(&["inject", "-f", "-", "--values", &files.path("values.yaml")], &pod(VNC, ""));
    assert!(run.output.contains("image: registry.example.com/desk:7"), "{}", run.output);
    assert!(!run.output.contains("imagePullSecrets"));
    assert!(run.messages.contains("warning: standard input:1: Pod/p: pull secrets not added"), "{}", run.messages);
    let bad = run_on(&["inject", "-f", "-", "--values", &files.path("bad.yaml")], &pod(VNC, ""));
    assert_eq!(bad.code, Some(2));
    assert!(bad.messages.contains("bad.yaml") && bad.messages.contains("vcn"), "{}", bad.messages);
}

#[test]
fn other_settings_replace_what_was_injected() {
    let first = output(&["inject", "-f", "-"], &pod(VNC, ""));
    let changed = first.replacen("outrigger.dev/inject: vnc", "outrigger.dev/inject: vnc\n    vnc.outrigger.dev/geometry: 640x480", 1);
    let again = run_on(&["inject", "-f", "-", "-o", "json"], &changed);
    assert!(again.messages.contains("the sidecars were replaced"), "{}", again.messages);
    let fresh = output(&["inject", "-f", "-", "-o", "json"], &pod(&format!("{VNC}, vnc.outrigger.dev/geometry: 640x480"), ""));
    assert_eq!(documents(&again.output), documents(&fresh));
    let patch = run_on(&["inject", "-f", "-", "-o", "patch"], &changed).output;
    assert!(patch.contains("\"op\":\"remove\"") && patch.contains("640x480"), "{patch}");
}

#[test]
fn sidecars_that_nobody_asks_for_any_more_stay_with_a_warning() {
    let injected = output(&["inject", "-f", "-"], &pod(VNC, ""));
    let silent = injected.replacen("    outrigger.dev/inject: vnc\n", "", 1);
    let run = run_on(&["inject", "-f", "-"], &silent);
    assert_eq!(run.output, silent);
    assert!(run.messages.contains("`outrigger uninject` takes them away"), "{}", run.messages);
}

#[test]
fn a_refused_pod_writes_nothing_and_fails() {
    let input = format!("{}---\n{}", pod(VNC, ""), pod(&format!("{VNC}, vnc.outrigger.dev/geometry: big"), ""));
    let run = run_on(&["inject", "-f", "-"], &input);
    assert_eq!((run.code, run.output.as_str()), (Some(1), ""));
    let expected = "error: standard input:6: Pod/p: vnc.outrigger.dev/geometry is \"big\": it must be WIDTHxHEIGHT";
    assert!(run.messages.contains(expected), "{}", run.messages);
}

#[test]
fn an_annotation_that_is_no_string_is_named() {
    let run = run_on(&["inject", "-f", "-"], &pod(&format!("{VNC}, vnc.outrigger.dev/view-only: true"), ""));
    assert_eq!(run.code, Some(1));
    assert!(run.messages.contains("annotation vnc.outrigger.dev/view-only is a boolean; quote its value"), "{}", run.messages);
}

#[test]
fn a_pod_that_cannot_be_read_is_refused() {
    let run = run_on(&["inject", "-f", "-"], "apiVersion: v1\nkind: Pod\nmetadata: {name: odd}\nspec: text\n");
    assert_eq!(run.code, Some(1));
    assert!(run.messages.contains("Pod/odd: the pod can't be read: "), "{}", run.messages);
}

#[test]
fn diff_shows_what_would_change_and_says_so_by_its_code() {
    let changed = run(&["diff", "-f", "examples/vnc.yaml"]);
    assert_eq!(changed.code, Some(1));
    assert!(changed.output.starts_with("--- examples/vnc.yaml:4 Pod/desktop\n+++ examples/vnc.yaml:4 Pod/desktop, injected\n@@ "));
    assert!(changed.output.contains("\n+  - name: outrigger-vnc\n"), "{}", changed.output);
    assert!(!changed.output.contains("\n-"), "injection only adds: {}", changed.output);

    let unchanged = run_on(&["diff", "-f", "-"], &output(&["inject", "-f", "examples/"], ""));
    assert_eq!((unchanged.code, unchanged.output.as_str()), (Some(0), ""), "{}", unchanged.messages);

    let refused = run(&["diff", "-f", "examples/refused/"]);
    assert_eq!((refused.code, refused.output.as_str()), (Some(2), ""));
    assert!(refused.messages.contains("vnc.outrigger.dev/geometry"), "{}", refused.messages);
}

#[test]
fn a_request_on_the_workload_instead_of_its_template_is_told() {
    let deployment = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {outrigger.dev/inject: vnc}}
spec: {template: {spec: {containers: [{name: app, image: app}]}}}
";
    let run = run_on(&["inject", "-f", "-"], deployment);
    assert!(run.messages.contains("has no effect on a Deployment: write it to spec.template.metadata.annotations"), "{}", run.messages);
    assert!(!run.output.contains("outrigger-vnc"), "{}", run.output);
}
