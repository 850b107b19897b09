//! The agent of a pooler's pod, as the chart runs it.

use std::{fs, path::Path, process::Stdio};

use outrigger_bed::free_port;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    pooler::Pooler,
    world::{OUTPUT, World},
};

/// A running agent, killed when it is dropped.
pub(crate) struct Agent {
    _child: Child,
    _log: TempDir,
}

/// The port at which an agent will answer.
pub(crate) fn port() -> u16 {
    free_port().unwrap()
}

/// Writes the list that there is into a folder, as an agent does before PgBouncer starts.
pub(crate) async fn seed(world: &World<'_>, folder: &Path) {
    let status = command(world, folder).env("METHOD", "once").status().await.unwrap();
    assert!(status.success());
}

impl Agent {
    /// Starts one that keeps a pooler's list.
    pub(crate) fn start(world: &World<'_>, pooler: &Pooler, port: u16) -> Self {
        let log = tempfile::tempdir().unwrap();
        let mut command = command(world, pooler.folder());
        command
            .env("PGBOUNCER_HOST", pooler.bouncer.socket_folder())
            .env("PGBOUNCER_PORT", pooler.bouncer.port().to_string())
            .env("PGBOUNCER_AUTH_FILE", "userlist.txt")
            .env("APPLIED_ANNOTATION", "outrigger.dev/userlist-digest")
            .env("HEALTH_PORT", port.to_string());
        let child = command.stderr(fs::File::create(log.path().join("log")).unwrap()).spawn().unwrap();
        Self { _child: child, _log: log }
    }
}

fn command(world: &World<'_>, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(["file-sync", "--kubeconfig"]).arg(world.installation.kubeconfig());
    command.env("FOLDER", folder).env("NAMESPACE", world.name()).env("RESOURCE", "secret").env("RESOURCE_NAME", OUTPUT);
    command.env("REQ_RETRY_BACKOFF_FACTOR", "100ms");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command
}
