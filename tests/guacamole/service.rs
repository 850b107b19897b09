//! The provisioner as it runs beside Guacamole: what it notices, outlasts and says.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    process::{Child, Stdio},
    time::Duration,
};

use outrigger_bed::free_port;
use rustix::process::{Pid, Signal, kill_process};

use crate::world::{World, ssh, write};

/// A provisioner that runs until it is told to end.
struct Service {
    child: Child,
    port: u16,
    log: tempfile::NamedTempFile,
}

impl Service {
    fn start(world: &World, arguments: &[&str]) -> Self {
        Self::start_on(free_port().unwrap(), world, arguments)
    }

    fn start_on(port: u16, world: &World, arguments: &[&str]) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = world.command(arguments);
        command.args(["--health-port", &port.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.reopen().unwrap());
        Self { child: command.spawn().unwrap(), port, log }
    }

    /// Status and text of a path of the health port.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Waits until the process is ready, or is not, and says so.
    fn until_ready(&self, world: &World, status: u16, words: &str) {
        let mut last = None;
        world.until(&format!("/readyz answers {status} with {words:?}"), || {
            last = self.get("/readyz");
            last.as_ref().is_some_and(|(code, text)| *code == status && text.contains(words))
        });
    }

    /// How many passes the database has answered.
    fn passes(&self) -> u64 {
        let (_, metrics) = self.get("/metrics").unwrap_or_default();
        let line = metrics.lines().find_map(|line| line.strip_prefix("outrigger_guacamole_passes_total{outcome=\"success\"} "));
        line.map_or(0, |value| value.parse().unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }

    fn terminate(&mut self) -> std::process::ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Longer than a test: what happens then was not waited for.
const NEVER: [&str; 2] = ["--interval", "1h"];

/// Mounts a Secret's file as the kubelet does, or replaces what is mounted.
fn mount(world: &World, secret: &str, version: &str, text: &str) {
    let folder = world.connections().join(secret);
    write(&folder.join(version).join("connection.yaml"), text);
    symlink(version, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    drop(symlink("..data/connection.yaml", folder.join("connection.yaml")));
}

#[tokio::test]
async fn provisioner_s11_g18_a_swapped_secret_is_noticed_at_once() {
    let world = World::new().await;
    mount(&world, "office", "..one", &ssh("one", ""));
    let mut service = Service::start(&world, &NEVER);
    service.until_ready(&world, 200, "connections: ok");
    assert_eq!(world.listed(), ["one ssh hostname=host port=22"]);
    mount(&world, "office", "..two", &ssh("two", ""));
    world.until("the change is written", || world.listed() == ["two ssh hostname=host port=22"]);
    // A folder that appears later is looked at, too.
    mount(&world, "lab", "..one", &ssh("lab", ""));
    world.until("the new file is written", || world.listed().len() == 2);
    mount(&world, "lab", "..two", &ssh("lab", "group: Lab"));
    world.until("its change is written", || world.listed().concat().contains("Lab/lab"));
    assert!(service.terminate().success());
}

#[tokio::test]
async fn provisioner_s9_g7_a_change_that_met_a_dead_database_is_written_when_it_is_back() {
    let world = World::with_a_server_of_its_own().await;
    world.file("a.yaml", &ssh("a", ""));
    let service = Service::start(&world, &NEVER);
    service.until_ready(&world, 200, "connections: ok");
    world.server.kill();
    world.file("a.yaml", &ssh("b", ""));
    service.until_ready(&world, 503, "can't be reached");
    assert_eq!(service.get("/livez").unwrap().0, 200, "nobody gains by starting it again");
    world.server.restart();
    service.until_ready(&world, 200, "connections: ok");
    assert_eq!(world.listed(), ["b ssh hostname=host port=22"]);
}

#[tokio::test]
async fn provisioner_s13_g17_connections_that_the_server_ended_are_no_harm() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    let mut service = Service::start(&world, &["--interval", "1s"]);
    service.until_ready(&world, 200, "connections: ok");
    world.sql(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END';
        CREATE TRIGGER dawdle BEFORE UPDATE ON guacamole_connection FOR EACH ROW EXECUTE FUNCTION dawdle()",
    );
    world.file("a.yaml", &ssh("b", ""));
    let end = |which: &str| {
        let database = &world.database;
        let ended = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' AND {which}");
        world.server.query_as_owner("postgres", &ended)
    };
    world.until("the pass is under way, and is ended", || end("wait_event = 'PgSleep'") == "t");
    service.until_ready(&world, 503, "57P01");
    world.sql("DROP FUNCTION dawdle CASCADE");
    // Also the session that has nothing to do for now.
    world.until("it is ended", || end("application_name LIKE 'outrigger%' AND state = 'idle'").starts_with('t'));
    world.until("the change is written", || world.listed() == ["b ssh hostname=host port=22"]);
    assert!(service.terminate().success());
}

#[tokio::test]
async fn a_database_and_tables_that_come_later_are_waited_for() {
    let world = World::without_schema().await;
    world.file("a.yaml", &ssh("a", ""));
    let service = Service::start(&world, &NEVER);
    service.until_ready(&world, 503, "has no tables of Guacamole's yet");
    assert_eq!(service.get("/startupz").unwrap().0, 200, "the app, which may be the database, is not held back");
    world.load_schema("1.6");
    service.until_ready(&world, 200, "connections: ok");
    assert_eq!(world.listed(), ["a ssh hostname=host port=22"]);
}

#[tokio::test]
async fn provisioner_g20_a_changed_database_password_is_read_again() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    let properties = fs::read_to_string(world.configuration().join("guacamole.properties")).unwrap();
    world.configure(&properties.replace(": password", ": wrong"));
    let service = Service::start(&world, &NEVER);
    service.until_ready(&world, 503, "28P01");
    world.configure(&properties);
    service.until_ready(&world, 200, "connections: ok");
    assert!(!service.log().contains("wrong"));
}

#[tokio::test]
async fn provisioner_s15_properties_are_read_as_java_reads_them_at_both_places() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    world.server.query_as_owner(&world.database, &format!("ALTER ROLE {} PASSWORD 'a:b=c\\d é'", world.database));
    let properties = fs::read_to_string(world.configuration().join("guacamole.properties")).unwrap();
    let properties = properties
        .replace("postgresql-password: password", "#postgresql-password: old\npostgresql-password = a\\:b\\=c\\\\d \\\n    \\u00e9");
    fs::remove_file(world.configuration().join("guacamole.properties")).unwrap();
    write(&world.configuration().join("guacamole/guacamole.properties"), &properties);
    world.pass();
}

