//! Owners: what becomes of them when their database goes, and of their Secrets when something around them changes.

use serde_json::json;

use super::{
    common::webhook::wait_for,
    world::{ADMIN, World, login},
};

#[tokio::test(flavor = "multi_thread")]
async fn movetokube_52_movetokube_82_movetokube_93_db_operator_145_an_owner_that_has_more_stays_and_holds_nobody_up() {
    let world = World::new("db-has-more").await;
    let [name, own, elsewhere] = ["more", "own", "elsewhere"].map(|name| world.unique(name));
    let fields = json!({"reclaimPolicy": "Delete", "owner": {"name": name, "create": true}, "connectionSecret": {"name": "more"}});
    world.apply_object("more", &name, fields).await;
    world.until_ready("more").await;
    world.sql(&format!("CREATE DATABASE \"{elsewhere}\""));
    world.postgres.query_as_owner(&elsewhere, &format!("CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO \"{name}\""));
    // Who does the work may own databases, too.
    world.apply_object("own", &own, json!({"reclaimPolicy": "Delete", "owner": {"name": ADMIN}})).await;
    world.until_ready("own").await;
    for (object, name) in [("more", &name), ("own", &own)] {
        world.delete("pgdatabase", object).await;
        world.until_gone("pgdatabase", object).await;
        assert!(!world.exists(name), "{object}");
    }
    assert_eq!(world.postgres.query_as_owner(&elsewhere, "SELECT tableowner FROM pg_tables WHERE tablename = 'theirs'"), name);
    let log = world.controllers.as_ref().unwrap().log();
    assert!(log.contains("the role stays: it can't be dropped"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn movetokube_142_an_owner_goes_with_an_object_whose_database_is_gone_already() {
    let mut world = World::new("db-bereft").await;
    let name = world.unique("bereft");
    let fields = json!({"reclaimPolicy": "Delete", "owner": {"name": name, "create": true}, "connectionSecret": {"name": "bereft"}});
    world.apply_object("bereft", &name, fields).await;
    world.until_ready("bereft").await;
    drop(world.controllers.take());
    world.sql(&format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
    world.delete("pgdatabase", "bereft").await;
    world.start(&[]);
    world.until_gone("pgdatabase", "bereft").await;
    assert_eq!(world.sql(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{name}'")), "0");
    assert_eq!(world.claims(&name), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_11392_aboutbits_70_aboutbits_71_a_password_is_sent_as_a_verifier_and_nothing_else_is_set_or_read() {
    let world = World::new("db-verifier").await;
    let name = world.unique("verified");
    // Without a superuser nobody reads what is stored, so what is there is known from what was written.
    assert_eq!(world.sql(&format!("SELECT has_table_privilege('{ADMIN}', 'pg_authid', 'SELECT')")), "f");
    world.sql(&format!("ALTER ROLE {ADMIN} SET password_encryption = 'md5'"));
    let fields =
        |changes| json!({"owner": {"name": name, "create": true}, "connectionSecret": {"name": "verified"}, "connectionLimit": changes});
    world.apply_object("verified", &name, fields(5)).await;
    world.until_ready("verified").await;
    let stored = || world.sql(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{name}'"));
    let first = stored();
    assert!(first.starts_with("SCRAM-SHA-256$"), "{first}");
    let uri = world.secret_value("verified", "uri").await.unwrap();
    world.sql(&format!("ALTER ROLE \"{name}\" CONNECTION LIMIT 3 VALID UNTIL '2100-01-01'"));
    world.delete("secret", "verified").await;
    let renewed =
        wait_for("another password", async || world.secret_value("verified", "uri").await.filter(|renewed| *renewed != uri)).await;
    wait_for("it logs in", async || login(&renewed, "SELECT current_user::text").await.ok()).await;
    assert!(stored().starts_with("SCRAM-SHA-256$") && stored() != first);
    let others = format!("SELECT rolconnlimit, rolvaliduntil::date FROM pg_roles WHERE rolname = '{name}'");
    assert_eq!(world.sql(&others), "3|2100-01-01");
}

#[tokio::test(flavor = "multi_thread")]
async fn movetokube_168_a_secret_follows_its_server_and_its_labels() {
    let world = World::new("db-follows").await;
    let name = world.unique("followed");
    let fields = |labels| json!({"owner": {"name": name, "create": true}, "connectionSecret": {"name": "followed", "labels": labels}});
    world.apply_object("followed", &name, fields(json!({"a": "b"}))).await;
    world.until_ready("followed").await;
    let password = world.secret_value("followed", "password").await;
    let port = world.postgres.port();
    world.apply_server(port, json!({"host": "localhost"})).await;
    wait_for("the Secret names the new address", async || (world.secret_value("followed", "host").await? == "localhost").then_some(()))
        .await;
    let uri = world.secret_value("followed", "uri").await.unwrap();
    assert!(uri.contains(&format!("@localhost:{port}/")), "{uri}");
    assert_eq!(login(&uri, "SELECT current_user::text").await.unwrap(), name);
    world.apply_object("followed", &name, fields(json!({"c": "d"}))).await;
    wait_for("the Secret has the new label", async || {
        let labels = &world.get("secret", "followed").await?["metadata"]["labels"];
        (labels["c"] == "d").then_some(())
    })
    .await;
    assert_eq!(world.secret_value("followed", "password").await, password);
}
