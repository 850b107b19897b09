//! The product as a process of its own: started, signalled, measured and ended.

use std::{
    net::SocketAddr,
    path::Path,
    process::{ExitStatus, Stdio},
};

use outrigger_bed::free_port;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{
    https::{self, Client, within},
    webhook::{plain_get, wait_for},
};

/// A running `outrigger serve`. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) https: SocketAddr,
    pub(crate) status: SocketAddr,
    folder: TempDir,
}

impl Server {
    /// Starts one that makes its own certificate, and waits until it is ready.
    pub(crate) async fn ready(kubeconfig: &Path, arguments: &[&str]) -> Self {
        let server = Self::start(kubeconfig, arguments);
        server.until_status("/readyz", 200).await;
        server
    }

    /// Starts one. It makes its own CA unless the arguments name a certificate or CA.
    pub(crate) fn start(kubeconfig: &Path, arguments: &[&str]) -> Self {
        Self::start_with(kubeconfig, arguments, &[])
    }

    /// Starts one with these variables in its environment.
    pub(crate) fn start_with(kubeconfig: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (https, status) = (free_address(), free_address());
        let mut command = serve(kubeconfig, arguments);
        command.envs(environment.iter().copied());
        command.arg(format!("--https-address={https}")).arg(format!("--status-address={status}"));
        if !arguments.iter().any(|argument| argument.starts_with("--tls-cert") || argument.starts_with("--ca-secret")) {
            command.arg("--ca-out").arg(folder.path().join("ca.crt"));
        }
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, https, status, folder }
    }

    /// A client that trusts the certificate it made.
    pub(crate) fn client(&self) -> Client {
        self.client_trusting(&self.ca())
    }

    /// The CA it made, in PEM.
    pub(crate) fn ca(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("ca.crt")).unwrap()
    }

    /// The value of a metric without labels, or with these; `None` if it is not shown.
    pub(crate) async fn metric(&self, name: &str) -> Option<u64> {
        let (_, text) = self.status("/metrics").await.ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(|value| value.parse().unwrap())
    }

    pub(crate) fn client_trusting(&self, ca_pem: &str) -> Client {
        Client::new(ca_pem, self.https)
    }

    /// What a path of the plain port answers: status and text.
    pub(crate) async fn status(&self, path: &str) -> std::io::Result<(u16, String)> {
        plain_get(&self.status.to_string(), path).await
    }

    /// The text of a path once it is answered with this status.
    pub(crate) async fn until_status(&self, path: &str, expected: u16) -> String {
        wait_for(&format!("{path} answers {expected}"), async || {
            let (status, text) = self.status(path).await.ok()?;
            (status == expected).then_some(text)
        })
        .await
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// How it ended.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        within("the server to exit", self.child.wait()).await.unwrap()
    }

    /// Memory of its own, in KiB: `RssAnon` of proc(5), without the pages of its program file.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap()
    }

    /// Whether a good review is answered as it should be.
    pub(crate) async fn assert_serving(&self, after: &str) {
        let answer = self.client().review(&https::review("good", &https::pod())).await;
        let answer = answer.unwrap_or_else(|error| panic!("after {after}: {error}"));
        assert_eq!(answer.response()["patchType"], "JSONPatch", "after {after}: {answer:?}");
    }
}

/// How a process that can't start ends: its status and what it says. The arguments name the addresses.
pub(crate) async fn failing(kubeconfig: &Path, arguments: &[&str]) -> (ExitStatus, String) {
    let output = within("the server to give up", serve(kubeconfig, arguments).output()).await.unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

fn serve(kubeconfig: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.arg("serve").arg("--kubeconfig").arg(kubeconfig).args(arguments).kill_on_drop(true);
    command
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()))
}
