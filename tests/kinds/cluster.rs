//! What the real API server says.

use std::time::Duration;

use axum::http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    core::Status,
    runtime::wait::{await_condition, conditions},
};
use outrigger::api::{
    crd, offline::OfflineValidator, pg_database::PgDatabase, pg_server::PgServer, session::Session, session_template::SessionTemplate,
    user_list::UserList,
};
use outrigger_bed::{ControlPlane, Namespace};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    cases::{self, database},
    extremes,
};

const DEADLINE: Duration = Duration::from_secs(30);

/// The shared control plane, with the definitions in it.
async fn cluster() -> &'static ControlPlane {
    static DEFINED: OnceCell<()> = OnceCell::const_new();
    let cluster = ControlPlane::shared().await;
    DEFINED.get_or_init(|| define(cluster)).await;
    cluster
}

/// Applies the definitions as a user would.
async fn define(cluster: &ControlPlane) {
    let _ = cluster.kubectl_with_input(&["apply", "--server-side", "-f", "-"], &crd::crds_yaml().unwrap()).await.success();
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client());
    for definition in crd::crds().unwrap() {
        let name = definition.metadata.name.unwrap();
        let established = await_condition(definitions.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(DEADLINE, established).await.unwrap().unwrap();
    }
}

/// The address of an object's collection.
fn collection(namespace: &Namespace<'_>, object: &Value) -> String {
    let group = "/apis/outrigger.dev/v1alpha1";
    match object["kind"].as_str().unwrap() {
        "PgServer" => format!("{group}/pgservers"),
        kind => format!("{group}/namespaces/{}/{}s", namespace.name(), kind.to_lowercase()),
    }
}

async fn send(namespace: &Namespace<'_>, method: &str, address: &str, object: &Value) -> Result<Value, Box<Status>> {
    let request = Request::builder().method(method).uri(address).header("content-type", "application/json");
    let request = request.body(object.to_string().into_bytes()).unwrap();
    match namespace.client().request::<Value>(request).await {
        Ok(stored) => Ok(stored),
        Err(kube::Error::Api(status)) => Err(status),
        Err(error) => panic!("no answer: {error}"),
    }
}

/// Asks whether an object could be made, as kubectl does: unknown fields are faults.
async fn try_create(namespace: &Namespace<'_>, object: &Value) -> Result<Value, Box<Status>> {
    let address = format!("{}?dryRun=All&fieldValidation=Strict", collection(namespace, object));
    send(namespace, "POST", &address, object).await
}

async fn create(namespace: &Namespace<'_>, object: &Value) -> Value {
    send(namespace, "POST", &collection(namespace, object), object).await.unwrap()
}

/// Asks whether an object could be replaced by another.
async fn try_replace(namespace: &Namespace<'_>, stored: &Value, spec: &Value) -> Result<Value, Box<Status>> {
    let mut object = stored.clone();
    object["spec"] = spec.clone();
    let address = format!("{}/{}?dryRun=All", collection(namespace, &object), stored["metadata"]["name"].as_str().unwrap());
    send(namespace, "PUT", &address, &object).await
}

/// Whether the API server blames a field, with our words where they are ours.
fn blames(status: &Status, field: &str, message: &str) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut fitting = causes.filter(|cause| cause.message.contains(message));
    // Unknown fields are refused before validation, without causes.
    let is_unknown_field = status.message.contains(&format!("unknown field \"{field}\""));
    is_unknown_field || fitting.any(|cause| is_same_field(&cause.field, field))
}

/// The API server writes an entry of a map as `[key]` or as `.key`, an object as itself or as `<nil>`.
fn is_same_field(found: &str, expected: &str) -> bool {
    let plain = |field: &str| field.replace('[', ".").replace(']', "");
    plain(found) == plain(expected) || (expected.is_empty() && found == "<nil>")
}