#[tokio::test]
async fn provisioner_s14_tls_is_spoken_and_the_server_is_verified_as_asked() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    let properties = fs::read_to_string(world.configuration().join("guacamole.properties")).unwrap();
    let uses_tls = "CREATE TABLE seen (tls boolean); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        'BEGIN INSERT INTO seen SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid(); RETURN NULL; END';
        CREATE TRIGGER note AFTER UPDATE OR INSERT ON guacamole_connection FOR EACH STATEMENT EXECUTE FUNCTION note()";
    world.sql(uses_tls);
    let with = |mode: &str, more: &str| {
        world.sql("DELETE FROM guacamole_connection; DELETE FROM seen");
        world.configure(&format!("{properties}postgresql-ssl-mode: {mode}\n{more}"));
        let run = world.once(&[]);
        (run.code, world.sql("SELECT DISTINCT tls FROM seen"), run.said)
    };
    let authority = format!("postgresql-ssl-root-cert-file: {}\n", world.server.authority_file().display());
    for (mode, more, tls) in
        [("disable", "", "f"), ("prefer", "", "t"), ("require", "", "t"), ("verify-ca", &*authority, "t"), ("verify-full", &authority, "t")]
    {
        let (code, seen, said) = with(mode, more);
        assert_eq!((code, seen.as_str()), (Some(0), tls), "{mode}: {said}");
    }
    let (code, _, said) = with("verify-full", "");
    assert!(code == Some(2) && said.contains("postgresql-ssl-root-cert-file"), "{said}");
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let stranger = world.configuration().join("stranger.pem");
    write(&stranger, &own.cert.pem());
    for mode in ["verify-ca", "verify-full"] {
        let (code, _, said) = with(mode, &format!("postgresql-ssl-root-cert-file: {}\n", stranger.display()));
        assert!(code == Some(2) && said.to_lowercase().contains("certificate"), "{mode}: {said}");
    }
}

