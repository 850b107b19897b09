use proptest::prelude::*;
use serde_json::json;

use super::*;

fn validator() -> OfflineValidator {
    OfflineValidator::new().unwrap()
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": { "name": name }, "spec": spec })
}

#[test]
fn every_rule_of_the_schemas_has_a_twin() {
    fn check(schema: &Value, twins: &HashMap<&'static str, Twin>, seen: &mut usize) {
        for rule in schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
            let cel = text(rule, "rule").unwrap();
            let is_transition = matches!(twins.get(cel), Some(Twin::OnUpdate));
            assert!(twins.contains_key(cel), "no twin of: {cel}");
            assert_eq!(is_transition, cel.contains("oldSelf"), "{cel}");
            *seen += 1;
        }
        structure::subschemas(schema).for_each(|schema| check(schema, twins, seen));
    }
    let validator = validator();
    let mut seen = 0;
    validator.kinds.values().for_each(|kind| check(&kind.schema, &validator.twins, &mut seen));
    assert!(seen >= all_rules().count(), "every rule is used in a schema: {seen}");
}

#[test]
fn objects_of_other_groups_are_not_judged() {
    assert_eq!(validator().validate(&json!({ "apiVersion": "v1", "kind": "Pod" })), None);
    assert_eq!(validator().validate(&json!({ "kind": "Pod" })), None);
    assert_eq!(validator().validate(&json!([])), None);
}

#[test]
fn a_misspelt_kind_and_an_unknown_version_are_faults() {
    let kind = validator().validate(&object("PgDatabse", "a", &json!({}))).unwrap();
    assert_eq!(kind.denials[0].to_string(), r#"kind: "PgDatabse": is not a kind of outrigger.dev/v1alpha1; did you mean PgDatabase?"#);
    let version = validator().validate(&json!({ "apiVersion": "outrigger.dev/v1", "kind": "PgServer" })).unwrap();
    assert_eq!(version.denials[0].field, "apiVersion");
}

#[test]
fn a_misspelt_field_gets_the_nearest_known_name() {
    let verdict = validator().validate(&object("PgDatabase", "a", &json!({ "server": "s", "name": "d", "onwer": {} }))).unwrap();
    assert_eq!(verdict.denials[0].to_string(), "spec.onwer: is not a known field; did you mean owner?");
}

#[test]
fn the_name_of_an_object_is_checked() {
    let spec = json!({ "server": "s", "name": "d" });
    for name in ["", "A", "-a", "a..b", "a_b", "a\n"] {
        let verdict = validator().validate(&object("PgDatabase", name, &spec)).unwrap();
        assert_eq!(verdict.denials[0].field, "metadata.name", "{name}");
    }
    let unnamed = json!({ "apiVersion": API_VERSION, "kind": "PgDatabase", "metadata": {}, "spec": spec });
    assert_eq!(validator().validate(&unnamed).unwrap().denials[0].to_string(), "metadata.name: is required");
}

#[test]
fn the_objects_of_a_stream_are_judged_together() {
    let database = json!({ "server": "main", "name": "shop" });
    let credentials = json!({ "name": "admin" });
    let objects = [
        object("PgServer", "main", &json!({ "host": "db", "credentials": credentials, "allow": [{ "namespaces": ["team-a"] }] })),
        object("PgDatabase", "one", &database),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" } }),
        object("PgDatabase", "two", &database),
    ];
    let allowed = validator().validate_all(&objects, "team-a");
    assert_eq!(allowed[2], None);
    assert!(allowed[1].as_ref().unwrap().is_allowed());
    let warning = &allowed[1].as_ref().unwrap().warnings[0];
    assert!(warning.message.contains("PgDatabase two in namespace team-a"), "{warning}");
    let refused = validator().validate_all(&objects, "team-b");
    assert_eq!(refused[1].as_ref().unwrap().denials[0].field, "spec.server");
}

#[test]
fn strange_shapes_are_findings() {
    for spec in [json!(null), json!([]), json!("x"), json!({ "server": {}, "name": [1], "creation": { "template": { "a": 1 } } })] {
        let verdict = validator().validate(&object("PgDatabase", "a", &spec)).unwrap();
        assert!(!verdict.is_allowed(), "{spec}");
    }
    let verdict = validator().validate(&json!({ "apiVersion": API_VERSION, "kind": "Session", "metadata": [], "spec": {} })).unwrap();
    assert!(!verdict.is_allowed());
}

/// Words of the schemas among others, so that the walk gets past the first level.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec!["spec", "server", "name", "owner", "creation", "template", "schemas", "env", "limits", "é"]);
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<f64>().prop_map(Value::from), ".*".prop_map(Value::from)];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        let fields = prop::collection::vec((word.clone(), inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_object_makes_the_validator_stumble(specs in prop::collection::vec((0_usize..5, any_json(), any_json()), 1..4)) {
        thread_local!(static VALIDATOR: OfflineValidator = validator());
        let kinds = ["PgServer", "PgDatabase", "UserList", "SessionTemplate", "Session"];
        let objects: Vec<Value> = specs
            .iter()
            .map(|(kind, metadata, spec)| json!({ "apiVersion": API_VERSION, "kind": kinds[*kind], "metadata": metadata, "spec": spec }))
            .collect();
        let verdicts = VALIDATOR.with(|validator| validator.validate_all(&objects, "default"));
        prop_assert_eq!(verdicts.len(), objects.len());
        prop_assert!(verdicts.iter().flatten().flat_map(|verdict| &verdict.denials).all(|finding| !finding.message.is_empty()));
    }
}