#[tokio::test]
async fn the_api_server_judges_the_table() {
    let namespace = cluster().await.namespace("table").await;
    let mut surprises = Vec::new();
    for case in cases::all() {
        match (try_create(&namespace, &case.object).await, case.fault) {
            (Ok(_), None) => {}
            (Err(status), Some((field, message))) if blames(&status, field, message) => {}
            (answer, fault) => surprises.push(format!("{}: expected {fault:?}, got {answer:?}", case.name)),
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[tokio::test]
async fn the_api_server_and_the_offline_validator_agree_on_awkward_values() {
    let namespace = cluster().await.namespace("awkward").await;
    let validator = OfflineValidator::new().unwrap();
    let mut disagreements = Vec::new();
    for object in extremes::awkward() {
        let online = try_create(&namespace, &object).await;
        let offline = validator.validate(&object).unwrap();
        if let Ok(stored) = &online {
            // What the API server accepts, a controller must be able to read.
            through_its_type(stored);
        }
        if online.is_ok() != offline.is_allowed() {
            let message = online.map_or_else(|status| status.message, |_| "accepted".to_owned());
            disagreements.push(format!("{}: API server: {message}; offline: {:?}", object["spec"], offline.denials));
        }
    }
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
}

#[tokio::test]
async fn all_definitions_are_structural_and_established() {
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster().await.client());
    for expected in crd::crds().unwrap() {
        let definition = definitions.get(&expected.metadata.name.unwrap()).await.unwrap();
        let conditions = definition.status.unwrap().conditions.unwrap();
        assert!(conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True"), "{conditions:?}");
        assert!(!conditions.iter().any(|condition| condition.type_ == "NonStructuralSchema"), "{conditions:?}");
    }
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let cluster = cluster().await;
    for (resource, words) in [
        ("pgdatabase.spec", "At most 63 bytes"),
        ("pgdatabase.spec.creation", "de-u-co-phonebk"),
        ("pgserver.spec.allow", "such as `team-*`"),
        ("userlist.spec.reloadPolicy", "a rolling restart"),
        ("sessiontemplate.spec.desktop.clipboard", "Out (from it)"),
        ("session.spec.desiredState", "can be started again"),
    ] {
        let explained = cluster.kubectl(&["explain", resource]).await.success();
        let words_in_one_line = explained.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words_in_one_line.contains(words), "{resource}: {explained}");
    }
    for definition in crd::crds().unwrap() {
        let plural = &definition.spec.names.plural;
        let explained = cluster.kubectl(&["explain", "--recursive", &format!("{plural}.spec")]).await.success();
        assert!(!explained.contains("<empty>"), "{plural}: a field has no description");
    }
}

/// cnpg: an optional field that never changes could be added later, and was then ignored.
#[tokio::test]
async fn what_never_changes_cannot_be_added_changed_or_removed() {
    let namespace = cluster().await.namespace("immutable").await;
    let creation = json!({ "encoding": "UTF8", "locale": "C" });
    let with = create(&namespace, &database(json!({ "creation": creation }))).await;
    let mut without = database(json!({}));
    without["metadata"]["name"] = "without".into();
    let without = create(&namespace, &without).await;
    for (case, stored, changes, field) in [
        ("changed", &with, json!({ "creation": { "encoding": "LATIN1" } }), "spec.creation"),
        ("one part added", &with, json!({ "creation": { "template": "template0" } }), "spec.creation"),
        ("one part removed", &with, json!({ "creation": { "locale": null } }), "spec.creation"),
        ("all removed", &with, json!({ "creation": null }), "spec.creation"),
        ("all added", &without, json!({ "creation": { "encoding": "UTF8" } }), "spec.creation"),
        ("another server", &with, json!({ "server": "other" }), "spec.server"),
        ("another name", &with, json!({ "name": "other" }), "spec.name"),
    ] {
        let mut spec = stored["spec"].clone();
        json_patch::merge(&mut spec, &changes);
        let status = try_replace(&namespace, stored, &spec).await.expect_err(case);
        assert!(blames(&status, field, ""), "{case}: {status:?}");
    }
    let mut spec = with["spec"].clone();
    json_patch::merge(&mut spec, &json!({ "connectionLimit": 5, "creation": { "encoding": "UTF8" } }));
    try_replace(&namespace, &with, &spec).await.expect("all else can change");
}

#[tokio::test]
async fn a_database_keeps_the_name_that_it_has_from_its_object() {
    let namespace = cluster().await.namespace("renamed").await;
    let stored = create(&namespace, &database(json!({ "name": null }))).await;
    let status = try_replace(&namespace, &stored, &json!({ "server": "main", "name": "other" })).await.expect_err("another name");
    assert!(blames(&status, "spec.name", "a database isn't renamed"), "{status:?}");
    // To write the name that it has says nothing new, and neither does to take it away.
    let stored = try_replace(&namespace, &stored, &json!({ "server": "main", "name": "example" })).await.expect("the same name");
    try_replace(&namespace, &stored, &json!({ "server": "main" })).await.expect("the same name");
    let other = create(&namespace, &{
        let mut other = database(json!({}));
        other["metadata"]["name"] = "other".into();
        other
    })
    .await;
    let status = try_replace(&namespace, &other, &json!({ "server": "main" })).await.expect_err("the object's own name is another");
    assert!(blames(&status, "spec.name", "a database isn't renamed"), "{status:?}");
}

#[tokio::test]
async fn a_session_keeps_its_owner_and_its_template() {
    let namespace = cluster().await.namespace("owner").await;
    let stored = create(&namespace, &cases::session(json!({}))).await;
    for (changes, field) in [(json!({ "user": "eve" }), "spec.user"), (json!({ "template": "other" }), "spec.template")] {
        let mut spec = stored["spec"].clone();
        json_patch::merge(&mut spec, &changes);
        let status = try_replace(&namespace, &stored, &spec).await.expect_err(field);
        assert!(blames(&status, field, ""), "{status:?}");
    }
}

/// Whether all that was written is stored.
fn contains(stored: &Value, written: &Value) -> bool {
    match (stored, written) {
        (Value::Object(stored), Value::Object(written)) => {
            written.iter().all(|(key, value)| stored.get(key).is_some_and(|stored| contains(stored, value)))
        }
        (Value::Array(stored), Value::Array(written)) => {
            stored.len() == written.len() && stored.iter().zip(written).all(|(stored, written)| contains(stored, written))
        }
        _ => stored == written,
    }
}

/// The object as a controller reads it and writes it again.
fn through_its_type(object: &Value) -> Value {
    fn read_and_write<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<T>(object.clone()).unwrap()).unwrap()
    }
    match object["kind"].as_str().unwrap() {
        "PgServer" => read_and_write::<PgServer>(object),
        "PgDatabase" => read_and_write::<PgDatabase>(object),
        "UserList" => read_and_write::<UserList>(object),
        "SessionTemplate" => read_and_write::<SessionTemplate>(object),
        "Session" => read_and_write::<Session>(object),
        other => panic!("unknown kind {other}"),
    }
}

