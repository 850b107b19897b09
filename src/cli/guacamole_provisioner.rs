//! `outrigger guacamole-provisioner`: connections from files, written into Guacamole's PostgreSQL.

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};

use crate::{
    api::duration,
    runtime::{
        pulse::Pulses,
        readiness::Readiness,
        server,
        shutdown::{Shutdown, Signals},
        telemetry::{self, LogFormat},
    },
    sidecars::{
        guacamole::{DatabaseSettings, Finding, Provisioner, Report, Settings, Severity},
        health::{self, Health},
    },
};

use super::{
    FOUND, NOTHING_FOUND,
    console::{self, Console},
    skew,
    tasks::Tasks,
};

/// How long `wait` waits for the sidecar's process.
const WAIT_LIMIT: Duration = Duration::from_secs(60);
/// A loop that has not said anything for so long has died.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Write connections from files into Guacamole's PostgreSQL, and keep them so.
///
/// Reads guacamole.properties and the connection files, compares them with the database, and writes what is different: whenever a file
/// changes, and now and then. Removes only what it has made itself.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  outrigger guacamole-provisioner --connections-dir connections --config-dir /etc/guacamole --plan   # what would be done
  outrigger guacamole-provisioner --connections-dir connections --config-dir /etc/guacamole --once"
)]
pub(super) struct GuacamoleProvisioner {
    #[command(subcommand)]
    command: Option<Wait>,

    #[command(flatten)]
    files: FileArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    changes: ChangeArgs,

    /// Do one pass and end: with 0 if all is as the files want it, with 1 if there is something to look at, with 2 on failure.
    #[arg(long)]
    once: bool,

    /// Show what a pass would change, without secrets, and change nothing: ends with 1 if it would change something.
    #[arg(long, conflicts_with = "once")]
    plan: bool,

    /// Time to wait before the database is first tried. It is tried again anyway until it answers.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse_or_seconds, env = "STARTUP_DELAY")]
    startup_delay: Duration,

    /// Time between passes if no file changes, which is noticed at once. Edits of others in the database are put right then.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = interval, env = "POLL_INTERVAL")]
    interval: Duration,

    /// Port of /startupz, /livez, /readyz and /metrics.
    #[arg(long, value_name = "PORT", default_value_t = 15802, env = "HEALTH_PORT")]
    health_port: u16,

    /// How much is logged. What is sent to the database never is.
    #[arg(long, value_enum, default_value = "info", env = "LOG_LEVEL")]
    log_level: LogLevel,

    /// How log lines are written.
    #[arg(long, value_enum, default_value = "json", env = "LOG_FORMAT")]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Wait {
    /// Wait until the sidecar in this pod is up; for a postStart hook.
    Wait {
        /// Its port.
        #[arg(long, value_name = "PORT", default_value_t = 15802, env = "HEALTH_PORT")]
        health_port: u16,
    },
}

/// What is read.
#[derive(Debug, Args)]
struct FileArgs {
    /// Folder of connection files: *.yaml, *.yml and *.json in it and in its folders.
    #[arg(long, value_name = "DIR", default_value = "/connections", env = "CONNECTIONS_DIR")]
    connections_dir: PathBuf,

    /// Folder with guacamole.properties, or guacamole/guacamole.properties.
    #[arg(long, value_name = "DIR", default_value = "/config", env = "CONFIG_DIR")]
    config_dir: PathBuf,

    /// Folder for the passwords that users ask for with generatePassword: a file for each, which only the provisioner's user may read.
    #[arg(long, value_name = "DIR", env = "PASSWORDS_DIR")]
    passwords_dir: Option<PathBuf>,
}

/// Where it is written. What is not given, guacamole.properties says.
#[derive(Debug, Args)]
struct DatabaseArgs {
    /// Host of the database, or folder of its Unix socket; else postgresql-hostname, else localhost.
    #[arg(long, value_name = "HOST", env = "DB_HOST")]
    db_host: Option<String>,

