//! Servers that are away, dead, read-only, or refuse.

use std::time::Duration;

use outrigger_bed::{Generation, Postgres};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    common::webhook::wait_for,
    world::{ADMIN, World, condition_of, login, message, secret},
};

#[tokio::test(flavor = "multi_thread")]
async fn kopf_k6_a_server_that_never_answers_delays_no_other() {
    let world = World::new("db-dead").await;
    // It accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = format!("{}-dead", world.name());
    let server = json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": "PgServer", "metadata": {"name": dead},
        "spec": {"host": "127.0.0.1", "port": silent.local_addr().unwrap().port(), "credentials": {"name": "admin"}, "tls": {"mode": "Disable"},
            "allow": [{"namespaces": ["*"]}]},
    });
    world.installation.apply(&[server]).await;
    let (waiting, name) = (world.unique("waiting"), world.unique("living"));
    world.apply_object("waiting", &waiting, json!({"server": dead})).await;
    let accepting = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    world.apply_object("living", &name, json!({})).await;
    world.until_ready("living").await;
    assert_ne!(condition_of(&world.get("pgdatabase", "waiting").await.unwrap(), "Ready")["status"], "True");
    let object = world.until("waiting", "Ready", "ServerUnreachable").await;
    assert!(message(&object, "Ready").contains(&format!("kubectl describe pgserver {dead}")));
    accepting.abort();
    world.installation.kubectl(&["delete", "pgserver", &dead]).await;
}

