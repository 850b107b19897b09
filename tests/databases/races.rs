//! Others create and change the same at the same moment.

use outrigger_bed::Postgres;
use serde_json::json;
use tokio_postgres::{Client, NoTls};

use super::{
    common::{process::Server, webhook::wait_for},
    proxy::Proxy,
    world::{ADMIN, World, message},
};

/// Errors that somebody else was quicker are no more than this.
const TELLS_ALL: &str = "--log=info,outrigger=debug";

/// Somebody else with all rights.
async fn somebody(world: &World) -> Client {
    let uri = format!("host={} port={} user=postgres dbname=postgres", world.postgres.socket_folder().display(), world.postgres.port());
    let (client, connection) = tokio_postgres::connect(&uri, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Waits until the program's statement that begins so waits for somebody.
async fn until_it_waits(world: &World, statement: &str) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{ADMIN}' AND wait_event_type = 'Lock' AND query LIKE '{statement}%'"
    );
    wait_for(&format!("{statement} waits"), async || (world.sql(&sql) == "1").then_some(())).await;
}

fn log(world: &World) -> String {
    world.controllers.as_ref().map(Server::log).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_sql_8_a_database_that_somebody_makes_just_before_ours_is_theirs() {
    let mut world = World::quiet("db-quicker").await;
    let proxy = Proxy::start(world.postgres.port()).await;
    world.apply_server(proxy.port, json!({"tls": {"mode": "Disable", "ca": null}})).await;
    world.start(&[TELLS_ALL]);
    let name = world.unique("quicker");
    proxy.hold_statement(&format!("CREATE DATABASE \"{name}\""));
    world.apply_object("quicker", &name, json!({"reclaimPolicy": "Delete"})).await;
    wait_for("it is about to create it", async || proxy.is_held().then_some(())).await;
    world.sql(&format!("CREATE DATABASE \"{name}\""));
    let theirs = world.sql(&format!("SELECT oid FROM pg_database WHERE datname = '{name}'"));
    proxy.let_go();
    let object = world.until("quicker", "Claimed", "AlreadyExists").await;
    assert!(message(&object, "Ready").contains("somebody else has created"), "{object}");
    assert_eq!(object["status"]["phase"], "Failed");
    assert!(log(&world).contains("42P04"), "{}", log(&world));
    assert!(!world.claims(&name).ends_with(" held"));
    world.delete("pgdatabase", "quicker").await;
    world.until_gone("pgdatabase", "quicker").await;
    assert_eq!(world.sql(&format!("SELECT oid FROM pg_database WHERE datname = '{name}'")), theirs);
}

/// Who looks at the same moment finds nothing either; of both, the unique index of names lets one through.
#[tokio::test(flavor = "multi_thread")]
async fn provider_sql_8_a_database_that_somebody_makes_at_the_same_moment_is_theirs() {
    let mut world = World::on("db-moment", Postgres::start().await).await;
    world.start(&[TELLS_ALL]);
    world.apply_object("first", "first", json!({})).await;
    world.until_ready("first").await;
    // Theirs is not seen by anybody until a replica has it that doesn't exist.
    for setting in ["synchronous_commit = 'local'", "synchronous_standby_names = 'nobody'"] {
        world.sql(&format!("ALTER SYSTEM SET {setting}"));
    }
    world.sql("SELECT pg_reload_conf()");
    let other = somebody(&world).await;
    other.batch_execute("SET synchronous_commit = 'on'").await.unwrap();
    let other = tokio::spawn(async move { other.batch_execute("CREATE DATABASE moment").await });
    let is_made = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'CREATE DATABASE moment'";
    wait_for("theirs is made and not seen", async || (world.sql(is_made) == "1").then_some(())).await;
    world.apply_object("moment", "moment", json!({"reclaimPolicy": "Delete"})).await;
    until_it_waits(&world, "CREATE DATABASE").await;
    assert!(!world.exists("moment"));
    world.sql("ALTER SYSTEM RESET synchronous_standby_names");
    world.sql("SELECT pg_reload_conf()");
    other.await.unwrap().unwrap();
    let object = world.until("moment", "Claimed", "AlreadyExists").await;
    assert!(message(&object, "Ready").contains("somebody else has created"), "{object}");
    assert!(log(&world).contains("23505"), "{}", log(&world));
    let theirs = world.sql("SELECT oid FROM pg_database WHERE datname = 'moment'");
    world.delete("pgdatabase", "moment").await;
    world.until_gone("pgdatabase", "moment").await;
    assert_eq!(world.sql("SELECT oid FROM pg_database WHERE datname = 'moment'"), theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_grants_at_the_same_moment_is_looked_at_again() {
    let mut world = World::on("db-grants", Postgres::start().await).await;
    world.start(&[TELLS_ALL]);
    world.sql("CREATE ROLE other");
    world.apply_object("granted", "granted", json!({})).await;
    world.until_ready("granted").await;
    let other = somebody(&world).await;
    let roles: Vec<String> = (0..4).map(|number| format!("reader{number}")).collect();
    for count in 1..=roles.len() {
        world.sql(&format!("CREATE ROLE {}", roles[count - 1]));
        let change =
            if count % 2 == 1 { "GRANT TEMPORARY ON DATABASE granted TO other" } else { "REVOKE TEMPORARY ON DATABASE granted FROM other" };
        other.batch_execute(&format!("BEGIN; {change}")).await.unwrap();
        let privileges: Vec<_> = roles[..count].iter().map(|role| json!({"role": role, "privileges": ["Connect"]})).collect();
        world.apply_object("granted", "granted", json!({"privileges": privileges})).await;
        until_it_waits(&world, "GRANT").await;
        other.batch_execute("COMMIT").await.unwrap();
        world.until_ready("granted").await;
        let has = "SELECT count(*) FROM pg_database d, aclexplode(d.datacl) a JOIN pg_roles r ON r.oid = a.grantee \
             WHERE datname = 'granted' AND rolname LIKE 'reader%' AND privilege_type = 'CONNECT'";
        assert_eq!(world.sql(has), count.to_string());
        let log = log(&world);
        let looked_again = log.lines().filter(|line| line.contains("looking again") && line.contains("tuple concurrently updated"));
        assert_eq!(looked_again.count(), count, "{log}");
    }
}