    /// Port of the database; else postgresql-port, else 5432.
    #[arg(long, value_name = "PORT", env = "DB_PORT")]
    db_port: Option<u16>,

    /// Name of the database; else postgresql-database, else `guacamole_db`.
    #[arg(long, value_name = "NAME", env = "DB_NAME")]
    db_name: Option<String>,

    /// Role to sign in as; else postgresql-username, else guacamole.
    #[arg(long, value_name = "ROLE", env = "DB_USER")]
    db_user: Option<String>,

    /// File with the role's password, instead of postgresql-password; an empty one is for a server that asks for none.
    #[arg(long, value_name = "FILE", env = "DB_PASSWORD_FILE")]
    db_password_file: Option<PathBuf>,

    /// Most rows of one statement. All statements of a pass are one transaction, however many there are.
    #[arg(long, value_name = "ROWS", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000), env = "BATCH_SIZE")]
    batch_size: u32,
}

/// What may be changed.
#[derive(Debug, Args)]
struct ChangeArgs {
    /// Name by which we know again what is ours. Provisioners with different files and one database need different ones.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = owner, env = "OWNER")]
    owner: String,

    /// What is removed when no file wants it any more: nothing, or connections that we have made ourselves.
    #[arg(long, value_enum, default_value = "owned", env = "PRUNE")]
    prune: Prune,

    /// For how long no file must have wanted a connection until it is removed, but by --once: files may be missing for a moment.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration::parse_or_seconds, env = "PRUNE_DELAY")]
    prune_delay: Duration,

    /// Most percent of our connections that are removed within an hour. If it were more, none is removed: files may be missing. 100 allows everything.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100), env = "PRUNE_LIMIT")]
    prune_limit: u8,

    /// Whether a connection that somebody else has made becomes ours where a file wants one of its name.
    #[arg(long, value_name = "BOOLEAN", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set, env = "ADOPT")]
    adopt: bool,

