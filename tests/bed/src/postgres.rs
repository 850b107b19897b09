//! A real PostgreSQL on a free port, with a database for each test.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::OnceCell;

use crate::control_plane::free_port;
use crate::generation::{Generation, Programs};
use crate::obtain::{self, PostgresPrograms, command};
use crate::pki::{self, Authority};
use crate::progress;
use crate::supervise::{self, Run};

const SERVER: &str = "postgres";
/// The role that signs in with a certificate over TLS.
const CERTIFIED: &str = "certified";
const READY_DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

static SHARED: OnceCell<Postgres> = OnceCell::const_new();

/// A running server. It ends when this is dropped or when the process ends, however that happens.
///
/// Over its Unix socket everybody may sign in as anybody; over TCP a password is asked for, and TLS is offered.
pub struct Postgres {
    run: Run,
    programs: Programs,
    port: u16,
}

impl Postgres {
    /// The server that all tests of this test binary share: started by the first that asks, ended with the binary.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// Starts a server of one's own, to end it when one likes, of the generation that `OUTRIGGER_POSTGRES` asks for.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn start() -> Self {
        Self::start_of(Generation::asked_for()).await
    }

    /// Starts one of a generation.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn start_of(generation: Generation) -> Self {
        let started = tokio::task::spawn_blocking(move || Self::try_start(generation)).await;
        crate::expect(started.map_err(anyhow::Error::from).flatten(), "cannot start PostgreSQL")
    }

    fn try_start(generation: Generation) -> Result<Self> {
        let server = Self { run: Run::create()?, programs: Programs::of_postgres(generation)?, port: free_port()? };
        let mut initdb = server.programs.command(&server.programs.postgres.initdb);
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync", "--pgdata"]);
        command::output(initdb.arg(server.data()))?;
        server.configure()?;
        server.launch()?;
        server.become_ready()?;
        Ok(server)
    }

    /// Starts a replica that follows this server, with its settings and its certificate, on a port of its own. It needs the files of
    /// this one, which may be killed, but not dropped.
    ///
    /// # Panics
    /// When it cannot be started: the test that needs it has failed.
    #[must_use]
    pub fn replica(&self) -> Self {
        crate::expect(self.try_replica(), "cannot start a replica of PostgreSQL")
    }

    fn try_replica(&self) -> Result<Self> {
        let replica = Self { run: Run::create()?, programs: self.programs.clone(), port: free_port()? };
        let mut copy = self.programs.command(&self.programs.postgres.basebackup);
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--username=postgres"]);
        copy.arg("--host").arg(self.socket_folder()).args(["--port", &self.port.to_string()]).arg("--pgdata").arg(replica.data());
        command::output(&mut copy)?;
        replica.run.write(pki::CA_CERTIFICATE, std::fs::read(self.authority_file())?)?;
        std::fs::create_dir_all(replica.socket_folder())?;
        // What comes later counts.
        let settings = replica.data().join("postgresql.auto.conf");
        let mut text = std::fs::read_to_string(&settings)?;
        write!(text, "port = '{}'\nunix_socket_directories = '{}'\n", replica.port, replica.socket_folder().display())?;
        std::fs::write(settings, text)?;
        replica.launch()?;
        replica.become_ready()?;
        Ok(replica)
    }

    /// Makes a replica a server of its own.
    ///
    /// # Panics
    /// When it is none.
    pub fn promote(&self) {
        self.query_as_owner("postgres", "SELECT pg_promote()");
    }

    /// The port, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its Unix socket, which clients take for a host.
    #[must_use]
    pub fn socket_folder(&self) -> PathBuf {
        self.run.path("socket")
    }

    /// The file with the authority that signed its certificate, which is for localhost and 127.0.0.1.
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.run.path(pki::CA_CERTIFICATE)
    }

    /// A client certificate for the role `certified`, which nothing else lets in over TLS, and its key.
    ///
    /// # Panics
    /// When they can't be read.
    #[must_use]
    pub fn client_identity(&self) -> (String, String) {
        let read = |end: &str| crate::expect(self.run_file(&format!("pki/{CERTIFIED}.{end}")), "cannot read the client certificate");
        (read("crt"), read("key"))
    }

    fn run_file(&self, name: &str) -> Result<String> {
        Ok(std::fs::read_to_string(self.run.path(name))?)
    }

    /// Makes a database with a unique name that begins with `prefix`, and a role of the same name that owns it, with the password
    /// `password`. Both go with the server.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn database(&self, prefix: &str) -> String {
        let name = format!("{prefix}_{:08x}", supervise::random() & 0xffff_ffff);
        let statement = format!("CREATE ROLE {name} LOGIN PASSWORD 'password'");
        let made = self
            .sql("postgres", "postgres", &statement)
            .and_then(|_| self.sql("postgres", "postgres", &format!("CREATE DATABASE {name} OWNER {name}")));
        crate::expect(made, "cannot make a database");
        name
    }

    /// Runs SQL with psql as a role of the database's own name, and returns what it prints: rows on lines, columns with `|` between.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn query(&self, database: &str, sql: &str) -> String {
        crate::expect(self.sql(database, database, sql), "psql failed")
    }

    /// The same as the server's owner, who may do everything.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn query_as_owner(&self, database: &str, sql: &str) -> String {
        crate::expect(self.sql(database, "postgres", sql), "psql failed")
    }

    /// Kills the server with all its connections, as a crash would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        crate::expect(self.run.kill(SERVER), "cannot kill PostgreSQL");
        // Its children notice by themselves; their end frees the shared memory that a new server needs.
        let end = Instant::now() + READY_DEADLINE;
        while self.sql("postgres", "postgres", "SELECT 1").is_ok() && Instant::now() < end {
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Starts a killed server again, with all its databases, on its port.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&self) {
        let end = Instant::now() + READY_DEADLINE;
        loop {
            let started = self.launch().and_then(|()| self.become_ready());
            match started {
                // What is left of the old one may still hold the data.
                Err(error) if Instant::now() < end && format!("{error:#}").contains("ended early") => std::thread::sleep(POLL_INTERVAL),
                result => return crate::expect(result, "cannot restart PostgreSQL"),
            }
        }
    }

    /// The process id of the server.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    fn data(&self) -> PathBuf {
        self.run.path("data")
    }

    fn configure(&self) -> Result<()> {
        let authority = Authority::create()?;
        authority.write(&self.run)?;
        let identity = authority.issue(&self.run, "postgres", "localhost", None, vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        authority.issue(&self.run, CERTIFIED, CERTIFIED, None, Vec::new())?;
        std::fs::create_dir_all(self.socket_folder())?;
        let mut settings = String::new();
        for (name, value) in [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", self.socket_folder().display().to_string()),
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", identity.certificate_file.display().to_string()),
            ("ssl_key_file", identity.key_file.display().to_string()),
            ("ssl_ca_file", self.authority_file().display().to_string()),
            ("max_connections", "200".to_owned()),
            // The data dies with the run; waiting for the disk would only cost time.
            ("fsync", "off".to_owned()),
            // Nothing is to be written but what a test writes.
            ("autovacuum", "off".to_owned()),
        ] {
            writeln!(settings, "{name} = '{value}'")?;
        }
        std::fs::write(self.data().join("postgresql.auto.conf"), settings)?;
        let rules = format!(
            "local all all trust\nlocal replication all trust\nhostssl all {CERTIFIED} 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n\
             hostnossl all all 127.0.0.1/32 scram-sha-256\n"
        );
        std::fs::write(self.data().join("pg_hba.conf"), rules)?;
        std::fs::set_permissions(&identity.key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(())
    }

    fn launch(&self) -> Result<()> {
        let mut server = self.programs.command(&self.programs.postgres.postgres);
        self.run.start(SERVER, server.arg("-D").arg(self.data()))
    }

    fn become_ready(&self) -> Result<()> {
        let end = Instant::now() + READY_DEADLINE;
        loop {
            let Err(error) = self.sql("postgres", "postgres", "SELECT 1") else { return Ok(()) };
            self.run.check()?;
            if Instant::now() > end {
                return Err(error.context(format!("waited {} s until PostgreSQL is ready", READY_DEADLINE.as_secs())));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn sql(&self, database: &str, role: &str, sql: &str) -> Result<String> {
        let mut psql = Command::new(&self.programs.postgres.psql);
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--host"]).arg(self.socket_folder());
        psql.args(["--port", &self.port.to_string(), "--username", role, "--dbname", database, "--command", sql]);
        Ok(command::output(&mut psql)?.trim_end().to_owned())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            progress::say("a test with a PostgreSQL of its own has failed");
            self.run.keep_logs();
        }
    }
}

/// The programs of the newest PostgreSQL here, installed if there is none.
pub(crate) fn programs() -> Result<PostgresPrograms> {
    if let Some(programs) = installed() {
        return Ok(programs);
    }
    obtain::debian::install(&[obtain::debian::Need { program: "pg_ctlcluster", packages: &["postgresql"] }])?;
    installed().context("the Debian package postgresql was installed, and there is no initdb")
}

fn installed() -> Option<PostgresPrograms> {
    // Debian keeps them apart by version, and off the PATH.
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    folders.sort_by_key(|folder| folder.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok()));
    folders.extend(command::find("initdb").and_then(|program| program.parent().map(Path::to_owned)));
    let complete =
        |folder: &PathBuf| ["initdb", "pg_basebackup", "postgres", "psql"].iter().all(|name| command::is_program(&folder.join(name)));
    let folder = folders.into_iter().rev().find(complete)?;
    Some(PostgresPrograms {
        initdb: folder.join("initdb"),
        basebackup: folder.join("pg_basebackup"),
        postgres: folder.join("postgres"),
        psql: folder.join("psql"),
    })
}
