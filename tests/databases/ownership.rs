//! Who gets a database when several ask for it, and what nobody gets.

use outrigger_bed::ControlPlane;
use serde_json::json;

use super::{
    common::webhook::wait_for,
    proxy::Proxy,
    world::{World, condition_of, installation, login, message},
};

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_10866_the_losers_end_leaves_the_winners_database() {
    let world = World::new("db-two").await;
    let name = world.unique("wanted");
    world.apply_object("winner", &name, json!({"reclaimPolicy": "Delete"})).await;
    world.until_ready("winner").await;
    world.apply_object("loser", &name, json!({"reclaimPolicy": "Delete", "adoptionPolicy": "IfUnclaimed"})).await;
    let loser = world.until("loser", "Claimed", "ClaimedByAnother").await;
    assert!(message(&loser, "Ready").contains(&format!("PgDatabase winner in namespace {}", world.name())), "{loser}");
    world.delete("pgdatabase", "loser").await;
    world.until_gone("pgdatabase", "loser").await;
    assert!(world.exists(&name));
    world.more_looks(2).await;
    assert_eq!(condition_of(&world.get("pgdatabase", "winner").await.unwrap(), "Ready")["status"], "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_clusters_one_gets_the_database_and_the_other_is_told_who() {
    let world = World::new("db-here").await;
    let name = world.unique("shared");
    let elsewhere: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start().await));
    let mut other = World { installation: installation(elsewhere, "db-there").await, postgres: world.postgres, controllers: None };
    other.apply_credentials().await;
    other.apply_server(world.postgres.port(), json!({})).await;
    other.start(&[]);
    let policy = json!({"reclaimPolicy": "Delete"});
    tokio::join!(world.apply_object("one", &name, policy.clone()), other.apply_object("two", &name, policy));
    let outcome = async |world: &World, object: &str| {
        wait_for("the outcome", async || {
            let found = world.get("pgdatabase", object).await?;
            let ready = condition_of(&found, "Ready");
            ["AsAsked", "ClaimedByAnother"].contains(&ready["reason"].as_str()?).then_some(found)
        })
        .await
    };
    let (one, two) = tokio::join!(outcome(&world, "one"), outcome(&other, "two"));
    let mut winners = [(&world, one, "one"), (&other, two, "two")];
    winners.sort_by_key(|(_, object, _)| condition_of(object, "Ready")["status"].to_string());
    let [(loser_world, loser, loser_name), (winner_world, winner, _)] = &winners;
    assert_eq!(condition_of(winner, "Ready")["status"], "True", "{winner}");
    let told = message(loser, "Ready");
    assert!(told.contains("belongs to PgDatabase") && told.contains("of the cluster"), "{told}");
    loser_world.delete("pgdatabase", loser_name).await;
    loser_world.until_gone("pgdatabase", loser_name).await;
    assert!(winner_world.exists(&name));
    drop(winners);
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn kopf_k10_a_database_that_exists_is_left_alone_unless_the_policy_says_otherwise() {
    let world = World::new("db-adopt").await;
    let name = world.unique("existing");
    world.sql(&format!("CREATE DATABASE \"{name}\" OWNER postgres ENCODING 'SQL_ASCII' TEMPLATE template0"));
    world.apply_object("existing", &name, json!({"reclaimPolicy": "Delete"})).await;
    let refused = world.until("existing", "Claimed", "AlreadyExists").await;
    assert_eq!(refused["status"]["phase"], "Failed");
    world.delete("pgdatabase", "existing").await;
    world.until_gone("pgdatabase", "existing").await;
    assert!(world.exists(&name), "what was never ours is not dropped");

    // The admin is no superuser, and the database belongs to another role, so it can be claimed but not changed.
    let adopted = json!({"adoptionPolicy": "IfUnclaimed", "creation": {"encoding": "UTF-8"}});
    world.apply_object("adopted", &name, adopted).await;
    let object = world.until("adopted", "Drifted", "Immutable").await;
    assert_eq!(object["status"]["drift"], json!(["creation.encoding"]));
    assert_eq!(condition_of(&object, "Claimed")["status"], "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn movetokube_8_a_recreated_object_gets_its_database_and_its_owner_back() {
    let world = World::new("db-again").await;
    let name = world.unique("again");
    let fields = json!({"owner": {"name": name, "create": true}, "connectionSecret": {"name": "again"}, "adoptionPolicy": "IfUnclaimed"});
    world.apply_object("again", &name, fields.clone()).await;
    let oid = world.until_ready("again").await["status"]["oid"].to_string();
    let uri = world.secret_value("again", "uri").await.unwrap();
    world.delete("pgdatabase", "again").await;
    world.until_gone("pgdatabase", "again").await;
    wait_for("its Secret goes with it", async || world.get("secret", "again").await.is_none().then_some(())).await;
    world.apply_object("again", &name, fields).await;
    assert_eq!(world.until_ready("again").await["status"]["oid"].to_string(), oid);
    let renewed = world.secret_value("again", "uri").await.unwrap();
    assert_eq!(login(&renewed, "SELECT current_user::text").await.unwrap(), name);
    assert!(login(&uri, "SELECT 'x'").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_6043_cnpg_9126_easymile_33_easymile_34_zalando_982_what_is_not_allowed_is_a_condition() {
    let world = World::quiet("db-consent").await;
    let allow = json!([{"namespaces": [world.name()], "databases": ["team *"], "owners": ["team*", "postgres"], "reclaim": "Retain"}]);
    world.apply_server(world.postgres.port(), json!({"allow": allow})).await;
    let mut world = world;
    world.start(&[]);
    let cases = [
        ("name", "other", json!({}), "may not have a database of this name"),
        ("owner", "team a", json!({"owner": {"name": "someone", "create": true}}), "owned by this role"),
        ("template", "team a", json!({"creation": {"template": "secrets"}}), "copy this database"),
        ("tablespace", "team a", json!({"tablespace": "pg_default"}), "use this tablespace"),
        ("reclaim", "team a", json!({"reclaimPolicy": "Delete"}), "dropped"),
        ("adoption", "team a", json!({"adoptionPolicy": "IfUnclaimed"}), "may go as far as Never"),
        ("parameter", "team a", json!({"parameters": {"log_statement": "none"}}), "can't set the parameter log_statement"),
        ("role", "team a", json!({"parameters": {"role": "postgres"}}), "can't set the parameter role"),
    ];
    for (object, database, fields, _) in &cases {
        world.apply_object(object, database, fields.clone()).await;
    }
    for (object, _, _, expected) in &cases {
        let found = world.until(object, "Ready", "NotAllowed").await;
        assert!(message(&found, "Ready").contains(expected), "{object}: {}", message(&found, "Ready"));
    }
    assert!(!world.exists("team a"));

    world.apply_object("superuser", "team b", json!({"owner": {"name": "postgres"}})).await;
    let found = world.until("superuser", "Ready", "OwnerRefused").await;
    assert!(message(&found, "Ready").contains("superuser"), "{found}");
    world.apply_object("missing", "team c", json!({"owner": {"name": "team_that_is_not"}})).await;
    let found = world.until("missing", "Ready", "OwnerMissing").await;
    assert!(message(&found, "Ready").contains("owner.create: true"), "cnpg 9126: {found}");
    world.sql("CREATE ROLE team_of_others LOGIN");
    world.apply_object("taken", "team d", json!({"owner": {"name": "team_of_others", "create": true}})).await;
    let found = world.until("taken", "Ready", "OwnerNotOurs").await;
    assert!(message(&found, "Ready").contains("was not created here"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_somebody_else_is_left_alone() {
    let world = World::new("db-secret").await;
    let name = world.unique("secretive");
    world.apply(&[super::world::secret("theirs", &json!({"password": "theirs"}))]).await;
    let fields = json!({"owner": {"name": name, "create": true}, "connectionSecret": {"name": "theirs"}});
    world.apply_object("secretive", &name, fields).await;
    world.until("secretive", "Ready", "SecretNotOurs").await;
    assert_eq!(world.secret_value("theirs", "password").await.unwrap(), "theirs");
    assert!(!world.exists(&name));
}

#[tokio::test(flavor = "multi_thread")]
async fn kopf_k11_a_changed_spec_makes_no_second_database_and_the_end_drops_the_first() {
    let world = World::new("db-second").await;
    let name = world.unique("only");
    let fields = |connections: i32| json!({"reclaimPolicy": "Delete", "connectionLimit": connections, "creation": {"encoding": "UTF8"}});
    world.apply_object("only", &name, fields(3)).await;
    let oid = world.until_ready("only").await["status"]["oid"].clone();
    for (change, told) in [
        (json!({"name": world.unique("another")}), "a database isn't renamed"),
        (json!({"name": null}), "a database isn't renamed"),
        (json!({"server": "another"}), "can't move to another server"),
        (json!({"creation": {"encoding": "LATIN1"}}), "only CREATE DATABASE can decide this"),
    ] {
        let patch = json!({ "spec": change }).to_string();
        let cluster = world.installation.cluster;
        let refused = cluster.kubectl(&["-n", world.name(), "patch", "pgdatabase", "only", "--type=merge", "-p", &patch]).await;
        assert!(!refused.status.success() && refused.stderr.contains(told), "{patch}: {refused:?}");
    }
    world.apply_object("only", &name, fields(4)).await;
    assert_eq!(world.until_ready("only").await["status"]["oid"], oid);
    let of_ours =
        format!("SELECT datname || ' ' || datconnlimit FROM pg_database WHERE datname LIKE '% of {}' OR datname = 'only'", world.name());
    assert_eq!(world.sql(&of_ours), format!("{name} 4"));
    world.delete("pgdatabase", "only").await;
    world.until_gone("pgdatabase", "only").await;
    assert_eq!(world.sql(&of_ours), "");
}

/// The right to see `PgDatabase`s, or no more than `PgServer`s.
async fn may_list(world: &World, resources: &[&str]) {
    let printed = world.installation.kubectl(&["get", "clusterrole", world.name(), "-o", "json"]).await;
    let mut rights: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let rules = rights["rules"].as_array_mut().unwrap();
    let of_ours = rules.iter_mut().find(|rule| rule["apiGroups"] == json!(["outrigger.dev"])).unwrap();
    of_ours["resources"] = json!(resources);
    let patch = json!({"rules": rights["rules"]}).to_string();
    world.installation.kubectl(&["patch", "clusterrole", world.name(), "--type=merge", "-p", &patch]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn movetokube_6_who_may_not_list_drops_nothing_and_what_fails_is_told() {
    let mut world = World::quiet("db-blind").await;
    let proxy = Proxy::start(world.postgres.port()).await;
    world.apply_server(proxy.port, json!({"tls": {"mode": "Disable", "ca": null}})).await;
    world.start(&[]);
    let [first, second] = ["first", "second"].map(|name| world.unique(name));
    let fields = |extension: &str| json!({"reclaimPolicy": "Delete", "extensions": [{"name": extension}], "schemas": [{"name": "app"}]});
    // There is no moment at which the database is there, and nobody would drop it.
    proxy.hold_statement(&format!("CREATE DATABASE \"{first}\""));
    world.apply_object("first", &first, fields("no_such_extension")).await;
    wait_for("it is about to create it", async || proxy.is_held().then_some(())).await;
    assert!(!world.exists(&first));
    assert_eq!(world.get("pgdatabase", "first").await.unwrap()["metadata"]["finalizers"], json!(["outrigger.dev/database"]));
    proxy.let_go();
    let object = world.until("first", "Ready", "ExtensionUnavailable").await;
    assert_eq!((&condition_of(&object, "Ready")["status"], &condition_of(&object, "Claimed")["status"]), (&json!("False"), &json!("True")));
    assert!(message(&object, "Ready").contains("the server has no extension \"no_such_extension\""), "{object}");
    assert!(object["status"]["appliedGeneration"].is_null(), "{object}");
    world.apply_object("first", &first, fields("pg_trgm")).await;
    world.until_ready("first").await;
    world.apply_object("second", &second, json!({})).await;
    world.until_ready("second").await;

    let before = (world.claims(&first), world.claims(&second));
    drop(world.controllers.take());
    may_list(&world, &["pgservers"]).await;
    world.start(&[]);
    world.more_looks(3).await;
    assert!(world.exists(&first) && world.exists(&second));
    assert_eq!((world.claims(&first), world.claims(&second)), before);
    may_list(&world, &["*"]).await;
    world.apply_object("first", &first, json!({"connectionLimit": 4})).await;
    wait_for("it is looked after again", async || {
        (world.sql(&format!("SELECT datconnlimit FROM pg_database WHERE datname = '{first}'")) == "4").then_some(())
    })
    .await;
}
