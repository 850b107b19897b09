//! Replicas: what they keep from being done, and what becomes of it all when one takes its server's place.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_bed::Postgres;
use serde_json::{Value, json};

use super::{
    common::webhook::wait_for,
    proxy::Proxy,
    servers::until_server,
    world::{World, condition_of, login, message},
};

/// A server with a replica, behind an address that leads to the server.
async fn replicated(name: &str) -> (World, Postgres, Proxy) {
    let world = World::on(name, Postgres::start().await).await;
    let proxy = Proxy::start(world.postgres.port()).await;
    world.apply_server(proxy.port, json!({"tls": {"mode": "Disable", "ca": null}})).await;
    let replica = world.postgres.replica();
    (world, replica, proxy)
}

/// Waits until the replica has all that was written.
async fn until_caught_up(world: &World, replica: &Postgres) {
    let written = world.sql("SELECT pg_current_wal_lsn()");
    let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
    wait_for("the replica has it all", async || (replica.query_as_owner("postgres", &sql) == "t").then_some(())).await;
}

/// What stands for good on a server: databases and claims.
fn state(server: &Postgres) -> (String, String) {
    let claims = "SELECT database, oid, uid, stage FROM outrigger.claims ORDER BY 1";
    (
        server.query_as_owner("postgres", "SELECT datname, oid, datconnlimit FROM pg_database ORDER BY 1"),
        server.query_as_owner("outrigger", claims),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_10868_nothing_is_done_on_a_replica_and_all_of_it_once_it_is_promoted() {
    let (mut world, replica, proxy) = replicated("db-replica").await;
    world.start(&[]);
    let owned =
        |name: &str| json!({"owner": {"name": name, "create": true}, "connectionSecret": {"name": name}, "reclaimPolicy": "Delete"});
    for name in ["kept", "going", "absent"] {
        world.apply_object(name, name, owned(name)).await;
    }
    let mut oids = BTreeMap::new();
    for name in ["kept", "going", "absent"] {
        oids.insert(name, world.until_ready(name).await["status"]["oid"].clone());
    }
    until_caught_up(&world, &replica).await;
    let before = state(world.postgres);

    proxy.lead_to(replica.port());
    let server = until_server(&world, "ServerInRecovery").await;
    assert_eq!((&server["status"]["inRecovery"], &condition_of(&server, "Reachable")["status"]), (&json!(true), &json!("True")));
    world.apply_object("new", "new", owned("new")).await;
    world.apply_object("kept", "kept", json!({"connectionLimit": 7})).await;
    world.apply_object("absent", "absent", json!({"ensure": "Absent"})).await;
    // One that has nothing there, as far as a replica knows, can't go either.
    world.apply_object("barely", "barely", json!({"reclaimPolicy": "Delete"})).await;
    let held = json!({"metadata": {"finalizers": ["outrigger.dev/database"]}}).to_string();
    world.until("barely", "Ready", "ServerInRecovery").await;
    world.installation.kubectl(&["patch", "pgdatabase", "barely", "--type=merge", "-p", &held]).await;
    for name in ["going", "barely"] {
        world.delete("pgdatabase", name).await;
    }
    for name in ["new", "kept", "absent", "going", "barely"] {
        let object = world.until(name, "Ready", "ServerInRecovery").await;
        assert!(message(&object, "Ready").contains("let spec.host of the PgServer name the primary"), "{object}");
        let is_going = ["going", "barely"].contains(&name);
        assert_eq!(object["status"]["phase"], if is_going { "Deleting" } else { "Pending" }, "{object}");
        assert!(!is_going || object["metadata"]["finalizers"] == json!(["outrigger.dev/database"]), "{object}");
    }
    world.more_looks(2).await;
    assert!(world.get("secret", "new").await.is_none(), "no password is made that nobody gets");
    assert_eq!((state(world.postgres), state(&replica)), (before.clone(), before));

    world.postgres.kill();
    replica.promote();
    world.postgres = Box::leak(Box::new(replica));
    for name in ["going", "barely"] {
        world.until_gone("pgdatabase", name).await;
    }
    assert_eq!(world.until_ready("kept").await["status"]["oid"], oids["kept"]);
    world.until_ready("new").await;
    world.until("absent", "Ready", "Absent").await;
    assert!(!world.exists("going") && !world.exists("absent"));
    assert_eq!(world.sql("SELECT datconnlimit FROM pg_database WHERE datname = 'kept'"), "7");
    let server = until_server(&world, "Ready").await;
    assert_eq!(server["status"]["inRecovery"], json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_was_at_when_it_died_its_replica_goes_on_with() {
    let (mut world, replica, proxy) = replicated("db-failover").await;
    // What is done is on both, or nobody could tell afterwards what was done.
    world.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
    world.sql("SELECT pg_reload_conf()");
    let is_in_step = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    wait_for("the replica is waited for", async || (world.sql(is_in_step) == "1").then_some(())).await;
    world.sql("CREATE DATABASE theirs");
    let theirs = world.sql("SELECT oid FROM pg_database WHERE datname = 'theirs'");
    world.start(&[]);
    let object = |name: &str, number: usize| {
        let owner = json!({"owner": {"name": name, "create": true}, "connectionSecret": {"name": name}});
        let mut changes = if number.is_multiple_of(3) { owner } else { json!({}) };
        changes["reclaimPolicy"] = json!("Delete");
        world.object(name, name, changes)
    };
    let named = |first: &str, count: usize| (0..count).map(|number| format!("{first}{number}")).collect::<Vec<_>>();
    let (early, late) = (named("early", 6), named("late", 24));
    world.apply(&early.iter().enumerate().map(|(number, name)| object(name, number)).collect::<Vec<_>>()).await;
    let mut oids = BTreeMap::new();
    for name in &early {
        oids.insert(name.clone(), world.until_ready(name).await["status"]["oid"].clone());
    }
    for name in &early[..3] {
        world.delete("pgdatabase", name).await;
    }
    world.apply(&late.iter().enumerate().map(|(number, name)| object(name, number)).collect::<Vec<_>>()).await;
    wait_for("some are made", async || late.iter().any(|name| world.exists(name)).then_some(())).await;
    world.postgres.kill();
    replica.promote();
    proxy.lead_to(replica.port());
    world.postgres = Box::leak(Box::new(replica));

    for name in &early[..3] {
        world.until_gone("pgdatabase", name).await;
    }
    let stay: Vec<&String> = early[3..].iter().chain(&late).collect();
    let mut claims = BTreeSet::new();
    for name in &stay {
        let ready: Value = world.until_ready(name).await;
        let found = world.sql(&format!("SELECT oid FROM pg_database WHERE datname = '{name}'"));
        assert_eq!(ready["status"]["oid"].to_string(), found, "{name}");
        assert!(oids.get(*name).is_none_or(|oid| *oid == ready["status"]["oid"]), "{name}: made twice");
        claims.insert(format!("{name}|{found}|{}|held", ready["metadata"]["uid"].as_str().unwrap()));
    }
    let found = world.postgres.query_as_owner("outrigger", "SELECT database, oid, uid, stage FROM outrigger.claims");
    assert_eq!(found.lines().map(ToOwned::to_owned).collect::<BTreeSet<_>>(), claims);
    let databases = world.sql("SELECT datname FROM pg_database WHERE NOT datistemplate");
    let others = ["postgres", "outrigger", "theirs"];
    assert_eq!(databases.lines().collect::<BTreeSet<_>>(), stay.iter().map(|name| name.as_str()).chain(others).collect::<BTreeSet<_>>());
    assert_eq!(world.sql("SELECT oid FROM pg_database WHERE datname = 'theirs'"), theirs);
    let owners = |names: &[String]| names.iter().step_by(3).cloned().collect::<BTreeSet<_>>();
    let roles: BTreeSet<String> = world
        .sql("SELECT rolname FROM pg_roles WHERE rolname LIKE '%e%ly%' OR rolname LIKE 'late%'")
        .lines()
        .map(ToOwned::to_owned)
        .collect();
    let expected: BTreeSet<String> = owners(&early[3..]).into_iter().chain(owners(&late)).collect();
    assert_eq!(roles, expected);
    for name in &expected {
        let uri = world.secret_value(name, "uri").await.unwrap();
        assert_eq!(login(&uri, "SELECT current_user::text").await.unwrap(), *name);
    }
}