#[tokio::test]
async fn provisioner_g19_it_says_how_it_is_and_counts_what_it_does() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    world.file("bad.yaml", "name: [");
    let service = Service::start(&world, &NEVER);
    service.until_ready(&world, 200, "1 to look at; the first: bad.yaml");
    let (_, metrics) = service.get("/metrics").unwrap();
    for line in [
        "outrigger_guacamole_passes_total{outcome=\"success\"} 1",
        "outrigger_guacamole_changes_total 1",
        "outrigger_guacamole_findings{severity=\"error\"} 1",
        "outrigger_part_ok{part=\"connections\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let log = service.log();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines.iter().any(|line| line["level"] == "ERROR" && line["fields"]["message"].as_str().unwrap().starts_with("bad.yaml: ")),
        "{log}"
    );
}

#[tokio::test]
async fn sigterm_ends_it_also_in_the_middle_of_a_pass() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    // Somebody holds the table.
    world.sql(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END';
        CREATE TRIGGER dawdle BEFORE INSERT ON guacamole_connection FOR EACH ROW EXECUTE FUNCTION dawdle()",
    );
    let mut service = Service::start(&world, &NEVER);
    world.until("the pass is under way", || {
        world.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'") == "1"
    });
    assert!(service.terminate().success(), "{}", service.log());
}

#[tokio::test]
async fn the_delay_at_the_start_is_kept_and_bare_numbers_are_seconds() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    let mut command = world.command(&[]);
    let port = free_port().unwrap();
    command.env("STARTUP_DELAY", "3").env("POLL_INTERVAL", "300").env("HEALTH_PORT", port.to_string());
    let log = tempfile::NamedTempFile::new().unwrap();
    let start = std::time::Instant::now();
    let child = command.stdin(Stdio::null()).stderr(log.reopen().unwrap()).spawn().unwrap();
    let service = Service { child, port, log };
    service.until_ready(&world, 200, "connections: ok");
    assert!(start.elapsed() >= Duration::from_secs(3));
    assert_eq!(service.get("/startupz").unwrap().0, 200);
}

#[tokio::test]
async fn no_log_level_shows_a_secret() {
    let world = World::new().await;
    world.file("a.yaml", "name: a\nprotocol: ssh\nparameters: {hostname: h, password: hunter2, private-key: hunter2, pasword: hunter2}\n");
    world.file("users.yaml", "users: [{name: alice, password: hunter2}]");
    let service = Service::start(&world, &["--interval", "1h", "--log-level", "debug"]);
    service.until_ready(&world, 200, "1 to look at");
    let log = service.log();
    assert!(log.contains("\"level\":\"DEBUG\"") || log.contains("the database was changed"), "{log}");
    assert!(!log.contains("hunter2") && !log.contains("postgresql-password"), "{log}");
}

#[tokio::test]
async fn edits_of_others_are_put_right_also_when_nothing_happened_for_long() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "group: Lab\nusers: [alice]"));
    let service = Service::start(&world, &["--interval", "1s"]);
    world.until("some passes are over", || service.passes() >= 4);
    let state = || {
        (
            world.listed(),
            world.granted(),
            world.sql("SELECT attribute_name, attribute_value FROM guacamole_connection_attribute ORDER BY 1"),
        )
    };
    let before = state();
    for edit in [
        "UPDATE guacamole_connection_parameter SET parameter_value = 'x' WHERE parameter_name = 'hostname'",
        "INSERT INTO guacamole_connection_parameter SELECT connection_id, 'x', 'y' FROM guacamole_connection",
        "DELETE FROM guacamole_connection_permission",
        "DELETE FROM guacamole_connection_attribute WHERE attribute_name LIKE '%grants%'",
        "UPDATE guacamole_connection SET parent_id = NULL, max_connections = 1",
    ] {
        world.sql(edit);
        world.until(edit, || state() == before && world.sql("SELECT count(max_connections) FROM guacamole_connection") == "0");
    }
}

#[tokio::test]
async fn edits_of_others_are_found_also_when_files_change_at_the_same_time() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "users: [alice]"));
    let service = Service::start(&world, &NEVER);
    service.until_ready(&world, 200, "connections: ok");
    for round in 0..3 {
        // A file that is written anew as it was: there is nothing to do, and what was read is remembered.
        let before = service.passes();
        world.file("a.yaml", &ssh("a", "users: [alice]"));
        world.until("a pass is over", || service.passes() > before);
        world.sql("DELETE FROM guacamole_connection_permission; UPDATE guacamole_connection_parameter SET parameter_value = 'x' WHERE parameter_name = 'hostname'");
        world.file("b.yaml", &ssh(&format!("b{round}"), ""));
        let expected = ["a ssh hostname=host port=22".to_owned(), format!("b{round} ssh hostname=host port=22")];
        world.until("both are right", || world.listed() == expected && world.granted() == ["alice a READ"]);
    }
}

