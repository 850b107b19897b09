//! What the Guacamole provisioner costs on a real PostgreSQL: the first load of many connections, beside the same rows written one by
//! one, a pass with nothing to do, a pass with one change, and memory.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a bench that fails must say where")]

use std::{
    fmt::Write as _,
    fs,
    net::TcpStream,
    ops::Range,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use outrigger::{
    runtime::telemetry,
    sidecars::guacamole::{DatabaseSettings, Provisioner, Settings},
};
use outrigger_bed::{Postgres, free_port};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// Connections when measuring, and when `cargo test` only sees whether all this works.
const MANY: usize = 5000;
const FEW: usize = 20;
/// As many as fit into a Secret, which holds 1 MiB.
const IN_A_FILE: usize = 1000;
/// Parameters of each connection besides host and port, and users who may see it.
const FURTHER_PARAMETERS: [&str; 13] = [
    "username",
    "password",
    "domain",
    "security",
    "ignore-cert",
    "color-depth",
    "resize-method",
    "enable-drive",
    "drive-path",
    "enable-wallpaper",
    "server-layout",
    "timezone",
    "client-name",
];
const USERS: usize = 3;
const IDLE_PASSES: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let count = if is_measured { MANY } else { FEW };
    let bench = Bench::start(count).await;

    let row_by_row = bench.row_by_row().await;
    let first_load = bench.pass(count).await;
    bench.settle();
    bench.pass(0).await;
    let before = bench.written();
    let mut idle = Vec::new();
    for _ in 0..IDLE_PASSES {
        idle.push(bench.pass(0).await);
    }
    let idle_bytes = bench.written() - before;
    idle.sort();
    bench.write(count, "changed");
    let one_change = bench.pass(1).await;
    let [memory_of_first_load, memory] = [&bench.empty_database, &bench.database].map(|database| bench.memory(database));

    println!("{count} connections with {} parameters and {USERS} grants each", FURTHER_PARAMETERS.len() + 2);
    for (what, value) in [
        ("first load, row by row in one transaction", format!("{row_by_row:.0?}")),
        ("first load", format!("{first_load:.0?}")),
        ("pass with nothing to do, median", format!("{:.1?}", idle[IDLE_PASSES / 2])),
        ("written to the log by such a pass", format!("{} bytes", idle_bytes / IDLE_PASSES as u64)),
        ("pass with one change", format!("{one_change:.1?}")),
        ("memory of the process after a first load", memory_of_first_load),
        ("memory of the process that found all alike", memory),
    ] {
        println!("{what:<45}{value}");
    }
}

struct Bench {
    server: Postgres,
    database: String,
    other_database: String,
    empty_database: String,
    folder: TempDir,
    provisioner: Provisioner,
    count: usize,
}

