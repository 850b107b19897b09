//! A database comes and goes with its object, and an unchanged world is left alone.

use std::collections::BTreeSet;

use outrigger_bed::Postgres;
use serde_json::json;

use super::{
    common::webhook::wait_for,
    world::{LOOKS, STATEMENTS, STATUS_WRITES, World, condition_of, login, message},
};

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_7436_a_database_is_made_and_dropped_with_its_object() {
    let world = World::new("db-first").await;
    let name = world.unique("Shop");
    world.apply_object("shop", &name, json!({"reclaimPolicy": "Delete"})).await;
    let object = world.until_ready("shop").await;
    assert_eq!(condition_of(&object, "Claimed")["status"], "True");
    assert_eq!(condition_of(&object, "Drifted")["status"], "False");
    assert_eq!(object["status"]["phase"], "Ready");
    let found = world.sql(&format!("SELECT oid FROM pg_database WHERE datname = '{name}'"));
    assert_eq!(object["status"]["oid"].to_string(), found);
    assert_eq!(world.claims(&name), format!("{} held", object["metadata"]["uid"].as_str().unwrap()));
    assert_eq!(object["metadata"]["finalizers"], json!(["outrigger.dev/database"]));
    let server = super::servers::until_server(&world, "Ready").await;
    assert_eq!(condition_of(&server, "Ready")["status"], "True");
    assert!(server["status"]["version"].is_string() && server["status"]["inRecovery"] == false);

    world.delete("pgdatabase", "shop").await;
    world.until_gone("pgdatabase", "shop").await;
    assert!(!world.exists(&name));
    assert_eq!(world.claims(&name), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_2_provider_sql_110_an_unchanged_world_is_left_alone() {
    // A server of its own: the roles that other tests create would be news in the status of the shared one.
    let mut world = World::on("db-quiet", Postgres::start().await).await;
    world.start(&[]);
    let name = world.unique("quiet");
    let fields = json!({
        "owner": {"name": name, "create": true}, "connectionSecret": {"name": "quiet"}, "schemas": [{"name": "app"}],
        "parameters": {"work_mem": "64MB", "search_path": "app, public"}, "connectionLimit": 7, "publicPrivileges": [],
        "extensions": [{"name": "pg_trgm"}],
    });
    world.apply_object("quiet", &name, fields).await;
    world.until_ready("quiet").await;
    world.more_looks(2).await;
    let state = async || {
        let versions = [("pgdatabase", "quiet"), ("pgserver", world.name()), ("secret", "quiet")];
        let mut state = vec![world.metric(STATEMENTS).await.to_string(), world.metric(STATUS_WRITES).await.to_string()];
        for (kind, name) in versions {
            state.push(world.get(kind, name).await.unwrap()["metadata"]["resourceVersion"].to_string());
        }
        state
    };
    let connections = || -> BTreeSet<String> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = 'outrigger' AND backend_type = 'client backend'";
        world.sql(sql).lines().map(ToOwned::to_owned).collect()
    };
    let connected = wait_for("a connection", async || Some(connections()).filter(|connected| !connected.is_empty())).await;
    let (before, looks) = (state().await, world.metric(LOOKS).await);
    world.more_looks(4).await;
    // Who loses the lease, as on a machine without any time to spare, begins anew.
    let is_steady = !world.controllers.as_ref().unwrap().log().contains("the lease is lost");
    assert!(!is_steady || connected.is_subset(&connections()), "{connected:?} {:?}", connections());
    assert_eq!(state().await, before, "{}", world.controllers.as_ref().unwrap().log());
    assert!(world.metric(LOOKS).await >= looks + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn retain_leaves_the_database_and_needs_no_finalizer() {
    let world = World::new("db-retain").await;
    let name = world.unique("kept");
    world.apply_object("kept", &name, json!({})).await;
    let object = world.until_ready("kept").await;
    assert!(object["metadata"]["finalizers"].is_null(), "{object}");
    world.delete("pgdatabase", "kept").await;
    world.until_gone("pgdatabase", "kept").await;
    assert!(world.exists(&name));

    // Whoever comes later has to say that it is to be taken over.
    world.apply_object("again", &name, json!({})).await;
    let object = world.until("again", "Ready", "AlreadyExists").await;
    assert!(message(&object, "Ready").contains("adoptionPolicy: IfUnclaimed"), "{object}");
    world.apply_object("again", &name, json!({"adoptionPolicy": "IfUnclaimed"})).await;
    world.until_ready("again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_6961_provider_sql_227_an_owner_is_made_with_a_secret_that_logs_in() {
    let world = World::new("db-owner").await;
    let name = world.unique("owned");
    let secret = json!({"name": "login", "labels": {"example.com/pooler": "main"}});
    let fields = json!({"owner": {"name": name, "create": true}, "connectionSecret": secret, "reclaimPolicy": "Delete"});
    world.apply_object("owned", &name, fields).await;
    world.until_ready("owned").await;
    let uri = world.secret_value("login", "uri").await.unwrap();
    assert_eq!(login(&uri, "SELECT current_database() || ' ' || current_user").await.unwrap(), format!("{name} {name}"));
    let verifier = world.sql(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'"));
    assert!(verifier.starts_with("SCRAM-SHA-256$4096:"), "{verifier}");
    let salt = world.postgres.query_as_owner("outrigger", &format!("SELECT salt FROM outrigger.roles WHERE role = '{name}'"));
    assert!(verifier.starts_with(&format!("SCRAM-SHA-256$4096:{salt}$")), "{verifier}");

    // Without the Secret, nobody knows the password: another one is made.
    world.delete("secret", "login").await;
    let renewed = wait_for("another password", async || world.secret_value("login", "uri").await.filter(|renewed| *renewed != uri)).await;
    wait_for("it logs in", async || login(&renewed, "SELECT current_user::text").await.ok()).await;
    assert_eq!(login(&uri, "SELECT 'x'").await.unwrap_err().code().unwrap().code(), "28P01");

    world.delete("pgdatabase", "owned").await;
    world.until_gone("pgdatabase", "owned").await;
    assert_eq!(world.sql(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{name}'")), "0", "the role goes, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_in_place_of_ours_keeps_its_password_and_its_life() {
    let world = World::new("db-replaced").await;
    let (name, login_name) = (world.unique("replaced"), world.unique("role"));
    let fields = |connections| {
        let owner = json!({"name": login_name, "create": true});
        json!({"owner": owner, "connectionSecret": {"name": "login"}, "reclaimPolicy": "Delete", "connectionLimit": connections})
    };
    world.apply_object("replaced", &name, fields(5)).await;
    world.until_ready("replaced").await;
    // At once: a look in between would make the role again.
    world.sql(&format!(
        "ALTER DATABASE \"{name}\" OWNER TO postgres; DROP ROLE \"{login_name}\"; CREATE ROLE \"{login_name}\" LOGIN PASSWORD 'theirs'"
    ));
    let verifier = || world.sql(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{login_name}'"));
    let theirs = verifier();
    world.delete("secret", "login").await;
    world.apply_object("replaced", &name, fields(6)).await;
    world.until("replaced", "Ready", "OwnerNotOurs").await;
    assert!(world.get("secret", "login").await.is_none(), "no password is made that nobody gets");
    // What belongs to somebody else only they can drop.
    world.sql(&format!("ALTER DATABASE \"{name}\" OWNER TO {}", super::world::ADMIN));
    world.delete("pgdatabase", "replaced").await;
    world.until_gone("pgdatabase", "replaced").await;
    assert_eq!(verifier(), theirs);
    let known = format!("SELECT count(*) FROM outrigger.roles WHERE role = '{login_name}'");
    assert_eq!(world.postgres.query_as_owner("outrigger", &known), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_11337_a_password_is_changed_when_it_is_old_and_an_edited_one_is_set() {
    let world = World::new("db-rotate").await;
    let name = world.unique("rotated");
    let fields = |secret| json!({"owner": {"name": name, "create": true}, "connectionSecret": secret});
    world.apply_object("rotated", &name, fields(json!({"name": "login"}))).await;
    world.until_ready("rotated").await;
    let first = world.secret_value("login", "uri").await.unwrap();
    world.installation.kubectl(&["patch", "secret", "login", "-p", r#"{"stringData": {"password": "chosen by hand"}}"#]).await;
    let chosen = wait_for("the URI has the chosen password", async || {
        world.secret_value("login", "uri").await.filter(|uri| uri.contains("chosen%20by%20hand"))
    })
    .await;
    wait_for("it logs in", async || login(&chosen, "SELECT current_user::text").await.ok()).await;
    assert!(login(&first, "SELECT 'x'").await.is_err());

    world.apply_object("rotated", &name, fields(json!({"name": "login", "rotateAfter": "1s"}))).await;
    wait_for("the password is changed because of its age", async || {
        let uri = world.secret_value("login", "uri").await.filter(|uri| *uri != chosen)?;
        login(&uri, "SELECT current_user::text").await.ok()
    })
    .await;

    // Where it can't be written, the author is told.
    world.installation.kubectl(&["patch", "secret", "login", "-p", r#"{"immutable": true}"#]).await;
    let object = world.until("rotated", "Ready", "RequestRefused").await;
    assert_eq!(condition_of(&object, "Ready")["status"], "False");
    assert!(message(&object, "Ready").contains("immutable"), "{object}");
    world.delete("secret", "login").await;
    world.until_ready("rotated").await;
}