#[tokio::test]
async fn what_the_database_refused_is_tried_again_at_each_pass() {
    let world = World::new().await;
    world.sql("ALTER TABLE guacamole_connection ADD CONSTRAINT picky CHECK (connection_name <> 'a')");
    world.file("a.yaml", &ssh("a", ""));
    let service = Service::start(&world, &["--interval", "1s"]);
    service.until_ready(&world, 200, "the database refuses it");
    world.sql("ALTER TABLE guacamole_connection DROP CONSTRAINT picky");
    service.until_ready(&world, 200, "connections: ok");
    assert_eq!(world.listed(), ["a ssh hostname=host port=22"]);
}

#[tokio::test]
async fn a_generated_password_that_could_not_be_kept_is_tried_again_at_each_pass() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    world.file("users.yaml", "users: [{name: alice, generatePassword: true}]");
    let service = Service::start(&world, &["--interval", "1s", "--passwords-dir", passwords.to_str().unwrap()]);
    service.until_ready(&world, 200, "passwords/alice can't be written");
    let before = service.passes();
    world.until("it was tried again", || service.passes() > before + 1);
    fs::create_dir(&passwords).unwrap();
    service.until_ready(&world, 200, "connections: ok");
    assert!(passwords.join("alice").exists());
}

/// A database that was set back may have rows of the same versions with other values.
#[tokio::test]
async fn what_was_read_is_forgotten_when_the_server_has_ended_the_session() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "attributes: {max-connections: 3}"));
    let service = Service::start(&world, &["--interval", "1s"]);
    world.until("nothing is left to write", || service.passes() >= 3);
    // Columns that are made anew change no version of a row.
    world.sql("ALTER TABLE guacamole_connection DROP COLUMN max_connections, ADD COLUMN max_connections integer DEFAULT 7");
    world.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'outrigger%' AND state = 'idle'",
    );
    world.until("it was read again", || world.sql("SELECT max_connections FROM guacamole_connection") == "3");
}

#[tokio::test]
async fn a_file_that_was_another_one_while_it_was_read_is_read_again() {
    let world = World::new().await;
    let elsewhere = tempfile::tempdir().unwrap();
    // Through the link, changes aren't noticed but at the next pass.
    let file = elsewhere.path().join("a.yaml");
    write(&file, &ssh("b", ""));
    fs::create_dir_all(world.connections()).unwrap();
    symlink(&file, world.connections().join("a.yaml")).unwrap();
    world.pass();
    write(&file, &ssh("a", ""));
    let lock = "pg_advisory_xact_lock(7305808869229538676)";
    let somebody = world.somebody_who_did(&format!("SELECT {lock}")).await;
    let service = Service::start(&world, &["--interval", "3s"]);
    world.until("a pass waits", || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
        world.sql(waiting) == "1"
    });
    write(&file, &ssh("b", ""));
    somebody.commit().await;
    world.until("the pass is over", || service.passes() >= 1);
    write(&file, &ssh("a", ""));
    world.until("the file counts as it is", || world.listed() == ["a ssh hostname=host port=22"]);
}

#[tokio::test]
async fn a_hook_waits_until_the_process_is_up() {
    let world = World::new().await;
    let port = free_port().unwrap();
    let wait = |port: u16| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(["guacamole-provisioner", "wait"]).env("HEALTH_PORT", port.to_string()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let mut waiting = wait(port);
    let _service = Service::start_on(port, &world, &NEVER);
    assert!(waiting.wait().unwrap().success());
}

#[tokio::test]
async fn files_that_vanish_one_after_the_other_empty_no_database() {
    let world = World::new().await;
    for number in 0..6 {
        world.file(&format!("c{number}.yaml"), &ssh(&format!("c{number}"), ""));
    }
    let service = Service::start(&world, &["--interval", "1s", "--prune-delay", "0s"]);
    service.until_ready(&world, 200, "connections: ok");
    for number in 0..3 {
        world.remove(&format!("c{number}.yaml"));
        world.until("it is gone", || world.listed().len() == 5 - number);
    }
    world.remove("c3.yaml");
    service.until_ready(&world, 200, "no file wants 1 of our 3 connections any more, 3 were removed in the last hour");
    assert_eq!(world.listed().len(), 3);
}

#[tokio::test]
async fn a_connection_goes_when_its_file_has_been_gone_for_long_enough() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.file(&format!("{name}.yaml"), &ssh(name, ""));
    }
    let service = Service::start(&world, &["--interval", "1h", "--prune-delay", "30s"]);
    service.until_ready(&world, 200, "connections: ok");
    let number = || world.sql("SELECT connection_id FROM guacamole_connection WHERE connection_name = 'a'");
    let before = number();
    world.remove("a.yaml");
    world.file("c.yaml", &ssh("c", ""));
    world.until("the removal was seen", || world.listed().len() == 3);
    world.file("a.yaml", &ssh("a", "users: [alice]"));
    world.until("the file is back", || world.granted() == ["alice a READ"]);
    assert_eq!(number(), before, "the same one");
    world.remove("a.yaml");
    world.until("it is gone", || number().is_empty());
}