/// Waits until Ready of the server speaks of its newest spec and has this reason.
async fn until_server(world: &World, reason: &str) -> Value {
    wait_for(&format!("the server's Ready is {reason}"), async || {
        let server = world.get("pgserver", world.name()).await?;
        let ready = condition_of(&server, "Ready");
        (ready["reason"] == reason && ready["observedGeneration"] == server["metadata"]["generation"]).then_some(server)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kopf_k5_what_keeps_a_server_from_working_is_in_its_status() {
    let mut world = World::quiet("db-status").await;
    let port = world.postgres.port();
    world.apply_server(port, json!({"credentials": {"name": "nowhere"}})).await;
    world.start(&[]);
    let until = async |reason: &str| until_server(&world, reason).await;
    let server = until("NoCredentials").await;
    assert!(message(&server, "Ready").contains("there is no Secret nowhere"), "{server}");
    world.apply(&[secret("wrong", &json!({"username": ADMIN, "password": "wrong"}))]).await;
    world.apply_server(port, json!({"credentials": {"name": "wrong"}})).await;
    let server = until("LoginRefused").await;
    assert!(!message(&server, "Ready").contains("wrong"), "no password is told: {server}");
    world.sql("CREATE ROLE weak LOGIN PASSWORD 'weak'");
    world.apply(&[secret("weak", &json!({"username": "weak", "password": "weak"}))]).await;
    world.apply_server(port, json!({"credentials": {"name": "weak"}})).await;
    until("PermissionDenied").await;
    world.apply_server(port, json!({"credentials": {"name": "admin"}})).await;
    until("Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_maintenance_database_of_somebody_else_is_not_used_even_by_a_superuser() {
    let mut world = World::on("db-foreign", Postgres::start().await).await;
    let own = world.postgres;
    own.query_as_owner("postgres", "CREATE ROLE root LOGIN SUPERUSER PASSWORD 'root'; CREATE ROLE other LOGIN CREATEDB");
    own.query_as_owner("postgres", "CREATE DATABASE outrigger OWNER other");
    world.apply(&[secret("root", &json!({"username": "root", "password": "root"}))]).await;
    world.apply_server(own.port(), json!({"credentials": {"name": "root"}})).await;
    world.start(&[]);
    let server = until_server(&world, "PermissionDenied").await;
    assert!(message(&server, "Ready").contains("GRANT its owner"), "{server}");

    // The database is given away; what is in it isn't.
    own.query_as_owner("outrigger", "SET ROLE other; CREATE SCHEMA outrigger; CREATE TABLE outrigger.claims ()");
    own.query_as_owner("postgres", "ALTER DATABASE outrigger OWNER TO root");
    let until_told = async |what: &str| {
        wait_for(&format!("the server's status says {what}"), async || {
            let server = world.get("pgserver", world.name()).await?;
            message(&server, "Ready").contains(what).then_some(())
        })
        .await;
    };
    until_told("its schema outrigger belongs to other").await;
    own.query_as_owner("outrigger", "ALTER SCHEMA outrigger OWNER TO root");
    until_told("its relation claims belongs to other").await;
    own.query_as_owner(
        "outrigger",
        "DROP TABLE outrigger.claims; CREATE TABLE outrigger.claims (); ALTER TABLE outrigger.claims OWNER TO root",
    );
    let body = "BEGIN RETURN NEW; END";
    own.query_as_owner("outrigger", &format!("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS '{body}'"));
    own.query_as_owner("outrigger", "CREATE TRIGGER t BEFORE INSERT ON outrigger.claims FOR EACH ROW EXECUTE FUNCTION f()");
    until_told("its table claims has the trigger t").await;
    own.query_as_owner("outrigger", "DROP TABLE outrigger.claims");
    until_server(&world, "Ready").await;

    // A role that was granted to the credentials may own all of it.
    drop(world.controllers.take());
    own.query_as_owner("postgres", "ALTER DATABASE outrigger OWNER TO other");
    own.query_as_owner("outrigger", "ALTER SCHEMA outrigger OWNER TO other");
    own.query_as_owner("postgres", "GRANT other TO root");
    world.start(&[]);
    world.apply_object("granted", "granted", json!({})).await;
    world.until_ready("granted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kopf_k14_the_certificate_of_the_server_is_verified() {
    let mut world = World::quiet("db-tls").await;
    let port = world.postgres.port();
    world.apply_server(port, json!({"host": "localhost"})).await;
    world.start(&[]);
    until_server(&world, "Ready").await;
    // An authority that has not signed the server's certificate.
    let other = Postgres::start().await;
    let ca = std::fs::read_to_string(other.authority_file()).unwrap();
    world.apply(&[secret("other-ca", &json!({"ca.crt": ca}))]).await;
    world.apply_server(port, json!({"tls": {"ca": {"name": "other-ca"}}})).await;
    let server = until_server(&world, "Unreachable").await;
    assert!(message(&server, "Ready").contains("certificate"), "{server}");
    // Without an authority of its own, those of the image.
    world.apply_server(port, json!({"tls": {"ca": null}})).await;
    until_server(&world, "Unreachable").await;
    world.apply_server(port, json!({"tls": {"mode": "Require", "ca": null}})).await;
    until_server(&world, "Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kopf_k9_credentials_are_read_in_the_installations_namespace_alone() {
    let mut world = World::quiet("db-creds").await;
    let elsewhere = format!("{}-tenant", world.name());
    world.installation.kubectl(&["create", "namespace", &elsewhere]).await;
    world
        .installation
        .kubectl(&["create", "secret", "generic", "planted", "-n", &elsewhere, "--from-literal=username=x", "--from-literal=password=y"])
        .await;
    world.apply_server(world.postgres.port(), json!({"credentials": {"name": "planted"}})).await;
    world.start(&[]);
    wait_for("the Secret of another namespace is not taken", async || {
        let server = world.get("pgserver", world.name()).await?;
        message(&server, "Ready").contains(&format!("there is no Secret planted in namespace {}", world.name())).then_some(())
    })
    .await;
    world.installation.kubectl(&["delete", "namespace", &elsewhere, "--wait=false"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kopf_k7_a_server_that_can_not_be_asked_or_changed_is_waited_for() {
    let mut world = World::on("db-readonly", Postgres::start().await).await;
    let own = world.postgres;
    world.start(&[]);
    world.apply_object("first", "first", json!({})).await;
    world.until_ready("first").await;
    own.query_as_owner("postgres", "ALTER SYSTEM SET default_transaction_read_only = on");
    own.query_as_owner("postgres", "SELECT pg_reload_conf()");
    world.apply_object("later", "later", json!({})).await;
    let object = world.until("later", "Ready", "ServerReadOnly").await;
    assert_eq!(object["status"]["phase"], "Pending");
    own.query_as_owner("postgres", "ALTER SYSTEM RESET default_transaction_read_only");
    own.query_as_owner("postgres", "SELECT pg_reload_conf()");
    world.until_ready("later").await;

    // A server that dies and comes back is gone on with.
    own.kill();
    world.apply_object("after", "after", json!({})).await;
    world.until("after", "Ready", "ServerUnreachable").await;
    own.restart();
    world.until_ready("after").await;
    tokio::time::timeout(Duration::from_secs(30), world.until_ready("first")).await.unwrap();
}

/// From PostgreSQL 16 on, who creates a role may neither act in its place nor have its rights, unless it says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_newer_server_is_served_without_a_superuser() {
    let mut world = World::on("db-newer", Postgres::start_of(Generation::Newer).await).await;
    world.start(&[]);
    let fields = json!({
        "reclaimPolicy": "Delete", "owner": {"name": "newer", "create": true}, "connectionSecret": {"name": "newer"},
        "creation": {"localeProvider": "builtin", "builtinLocale": "C.UTF-8", "encoding": "UTF8"},
        "schemas": [{"name": "app"}], "extensions": [{"name": "pg_trgm"}], "publicPrivileges": [],
    });
    world.apply_object("newer", "newer", fields).await;
    let object = world.until_ready("newer").await;
    assert_eq!(condition_of(&object, "Drifted")["status"], "False", "{object}");
    let found = world.sql("SELECT datlocprovider, datlocale, pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'newer'");
    assert_eq!(found, "b|C.UTF-8|newer");
    let uri = world.secret_value("newer", "uri").await.unwrap();
    assert_eq!(login(&uri, "SELECT current_user::text").await.unwrap(), "newer");
    world.delete("pgdatabase", "newer").await;
    world.until_gone("pgdatabase", "newer").await;
    assert!(!world.exists("newer"));
}
