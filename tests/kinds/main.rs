//! The kinds: their definitions are up to date, the real API server accepts them, and both it and the offline validator judge
//! the same objects alike.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cases;
mod cluster;
#[path = "../common/committed.rs"]
mod committed;
mod extremes;

use std::collections::BTreeSet;

use outrigger::api::{crd, offline::OfflineValidator};
use serde_json::{Value, json};

/// The committed definitions are what the types generate.
#[test]
fn the_committed_definitions_are_up_to_date() {
    for definition in crd::crds().unwrap() {
        let path = format!("charts/outrigger/crds/{}.yaml", definition.spec.names.plural);
        committed::check(&path, crd::crd_yaml(&definition).unwrap(), "kinds");
    }
}

/// The offline validator finds the same faults at the same places as the table says, and as the API server does (see `cluster`).
#[test]
fn the_offline_validator_judges_the_table() {
    let validator = OfflineValidator::new().unwrap();
    for case in cases::all() {
        let verdict = validator.validate(&case.object).unwrap();
        let Some((field, message)) = case.fault else {
            assert!(verdict.is_allowed(), "{}: {:?}", case.name, verdict.denials);
            continue;
        };
        // The API server writes an entry of a map once as `[key]` and once as `.key`.
        let is_blamed =
            |found: &str| found == field || found.replace('[', ".").replace(']', "") == field.replace('[', ".").replace(']', "");
        let found = verdict.denials.iter().any(|finding| is_blamed(&finding.field) && finding.message.contains(message));
        assert!(found, "{}: {:?}", case.name, verdict.denials);
        assert_eq!(verdict.denials.len(), 1, "{}: one fault, one finding: {:?}", case.name, verdict.denials);
    }
}

/// Each rule of the definitions is broken by an object of the table, so that both its forms are held to its meaning. Rules of
/// changes have tests of their own.
#[test]
fn each_rule_is_broken_by_an_object_of_the_table() {
    let definitions = serde_json::to_value(crd::crds().unwrap()).unwrap();
    let mut messages = BTreeSet::new();
    collect_messages(&definitions, &mut messages);
    let cases = cases::all();
    let broken = |message: &&String| cases.iter().filter_map(|case| case.fault).any(|(_, part)| !part.is_empty() && message.contains(part));
    let unbroken: Vec<&String> = messages.iter().filter(|message| !broken(message)).collect();
    assert!(unbroken.is_empty(), "no object of the table breaks: {unbroken:#?}");
    assert!(messages.len() > 30, "the rules are found: {}", messages.len());
}

/// A person who breaks a pattern is shown a regular expression. A moment has one beside its format, whose name says what is wrong.
#[test]
fn what_users_write_is_refused_in_sentences() {
    fn check(path: &str, schema: &Value) {
        assert!(schema["pattern"].is_null() || schema["format"] == "date-time", "{path} has a bare pattern; write a rule with a sentence");
        match schema {
            Value::Object(fields) => fields.iter().for_each(|(name, field)| check(&format!("{path}.{name}"), field)),
            Value::Array(items) => items.iter().for_each(|item| check(path, item)),
            _ => {}
        }
    }
    for definition in serde_json::to_value(crd::crds().unwrap()).unwrap().as_array().unwrap() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        check(kind, &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]);
    }
}

/// An alternative that allows anything says nothing; the generator leaves such where it takes a type away.
#[test]
fn no_alternative_of_a_definition_is_empty() {
    fn check(path: &str, schema: &Value) {
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let alternatives = schema[keyword].as_array().into_iter().flatten();
            assert!(alternatives.into_iter().all(|alternative| *alternative != json!({})), "{path} has an empty {keyword}");
        }
        match schema {
            Value::Object(fields) => fields.iter().for_each(|(name, field)| check(&format!("{path}.{name}"), field)),
            Value::Array(items) => items.iter().for_each(|item| check(path, item)),
            _ => {}
        }
    }
    check("", &serde_json::to_value(crd::crds().unwrap()).unwrap());
}

fn collect_messages(value: &Value, messages: &mut BTreeSet<String>) {
    if let Some(rule) = value.get("rule").and_then(Value::as_str).filter(|rule| !rule.contains("oldSelf")) {
        messages.insert(value["message"].as_str().unwrap_or(rule).to_owned());
    }
    match value {
        Value::Object(fields) => fields.values().for_each(|field| collect_messages(field, messages)),
        Value::Array(items) => items.iter().for_each(|item| collect_messages(item, messages)),
        _ => {}
    }
}