#[tokio::test]
async fn of_two_with_different_files_one_writes_and_the_other_stands_by_until_it_is_gone() {
    let world = World::new().await;
    let old = world.with_other_files();
    for name in ["a", "b", "new"] {
        world.file(&format!("{name}.yaml"), &ssh(name, "users: [alice]"));
    }
    for name in ["a", "b"] {
        old.file(&format!("{name}.yaml"), &ssh(name, "users: [alice, bob]"));
    }
    let start = |world: &World| Service::start(world, &["--interval", "1s", "--prune-delay", "0s"]);
    let mut first = start(&world);
    first.until_ready(&world, 200, "connections: ok");
    let state = || (world.sql("SELECT connection_id, connection_name FROM guacamole_connection ORDER BY 1"), world.granted());
    let before = state();
    let second = start(&old);
    second.until_ready(&world, 200, "stands by");
    old.file("c.yaml", &ssh("c", ""));
    second.until_ready(&world, 200, "stands by");
    assert_eq!(state(), before);
    assert!(first.terminate().success());
    world.until("the other takes its turn", || world.listed().concat().contains("c ssh"));
    assert_eq!(world.granted().len(), 4, "bob, too");
}

#[tokio::test]
async fn a_single_pass_waits_for_its_turn() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    let mut service = Service::start(&world, &NEVER);
    service.until_ready(&world, 200, "connections: ok");
    let other = world.with_other_files();
    other.file("a.yaml", &ssh("b", ""));
    let mut running = other.command(&["--once"]).stderr(Stdio::null()).spawn().unwrap();
    world.until("it waits", || {
        world.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'") == "1"
    });
    // What it writes is what the files say then, not what they said when it came.
    other.file("a.yaml", &ssh("c", ""));
    assert!(service.terminate().success());
    assert!(running.wait().unwrap().success());
    assert_eq!(world.listed(), ["c ssh hostname=host port=22"]);
}

#[tokio::test]
async fn a_single_pass_whose_turn_never_comes_says_who_has_it() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    let service = Service::start(&world, &NEVER);
    service.until_ready(&world, 200, "connections: ok");
    let run = world.once(&[]);
    assert_eq!(run.code, Some(2));
    for words in
        ["another provisioner of the owner default has been at work in guacamole_", "for 30s: process ", "outrigger/", "another OWNER"]
    {
        assert!(run.said.contains(words), "{words} in {}", run.said);
    }
    assert_eq!(world.once(&["--owner", "other"]).code, Some(1), "another owner has turns of its own; the place is taken");
}

#[tokio::test]
async fn what_is_wrong_with_files_is_said_also_while_the_database_is_away() {
    let world = World::new().await;
    world.configure(&format!("postgresql-hostname: 127.0.0.1\npostgresql-port: {}\n", free_port().unwrap()));
    world.file("bad.yaml", "name: [");
    for run in [world.once(&[]), world.plan(&[])] {
        assert!(run.code == Some(2) && run.said.contains("bad.yaml: ") && run.said.contains("can't be reached"), "{}", run.said);
    }
    let service = Service::start(&world, &NEVER);
    service.until_ready(&world, 503, "1 to look at; the first: bad.yaml");
    assert!(service.log().contains("bad.yaml: "));
}

#[tokio::test]
async fn a_pipe_among_the_files_holds_nothing_up() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    let pipe = world.connections().join("pipe.yaml");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let mut service = Service::start(&world, &NEVER);
    service.until_ready(&world, 200, "pipe.yaml: it can't be read: it is no ordinary file");
    assert_eq!(world.listed(), ["a ssh hostname=host port=22"]);
    assert!(service.terminate().success());
}
