//! `validate`.

use serde_json::Value;

use crate::program::{VNC, pod, run, run_on};

/// What is said about an input, with the exit code.
fn judged(input: &str) -> (Option<i32>, String) {
    let run = run_on(&["validate", "-f", "-"], input);
    (run.code, run.output)
}

#[test]
fn the_examples_are_fine() {
    let run = run(&["validate", "-f", "examples/"]);
    assert_eq!((run.code, run.output.as_str()), (Some(0), ""));
    assert!(run.messages.contains("0 errors, 0 warnings"), "{}", run.messages);
}

#[test]
fn refused_examples_name_file_line_object_and_field() {
    let run = run(&["validate", "-f", "examples/refused/"]);
    assert_eq!(run.code, Some(1));
    for expected in [
        "examples/refused/bad-annotation.yaml:3: error: Pod/bad-annotation: metadata.annotations[vnc.outrigger.dev/geometry]: ",
        "bad-annotation.yaml:3: warning: Pod/bad-annotation: metadata.annotations[vnc.outrigger.dev/clipbord]: unknown annotation vnc.outrigger.dev/clipbord: did you mean vnc.outrigger.dev/clipboard?",
        "examples/refused/bad-pg-database.yaml:2: error: PgDatabase/bad: spec.name: \"postgres\": ",
        "examples/refused/bad-session.yaml:2: error: Session/bad: spec.geometry: \"1280\": ",
    ] {
        assert!(run.output.contains(expected), "{expected}\n{}", run.output);
    }
}

#[test]
fn a_misspelt_key_is_only_a_warning_even_where_nothing_is_asked() {
    let (code, output) = judged(&pod("outrigger.dev/injct: vnc", ""));
    assert_eq!(code, Some(0));
    assert!(output.contains("warning: Pod/p: metadata.annotations[outrigger.dev/injct]: unknown annotation"), "{output}");
    assert!(output.contains("did you mean outrigger.dev/inject?"), "{output}");
}

#[test]
fn a_bad_value_is_an_error_even_where_nothing_is_asked() {
    let (code, output) = judged(&pod("vnc.outrigger.dev/geometry: big", ""));
    assert_eq!(code, Some(1));
    assert!(output.contains("metadata.annotations[vnc.outrigger.dev/geometry]: \"big\": must be WIDTHxHEIGHT"), "{output}");
}

#[test]
fn a_conflict_is_an_error_in_its_template() {
    let conflict = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata: {annotations: {outrigger.dev/inject: vnc, vnc.outrigger.dev/containers: other}}
    spec: {containers: [{name: app}]}
";
    let (code, output) = judged(conflict);
    assert_eq!(code, Some(1));
    let field = "spec.template.metadata.annotations[vnc.outrigger.dev/containers]: ";
    assert!(output.contains(&format!("standard input:1: error: Deployment/web: {field}")), "{output}");
}

#[test]
fn an_annotation_on_the_workload_instead_of_its_template_is_a_warning() {
    let input = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {outrigger.dev/inject: vnc}}
spec: {template: {spec: {containers: [{name: app}]}}}
";
    let (code, output) = judged(input);
    assert_eq!(code, Some(0));
    assert!(output.contains("has no effect on a Deployment: write it to spec.template.metadata.annotations"), "{output}");
}

#[test]
fn namespaces_are_checked_as_defaults() {
    let namespace = |labels: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: desks, labels: {labels}, annotations: {{vnc.outrigger.dev/resize: 'yes'}}}}\n"
        )
    };
    let (code, output) = judged(&namespace("{}"));
    assert_eq!(code, Some(1));
    assert!(output.contains("Namespace/desks: metadata.annotations[vnc.outrigger.dev/resize]: \"yes\": must be true or false"), "{output}");
    assert!(output.contains("warning: Namespace/desks: metadata.labels[outrigger.dev/defaults]: "), "{output}");
    let (_, output) = judged(&namespace("{outrigger.dev/defaults: 'true'}"));
    assert!(output.contains("\"true\": gives no defaults: it must be enabled"), "{output}");
    let (_, output) = judged(&namespace("{outrigger.dev/defaults: enabled}"));
    assert!(!output.contains("warning"), "{output}");
}

fn database(name: &str) -> String {
    format!("apiVersion: outrigger.dev/v1alpha1\nkind: PgDatabase\nmetadata: {{name: {name}}}\nspec: {{server: main, name: shop}}\n---\n")
}

#[test]
fn objects_are_judged_among_each_other() {
    let server = |namespaces: &str| {
        format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: PgServer\nmetadata: {{name: main}}\nspec: {{host: db, credentials: {{name: admin}}, allow: [{{namespaces: [{namespaces}]}}]}}\n"
        )
    };
    let (code, rivals) = judged(&format!("{}{}{}", database("a"), database("b"), server("default")));
    assert!(rivals.contains("PgDatabase/a: spec.name: \"shop\": PgDatabase b in namespace default"), "{rivals}");
    assert_eq!(code, Some(0), "neither is established, so one of them may be right: {rivals}");

    let (code, consent) = judged(&format!("{}{}", database("a"), server("other")));
    assert_eq!(code, Some(1));
    assert!(consent.contains("PgDatabase/a: spec.server: \"main\": this server allows no databases of namespace default"), "{consent}");
    let allowed = run_on(&["validate", "-f", "-", "-n", "other"], &format!("{}{}", database("a"), server("other")));
    assert_eq!((allowed.code, allowed.output.as_str()), (Some(0), ""));

    let (code, absent) = judged(&database("a"));
    assert_eq!(code, Some(0));
    assert!(absent.contains("warning: PgDatabase/a: spec.server: \"main\": no PgServer of this name"), "{absent}");
}

#[test]
fn findings_come_as_json_too() {
    let input = format!("{{apiVersion: v1, kind: Other}}\n---\n{}", pod(&format!("{VNC}, vnc.outrigger.dev/geometry: big"), ""));
    let run = run_on(&["validate", "-f", "-", "-o", "json"], &input);
    assert_eq!(run.code, Some(1));
    let findings: Value = serde_json::from_str(&run.output).expect("JSON");
    assert_eq!(findings.as_array().map(Vec::len), Some(1));
    let finding = &findings[0];
    assert_eq!((&finding["severity"], &finding["object"]), (&"error".into(), &"Pod/p".into()));
    assert_eq!((&finding["file"], &finding["line"], &finding["document"]), (&"standard input".into(), &3.into(), &2.into()));
    assert_eq!(finding["field"], "metadata.annotations[vnc.outrigger.dev/geometry]");
    assert!(run_on(&["validate", "-f", "-", "-o", "json"], "{apiVersion: v1, kind: Other}\n").output.trim() == "[]");
}

#[test]
fn a_document_that_is_no_object_is_an_error() {
    for text in ["hello\n", "- a\n- b\n", "kind: Pod\nmetadata: {name: x}\n", "apiVersion: v1\nmetadata: {name: x}\n"] {
        let run = run_on(&["validate", "-f", "-"], text);
        assert_eq!(run.code, Some(1), "{text}: {}", run.output);
        assert!(run.output.contains("is no Kubernetes object"), "{text}: {}", run.output);
    }
}