/// The API server ends rules that take too long; the largest objects that the schemas allow must not come near.
#[tokio::test]
async fn the_largest_objects_are_accepted() {
    let namespace = cluster().await.namespace("largest").await;
    for object in extremes::largest() {
        let stored = try_create(&namespace, &object).await;
        assert!(stored.is_ok(), "{}: {stored:?}", object["kind"]);
    }
}

/// Everything the API server fills in is accepted again, and nothing is lost.
#[tokio::test]
async fn an_unchanged_object_stays_valid() {
    let namespace = cluster().await.namespace("unchanged").await;
    for case in cases::all().into_iter().filter(|case| case.fault.is_none()) {
        let mut object = case.object;
        // Servers are in no namespace: the name of ours keeps them apart, and they go at the end.
        object["metadata"] = json!({ "generateName": format!("{}-", namespace.name()) });
        let stored = create(&namespace, &object).await;
        let replaced = try_replace(&namespace, &stored, &stored["spec"]).await.expect(case.name);
        assert_eq!(replaced["spec"], stored["spec"], "{}", case.name);
        assert_eq!(replaced["metadata"]["generation"], 1, "{}: nothing has changed", case.name);
        assert!(contains(&stored["spec"], &object["spec"]), "{}: nothing is lost: {stored}", case.name);
        assert_eq!(through_its_type(&stored)["spec"], stored["spec"], "{}: the type holds all of it", case.name);
        if object["kind"] == "PgServer" {
            let address = format!("{}/{}", collection(&namespace, &stored), stored["metadata"]["name"].as_str().unwrap());
            send(&namespace, "DELETE", &address, &json!({})).await.unwrap();
        }
    }
}

