//! What the credentials may not do, and what the consent doesn't name.

use outrigger_bed::Postgres;
use serde_json::json;

use super::{
    common::webhook::wait_for,
    world::{ADMIN, World, condition_of, message},
};

#[tokio::test(flavor = "multi_thread")]
async fn movetokube_91_who_may_only_create_databases_is_told_what_to_grant() {
    let mut world = World::on("db-modest", Postgres::start().await).await;
    world.sql(&format!("ALTER ROLE {ADMIN} NOCREATEROLE"));
    world.sql("CREATE ROLE reader");
    world.sql("CREATE ROLE theirs LOGIN");
    world.start(&[]);
    let works = json!({
        "reclaimPolicy": "Delete", "connectionLimit": 3, "isTemplate": false, "parameters": {"work_mem": "8MB"}, "publicPrivileges": ["Connect"],
        "privileges": [{"role": "reader", "privileges": ["Connect"]}], "schemas": [{"name": "app"}], "extensions": [{"name": "pg_trgm"}],
    });
    world.apply_object("works", "works", works).await;
    let object = world.until_ready("works").await;
    assert_eq!(condition_of(&object, "Drifted")["reason"], "AsAsked");
    assert_eq!(world.sql("SELECT pg_get_userbyid(datdba), datconnlimit FROM pg_database WHERE datname = 'works'"), format!("{ADMIN}|3"));

    let created = |connections: i32| json!({"owner": {"name": "created", "create": true}, "connectionSecret": {"name": "created"}, "connectionLimit": connections});
    world.apply_object("created", "created", created(1)).await;
    let object = world.until("created", "Ready", "PermissionDenied").await;
    assert!(message(&object, "Ready").contains(&format!("the role {ADMIN} may not create roles: ALTER ROLE … CREATEROLE")), "{object}");
    assert!(!world.exists("created") && world.claims("created").is_empty() && world.get("secret", "created").await.is_none());

    let given = |connections: i32| json!({"owner": {"name": "theirs"}, "connectionLimit": connections, "reclaimPolicy": "Delete"});
    world.apply_object("given", "given", given(1)).await;
    let object = world.until("given", "Ready", "PermissionDenied").await;
    assert!(message(&object, "Ready").contains(&format!("nothing can be given to the role \"theirs\": GRANT it TO {ADMIN}")), "{object}");
    assert!(!world.exists("given"));

    // What was missing is there.
    world.sql(&format!("GRANT theirs TO {ADMIN}"));
    world.apply_object("given", "given", given(2)).await;
    world.until_ready("given").await;
    assert_eq!(world.sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'given'"), "theirs");
    world.sql(&format!("ALTER ROLE {ADMIN} CREATEROLE"));
    world.apply_object("created", "created", created(2)).await;
    world.until_ready("created").await;
    world.sql(&format!("ALTER ROLE {ADMIN} NOCREATEDB"));
    world.apply_object("none", "none", json!({})).await;
    let object = world.until("none", "Ready", "PermissionDenied").await;
    assert!(message(&object, "Ready").contains(&format!("the role {ADMIN} may not create databases: ALTER ROLE … CREATEDB")), "{object}");

    for name in ["works", "given"] {
        world.delete("pgdatabase", name).await;
        world.until_gone("pgdatabase", name).await;
        assert!(!world.exists(name), "{name}");
    }
    assert_eq!(world.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'theirs'"), "1", "who was there before stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_an_extension_and_a_grantee_that_are_not_named_are_refused() {
    let mut world = World::quiet("db-unnamed").await;
    let stranger = format!("{}-stranger", world.name());
    world.installation.kubectl(&["create", "namespace", &stranger]).await;
    let [reader, other] = ["reader", "other"].map(|name| world.unique(name));
    for role in [&reader, &other] {
        world.sql(&format!("CREATE ROLE \"{role}\""));
    }
    // An entry that allows an extension fits no other namespace, nor does one with grantees.
    let allow = json!([
        {"namespaces": [world.name()], "grantees": [reader]},
        {"namespaces": ["elsewhere"], "grantees": [other], "extensions": ["postgres_fdw"]},
    ]);
    world.apply_server(world.postgres.port(), json!({ "allow": allow })).await;
    world.start(&[]);
    let name = world.unique("strange");
    let mut object = world.object("strange", &name, json!({}));
    object["metadata"]["namespace"] = json!(stranger);
    world.installation.apply(&[object]).await;
    let object = wait_for("the namespace is refused", async || {
        let output = world.installation.cluster.kubectl(&["-n", &stranger, "get", "pgdatabase", "strange", "-o", "json"]).await;
        let object = serde_json::from_str(&output.stdout).unwrap();
        (condition_of(&object, "Ready")["reason"] == "NotAllowed").then_some(object)
    })
    .await;
    let told = format!("this server allows no databases of namespace {stranger}");
    assert!(message(&object, "Ready").contains(&told) && !world.exists(&name), "{object}");

    let fields = |role: &str| json!({"privileges": [{"role": role, "privileges": ["Connect"]}]});
    let schema = |role: &str| json!({"schemas": [{"name": "app", "privileges": [{"role": role, "privileges": ["Usage"]}]}]});
    let owner = |role: &str| json!({"schemas": [{"name": "app", "owner": role}]});
    for (object, fields) in [("granted", fields(&other)), ("schema", schema(&other)), ("schema-owner", owner(&other))] {
        world.apply_object(object, &world.unique(object), fields).await;
        let found = world.until(object, "Ready", "NotAllowed").await;
        assert!(message(&found, "Ready").contains("may not give anything to this role"), "{object}: {found}");
        assert!(!world.exists(&world.unique(object)), "{object}");
    }
    world.apply_object("granted", &world.unique("granted"), fields(&reader)).await;
    world.until_ready("granted").await;

    let name = world.unique("foreign");
    world.apply_object("foreign", &name, json!({"extensions": [{"name": "postgres_fdw"}]})).await;
    let found = world.until("foreign", "Ready", "NotAllowed").await;
    assert!(message(&found, "Ready").contains("the extension \"postgres_fdw\" needs more rights than an owner has"), "{found}");
    assert_eq!(world.postgres.query_as_owner(&name, "SELECT count(*) FROM pg_extension WHERE extname = 'postgres_fdw'"), "0");
    world.installation.kubectl(&["delete", "namespace", &stranger, "--wait=false"]).await;
}
