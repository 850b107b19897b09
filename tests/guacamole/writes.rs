//! How the database is written: nothing without a reason, all or nothing, and one bad entry harms no other.

use crate::world::{World, ssh};

/// A position in the write-ahead log, and what all sequences gave out last.
fn traces(world: &World) -> (String, String) {
    let sequences = world.sql("SELECT string_agg(sequencename || coalesce(last_value, 0), ' ' ORDER BY sequencename) FROM pg_sequences");
    (world.server.query_as_owner(&world.database, "SELECT pg_current_wal_insert_lsn()"), sequences)
}

#[tokio::test]
async fn an_unchanged_database_is_not_written_to() {
    // A server of its own: the log is everybody's.
    let world = World::with_a_server_of_its_own().await;
    for number in 0..50 {
        world.file(&format!("{number}.yaml"), &ssh(&format!("c{number}"), "group: Lab/Linux\nusers: [alice, bob]\ngroups: [staff]"));
    }
    world.pass();
    // Reading rows for the first time notes that they are committed.
    world.pass();
    world.server.query_as_owner(&world.database, "CHECKPOINT");
    let before = traces(&world);
    world.pass();
    world.pass();
    let after = traces(&world);
    assert_eq!(after, before);
}

#[tokio::test]
async fn provisioner_s8_g6_one_entry_that_the_database_refuses_leaves_the_others() {
    let world = World::new().await;
    world.sql("ALTER TABLE guacamole_connection ADD CHECK (connection_name <> 'c3'), ADD CHECK (connection_name <> 'c6')");
    for number in 0..8 {
        world.file(&format!("{number}.yaml"), &ssh(&format!("c{number}"), "group: Lab\nusers: [alice]"));
    }
    let run = world.once(&[]);
    assert_eq!(run.code, Some(1));
    for bad in ["3.yaml: connection \"c3\": the database refuses it", "6.yaml: connection \"c6\": the database refuses it"] {
        assert!(run.said.contains(bad), "{}", run.said);
    }
    assert!(!run.said.contains("Failing row"), "details may hold secrets: {}", run.said);
    assert_eq!(world.sql("SELECT string_agg(connection_name, '' ORDER BY connection_name) FROM guacamole_connection"), "c0c1c2c4c5c7");
    assert_eq!(world.granted().len(), 6);
}

#[tokio::test]
async fn a_user_that_the_database_refuses_costs_only_those_connections_that_are_for_them() {
    let world = World::new().await;
    world.sql("ALTER TABLE guacamole_entity ADD CHECK (name <> 'mallory')");
    world.file("a.yaml", &ssh("a", "users: [alice]"));
    world.file("b.yaml", &ssh("b", "users: [mallory]"));
    let run = world.once(&[]);
    assert_eq!(run.code, Some(1));
    assert!(run.said.contains("user \"mallory\": the database refuses it"), "{}", run.said);
    assert_eq!(world.granted(), ["alice a READ"]);
}

#[tokio::test]
async fn a_user_that_the_database_refuses_costs_nobody_else_a_group() {
    let world = World::new().await;
    world.sql("ALTER TABLE guacamole_entity ADD CHECK (name <> 'mallory')");
    for (name, lines) in
        [("bad", "group: Lab\nusers: [mallory, alice]"), ("good1", "group: Lab\nusers: [alice]"), ("good2", "group: Lab/Linux")]
    {
        world.file(&format!("{name}.yaml"), &ssh(name, lines));
    }
    let run = world.once(&[]);
    assert_eq!(run.code, Some(1));
    assert_eq!(run.said.matches("the database refuses it").count(), 1, "{}", run.said);
    assert!(run.said.contains("3 connections created, 0 changed, 0 removed, 2 groups changed, 1 users changed"), "{}", run.said);
    assert_eq!(world.granted(), ["alice bad READ", "alice good1 READ"]);
    world.sql("ALTER TABLE guacamole_entity DROP CONSTRAINT guacamole_entity_name_check");
    world.pass();
    assert_eq!(world.granted(), ["alice bad READ", "alice good1 READ", "mallory bad READ"]);
}

