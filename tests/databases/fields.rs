//! Fields of the spec, drift, and names.

use proptest::prelude::*;
use serde_json::json;

use outrigger::postgres::{
    catalogue,
    quoting::{Identifier, Literal},
};

use super::world::{World, condition_of, message};

#[tokio::test(flavor = "multi_thread")]
async fn kopf_k12_all_fields_become_true_and_follow_their_changes() {
    let world = World::new("db-fields").await;
    let (name, reader) = (world.unique("fields"), world.unique("reader"));
    world.sql(&format!("CREATE ROLE \"{reader}\""));
    let fields = json!({
        "owner": {"name": name, "create": true},
        "creation": {"encoding": "utf-8", "locale": "C", "strategy": "FILE_COPY", "template": "template0"},
        "connectionLimit": 5, "allowConnections": true, "isTemplate": true,
        "parameters": {"search_path": "app, \"$user\"", "work_mem": "64MB", "DateStyle": "ISO, DMY"},
        "schemas": [
            {"name": "app", "privileges": [{"role": reader, "privileges": ["Usage"]}]}, {"name": "Select \"x\""},
            {"name": "public", "privileges": [{"role": reader, "privileges": []}]},
        ],
        "extensions": [{"name": "pg_trgm", "schema": "app"}, {"name": "hstore", "version": "1.7"}],
        "publicPrivileges": [], "privileges": [{"role": reader, "privileges": ["Connect", "Temporary"]}],
    });
    world.apply_object("fields", &name, fields.clone()).await;
    world.until_ready("fields").await;
    let of_database = format!("FROM pg_database WHERE datname = '{name}'");
    let columns = "pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datconnlimit, datistemplate";
    assert_eq!(world.sql(&format!("SELECT {columns} {of_database}")), format!("{name}|UTF8|C|5|t"));
    let settings =
        world.sql(&format!("SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setdatabase = (SELECT oid {of_database}) ORDER BY 1"));
    assert_eq!(settings, "DateStyle=ISO, DMY\nsearch_path=app, \"$user\"\nwork_mem=64MB");
    let within = |sql: &str| world.postgres.query_as_owner(&name, sql);
    let installed =
        "SELECT extname || ' ' || extversion || ' ' || extnamespace::regnamespace FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1";
    assert_eq!(within(installed).lines().map(|line| line.split(' ').next_back().unwrap()).collect::<Vec<_>>(), ["public", "app"]);
    assert!(within(installed).starts_with("hstore 1.7 "));
    assert_eq!(within("SELECT count(*) FROM pg_namespace WHERE nspname = 'Select \"x\"'"), "1");
    assert_eq!(within("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'app'"), name);
    let may = |role: &str, privilege: &str| world.sql(&format!("SELECT has_database_privilege('{role}', '{name}', '{privilege}')"));
    assert_eq!([may(&reader, "CONNECT"), may(&reader, "TEMP"), may(&reader, "CREATE")], ["t", "t", "f"]);
    assert_eq!(within(&format!("SELECT has_schema_privilege('{reader}', 'app', 'USAGE')")), "t");

    let mut changed = fields;
    changed["connectionLimit"] = json!(-1);
    changed["isTemplate"] = json!(false);
    changed["parameters"] = json!({"work_mem": "32MB"});
    changed["extensions"] = json!([{"name": "pg_trgm", "schema": "app"}, {"name": "hstore", "version": "1.8"}]);
    changed["schemas"] =
        json!([{"name": "app", "privileges": [{"role": reader, "privileges": []}]}, {"name": "Select \"x\"", "ensure": "Absent"}]);
    changed["privileges"] = json!([{"role": reader, "privileges": []}]);
    world
        .installation
        .kubectl(&["patch", "pgdatabase", "fields", "--type=merge", "-p", &json!({"spec": changed, "x": null}).to_string()])
        .await;
    let patched = json!({"spec": {"parameters": {"search_path": null, "DateStyle": null}}}).to_string();
    world.installation.kubectl(&["patch", "pgdatabase", "fields", "--type=merge", "-p", &patched]).await;
    world.until_ready("fields").await;
    assert_eq!(world.sql(&format!("SELECT datconnlimit, datistemplate {of_database}")), "-1|f");
    let settings = world.sql(&format!("SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = (SELECT oid {of_database})"));
    assert_eq!(settings, "{work_mem=32MB}", "what was set here and is taken away is reset");
    assert_eq!(within(installed).lines().map(|line| line.split(' ').next_back().unwrap()).collect::<Vec<_>>(), ["public", "app"]);
    assert!(within(installed).starts_with("hstore 1.8 "));
    assert_eq!(within("SELECT count(*) FROM pg_namespace WHERE nspname = 'Select \"x\"'"), "0");
    assert_eq!([may(&reader, "CONNECT"), may(&reader, "TEMP")], ["f", "f"]);
    assert_eq!(within(&format!("SELECT has_schema_privilege('{reader}', 'app', 'USAGE')")), "f");
    assert_eq!(within("SELECT count(*) FROM pg_extension WHERE extname = 'plpgsql'"), "1", "what isn't named stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_owner_sets_for_themselves_is_not_carried_about() {
    let world = World::quiet("db-huge").await;
    let name = world.unique("huge");
    world.sql(&format!("CREATE DATABASE \"{name}\""));
    let set = |parameter: &str, length: u32| {
        let sql = format!("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {parameter} TO %L', '{name}', repeat('x', {length})); END $$");
        world.sql(&sql);
    };
    set("application_name", 3_000_000);
    set("my.own", 3_000_000);
    world.sql(&format!("ALTER DATABASE \"{name}\" SET work_mem TO '64MB'"));
    let uri = format!("host={} port={} user=postgres dbname=postgres", world.postgres.socket_folder().display(), world.postgres.port());
    let (client, connection) = tokio_postgres::connect(&uri, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let settings = ["Work_Mem", "application_name"].map(|parameter| catalogue::setting(&name, parameter));
    let read = catalogue::read(&client, &[&name], &settings, &[]).await.unwrap();
    let parameters = &read.databases[&name].parameters;
    assert_eq!(parameters["work_mem"], "64MB");
    assert!(parameters["application_name"].len() < 5_000 && parameters.len() == 2, "{}", parameters.len());
    drop(client);
    connection.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlx_1283_a_template_in_use_is_waited_for_and_who_uses_it_is_told() {
    let world = World::quiet("db-template").await;
    let (name, golden) = (world.unique("copy"), world.unique("golden"));
    world.sql(&format!("CREATE DATABASE \"{golden}\" IS_TEMPLATE true"));
    let allow = json!([{"namespaces": [world.name()], "templates": ["golden*"]}]);
    world.apply_server(world.postgres.port(), json!({"allow": allow})).await;
    let uri = format!(
        "host={} port={} user=postgres dbname='{golden}' application_name=lingering",
        world.postgres.socket_folder().display(),
        world.postgres.port()
    );
    let (client, connection) = tokio_postgres::connect(&uri, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut world = world;
    world.start(&[]);
    world.apply_object("copy", &name, json!({"creation": {"template": golden}})).await;
    let object = world.until("copy", "Ready", "InUse").await;
    assert!(object["status"]["blockers"][0].as_str().unwrap().contains("(lingering)"), "{object}");
    assert_eq!(object["status"]["phase"], "Pending");
    drop(client);
    connection.await.unwrap().unwrap();
    let object = world.until_ready("copy").await;
    assert!(object["status"]["blockers"].is_null(), "{object}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_takes_without_effect_comes_to_an_end() {
    let world = World::new("db-vain").await;
    let (name, reader) = (world.unique("vain"), world.unique("reader"));
    world.apply_object("empty", &world.unique("empty"), json!({"parameters": {"search_path": ""}})).await;
    world.until_ready("empty").await;
    // Whoever is neither its owner nor may grant it is only warned.
    world.sql(&format!("CREATE DATABASE \"{name}\""));
    world.sql(&format!("CREATE ROLE \"{reader}\""));
    world.sql(&format!("GRANT CONNECT ON DATABASE \"{name}\" TO {}", super::world::ADMIN));
    let fields = json!({"adoptionPolicy": "IfUnclaimed", "privileges": [{"role": reader, "privileges": ["Connect"]}]});
    world.apply_object("vain", &name, fields).await;
    let object = world.until("vain", "Ready", "PermissionDenied").await;
    assert!(message(&object, "Ready").contains(&format!("privileges.{reader}")), "{object}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_with_all_its_connections_taken_is_ready() {
    let world = World::new("db-full").await;
    let name = world.unique("full");
    let owner = json!({"name": name, "create": true});
    let fields = json!({"owner": owner, "connectionSecret": {"name": "full"}, "connectionLimit": 1, "schemas": [{"name": "app"}]});
    world.apply_object("full", &name, fields).await;
    world.until_ready("full").await;
    let uri = world.secret_value("full", "uri").await.unwrap();
    // Ours may be there at the moment.
    let (client, connection) =
        super::common::webhook::wait_for("the one connection", async || tokio_postgres::connect(&uri, tokio_postgres::NoTls).await.ok())
            .await;
    let connection = tokio::spawn(connection);
    world.more_looks(1).await;
    let before = world.metric(super::world::STATUS_WRITES).await;
    world.more_looks(4).await;
    let object = world.get("pgdatabase", "full").await.unwrap();
    assert_eq!(
        (condition_of(&object, "Ready")["reason"].as_str(), world.metric(super::world::STATUS_WRITES).await),
        (Some("AsAsked"), before)
    );
    drop(client);
    connection.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_kept_out_of_a_database_says_so() {
    let world = World::new("db-kept-out").await;
    let name = world.unique("kept out");
    world.apply_object("out", &name, json!({"schemas": [{"name": "app"}]})).await;
    world.until_ready("out").await;
    world.sql(&format!("REVOKE CONNECT ON DATABASE \"{name}\" FROM PUBLIC, {}", super::world::ADMIN));
    let object = world.until("out", "Ready", "PermissionDenied").await;
    assert!(message(&object, "Ready").contains("42501"), "{object}");
    world.sql(&format!("GRANT CONNECT ON DATABASE \"{name}\" TO PUBLIC"));
    world.until_ready("out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_5881_drift_is_told_or_undone() {
    let world = World::new("db-drift").await;
    let name = world.unique("drifting");
    let fields = |policy: &str| json!({"connectionLimit": 5, "parameters": {"work_mem": "64MB"}, "driftPolicy": policy});
    world.apply_object("drifting", &name, fields("Observe")).await;
    world.until_ready("drifting").await;
    world.sql(&format!("ALTER DATABASE \"{name}\" CONNECTION LIMIT 9"));
    world.sql(&format!("ALTER DATABASE \"{name}\" RESET work_mem"));
    // A look may come between the two changes.
    let both = json!(["connectionLimit", "parameters.work_mem"]);
    let object = super::common::webhook::wait_for("both changes are named", async || {
        let object = world.until("drifting", "Drifted", "Changed").await;
        (object["status"]["drift"] == both).then_some(object)
    })
    .await;
    assert!(message(&object, "Drifted").contains("connectionLimit is \"9\" and should be \"5\""), "{object}");
    assert_eq!(condition_of(&object, "Ready")["status"], "True", "it can be used all the same");
    world.more_looks(2).await;
    let limit = format!("SELECT datconnlimit FROM pg_database WHERE datname = '{name}'");
    assert_eq!(world.sql(&limit), "9");

    world.apply_object("drifting", &name, fields("Correct")).await;
    let object = world.until("drifting", "Drifted", "AsAsked").await;
    assert_eq!((world.sql(&limit).as_str(), &object["status"]["drift"]), ("5", &serde_json::Value::Null));
    world.sql(&format!("ALTER DATABASE \"{name}\" CONNECTION LIMIT 9"));
    super::common::webhook::wait_for("it is undone", async || (world.sql(&limit) == "5").then_some(())).await;

    // A database that somebody drops by hand is made again: that is what the object asks for.
    world.sql(&format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
    super::common::webhook::wait_for("it is made again", async || world.exists(&name).then_some(())).await;
    // One that somebody makes in its place isn't ours.
    let mut world = world;
    drop(world.controllers.take());
    world.sql(&format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
    world.sql(&format!("CREATE DATABASE \"{name}\""));
    world.start(&[]);
    let object = world.until("drifting", "Claimed", "AlreadyExists").await;
    assert!(message(&object, "Claimed").contains("somebody else has created"), "{object}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kopf_k1_zalando_663_zalando_2745_names_of_all_sorts_are_kept_as_they_are() {
    let world = World::new("db-names").await;
    let (unique, long) = (world.name().to_owned(), format!("{:ü<32}", world.name()));
    let mut long = long;
    while long.len() > 63 {
        long.pop();
    }
    let names = [
        format!("Mixed-{unique}"),
        format!("a-b.c-{unique}"),
        format!("select {unique}"),
        format!("a\"b'c\\d;--{unique}"),
        format!("$1 %s {{}} {unique}"),
        format!("[x {unique}"),
        format!("pg_{unique}"),
        format!(" {unique} "),
        long,
    ];
    for (index, name) in names.iter().enumerate() {
        world.apply_object(&format!("n{index}"), name, json!({"reclaimPolicy": "Delete", "owner": {"name": format!("o {name}").chars().take(40).collect::<String>(), "create": true}})).await;
    }
    for (index, name) in names.iter().enumerate() {
        world.until_ready(&format!("n{index}")).await;
        assert!(world.exists(name), "{name}");
        world.delete("pgdatabase", &format!("n{index}")).await;
        world.until_gone("pgdatabase", &format!("n{index}")).await;
        assert!(!world.exists(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kopf_k8_what_is_missing_or_no_name_is_refused_by_the_api_server() {
    let world = World::quiet("db-missing").await;
    let refusal = async |spec: serde_json::Value| {
        let object = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "PgDatabase", "metadata": {"name": "x", "namespace": world.name()}, "spec": spec});
        let output = world.installation.cluster.kubectl_with_input(&["apply", "-f", "-"], &object.to_string()).await;
        assert!(!output.status.success(), "{spec}");
        output.stderr
    };
    assert!(refusal(json!({"name": "x"})).await.contains("spec.server"));
    assert!(refusal(json!({"server": "main", "name": "x\n"})).await.contains("control character"));
    assert!(refusal(json!({"server": "main", "name": "ü".repeat(32)})).await.contains("63 bytes"));
    assert!(refusal(json!({"server": "main", "name": "shop~dropped-16400"})).await.contains("waits to be dropped"));
    assert!(refusal(json!({"server": "main", "name": "outrigger"})).await.contains("outrigger to Outrigger"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_has_the_name_of_its_object_unless_it_has_one_of_its_own() {
    let world = World::new("db-named").await;
    let name = format!("{}.shop-orders", world.name());
    let spec =
        json!({"name": null, "reclaimPolicy": "Delete", "owner": {"name": name, "create": true}, "connectionSecret": {"name": "named"}});
    world.apply_object(&name, "", spec).await;
    let object = world.until_ready(&name).await;
    assert_eq!(object["status"]["database"], json!(name));
    assert!(world.exists(&name) && world.claims(&name).ends_with(" held"));
    assert_eq!(world.secret_value("named", "dbname").await.unwrap(), name);
    let uri = world.secret_value("named", "uri").await.unwrap();
    assert_eq!(super::world::login(&uri, "SELECT current_database()::text").await.unwrap(), name);

    // Whoever names the same database asks for what belongs to somebody.
    world.apply_object("rival", &name, json!({"reclaimPolicy": "Delete"})).await;
    world.until("rival", "Claimed", "ClaimedByAnother").await;
    world.delete("pgdatabase", "rival").await;
    world.until_gone("pgdatabase", "rival").await;
    assert!(world.exists(&name));
    // To write the name that it has changes nothing.
    let same = json!({"spec": {"name": name}}).to_string();
    world.installation.kubectl(&["patch", "pgdatabase", &name, "--type=merge", "-p", &same]).await;
    assert_eq!(world.until_ready(&name).await["status"]["oid"], object["status"]["oid"]);
    world.delete("pgdatabase", &name).await;
    world.until_gone("pgdatabase", &name).await;
    assert!(!world.exists(&name));
}

#[tokio::test(flavor = "multi_thread")]
async fn identifiers_and_literals_mean_to_the_server_what_they_mean_to_us() {
    let world = World::quiet("db-quoting").await;
    let uri = format!("host={} port={} user=postgres dbname=postgres", world.postgres.socket_folder().display(), world.postgres.port());
    let (client, connection) = tokio_postgres::connect(&uri, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut runner = proptest::test_runner::TestRunner::default();
    let strategy = prop_oneof![any::<String>(), "[a-z\"'\\\\ $.;A-Z]{0,70}", "(select|user|table|public|none|pg_x)"];
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        runner.run(&strategy, |text| {
            let Ok(literal) = Literal::new(&text) else {
                prop_assert!(text.contains('\0'));
                return Ok(());
            };
            let row = runtime.block_on(client.query_one(&format!("SELECT {literal}::text, quote_literal($1)"), &[&text])).unwrap();
            prop_assert_eq!(row.get::<_, String>(0), text.clone());
            prop_assert_eq!(row.get::<_, String>(1).trim_start().to_owned(), literal.to_string().trim_start().to_owned());
            match Identifier::new(&text) {
                Ok(identifier) => {
                    // The server's own quoting and ours name the same column.
                    let theirs: String = runtime.block_on(client.query_one("SELECT quote_ident($1)", &[&text])).unwrap().get(0);
                    let sql = format!("SELECT x.{identifier}, x.{theirs} FROM (SELECT 1 AS {identifier}) x");
                    let row = runtime.block_on(client.query_one(&sql, &[])).unwrap();
                    prop_assert_eq!(row.columns()[0].name(), text.as_str());
                }
                Err(_) => prop_assert!(text.is_empty() || text.len() > 63),
            }
            Ok(())
        })
    })
    .unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}