impl Bench {
    async fn start(count: usize) -> Self {
        let server = Postgres::start().await;
        // As a server is that keeps its data.
        server.query_as_owner("postgres", "ALTER SYSTEM SET fsync = on");
        server.query_as_owner("postgres", "SELECT pg_reload_conf()");
        let schema = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/guacamole/schema.sql")).unwrap();
        let [database, other_database, empty_database] = ["ours", "other", "empty"].map(|name| {
            let database = server.database(name);
            server.query(&database, &schema);
            database
        });
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("connections")).unwrap();
        fs::write(folder.path().join("password"), "").unwrap();
        let settings = Settings {
            connections: folder.path().join("connections"),
            configuration: folder.path().to_owned(),
            database: DatabaseSettings {
                host: Some(server.socket_folder().display().to_string()),
                port: Some(server.port()),
                name: Some(database.clone()),
                user: Some(database.clone()),
            },
            password_file: Some(folder.path().join("password")),
            passwords: None,
            startup_delay: Duration::ZERO,
            interval: Duration::from_secs(300),
            batch_size: 5000,
            owner: "default".to_owned(),
            prune: true,
            prune_delay: Duration::ZERO,
            prune_limit: 50,
            adopt: false,
            create_users: true,
        };
        let provisioner = Provisioner::new(settings, &mut telemetry::registry());
        let bench = Self { server, database, other_database, empty_database, folder, provisioner, count };
        bench.write(count, "first");
        bench
    }

    /// Writes the files of connections. The last connection has this word in it.
    fn write(&self, count: usize, word: &str) {
        for first in (0..count).step_by(IN_A_FILE) {
            let text = Self::file(first..count.min(first + IN_A_FILE), count, word);
            fs::write(self.folder.path().join(format!("connections/{first}.yaml")), text).unwrap();
        }
    }

    fn file(numbers: Range<usize>, count: usize, word: &str) -> String {
        let mut text = String::new();
        for number in numbers {
            let word = if number + 1 == count { word } else { "same" };
            writeln!(text, "- name: connection {number}\n  protocol: rdp\n  parameters:\n    hostname: host-{number}\n    port: 3389")
                .unwrap();
            for (name, value) in parameters(number, word) {
                writeln!(text, "    {name}: {value}").unwrap();
            }
            writeln!(text, "  users: [{}]", users(number).join(", ")).unwrap();
        }
        text
    }

    /// One pass, which is to write so many connections.
    async fn pass(&self, connections: usize) -> Duration {
        let start = Instant::now();
        let report = self.provisioner.pass().await.unwrap();
        let duration = start.elapsed();
        assert!(report.changes >= connections && (connections > 0 || report.changes == 0), "{report:?}");
        duration
    }

    /// The same rows as the provisioner writes for the first load, but for its marks, each by a statement of its own.
    async fn row_by_row(&self) -> Duration {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.server.socket_folder()).port(self.server.port()).dbname(&self.other_database).user(&self.other_database);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let start = Instant::now();
        insert_one_by_one(&client, self.count).await.unwrap();
        let duration = start.elapsed();
        drop(client);
        driver.await.unwrap().unwrap();
        duration
    }

    /// Bytes written to the log so far.
    fn written(&self) -> u64 {
        self.server.query_as_owner("postgres", "SELECT pg_current_wal_insert_lsn() - '0/0'").parse().unwrap()
    }

    /// Ends what the server does after many rows were written.
    fn settle(&self) {
        self.server.query_as_owner(&self.database, "VACUUM ANALYZE");
        self.server.query_as_owner(&self.database, "CHECKPOINT");
    }

    /// Memory of the real program when it has done its first pass in a database: its own, with what it shares, and the most it was.
    fn memory(&self, database: &str) -> String {
        let port = free_port().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .args(["guacamole-provisioner", "--connections-dir"])
            .arg(self.folder.path().join("connections"))
            .arg("--db-host")
            .arg(self.server.socket_folder())
            .args(["--db-port", &self.server.port().to_string(), "--db-name", database, "--db-user", database])
            .arg("--db-password-file")
            .arg(self.folder.path().join("password"))
            .args(["--health-port", &port.to_string(), "--interval", "1h"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Process(child);
        let end = Instant::now() + Duration::from_secs(60);
        while !is_ready(port) {
            assert!(Instant::now() < end, "the provisioner is not ready");
            std::thread::sleep(Duration::from_millis(100));
        }
        let status = fs::read_to_string(Path::new("/proc").join(process.0.id().to_string()).join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        format!("RssAnon {}, VmRSS {}, VmHWM {}", field("RssAnon:"), field("VmRSS:"), field("VmHWM:"))
    }
}

/// Ends with the bench.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn is_ready(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

fn parameters(number: usize, word: &str) -> impl Iterator<Item = (&'static str, String)> {
    FURTHER_PARAMETERS.into_iter().map(move |name| match name {
        "security" => (name, "any".to_owned()),
        "ignore-cert" | "enable-drive" | "enable-wallpaper" => (name, "true".to_owned()),
        "color-depth" => (name, "16".to_owned()),
        "resize-method" => (name, "display-update".to_owned()),
        "server-layout" => (name, "en-us-qwerty".to_owned()),
        _ => (name, format!("{word}-{number}-of-{name}")),
    })
}

fn users(number: usize) -> [String; USERS] {
    [0, 1, 2].map(|user| format!("user-{}", (number + user) % 100))
}

async fn insert_one_by_one(client: &Client, count: usize) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    let find = client.prepare("SELECT connection_id FROM guacamole_connection WHERE connection_name = $1").await?;
    let connection =
        client.prepare("INSERT INTO guacamole_connection (connection_name, protocol) VALUES ($1, 'rdp') RETURNING connection_id").await?;
    let parameter = client
        .prepare("INSERT INTO guacamole_connection_parameter (connection_id, parameter_name, parameter_value) VALUES ($1, $2, $3)")
        .await?;
    let entity = client
        .prepare("INSERT INTO guacamole_entity (name, type) VALUES ($1, 'USER') ON CONFLICT (name, type) DO UPDATE SET name = EXCLUDED.name RETURNING entity_id")
        .await?;
    let permission = client
        .prepare("INSERT INTO guacamole_connection_permission (entity_id, connection_id, permission) VALUES ($1, $2, 'READ') ON CONFLICT DO NOTHING")
        .await?;
    for number in 0..count {
        let name = format!("connection {number}");
        client.query(&find, &[&name]).await?;
        let id: i32 = client.query_one(&connection, &[&name]).await?.get(0);
        let fixed = [("hostname", format!("host-{number}")), ("port", "3389".to_owned())];
        for (name, value) in fixed.into_iter().chain(parameters(number, "same")) {
            client.execute(&parameter, &[&id, &name, &value]).await?;
        }
        for user in users(number) {
            let user: i32 = client.query_one(&entity, &[&user]).await?.get(0);
            client.execute(&permission, &[&user, &id]).await?;
        }
    }
    client.batch_execute("COMMIT").await
}
