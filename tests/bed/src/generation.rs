//! PostgreSQL and PgBouncer in two generations: what this machine's Debian has, and what a newer one has.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::obtain::{self, PostgresPrograms};

/// Which PostgreSQL and which PgBouncer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// What is installed here: on Debian 12, PostgreSQL 15 and PgBouncer 1.18.
    Installed,
    /// PostgreSQL 17 and PgBouncer 1.24. Only root can obtain them.
    Newer,
}

impl Generation {
    /// What `OUTRIGGER_POSTGRES` asks for: `newer`, or else what is installed.
    pub(crate) fn asked_for() -> Self {
        if std::env::var_os("OUTRIGGER_POSTGRES").is_some_and(|asked| asked == "newer") { Self::Newer } else { Self::Installed }
    }
}

/// Runs a program that sees the machine as it is, but for its own programs and libraries, and does not see that it is root. Nothing is
/// forked, so whoever ends the process ends the program.
const WITHIN: &str = r#"mount --bind "$0" /usr && exec unshare --user --map-user=1000 --map-group=1000 "$@""#;

/// The programs of a generation.
#[derive(Clone)]
pub(crate) struct Programs {
    pub(crate) postgres: PostgresPrograms,
    pub(crate) pgbouncer: PathBuf,
    /// What these programs see as `/usr`; none for the machine's own.
    usr: Option<PathBuf>,
}

impl Programs {
    /// Obtains those of PostgreSQL.
    pub(crate) fn of_postgres(generation: Generation) -> Result<Self> {
        match generation {
            Generation::Installed => Ok(Self { postgres: obtain::postgres()?, pgbouncer: PathBuf::new(), usr: None }),
            Generation::Newer => Self::newer(),
        }
    }

    /// Obtains those of PostgreSQL and PgBouncer.
    pub(crate) fn of(generation: Generation) -> Result<Self> {
        match generation {
            Generation::Installed => Ok(Self { pgbouncer: obtain::pgbouncer()?, ..Self::of_postgres(generation)? }),
            Generation::Newer => Self::newer(),
        }
    }

    fn newer() -> Result<Self> {
        let bin = Path::new("/usr/lib/postgresql/17/bin");
        // Clients of any version will do.
        let psql = obtain::postgres()?.psql;
        Ok(Self {
            postgres: PostgresPrograms {
                initdb: bin.join("initdb"),
                basebackup: bin.join("pg_basebackup"),
                postgres: bin.join("postgres"),
                psql,
            },
            pgbouncer: PathBuf::from("/usr/sbin/pgbouncer"),
            usr: Some(obtain::newer_databases()?.join("usr")),
        })
    }

    /// A command for programs that refuse to run as root: root's files stay root's, but the program does not see that it is root. The
    /// shared memory of System V that a killed server leaves goes with its namespace.
    pub(crate) fn command(&self, program: &Path) -> Command {
        if let Some(usr) = &self.usr {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--ipc", "/bin/sh", "-c", WITHIN]).arg(usr).arg(program);
            return command;
        }
        if !rustix::process::geteuid().is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=1000", "--map-group=1000", "--ipc"]).arg(program);
        command
    }
}
