//! How databases go.

use outrigger_bed::Postgres;
use serde_json::{Value, json};

use super::{
    common::webhook::wait_for,
    world::{World, condition_of, message},
};

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_1_provider_sql_397_a_database_in_use_is_named_and_dropped_by_force_only() {
    let world = World::new("db-busy").await;
    let name = world.unique("busy");
    let fields = |drop| {
        let owner = json!({"name": name, "create": true});
        json!({"reclaimPolicy": "Delete", "owner": owner, "connectionSecret": {"name": "busy"}, "drop": drop})
    };
    world.apply_object("busy", &name, fields(json!({}))).await;
    world.until_ready("busy").await;
    let uri = format!("{}?application_name=lingering", world.secret_value("busy", "uri").await.unwrap());
    let (client, connection) = tokio_postgres::connect(&uri, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    world.delete("pgdatabase", "busy").await;
    let object = world.until("busy", "Ready", "InUse").await;
    assert!(object["status"]["blockers"][0].as_str().unwrap().contains(&format!("of {name} (lingering)")), "{object}");
    assert_eq!(object["status"]["phase"], "Deleting");
    assert!(message(&object, "Ready").contains("drop.force: true") && world.exists(&name));

    // Whoever is connected stays so until somebody asks for the other.
    client.simple_query("SELECT 1").await.unwrap();
    world.apply_object("busy", &name, fields(json!({"force": true}))).await;
    world.until_gone("pgdatabase", "busy").await;
    assert!(!world.exists(&name));
    assert!(client.simple_query("SELECT 1").await.is_err());
    drop(connection.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_session_is_named_and_force_does_not_help() {
    let own = Postgres::start().await;
    own.query_as_owner("postgres", "ALTER SYSTEM SET max_prepared_transactions = 5");
    own.query_as_owner("postgres", "ALTER SYSTEM SET wal_level = 'logical'");
    own.kill();
    own.restart();
    let mut world = World::on("db-firm", own).await;
    let own = world.postgres;
    world.start(&[]);
    world.apply_object("firm", "firm", json!({"reclaimPolicy": "Delete", "drop": {"force": true}})).await;
    world.until_ready("firm").await;
    // First: a slot waits for transactions that have begun, prepared ones as well.
    own.query_as_owner("firm", "SELECT pg_create_logical_replication_slot('outward', 'pgoutput')");
    own.query_as_owner("firm", "BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'held'");
    own.query_as_owner("firm", "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE)");
    world.delete("pgdatabase", "firm").await;
    let firm = json!(["replication slot outward", "prepared transaction held", "subscription s"]);
    wait_for("they alone are named", async || {
        let object = world.until("firm", "Ready", "InUse").await;
        (object["status"]["blockers"] == firm).then_some(())
    })
    .await;
    own.query_as_owner("firm", "DROP SUBSCRIPTION s");
    own.query_as_owner("firm", "ROLLBACK PREPARED 'held'");
    wait_for("only the slot is left", async || {
        let object = world.get("pgdatabase", "firm").await?;
        (object["status"]["blockers"] == json!(["replication slot outward"])).then_some(())
    })
    .await;
    assert!(world.exists("firm"));
    own.query_as_owner("firm", "SELECT pg_drop_replication_slot('outward')");
    world.until_gone("pgdatabase", "firm").await;
    assert!(!world.exists("firm"));
}

/// Who has prepared a transaction must get in to end it, and a drop after the grace period would wait for it as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_keeps_a_database_open_through_its_grace_period_and_when_it_is_given_up() {
    let own = Postgres::start().await;
    own.query_as_owner("postgres", "ALTER SYSTEM SET max_prepared_transactions = 5");
    own.kill();
    own.restart();
    let mut world = World::on("db-firm-grace", own).await;
    let own = world.postgres;
    world.start(&[]);
    let fields = json!({"reclaimPolicy": "Delete", "drop": {"force": true, "gracePeriod": "72h"}});
    for name in ["firm", "ended", "abandoned"] {
        world.apply_object(name, name, fields.clone()).await;
        world.until_ready(name).await;
        own.query_as_owner(name, &format!("BEGIN; CREATE TABLE t (); PREPARE TRANSACTION '{name}'"));
        world.delete("pgdatabase", name).await;
        let firm = json!([format!("prepared transaction {name}")]);
        wait_for("it alone is named", async || {
            let object = world.until(name, "Ready", "InUse").await;
            (object["status"]["blockers"] == firm).then_some(())
        })
        .await;
    }
    let is_open = |name: &str| world.sql(&format!("SELECT datallowconn FROM pg_database WHERE datname = '{name}'"));
    world.more_looks(2).await;
    assert_eq!(["firm", "ended", "abandoned"].map(is_open), ["t"; 3]);
    own.query_as_owner("ended", "ROLLBACK PREPARED 'ended'");
    world.until_gone("pgdatabase", "ended").await;
    assert!(!world.exists("ended") && world.sql("SELECT datname FROM pg_database WHERE NOT datallowconn").contains("ended~dropped-"));

    // Closed by a process that ended before the next statement, and given up.
    drop(world.controllers.take());
    own.query_as_owner("outrigger", "UPDATE outrigger.claims SET is_closed = true WHERE database IN ('firm', 'abandoned')");
    for name in ["firm", "abandoned"] {
        world.sql(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    }
    world.installation.kubectl(&["annotate", "pgdatabase", "abandoned", "outrigger.dev/abandon-database=true"]).await;
    world.start(&["--databases-patience=1s"]);
    for name in ["firm", "abandoned"] {
        world.until_gone("pgdatabase", name).await;
        assert_eq!(world.sql(&format!("SELECT datallowconn FROM pg_database WHERE datname = '{name}'")), "t", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_here_may_end_leaves_the_database_open() {
    let world = World::new("db-visited").await;
    let name = world.unique("visited");
    let fields = json!({"reclaimPolicy": "Delete", "drop": {"force": true, "gracePeriod": "72h"}});
    world.apply_object("visited", &name, fields).await;
    world.until_ready("visited").await;
    // A superuser's.
    let uri = format!("host={} port={} user=postgres dbname='{name}'", world.postgres.socket_folder().display(), world.postgres.port());
    let (client, connection) = tokio_postgres::connect(&uri, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    world.delete("pgdatabase", "visited").await;
    let object = world.until("visited", "Ready", "PermissionDenied").await;
    assert!(message(&object, "Ready").contains("42501"), "{object}");
    assert_eq!(world.sql(&format!("SELECT datallowconn FROM pg_database WHERE datname = '{name}'")), "t");
    drop(client);
    connection.await.unwrap().unwrap();
    world.until_gone("pgdatabase", "visited").await;
    assert!(!world.exists(&name));
}

/// The sweep has read that a database was renamed, and somebody takes it over before the sweep forgets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_taken_over_meanwhile_is_not_forgotten() {
    let mut world = World::on("db-sweep", Postgres::start().await).await;
    let own = world.postgres;
    world.start(&[]);
    world.apply_object("taken", "taken", json!({"reclaimPolicy": "Delete", "drop": {"gracePeriod": "72h"}})).await;
    let oid = world.until_ready("taken").await["status"]["oid"].to_string();
    world.delete("pgdatabase", "taken").await;
    world.until_gone("pgdatabase", "taken").await;
    let uri = format!("host={} port={} user=postgres dbname=outrigger", own.socket_folder().display(), own.port());
    let (client, connection) = tokio_postgres::connect(&uri, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    // Others may read what is there, and wait to change it.
    client.batch_execute("BEGIN; LOCK TABLE outrigger.claims IN SHARE MODE").await.unwrap();
    world.sql(&format!("ALTER DATABASE \"taken~dropped-{oid}\" RENAME TO taken"));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM outrigger.claims%'";
    wait_for("the sweep waits to forget it", async || (world.sql(waiting) == "1").then_some(())).await;
    client.batch_execute("UPDATE outrigger.claims SET stage = 'held', database = 'taken', uid = 'another'; COMMIT").await.unwrap();
    wait_for("the sweep is done", async || (world.sql(waiting) == "0").then_some(())).await;
    world.more_looks(1).await;
    assert_eq!(world.claims("taken"), "another held");
    drop(client);
    connection.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_3_a_move_that_waits_for_somebody_says_so_and_holds_nothing_else_up() {
    let world = World::new("db-move").await;
    let name = world.unique("moved");
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    world.sql(&format!("CREATE TABLESPACE moved LOCATION '{}'", folder.path().display()));
    world.sql("GRANT CREATE ON TABLESPACE moved TO PUBLIC");
    let allow = json!([{"namespaces": [world.name()], "tablespaces": ["moved"]}]);
    world.apply_server(world.postgres.port(), json!({"allow": allow})).await;
    world.apply_object("moved", &name, json!({"reclaimPolicy": "Delete"})).await;
    world.until_ready("moved").await;
    let uri = format!("host={} port={} user=postgres", world.postgres.socket_folder().display(), world.postgres.port());
    let mut config: tokio_postgres::Config = uri.parse().unwrap();
    let (client, connection) = config.dbname(&name).connect(tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let fields = json!({"reclaimPolicy": "Delete", "tablespace": "moved", "connectionLimit": 7, "parameters": {"work_mem": "64MB"}});
    world.apply_object("moved", &name, fields).await;
    let object = world.until("moved", "Ready", "InUse").await;
    assert!(message(&object, "Ready").contains("waits until nobody uses the database"), "{object}");
    assert!(object["status"]["blockers"][0].as_str().unwrap().starts_with("session "), "{object}");
    let columns = format!(
        "SELECT datconnlimit, (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid) FROM pg_database d WHERE datname = '{name}'"
    );
    assert_eq!(world.sql(&columns), "7|{work_mem=64MB}");
    drop(client);
    connection.await.unwrap().unwrap();
    world.until_ready("moved").await;
    let tablespace = "SELECT spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace";
    assert_eq!(world.sql(&format!("{tablespace} WHERE datname = '{name}'")), "moved");
    world.delete("pgdatabase", "moved").await;
    world.until_gone("pgdatabase", "moved").await;
    world.sql("DROP TABLESPACE moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_period_closes_and_renames_and_can_be_undone() {
    let world = World::new("db-grace").await;
    let (name, short) = (world.unique("graced"), world.unique("short"));
    let policy = |grace: &str| json!({"reclaimPolicy": "Delete", "drop": {"gracePeriod": grace}});
    world.apply_object("graced", &name, policy("72h")).await;
    let oid = world.until_ready("graced").await["status"]["oid"].to_string();
    world.delete("pgdatabase", "graced").await;
    world.until_gone("pgdatabase", "graced").await;
    let retired = format!("{name}~dropped-{oid}");
    assert!(world.exists(&retired) && !world.exists(&name));
    assert_eq!(world.sql(&format!("SELECT datallowconn FROM pg_database WHERE oid = {oid}")), "f");
    assert!(world.claims(&retired).ends_with(" retired"));
    world.more_looks(2).await;
    assert!(world.exists(&retired), "its time has not come");

    // As docs/databases.md has it.
    world.sql(&format!("ALTER DATABASE \"{retired}\" RENAME TO \"{name}\""));
    world.sql(&format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS true"));
    wait_for("the claim is forgotten", async || world.claims(&retired).is_empty().then_some(())).await;
    world.apply_object("again", &name, json!({"adoptionPolicy": "IfUnclaimed"})).await;
    assert_eq!(world.until_ready("again").await["status"]["oid"].to_string(), oid);

    world.apply_object("short", &short, policy("1s")).await;
    let oid = world.until_ready("short").await["status"]["oid"].to_string();
    world.delete("pgdatabase", "short").await;
    wait_for("it is dropped when its time has come", async || {
        (world.sql(&format!("SELECT count(*) FROM pg_database WHERE oid = {oid}")) == "0").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_use_stays_open_through_its_grace_period_and_closed_ones_have_an_inside() {
    let world = World::new("db-open").await;
    let (name, closed) = (world.unique("open"), world.unique("closed"));
    world.apply_object("open", &name, json!({})).await;
    world.until_ready("open").await;
    let uri = format!("host={} port={} user=postgres dbname='{name}'", world.postgres.socket_folder().display(), world.postgres.port());
    let (client, connection) = tokio_postgres::connect(&uri, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    world.apply_object("open", &name, json!({"ensure": "Absent", "drop": {"gracePeriod": "72h"}})).await;
    world.until("open", "Ready", "InUse").await;
    let is_open = format!("SELECT datallowconn FROM pg_database WHERE datname = '{name}'");
    assert_eq!(world.sql(&is_open), "t");
    // Closed by a process that ended before the next statement.
    let mut world = world;
    drop(world.controllers.take());
    drop(client);
    connection.await.unwrap().unwrap();
    world.postgres.query_as_owner("outrigger", &format!("UPDATE outrigger.claims SET is_closed = true WHERE database = '{name}'"));
    world.sql(&format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS false"));
    world.apply_object("open", &name, json!({"ensure": "Present"})).await;
    world.start(&[]);
    world.until_ready("open").await;
    assert_eq!(world.sql(&is_open), "t");

    world
        .apply_object(
            "closed",
            &closed,
            json!({"allowConnections": false, "schemas": [{"name": "app"}], "extensions": [{"name": "pg_trgm"}]}),
        )
        .await;
    world.until_ready("closed").await;
    assert_eq!(world.sql(&format!("SELECT datallowconn FROM pg_database WHERE datname = '{closed}'")), "f");
    world.sql(&format!("ALTER DATABASE \"{closed}\" ALLOW_CONNECTIONS true"));
    let made = "SELECT count(*) FROM pg_namespace, pg_extension WHERE nspname = 'app' AND extname = 'pg_trgm'";
    assert_eq!(world.postgres.query_as_owner(&closed, made), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_drops_what_is_ours_and_nothing_else() {
    let world = World::new("db-absent").await;
    let (ours, theirs) = (world.unique("ours"), world.unique("theirs"));
    world.sql(&format!("CREATE DATABASE \"{theirs}\""));
    world.apply_object("theirs", &theirs, json!({"ensure": "Absent"})).await;
    world.until("theirs", "Ready", "Absent").await;
    assert!(world.exists(&theirs));
    world.apply_object("ours", &ours, json!({"isTemplate": true})).await;
    world.until_ready("ours").await;
    world.apply_object("ours", &ours, json!({"isTemplate": true, "connectionLimit": 5})).await;
    world.until_ready("ours").await;
    world.sql(&format!("ALTER DATABASE \"{ours}\" CONNECTION LIMIT 9"));
    world.until("ours", "Drifted", "Changed").await;
    world.apply_object("ours", &ours, json!({"ensure": "Absent"})).await;
    let object = world.until("ours", "Ready", "Absent").await;
    assert!(!world.exists(&ours), "a template, too");
    // Nothing is left that others are told of.
    let left = ["Claimed", "Drifted"].map(|condition| condition_of(&object, condition)["status"].as_str());
    assert_eq!((left, &object["status"]["drift"]), ([Some("False"); 2], &Value::Null));
    world.apply_object("next", &ours, json!({})).await;
    world.until_ready("next").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_databases_are_to_stay_no_author_has_one_dropped() {
    let mut world = World::quiet("db-stay").await;
    let allow = json!([{"namespaces": [world.name()], "reclaim": "Retain"}]);
    world.apply_server(world.postgres.port(), json!({"allow": allow})).await;
    world.start(&[]);
    let (absent, going) = (world.unique("absent"), world.unique("going"));
    world.apply_object("absent", &absent, json!({})).await;
    world.until_ready("absent").await;
    world.apply_object("absent", &absent, json!({"ensure": "Absent"})).await;
    let object = world.until("absent", "Ready", "NotAllowed").await;
    assert!(message(&object, "Ready").contains("spec.ensure") && world.exists(&absent), "{object}");

    // Whoever writes the finalizer, and the policy afterwards, is told no by nobody but us.
    world.apply_object("going", &going, json!({})).await;
    world.until_ready("going").await;
    let finalizers = json!({"metadata": {"finalizers": ["outrigger.dev/database", "example.com/hold"]}}).to_string();
    world.installation.kubectl(&["patch", "pgdatabase", "going", "--type=merge", "-p", &finalizers]).await;
    drop(world.controllers.take());
    world.delete("pgdatabase", "going").await;
    let policy = json!({"spec": {"reclaimPolicy": "Delete"}}).to_string();
    world.installation.kubectl(&["patch", "pgdatabase", "going", "--type=merge", "-p", &policy]).await;
    world.start(&[]);
    wait_for("our finalizer is taken away", async || {
        let object = world.get("pgdatabase", "going").await?;
        (object["metadata"]["finalizers"] == json!(["example.com/hold"])).then_some(())
    })
    .await;
    assert!(world.exists(&going));
    let free = json!({"metadata": {"finalizers": null}}).to_string();
    world.installation.kubectl(&["patch", "pgdatabase", "going", "--type=merge", "-p", &free]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_for_good_holds_nobody_back() {
    let mut world = World::new("db-gone").await;
    let (told, orphan) = (world.unique("told"), world.unique("orphan"));
    for (object, name) in [("told", &told), ("orphan", &orphan)] {
        world.apply_object(object, name, json!({"reclaimPolicy": "Delete"})).await;
        world.until_ready(object).await;
    }
    // Nothing listens there.
    world.apply_server(outrigger_bed::free_port().unwrap(), json!({})).await;
    world.delete("pgdatabase", "told").await;
    world.until("told", "Ready", "ServerUnreachable").await;
    world.installation.kubectl(&["annotate", "pgdatabase", "told", "outrigger.dev/abandon-database=true"]).await;
    world.until_gone("pgdatabase", "told").await;
    assert!(world.exists(&told), "it stays as it is");

    // Who takes the PgServer away says that nothing is to be done there any more; but not at once, which may be a mistake.
    let server = world.name().to_owned();
    world.delete("pgserver", &server).await;
    world.delete("pgdatabase", "orphan").await;
    let object: Value = world.until("orphan", "Ready", "ServerUnknown").await;
    assert_eq!(object["metadata"]["finalizers"], json!(["outrigger.dev/database"]));
    drop(world.controllers.take());
    world.start(&["--databases-patience=1s"]);
    world.until_gone("pgdatabase", "orphan").await;
    assert!(world.exists(&orphan));
}
