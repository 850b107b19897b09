//! `explain`.

use crate::program::{VNC, output, pod, run, run_on};

fn explained(input: &str) -> String {
    output(&["explain", "-f", "-"], input)
}

/// A line of a text without its padding.
fn has_line(text: &str, words: &[&str]) -> bool {
    text.lines().any(|line| line.split_whitespace().eq(words.iter().flat_map(|words| words.split_whitespace())))
}

#[test]
fn who_asks_and_each_settings_origin() {
    let text = output(&["explain", "-f", "examples/namespace-defaults.yaml"], "");
    assert!(has_line(&text, &["namespace desks asks with outrigger.dev/inject: vnc"]), "{text}");
    assert!(has_line(&text, &["vnc.outrigger.dev/geometry 1920x1080 namespace desks; the default is 1280x800"]), "{text}");
    assert!(has_line(&text, &["vnc.outrigger.dev/port 6080 default"]), "{text}");
    assert!(has_line(&text, &["vnc.outrigger.dev/image localhost/outrigger-desktop:0.1.0 default"]), "{text}");
    assert!(has_line(&text, &["the pod opts out with outrigger.dev/inject: none"]), "{text}");
    assert!(has_line(&text, &["gets nothing"]), "{text}");
}

#[test]
fn a_pods_own_word_is_shown_with_the_one_it_overrides() {
    let input = "apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {outrigger.dev/defaults: enabled}, annotations: {vnc.outrigger.dev/geometry: 800x600}}
---
";
    let text = explained(&format!("{input}{}", pod(&format!("{VNC}, vnc.outrigger.dev/geometry: 640x480"), "")));
    assert!(has_line(&text, &["vnc.outrigger.dev/geometry 640x480 the pod; namespace default says 800x600"]), "{text}");
}

#[test]
fn where_containers_stand_and_what_each_gets() {
    let text = output(&["explain", "-f", "examples/all-three.yaml"], "");
    let native = "native sidecar: it starts before the app and outlives it,";
    assert!(has_line(&text, &["outrigger-file-sync", native, "first of initContainers"]), "{text}");
    assert!(has_line(&text, &["outrigger-vnc", native, "in initContainers after outrigger-file-sync"]), "{text}");
    assert!(has_line(&text, &["editor mounts outrigger-files at /srv/settings, read-only"]), "{text}");
    assert!(has_line(&text, &["sets DISPLAY=:99"]), "{text}");
    assert!(has_line(&text, &["metrics nothing"]), "{text}");
    assert!(has_line(&text, &["Secret/office-pc guacamole.outrigger.dev/connections not among the files"]), "{text}");
    let whole = output(&["explain", "-f", "examples/"], "");
    assert!(has_line(&whole, &["Secret/office-pc guacamole.outrigger.dev/connections among the files"]), "{whole}");
}

#[test]
fn why_a_sidecar_is_a_plain_container() {
    let asked = explained(&pod(&format!("{VNC}, outrigger.dev/native-sidecar: 'false'"), ""));
    assert!(asked.contains("plain container, because outrigger.dev/native-sidecar is false, first of containers"), "{asked}");
    let mesh = pod(VNC, ", initContainers: [{name: istio-init}]").replace("[{name: app,", "[{name: istio-proxy}, {name: app,");
    let beside = explained(&mesh);
    assert!(beside.contains("plain container, because the pod's mesh proxy is one"), "{beside}");
    assert!(beside.contains("in containers after istio-proxy"), "{beside}");
}

#[test]
fn what_is_skipped_or_refused_and_why() {
    let skipped = explained(&pod(VNC, ", hostNetwork: true"));
    assert!(skipped.contains("gets nothing: the pod uses its node's network"), "{skipped}");
    let refused = run_on(&["explain", "-f", "-"], &pod("outrigger.dev/inject: file-sync", "")).output;
    assert!(refused.contains("is refused:\n    file-sync needs the annotation file-sync.outrigger.dev/folder"), "{refused}");
    let silent = explained(&pod("a: b", ""));
    assert!(silent.contains("nobody asks: neither the pod nor its namespace has outrigger.dev/inject"), "{silent}");
    let equipped = explained(&output(&["inject", "-f", "-"], &pod(VNC, "")));
    assert!(equipped.contains("has vnc already"), "{equipped}");
}