#[tokio::test]
async fn connections_that_swap_their_names_do_so_also_beside_one_that_is_refused() {
    let world = World::new().await;
    for (file, name) in [("a", "one"), ("b", "two"), ("c", "three")] {
        world.file(&format!("{file}.yaml"), &ssh(name, "group: Lab"));
    }
    world.pass();
    let numbers = || world.sql("SELECT string_agg(connection_name, ' ' ORDER BY connection_id) FROM guacamole_connection");
    let before = numbers();
    world.sql("ALTER TABLE guacamole_connection ADD CHECK (connection_name <> 'bad')");
    for (file, name) in [("a", "two"), ("b", "one"), ("c", "bad")] {
        world.file(&format!("{file}.yaml"), &ssh(name, "group: Lab"));
    }
    let run = world.once(&[]);
    assert!(run.code == Some(1) && run.said.contains("c.yaml: connection \"bad\": the database refuses it"), "{}", run.said);
    assert_eq!(numbers(), before.replace("one", "x").replace("two", "one").replace('x', "two"), "{}", run.said);
}

#[tokio::test]
async fn a_user_that_guacamole_makes_at_that_moment_costs_nobody_anything() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "group: Lab\nusers: [alice]"));
    let somebody = world.somebody_who_did("INSERT INTO guacamole_entity (name, type) VALUES ('alice', 'USER')").await;
    let mut running = world.command(&["--once"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    world.until("the pass waits for them", || {
        world.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == "1"
    });
    somebody.commit().await;
    assert!(running.wait().unwrap().success());
    assert_eq!(world.granted(), ["alice a READ"]);
}

#[tokio::test]
async fn a_password_is_written_once_also_where_the_server_folds_letters_otherwise() {
    let world = World::new().await;
    let properties = std::fs::read_to_string(world.configuration().join("guacamole.properties")).unwrap();
    world.configure(&format!("{properties}case-sensitivity: disabled\n"));
    world.sql("INSERT INTO guacamole_entity (name, type) VALUES ('Ünal', 'USER')");
    world.file("users.yaml", "users: [{name: ünal, password: secret}]");
    world.pass();
    let plan = world.plan(&[]);
    assert_eq!((plan.code, plan.printed.as_str()), (Some(0), ""), "{}", plan.said);
}

#[tokio::test]
async fn rows_go_in_batches_of_one_transaction() {
    let world = World::new().await;
    let items = (0..30)
        .map(|number| format!("- {{name: c{number}, protocol: ssh, parameters: {{hostname: h, port: 22}}, users: [alice]}}"))
        .collect::<Vec<_>>()
        .join("\n");
    world.file("all.yaml", &items);
    world.sql(
        "CREATE TABLE statements (rows integer);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO statements SELECT count(*) FROM new; RETURN NULL; END';
         CREATE TRIGGER note AFTER INSERT ON guacamole_connection_parameter REFERENCING NEW TABLE AS new FOR EACH STATEMENT EXECUTE FUNCTION note()",
    );
    assert_eq!(world.once(&["--batch-size", "25"]).code, Some(0));
    assert_eq!(world.sql("SELECT string_agg(rows::text, ' ' ORDER BY rows) FROM statements"), "10 25 25");
    assert_eq!(world.sql("SELECT count(DISTINCT xmin::text) FROM guacamole_connection_parameter"), "1", "one transaction");
}

#[tokio::test]
async fn a_pass_that_dies_in_the_middle_leaves_nothing_of_it() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("before", ""));
    world.pass();
    world.file("a.yaml", &ssh("after", "group: Lab\nusers: [alice]"));
    world.file("b.yaml", &ssh("b", ""));
    // The last rows of a pass wait for somebody else's transaction, and meanwhile the process is killed.
    world.sql(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END';
        CREATE TRIGGER dawdle BEFORE INSERT ON guacamole_connection_permission FOR EACH ROW EXECUTE FUNCTION dawdle()",
    );
    let mut running = world.command(&["--once"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    world.until("the pass is in its last statement", || {
        world.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'") == "1"
    });
    running.kill().unwrap();
    running.wait().unwrap();
    world.sql("DROP TRIGGER dawdle ON guacamole_connection_permission CASCADE");
    world.until("the server has noticed", || {
        world.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'") == "0"
    });
    assert_eq!(world.listed(), ["before ssh hostname=host port=22"]);
    assert_eq!(world.sql("SELECT count(*) FROM guacamole_entity"), "0");
    world.pass();
    assert_eq!(world.listed(), ["Lab/after ssh hostname=host port=22", "b ssh hostname=host port=22"]);
}

#[tokio::test]
async fn two_at_once_make_nothing_twice() {
    let world = World::new().await;
    let items = (0..200)
        .map(|number| format!("- {{name: c{number}, protocol: ssh, parameters: {{hostname: h}}, users: [alice]}}"))
        .collect::<Vec<_>>()
        .join("\n");
    world.file("all.yaml", &items);
    let children: Vec<_> = (0..4).map(|_| world.command(&["--once"]).stderr(std::process::Stdio::piped()).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(world.sql("SELECT count(*), count(DISTINCT connection_name) FROM guacamole_connection WHERE parent_id IS NULL"), "200|200");
    assert_eq!(world.sql("SELECT count(*) FROM guacamole_entity"), "1");
}

#[tokio::test]
async fn two_at_once_make_nothing_twice_whatever_is_the_roles_isolation() {
    let world = World::new().await;
    world.sql(&format!("ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'", world.database));
    world.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", world.database));
    world.file("a.yaml", &ssh("a", ""));
    // While somebody else is at work, both come to the point where they wait.
    let somebody = world.somebody_who_did("SELECT pg_advisory_xact_lock(7305808869229538676)").await;
    let children: Vec<_> = (0..2).map(|_| world.command(&["--once"]).stderr(std::process::Stdio::piped()).spawn().unwrap()).collect();
    world.until("both wait", || {
        world.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'") == "2"
    });
    somebody.commit().await;
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(world.listed(), ["a ssh hostname=host port=22"]);
}

#[tokio::test]
async fn a_mark_survives_an_edit_in_guacamoles_pages_and_the_edit_is_put_right() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    world.pass();
    // Guacamole replaces the parameters and writes back the attributes that it doesn't know.
    world.sql("DELETE FROM guacamole_connection_parameter; INSERT INTO guacamole_connection_parameter SELECT connection_id, 'hostname', 'elsewhere' FROM guacamole_connection;
        WITH old AS (DELETE FROM guacamole_connection_attribute RETURNING *) INSERT INTO guacamole_connection_attribute SELECT * FROM old;
        UPDATE guacamole_connection SET max_connections = 7");
    world.pass();
    assert_eq!(world.listed(), ["a ssh hostname=host port=22"]);
    assert_eq!(world.sql("SELECT max_connections IS NULL, count(*) OVER () FROM guacamole_connection"), "t|1");
}

#[tokio::test]
async fn nothing_is_revoked_that_somebody_else_granted() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "users: [alice]"));
    world.pass();
    world.sql(
        "WITH e AS (INSERT INTO guacamole_entity (name, type) VALUES ('by hand', 'USER') RETURNING entity_id)
        INSERT INTO guacamole_connection_permission SELECT e.entity_id, connection_id, 'READ' FROM e, guacamole_connection",
    );
    world.file("a.yaml", &ssh("a", ""));
    world.pass();
    assert_eq!(world.granted(), ["by hand a READ"]);
}
