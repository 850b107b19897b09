//! Servers that are away, dead, read-only, or refuse.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use outrigger_bed::{Generation, Postgres};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

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
pub(crate) async fn until_server(world: &World, reason: &str) -> Value {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_serves_instead_of_a_password() {
    let mut world = World::on("db-certificate", Postgres::start().await).await;
    world.sql("CREATE ROLE certified LOGIN CREATEDB CREATEROLE");
    let (certificate, key) = world.postgres.client_identity();
    world.apply(&[secret("identity", &json!({"username": "certified", "tls.crt": certificate, "tls.key": key}))]).await;
    world.apply_server(world.postgres.port(), json!({"credentials": {"name": "identity"}})).await;
    world.start(&[]);
    let fields = json!({"owner": {"name": "certain", "create": true}, "schemas": [{"name": "app"}], "reclaimPolicy": "Delete"});
    world.apply_object("certain", "certain", fields).await;
    world.until_ready("certain").await;
    assert_eq!(world.sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'outrigger'"), "certified");
    let methods = "SELECT DISTINCT s.client_dn FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'certified'";
    assert_eq!(world.sql(methods), "/CN=certified");

    // The password of the role is of no use there, and neither is another role's certificate.
    world.sql("ALTER ROLE certified PASSWORD 'known'");
    world.apply(&[secret("password", &json!({"username": "certified", "password": "known"}))]).await;
    world.apply_server(world.postgres.port(), json!({"credentials": {"name": "password"}})).await;
    until_server(&world, "LoginRefused").await;
    world.apply(&[secret("other", &json!({"username": ADMIN, "tls.crt": certificate, "tls.key": key}))]).await;
    world.apply_server(world.postgres.port(), json!({"credentials": {"name": "other"}})).await;
    let server = until_server(&world, "Unreachable").await;
    assert!(!message(&server, "Ready").contains("PRIVATE"), "{server}");
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_sql_195_a_server_that_takes_no_further_connection_is_worked_on_over_those_there_are() {
    let mut world = World::on("db-lanes", Postgres::start().await).await;
    world.start(&[]);
    until_server(&world, "Ready").await;
    world.sql(&format!("ALTER ROLE {ADMIN} CONNECTION LIMIT 1"));
    let objects: Vec<_> = (0..24).map(|number| world.object(&format!("n{number}"), &format!("n{number}"), json!({}))).collect();
    world.apply(&objects).await;
    for number in 0..24 {
        world.until_ready(&format!("n{number}")).await;
    }
    let log = world.controllers.as_ref().unwrap().log();
    assert!(log.contains("going on with fewer connections"), "{log}");
    assert!(!log.contains("can't be worked on"), "nothing began anew: {log}");
    // With room again, they are several again.
    world.sql(&format!("ALTER ROLE {ADMIN} CONNECTION LIMIT -1"));
    let more: Vec<_> = (24..60).map(|number| world.object(&format!("n{number}"), &format!("n{number}"), json!({}))).collect();
    world.apply(&more).await;
    for number in 24..60 {
        world.until_ready(&format!("n{number}")).await;
    }
}

/// Sessions outlive the password that they were opened with.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_is_read_again_where_the_old_one_is_refused() {
    let mut world = World::on("db-password", Postgres::start().await).await;
    let rules = world.sql("SHOW hba_file");
    let before = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, format!("host refused all 127.0.0.1/32 reject\n{before}")).unwrap();
    world.sql("SELECT pg_reload_conf()");
    world.start(&[]);
    world.apply_object("early", "early", json!({})).await;
    world.until_ready("early").await;
    // One database that lets nobody in is no reason to begin anew.
    world.apply_object("refused", "refused", json!({"schemas": [{"name": "app"}]})).await;
    let object = world.until("refused", "Ready", "Refused").await;
    assert!(message(&object, "Ready").contains("28000"), "{object}");
    let log = |world: &World| world.controllers.as_ref().unwrap().log();
    assert!(!log(&world).contains("connecting anew"), "{}", log(&world));

    world.sql(&format!("ALTER ROLE {ADMIN} PASSWORD 'another'"));
    world.apply(&[secret("admin", &json!({"username": ADMIN, "password": "another"}))]).await;
    world.apply_object("later", "later", json!({"schemas": [{"name": "app"}]})).await;
    world.until_ready("later").await;
    assert!(!log(&world).contains("can't be worked on"), "{}", log(&world));
}

/// As after a failover: the name leads to the new primary, and the old one is a replica that goes on.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_connected_to_a_replica_connects_anew() {
    let mut world = World::on("db-replica-left", Postgres::start().await).await;
    let (replica, primary) = (world.postgres, Postgres::shared().await);
    let target = Arc::new(AtomicU16::new(replica.port()));
    let name = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = name.local_addr().unwrap().port();
    let leads_to = target.clone();
    let leading = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = name.accept().await {
            if let Ok(mut server) = TcpStream::connect(("127.0.0.1", leads_to.load(Ordering::SeqCst))).await {
                connections.spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
            }
        }
    });
    world.apply_server(port, json!({"tls": {"mode": "Disable", "ca": null}})).await;
    world.start(&[]);
    until_server(&world, "Ready").await;
    let folder = world.sql("SHOW data_directory");
    world.sql(&format!("COPY (SELECT) TO '{folder}/standby.signal'"));
    replica.kill();
    replica.restart();
    until_server(&world, "ServerInRecovery").await;
    world.more_looks(2).await;
    target.store(primary.port(), Ordering::SeqCst);
    until_server(&world, "Ready").await;
    leading.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_the_lock_of_a_database_is_waited_for() {
    let world = World::new("db-lock").await;
    let name = world.unique("locked");
    // By the number that another installation of ours takes for this name.
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("outrigger {name}").as_bytes());
    let key = i64::from_be_bytes(*digest.as_ref().first_chunk().unwrap());
    wait_for("the maintenance database", async || world.exists("outrigger").then_some(())).await;
    let uri = format!("host={} port={} user=postgres dbname=outrigger", world.postgres.socket_folder().display(), world.postgres.port());
    let (client, connection) = tokio_postgres::connect(&uri, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.query_one("SELECT pg_advisory_lock($1)", &[&key]).await.unwrap();
    world.apply_object("locked", &name, json!({})).await;
    let object = world.until("locked", "Ready", "Pending").await;
    assert!(message(&object, "Ready").contains("somebody else works on this database"), "{object}");
    world.more_looks(2).await;
    assert!(!world.exists(&name));
    assert_eq!(world.claims(&name), "", "nothing is written down either");
    drop(client);
    connection.await.unwrap().unwrap();
    world.until_ready("locked").await;
}