#[tokio::test]
async fn defaults_are_filled_in() {
    let namespace = cluster().await.namespace("defaults").await;
    for (object, pointer, expected) in [
        (cases::server(json!({})), "/spec/port", json!(5432)),
        (cases::server(json!({})), "/spec/tls/mode", json!("VerifyFull")),
        (cases::server(json!({})), "/spec/credentials/passwordKey", json!("password")),
        (cases::server(json!({})), "/spec/defaults/reclaimPolicy", json!("Retain")),
        (cases::server(json!({ "tls": null, "allow": [{ "namespaces": ["a"] }] })), "/spec/allow/0/owners", json!(["*"])),
        (database(json!({ "extensions": [{ "name": "x" }] })), "/spec/extensions/0/ensure", json!("Present")),
        (cases::user_list(json!({})), "/spec/keys/username", json!(["username", "user"])),
        (cases::user_list(json!({})), "/spec/output/key", json!("userlist.txt")),
        (cases::template(json!({})), "/spec/app/resources/limits/memory", json!("2Gi")),
        (cases::template(json!({ "desktop": { "resize": false } })), "/spec/desktop/geometry", json!("1280x800")),
        (cases::template(json!({})), "/spec/idleTimeout", json!("2h")),
        (cases::session(json!({})), "/spec/desiredState", json!("Running")),
    ] {
        let stored = try_create(&namespace, &object).await.unwrap();
        assert_eq!(stored.pointer(pointer), Some(&expected), "{pointer}: {stored}");
    }
}

/// A null is the same as no value: it is neither stored nor a way around a rule.
#[tokio::test]
async fn a_null_is_no_value() {
    let namespace = cluster().await.namespace("null").await;
    let mut object = database(json!({}));
    object["spec"]["creation"] = Value::Null;
    object["spec"]["ensure"] = Value::Null;
    let stored = create(&namespace, &object).await;
    assert_eq!(stored["spec"], json!({ "server": "main", "name": "shop", "ensure": "Present" }));
    let mut spec = stored["spec"].clone();
    spec["creation"] = json!({ "encoding": "UTF8" });
    try_replace(&namespace, &stored, &spec).await.expect_err("creation was not there before");
}

#[tokio::test]
async fn the_status_is_a_subresource_of_its_own() {
    let namespace = cluster().await.namespace("status").await;
    let stored = create(&namespace, &database(json!({}))).await;
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "AsWritten", "message": "", "lastTransitionTime": "2030-01-31T12:00:00Z",
    });
    let mut object = stored.clone();
    object["status"] = json!({ "observedGeneration": 1, "phase": "Ready", "database": "shop", "conditions": [condition] });
    object["spec"]["connectionLimit"] = json!(7);
    let address = format!("{}/example/status", collection(&namespace, &object));
    let written = send(&namespace, "PUT", &address, &object).await.unwrap();
    assert_eq!(written["status"], object["status"]);
    assert_eq!(written["spec"], stored["spec"], "the spec can't be changed through the status");
    let line = cluster().await.kubectl(&["get", "pgdb", "example", "-n", namespace.name(), "--no-headers"]).await.success();
    assert_eq!(line.split_whitespace().take(5).collect::<Vec<_>>(), ["example", "main", "shop", "True", "AsWritten"]);
    let listed = cluster().await.kubectl(&["get", "outrigger", "-n", namespace.name(), "-o", "name"]).await.success();
    assert_eq!(listed.trim(), "pgdatabase.outrigger.dev/example");
}
