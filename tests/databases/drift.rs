//! What somebody changes by hand, and what only creation decides.

use std::collections::BTreeSet;

use outrigger_bed::{Generation, Postgres};
use serde_json::{Value, json};

use super::{
    common::webhook::wait_for,
    world::{ADMIN, STATEMENTS, World, condition_of, message},
};

/// The fields that the status names, each once.
fn drift(object: &Value) -> BTreeSet<&str> {
    object["status"]["drift"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_6647_cnpg_10826_cnpg_10831_what_is_changed_by_hand_is_named_and_put_back_on_demand() {
    let world = World::quiet("db-hands").await;
    let [name, reader, intruder] = ["hands", "reader", "intruder"].map(|name| world.unique(name));
    world.sql(&format!("CREATE ROLE \"{reader}\""));
    // Nobody can take a database back from a role whose rights they don't have.
    world.sql(&format!("CREATE ROLE \"{intruder}\" ROLE {ADMIN}"));
    let allow = json!([{"namespaces": [world.name()], "grantees": [reader, intruder]}]);
    world.apply_server(world.postgres.port(), json!({"allow": allow})).await;
    let mut world = world;
    world.start(&[]);
    let fields = |policy: &str| {
        json!({
            "owner": {"name": name, "create": true}, "driftPolicy": policy, "publicPrivileges": [], "allowConnections": true, "isTemplate": false,
            "privileges": [{"role": reader, "privileges": ["Connect"]}],
            "schemas": [{"name": "app", "privileges": [{"role": reader, "privileges": ["Usage"]}]}],
            "extensions": [{"name": "hstore", "version": "1.8"}, {"name": "pg_trgm"}],
        })
    };
    world.apply_object("hands", &name, fields("Observe")).await;
    world.until_ready("hands").await;
    let within = |sql: &str| world.postgres.query_as_owner(&name, sql);
    let state = || {
        let shared = "SELECT pg_get_userbyid(datdba), datallowconn, datistemplate, array(SELECT a::text FROM unnest(datacl) a ORDER BY 1)";
        let schema = "SELECT pg_get_userbyid(nspowner), array(SELECT a::text FROM unnest(nspacl) a ORDER BY 1) FROM pg_namespace WHERE nspname = 'app'";
        let extensions = "SELECT extname, extversion FROM pg_extension ORDER BY 1";
        [world.sql(&format!("{shared} FROM pg_database WHERE datname = '{name}'")), within(schema), within(extensions)]
    };
    let before = state();
    let disturb = || {
        within(&format!("ALTER SCHEMA app OWNER TO \"{intruder}\"; REVOKE USAGE ON SCHEMA app FROM \"{reader}\""));
        within(&format!(
            "DROP EXTENSION pg_trgm; DROP EXTENSION hstore; SET ROLE {ADMIN}; CREATE EXTENSION hstore SCHEMA public VERSION '1.7'"
        ));
        // At once: whoever corrects a part of it meanwhile would be in the way of the rest.
        world.sql(&format!(
            "GRANT CONNECT ON DATABASE \"{name}\" TO PUBLIC; REVOKE CONNECT ON DATABASE \"{name}\" FROM \"{reader}\"; \
             GRANT TEMPORARY ON DATABASE \"{name}\" TO \"{reader}\"; ALTER DATABASE \"{name}\" IS_TEMPLATE true; \
             ALTER DATABASE \"{name}\" OWNER TO \"{intruder}\""
        ));
    };
    disturb();
    let disturbed = state();
    let of_reader = (format!("privileges.{reader}"), format!("schemas.app.privileges.{reader}"));
    let inner = BTreeSet::from(["schemas.app.owner", &of_reader.1, "extensions.hstore.version", "extensions.pg_trgm"]);
    let outer = BTreeSet::from(["owner.name", "isTemplate", "publicPrivileges", &of_reader.0]);
    let all: BTreeSet<&str> = inner.union(&outer).copied().collect();
    let object = wait_for("all fields are named", async || {
        let object = world.get("pgdatabase", "hands").await?;
        (drift(&object) == all).then_some(object)
    })
    .await;
    assert_eq!(
        (&condition_of(&object, "Drifted")["reason"], &condition_of(&object, "Ready")["status"]),
        (&json!("Changed"), &json!("True"))
    );
    assert!(message(&object, "Drifted").contains(&format!("owner.name is {intruder:?} and should be {name:?}")), "{object}");
    world.more_looks(2).await;
    assert_eq!(state(), disturbed, "nobody was to change anything");

    world.apply_object("hands", &name, fields("Correct")).await;
    let object = world.until("hands", "Drifted", "AsAsked").await;
    assert_eq!((state(), drift(&object).len()), (before.clone(), 0));
    // Without anybody's writing into the object, too.
    disturb();
    wait_for("it is put back", async || (state() == before).then_some(())).await;

    world.sql(&format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS false"));
    let is_open = format!("SELECT datallowconn FROM pg_database WHERE datname = '{name}'");
    wait_for("it is opened again", async || (world.sql(&is_open) == "t").then_some(())).await;
    assert_eq!(state(), before);
    world.apply_object("hands", &name, fields("Observe")).await;
    world.until("hands", "Drifted", "AsAsked").await;
    world.sql(&format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS false"));
    let object = world.until("hands", "Drifted", "Changed").await;
    assert_eq!(drift(&object), BTreeSet::from(["allowConnections"]));
}

/// Creates a database like this, and looks twice whether anything is left to do.
async fn creates(world: &World, name: &str, creation: Value, expected: &str) {
    world.apply_object(name, name, json!({ "creation": creation })).await;
    let object = world.until_ready(name).await;
    assert_eq!((&condition_of(&object, "Drifted")["reason"], drift(&object).len()), (&json!("AsAsked"), 0), "{object}");
    let columns = "datlocprovider, datcollate, datctype, coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', ''), \
        coalesce(to_jsonb(d) ->> 'daticurules', '')";
    assert_eq!(world.sql(&format!("SELECT {columns} FROM pg_database d WHERE datname = '{name}'")), expected, "{name}");
    let before = world.metric(STATEMENTS).await;
    world.more_looks(2).await;
    assert_eq!(world.metric(STATEMENTS).await, before, "{name}: nothing is left to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn locales_of_all_sorts_are_created_once() {
    let mut world = World::on("db-locales", Postgres::start().await).await;
    world.start(&[]);
    let icu = json!({"localeProvider": "icu", "icuLocale": "de-AT-u-co-phonebk", "localeCollate": "C", "localeCType": "C.UTF-8", "encoding": "UTF8"});
    creates(&world, "icu", icu, "i|C|C.UTF-8|de-AT-u-co-phonebk|").await;
    creates(&world, "libc", json!({"localeCollate": "C.UTF-8", "localeCType": "C"}), "c|C.UTF-8|C||").await;

    let mut newer = World::on("db-rules", Postgres::start_of(Generation::Newer).await).await;
    newer.start(&[]);
    let rules = json!({"localeProvider": "icu", "icuLocale": "de", "icuRules": "&a < b <<< B", "locale": "C", "encoding": "UTF8"});
    creates(&newer, "rules", rules, "i|C|C|de|&a < b <<< B").await;
    // In a spelling that isn't the server's own.
    creates(&newer, "spelled", json!({"localeProvider": "icu", "icuLocale": "de_DE", "locale": "C", "encoding": "utf-8"}), "i|C|C|de-DE|")
        .await;
}