/// Who may create something in a database may name it like something of the server's.
#[tokio::test(flavor = "multi_thread")]
async fn names_mean_the_servers_own_whatever_a_database_says() {
    let world = World::new("db-path").await;
    let name = world.unique("path");
    let fields = |schemas| json!({"schemas": schemas});
    world.apply_object("path", &name, fields(json!([{"name": "app"}]))).await;
    world.until_ready("path").await;
    let trap = "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$";
    for function in ["pg_get_userbyid(oid) RETURNS name", "acldefault(\"char\", oid) RETURNS aclitem[]"] {
        world.postgres.query_as_owner(&name, &format!("CREATE FUNCTION public.{function} {trap}"));
    }
    world.postgres.query_as_owner(&name, "CREATE VIEW public.pg_namespace AS SELECT 1 AS trapped");
    world.sql(&format!("ALTER DATABASE \"{name}\" SET search_path = public, pg_catalog"));
    assert!(world.postgres.query_as_owner(&name, "SHOW search_path").starts_with("public"));
    world.apply_object("path", &name, fields(json!([{"name": "app"}, {"name": "more"}]))).await;
    world.until_ready("path").await;
    assert_eq!(world.postgres.query_as_owner(&name, "SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = 'more'"), "1");
}

/// From PostgreSQL 16 on, who creates a role may neither act in its place nor have its rights, unless it says so.
#[tokio::test(flavor = "multi_thread")]
async fn provider_sql_164_a_newer_server_is_served_without_a_superuser() {
    let mut world = World::on("db-newer", Postgres::start_of(Generation::Newer).await).await;
    world.start(&[]);
    world.sql("CREATE ROLE reader");
    let fields = json!({
        "reclaimPolicy": "Delete", "owner": {"name": "newer", "create": true}, "connectionSecret": {"name": "newer"},
        "creation": {"localeProvider": "builtin", "builtinLocale": "C.UTF-8", "encoding": "UTF8", "strategy": "FILE_COPY"},
        "schemas": [{"name": "app", "privileges": [{"role": "reader", "privileges": ["Usage"]}]}, {"name": "public"}],
        "extensions": [{"name": "pg_trgm"}], "publicPrivileges": [], "privileges": [{"role": "reader", "privileges": ["Connect"]}],
    });
    world.apply_object("newer", "newer", fields).await;
    let object = world.until_ready("newer").await;
    assert_eq!(condition_of(&object, "Drifted")["status"], "False", "{object}");
    let found = world.sql("SELECT datlocprovider, datlocale, pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'newer'");
    assert_eq!(found, "b|C.UTF-8|newer");
    // Who has created the role is its member, as heir and stand-in.
    let membership = format!(
        "SELECT inherit_option, set_option FROM pg_auth_members WHERE roleid = 'newer'::regrole AND member = '{ADMIN}'::regrole AND set_option"
    );
    assert_eq!(world.sql(&membership), "t|t");
    let may = "SELECT has_database_privilege('reader', 'newer', 'CONNECT'), has_database_privilege('reader', 'newer', 'TEMP'), \
        has_database_privilege('pg_monitor', 'newer', 'CONNECT')";
    assert_eq!(world.sql(may), "t|f|f");
    // From PostgreSQL 15 on, what is in `public` is the owner's alone to decide.
    let owner =
        "SELECT pg_get_userbyid(nspowner), has_schema_privilege('reader', 'public', 'CREATE') FROM pg_namespace WHERE nspname = 'public'";
    assert_eq!(world.postgres.query_as_owner("newer", owner), "pg_database_owner|f");
    let uri = world.secret_value("newer", "uri").await.unwrap();
    assert_eq!(login(&uri, "SELECT current_user::text").await.unwrap(), "newer");

    world.apply_object("predefined", "predefined", json!({"owner": {"name": "postgres"}})).await;
    world.until("predefined", "Ready", "OwnerRefused").await;

    let (client, connection) = tokio_postgres::connect(&format!("{uri}?application_name=lingering"), tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    world.delete("pgdatabase", "newer").await;
    let object = world.until("newer", "Ready", "InUse").await;
    assert!(object["status"]["blockers"][0].as_str().unwrap().contains("of newer (lingering)"), "{object}");
    drop(client);
    connection.await.unwrap().unwrap();
    world.until_gone("pgdatabase", "newer").await;
    assert!(!world.exists("newer"));

    // Its own settings may make it a stand-in that is no heir.
    drop(world.controllers.take());
    world.sql(&format!("ALTER ROLE {ADMIN} SET createrole_self_grant = 'set'"));
    world.start(&[]);
    let to_inherit = json!({"reclaimPolicy": "Delete", "owner": {"name": "heir", "create": true}, "parameters": {"work_mem": "8MB"}});
    world.apply_object("heir", "heir", to_inherit).await;
    world.until_ready("heir").await;
    world.sql(&format!("CREATE ROLE of_others; GRANT of_others TO {ADMIN} WITH INHERIT FALSE, SET TRUE"));
    world.apply_object("others", "others", json!({"owner": {"name": "of_others"}})).await;
    let object = world.until("others", "Ready", "PermissionDenied").await;
    assert!(message(&object, "Ready").contains(&format!("GRANT it TO {ADMIN} WITH INHERIT TRUE, SET TRUE")), "{object}");
    world.delete("pgdatabase", "heir").await;
    world.until_gone("pgdatabase", "heir").await;
    assert!(!world.exists("heir"));
    assert_eq!(world.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'newer'"), "0");
}
