//! A real PgBouncer on a free port, before a PostgreSQL.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::control_plane::free_port;
use crate::generation::{Generation, Programs};
use crate::obtain::command;
use crate::pki::{self, Authority};
use crate::postgres::Postgres;
use crate::progress;
use crate::supervise::Run;

const POOLER: &str = "pgbouncer";
const READY_DEADLINE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How a pooler asks its clients, and where it leads them.
#[derive(Debug, Clone)]
pub struct PoolerSettings {
    /// Its `auth_type`.
    pub auth_type: &'static str,
    /// The lines of its databases; none for all of the server's by its socket, where no password is asked for.
    pub databases: Option<String>,
    /// Its `server_login_retry`: for how long a server that refused somebody is asked no more.
    pub login_retry: Duration,
}

impl Default for PoolerSettings {
    fn default() -> Self {
        Self { auth_type: "scram-sha-256", databases: None, login_retry: Duration::from_secs(15) }
    }
}

/// A running pooler. It ends when this is dropped or when the process ends, however that happens.
///
/// It asks for passwords, by the list of users that it is given, and signs in to PostgreSQL as the same users. Whoever is called `admin`
/// in that list may use its admin console. TLS is offered.
pub struct PgBouncer {
    run: Run,
    programs: Programs,
    port: u16,
}

impl PgBouncer {
    /// Starts a pooler whose users are those of a file.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn start(server: &Postgres, auth_file: &Path) -> Self {
        Self::start_of(Generation::Installed, server, auth_file).await
    }

    /// Starts one of a generation.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn start_of(generation: Generation, server: &Postgres, auth_file: &Path) -> Self {
        Self::start_with(generation, server, auth_file, PoolerSettings::default()).await
    }

    /// Starts one of a generation that differs from the usual one.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn start_with(generation: Generation, server: &Postgres, auth_file: &Path, settings: PoolerSettings) -> Self {
        let all = format!("* = host={} port={}", server.socket_folder().display(), server.port());
        let (databases, auth_file) = (settings.databases.clone().unwrap_or(all), auth_file.to_owned());
        let started = tokio::task::spawn_blocking(move || Self::try_start(generation, &databases, &settings, &auth_file)).await;
        crate::expect(started.map_err(anyhow::Error::from).flatten(), "cannot start PgBouncer")
    }

    /// Starts one with a `pgbouncer.ini` of somebody else's, who knows all its folders and its port on 127.0.0.1.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn start_configured(generation: Generation, port: u16, configuration: String) -> Self {
        let started = tokio::task::spawn_blocking(move || {
            let pooler = Self { run: Run::create()?, programs: Programs::of(generation)?, port };
            pooler.run.write("pgbouncer.ini", configuration)?;
            pooler.launch()?;
            anyhow::Ok(pooler)
        });
        crate::expect(started.await.map_err(anyhow::Error::from).flatten(), "cannot start PgBouncer")
    }

    fn try_start(generation: Generation, databases: &str, settings: &PoolerSettings, auth_file: &Path) -> Result<Self> {
        let PoolerSettings { auth_type, login_retry, .. } = settings;
        let pooler = Self { run: Run::create()?, programs: Programs::of(generation)?, port: free_port()? };
        std::fs::create_dir_all(pooler.socket_folder())?;
        let authority = Authority::create()?;
        authority.write(&pooler.run)?;
        let identity =
            authority.issue(&pooler.run, "pgbouncer", "localhost", None, vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let settings = format!(
            "[databases]\n{databases}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir = {}\n\
             auth_type = {auth_type}\nauth_file = {}\nadmin_users = admin\nserver_login_retry = {}\n\
             client_tls_sslmode = allow\nclient_tls_cert_file = {}\nclient_tls_key_file = {}\n",
            pooler.port,
            pooler.socket_folder().display(),
            auth_file.display(),
            login_retry.as_secs(),
            identity.certificate_file.display(),
            identity.key_file.display(),
        );
        pooler.run.write("pgbouncer.ini", settings)?;
        pooler.launch()?;
        Ok(pooler)
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

    /// Runs SQL through it, or a command if the database is `pgbouncer`, and returns what that prints. The database may be a connection
    /// string.
    ///
    /// # Errors
    /// It refuses the user, or the command.
    pub fn query(&self, database: &str, user: &str, password: &str, sql: &str) -> Result<String> {
        let mut psql = Command::new(&self.programs.postgres.psql);
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--host=127.0.0.1"]);
        psql.args(["--port", &self.port.to_string(), "--username", user, "--dbname", database, "--command", sql]);
        Ok(command::output(psql.env("PGPASSWORD", password))?.trim_end().to_owned())
    }

    /// Kills it with all its connections, as a crash would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        crate::expect(self.run.kill(POOLER), "cannot kill PgBouncer");
    }

    /// Starts a killed pooler again, on its port.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&self) {
        crate::expect(self.launch(), "cannot restart PgBouncer");
    }

    fn launch(&self) -> Result<()> {
        let mut pooler = self.programs.command(&self.programs.pgbouncer);
        self.run.start(POOLER, pooler.arg(self.run.path("pgbouncer.ini")))?;
        let end = Instant::now() + READY_DEADLINE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            self.run.check()?;
            anyhow::ensure!(Instant::now() < end, "waited {} s until PgBouncer is ready", READY_DEADLINE.as_secs());
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            progress::say("a test with a PgBouncer of its own has failed");
            self.run.keep_logs();
        }
    }
}