#[test]
fn a_refusal_is_explained_and_said_by_the_exit_code() {
    let input = format!("{}---\n{}", pod("outrigger.dev/inject: file-sync", ""), pod(VNC, ""));
    let told = run_on(&["explain", "-f", "-"], &input);
    assert_eq!((told.code, told.messages.contains("error:")), (Some(1), false), "{told:?}");
    assert!(told.output.contains("is refused:") && told.output.contains("gets vnc"), "{told:?}");

    let mirror = "outrigger.dev/inject: file-sync, file-sync.outrigger.dev/folder: /f, file-sync.outrigger.dev/label: l";
    let access = run_on(&["explain", "-f", "-", "--access"], &format!("{input}---\n{}", pod(mirror, "")));
    assert_eq!((access.code, access.output.matches("\nkind: Role\n").count()), (Some(1), 1), "{access:?}");
    assert!(access.messages.contains("error: standard input:1: Pod/p: file-sync needs the annotation"), "{access:?}");
}

fn access(annotations: &str, spec: &str) -> String {
    let asks = "outrigger.dev/inject: file-sync, file-sync.outrigger.dev/folder: /f, file-sync.outrigger.dev/label: l";
    output(&["explain", "-f", "-", "--access", "-n", "home"], &pod(&format!("{asks}{annotations}"), spec))
}

#[test]
fn access_is_made_from_the_settings() {
    let own = access("", ", serviceAccountName: reader");
    assert_eq!(own.matches("\nkind: Role\n").count(), 1, "{own}");
    assert!(own.contains("  name: p-file-sync\n  namespace: home\n"), "{own}");
    assert!(own.contains("- kind: ServiceAccount\n  name: reader\n  namespace: home\n"), "{own}");
    assert!(own.contains("resources:\n  - configmaps\n  verbs:\n  - get\n  - list\n  - watch\n"), "{own}");

    let two = access(", file-sync.outrigger.dev/namespaces: 'home, other', file-sync.outrigger.dev/kinds: both", "");
    assert_eq!(two.matches("\nkind: RoleBinding\n").count(), 2, "{two}");
    assert!(two.contains("  name: home-p-file-sync\n  namespace: other\n"), "{two}");
    assert!(two.contains("resources:\n  - configmaps\n  - secrets\n"), "{two}");
    assert!(two.contains("- kind: ServiceAccount\n  name: default\n  namespace: home\n"), "{two}");

    let all = access(", file-sync.outrigger.dev/namespaces: ALL, file-sync.outrigger.dev/kinds: secrets", "");
    assert_eq!(all.matches("kind: ClusterRole\n").count(), 2, "the role and the reference to it: {all}");
    assert!(all.contains("\nkind: ClusterRoleBinding\n") && all.contains("resources:\n  - secrets\n"), "{all}");

    assert_eq!(output(&["explain", "-f", "-", "--access"], &pod(VNC, "")), "");
}

#[test]
fn the_shared_service_account_is_told() {
    let asks = "outrigger.dev/inject: file-sync, file-sync.outrigger.dev/folder: /f, file-sync.outrigger.dev/label: l";
    assert!(explained(&pod(asks, "")).contains("uses the ServiceAccount default"));
    assert!(!explained(&pod(asks, ", serviceAccountName: own")).contains("uses the ServiceAccount default"));
}

#[test]
fn the_table_is_printed() {
    let text = output(&["explain", "--annotations"], "");
    assert!(text.contains("vnc.outrigger.dev/geometry\n  WIDTHxHEIGHT in pixels"), "{text}");
    assert!(output(&["explain", "--annotations=markdown"], "").starts_with("# Annotations\n"));
    assert!(output(&["explain", "--annotations", "--color", "never"], "").starts_with("outrigger.dev/inject\n"));
    assert_eq!(run(&["explain", "--annotations", "-f", "examples/"]).code, Some(2), "one of the two");
}

#[test]
fn control_characters_in_manifests_do_not_reach_the_terminal() {
    let run = run_on(&["explain", "-f", "-"], &pod("outrigger.dev/inject: \"\\e[2J\"", ""));
    assert!(!run.output.contains('\u{1b}') && !run.messages.contains('\u{1b}'), "{run:?}");
}
