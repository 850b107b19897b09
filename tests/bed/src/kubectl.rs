//! The real kubectl, as users run it.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::control_plane::ControlPlane;

const DEADLINE: Duration = Duration::from_secs(120);

/// What kubectl printed and how it ended.
#[derive(Debug)]
pub struct KubectlOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

impl KubectlOutput {
    /// The standard output of a kubectl that was to succeed.
    ///
    /// # Panics
    /// When it failed, with what it said.
    #[must_use]
    pub fn success(self) -> String {
        assert!(self.status.success(), "kubectl failed ({}): {}", self.status, self.stderr);
        self.stdout
    }
}

pub(crate) async fn run(cluster: &ControlPlane, arguments: &[&str], input: &str) -> Result<KubectlOutput> {
    let mut command = Command::new(cluster.kubectl_path());
    command.arg("--kubeconfig").arg(cluster.kubeconfig_path()).arg("--cache-dir").arg(cluster.run.path("kubectl-cache"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("cannot start it")?;
    let mut stdin = child.stdin.take().context("it has no standard input")?;
    let speak = async move {
        // A kubectl that fails early does not read what it is given; its own words say why.
        drop(stdin.write_all(input.as_bytes()).await);
    };
    let (output, ()) = timeout(DEADLINE, async { tokio::join!(child.wait_with_output(), speak) })
        .await
        .with_context(|| format!("it did not end within {} s: kubectl {}", DEADLINE.as_secs(), arguments.join(" ")))?;
    let output = output?;
    Ok(KubectlOutput { status: output.status, stdout: String::from_utf8(output.stdout)?, stderr: String::from_utf8(output.stderr)? })
}
