#![allow(clippy::needless_pass_by_value, reason = "a table reads better without a & before each object")]

use serde_json::{Value, json};

use super::*;

fn session(spec: Value) -> Usage {
    let mut object = json!({ "metadata": { "name": "mine", "namespace": "desks" }, "spec": { "template": "firefox", "user": "ada" } });
    json_patch::merge(&mut object["spec"], &spec);
    Usage::from_json(object.to_string().as_bytes()).unwrap()
}

fn known(template: Value, running: &[&str]) -> Inventory {
    let object = json!({ "metadata": { "name": "firefox", "namespace": "desks" }, "spec": template });
    let mut known = Inventory::default();
    known.add_template(Template::from_json(object.to_string().as_bytes()).unwrap());
    for user in running {
        known.add_session(&Usage { counted: true, user: (*user).into(), ..session(json!({})) });
    }
    known
}

fn fields(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.field.as_str()).collect()
}

#[test]
fn an_absent_template_is_a_warning() {
    let verdict = validate(&session(json!({ "env": [{ "name": "A" }] })), &Inventory::default());
    assert!(verdict.is_allowed());
    assert_eq!(fields(&verdict.warnings), ["spec.template"]);
}

#[test]
fn only_what_the_template_leaves_open_can_be_decided() {
    let asked = session(json!({
        "geometry": "800x600", "env": [{ "name": "A" }], "resources": {}, "idleTimeout": "1h", "maxLifetime": "2h",
    }));
    let verdict = validate(&asked, &known(json!({}), &[]));
    assert_eq!(fields(&verdict.denials), ["spec.env", "spec.resources", "spec.idleTimeout", "spec.maxLifetime"]);
    let all = json!({ "overrides": ["Geometry", "Env", "Resources", "IdleTimeout", "MaxLifetime"] });
    assert_eq!(validate(&asked, &known(all, &[])), Verdict::default());
    assert_eq!(
        fields(&validate(&session(json!({ "geometry": "800x600" })), &known(json!({ "overrides": [] }), &[])).denials),
        ["spec.geometry"]
    );
}

#[test]
fn resources_are_bounded_by_the_template() {
    let template = json!({ "overrides": ["Resources"], "maxResources": { "cpu": "2", "memory": "4Gi" } });
    let asks = |requests: Value, limits: Value| session(json!({ "resources": { "requests": requests, "limits": limits } }));
    let within = asks(json!({ "cpu": 1 }), json!({ "cpu": "2000m", "memory": "4096Mi", "nvidia.com/gpu": 1 }));
    assert_eq!(validate(&within, &known(template.clone(), &[])), Verdict::default());
    let beyond = asks(json!({ "cpu": 3 }), json!({ "memory": "5Gi" }));
    let verdict = validate(&beyond, &known(template, &[]));
    assert_eq!(fields(&verdict.denials), ["spec.resources.requests[cpu]", "spec.resources.limits[memory]"]);
    assert!(verdict.denials[1].message.contains("at most 4Gi"), "{}", verdict.denials[1]);
}

#[test]
fn sharing_goes_as_far_as_the_template_allows() {
    let asked = session(json!({ "sharing": [{ "user": "bob" }, { "user": "eve", "role": "Control" }] }));
    for (limit, refused) in [("None", 2), ("View", 1), ("Control", 0)] {
        assert_eq!(validate(&asked, &known(json!({ "sharing": limit }), &[])).denials.len(), refused, "{limit}");
    }
}

#[test]
fn a_full_quota_is_advice() {
    let template = json!({ "quota": { "perUser": 1, "total": 2 } });
    let judge = |asked: &Usage, running: &[&str]| validate(asked, &known(template.clone(), running));
    let asked = session(json!({}));
    assert_eq!(judge(&asked, &["bob"]), Verdict::default());
    let own = judge(&asked, &["ada"]);
    assert!(own.is_allowed());
    assert_eq!(fields(&own.warnings), ["spec.user"]);
    assert_eq!(fields(&judge(&asked, &["bob", "eve"]).warnings), ["spec.template"]);
    assert_eq!(judge(&session(json!({ "desiredState": "Suspended" })), &["ada", "bob"]), Verdict::default());
}

#[test]
fn a_running_session_is_not_warned_of_its_own_place() {
    let running = Usage { counted: true, ..session(json!({})) };
    assert_eq!(validate(&running, &known(json!({ "quota": { "perUser": 1 } }), &["ada"])), Verdict::default());
}

#[test]
fn sessions_that_wait_or_have_ended_do_not_count() {
    for (phase, counted) in
        [("Running", true), ("Idle", true), ("Starting", true), ("Suspended", false), ("Pending", false), ("Failed", false)]
    {
        let object = json!({
            "metadata": { "name": "a", "namespace": "desks" }, "spec": { "template": "t", "user": "u" }, "status": { "phase": phase },
        });
        assert_eq!(Usage::from_json(object.to_string().as_bytes()).unwrap().counted, counted, "{phase}");
    }
}

#[test]
fn an_object_that_is_going_can_always_lose_its_finalizers() {
    let going = Usage { deleting: true, ..session(json!({ "env": [{ "name": "A" }] })) };
    assert_eq!(validate(&going, &known(json!({}), &[])), Verdict::default());
}

#[test]
fn an_edit_of_what_was_accepted_before_is_not_refused() {
    let json = br#"{"metadata":{"name":"mine","namespace":"desks"},"spec":{"template":"firefox","user":"ada","env":[{"name":"A"}]}}"#;
    let known = known(json!({}), &[]);
    assert_eq!(fields(&review(json, None, &known).denials), ["spec.env"]);
    let edited = review(json, Some(json), &known);
    assert!(edited.is_allowed());
    assert_eq!(fields(&edited.warnings), ["spec.env"]);
    assert_eq!(fields(&review(b"{}", None, &known).warnings), [""]);
}

#[test]
fn a_session_is_the_same_from_json_and_from_the_type() {
    let object = json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": "Session", "metadata": { "name": "mine", "namespace": "desks" },
        "spec": { "template": "firefox", "user": "ada", "desiredState": "Suspended", "geometry": "800x600", "idleTimeout": "1h",
                  "resources": { "limits": { "cpu": 1 } }, "sharing": [{ "user": "bob", "role": "Control" }] },
        "status": { "phase": "Idle" },
    });
    let typed: Session = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(Usage::from_json(object.to_string().as_bytes()).unwrap(), Usage::from(&typed));
}

#[test]
fn a_template_is_the_same_from_json_and_from_the_type() {
    let object = json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": "SessionTemplate", "metadata": { "name": "firefox", "namespace": "desks" },
        "spec": { "app": { "image": "a" }, "quota": { "perUser": 1 }, "sharing": "View", "maxResources": { "cpu": 1 } },
    });
    let typed: SessionTemplate = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(Template::from_json(object.to_string().as_bytes()).unwrap(), Template::from(&typed));
}

#[test]
fn a_malformed_object_is_a_finding() {
    for json in ["", "[]", r#"{"metadata":{},"spec":{}}"#, r#"{"metadata":{},"spec":{"template":"t","user":"u","sharing":{}}}"#] {
        assert!(Usage::from_json(json.as_bytes()).is_err(), "{json}");
    }
    assert!(Template::from_json(br#"{"metadata":{"name":"x"},"spec":{"quota":3}}"#).is_err());
}