    /// Whether users and user groups are made that a file names and the database lacks.
    #[arg(long, value_name = "BOOLEAN", default_value = "true", action = clap::ArgAction::Set, env = "CREATE_USERS")]
    create_users: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Prune {
    /// Nothing.
    #[value(alias = "false")]
    Off,
    /// What we have made ourselves.
    #[value(alias = "true")]
    Owned,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl LogLevel {
    /// The database's client would log the values it sends, at level debug.
    const fn filter(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug,tokio_postgres=info",
        }
    }
}

/// A pass that follows at once would be a loop.
fn interval(text: &str) -> Result<Duration, String> {
    match duration::parse_or_seconds(text) {
        Ok(interval) if interval >= Duration::from_secs(1) => Ok(interval),
        Ok(_) => Err("an interval is at least 1s".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// It stands in names of attributes, which have at most 128 characters.
fn owner(text: &str) -> Result<String, String> {
    let is_allowed = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || "-.".contains(character);
    if (1..=100).contains(&text.len()) && text.chars().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err("a name is 1 to 100 lower-case letters, digits, hyphens and dots".to_owned())
    }
}

impl GuacamoleProvisioner {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        if let Some(Wait::Wait { health_port }) = self.command {
            return wait(health_port);
        }
        telemetry::start_logging(self.log_level.filter(), self.log_format)?;
        // One thread is enough for one connection, and keeps the process small.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime can't start")?;
        let work = async { if self.once || self.plan { self.pass(console).await } else { self.serve().await.map(|()| NOTHING_FOUND) } };
        let done = runtime.block_on(work);
        // Whoever still reads from a share that hangs is not waited for.
        runtime.shutdown_background();
        done
    }

    async fn pass(self, console: &Console) -> Result<ExitCode> {
        let provisioner = Provisioner::new(self.settings(), &mut telemetry::registry());
        let mut signals = Signals::listen().context("signals can't be listened to")?;
        let work = async { if self.plan { provisioner.look().await } else { provisioner.pass().await } };
        let done = tokio::select! {
            done = work => done,
            () = signals.next() => bail!("interrupted; what was under way is undone by the database"),
        };
        let report = match done {
            Ok(report) => report,
            Err(error) => {
                say_findings(&provisioner.findings_beside(&error).await, console);
                return Err(error.into());
            }
        };
        say(&report, console);
        if let Some(plan) = &report.plan {
            console::print(plan)?;
        }
        let is_unfinished = report.refusal.is_some() || report.findings.iter().any(|finding| finding.severity == Severity::Error);
        Ok(if is_unfinished || (self.plan && report.changes > 0) { FOUND } else { NOTHING_FOUND })
    }

    async fn serve(self) -> Result<()> {
        let signals = Signals::listen().context("signals can't be listened to")?;
        let address = health_address(self.health_port);
        let listener = server::bind(address).await.with_context(|| format!("{address} can't be listened on"))?;
        let (readiness, pulses, mut registry) = (Readiness::default(), Pulses::default(), telemetry::registry());
        readiness.register(&mut registry);
        skew::report(&mut registry);
        let (gate, process) = (readiness.gate("connections"), readiness.gate("process"));
        process.open();
        let pulse = pulses.pulse("provisioner", SILENCE_LIMIT);
        let settings = self.settings();
        tracing::info!(
            connections = %settings.connections.display(), configuration = %settings.configuration.display(), owner = settings.owner,
            prune = settings.prune, version = env!("CARGO_PKG_VERSION"), "provisioning"
        );
        let provisioner = Provisioner::new(settings, &mut registry);

        let shutdown = Shutdown::default();
        let mut tasks = Tasks::new(shutdown.clone());
        // The app waits for the process alone: the database may be the app, which starts after us.
        let health = Health { started: Readiness::default(), readiness, pulses, registry };
        tasks.spawn("health", server::serve_plain(listener, health::router(health), shutdown.clone()));
        tasks.spawn("provisioner", provisioner.run(gate, pulse, shutdown.clone()));
        tasks.until_all_end(shutdown.on_signal(signals, process, Duration::ZERO)).await
    }

    fn settings(&self) -> Settings {
        let (files, database, changes) = (&self.files, &self.database, &self.changes);
        Settings {
            connections: files.connections_dir.clone(),
            configuration: files.config_dir.clone(),
            database: DatabaseSettings {
                host: database.db_host.clone(),
                port: database.db_port,
                name: database.db_name.clone(),
                user: database.db_user.clone(),
            },
            password_file: database.db_password_file.clone(),
            passwords: files.passwords_dir.clone(),
            startup_delay: self.startup_delay,
            interval: self.interval,
            batch_size: database.batch_size as usize,
            owner: changes.owner.clone(),
            prune: changes.prune == Prune::Owned,
            prune_delay: if self.once || self.plan { Duration::ZERO } else { changes.prune_delay },
            prune_limit: changes.prune_limit,
            adopt: changes.adopt,
            create_users: changes.create_users,
        }
    }
}

/// Says what authors should look at.
fn say(report: &Report, console: &Console) {
    say_findings(&report.findings, console);
    if let Some((_, refusal)) = &report.refusal {
        console.error(refusal);
    }
    if report.plan.is_none() {
        console.note(&format!("{} changes written: {}", report.changes, report.summary));
    }
}

fn say_findings(findings: &[Finding], console: &Console) {
    for finding in findings {
        match finding.severity {
            Severity::Error => console.error(&finding.to_string()),
            Severity::Warning => console.warning(&finding.to_string()),
        }
    }
}

/// Everywhere.
fn health_address(port: u16) -> SocketAddr {
    (Ipv6Addr::UNSPECIFIED, port).into()
}

fn wait(health_port: u16) -> Result<ExitCode> {
    let answer = health::wait_until_started(health_address(health_port), WAIT_LIMIT)?;
    if answer.is_good { Ok(NOTHING_FOUND) } else { bail!("the sidecar is not up after {WAIT_LIMIT:?}: {}", answer.report.trim()) }
}
