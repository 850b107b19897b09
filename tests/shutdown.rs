//! How the process begins and ends: what it says when it can't start, what it waits for, and how it goes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use std::{
    fs::File,
    io,
    net::TcpListener,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use common::{
    https::{Client, pod, post, read_answer, request, review, until_closed, within},
    own_certificate::OwnCertificate,
    process::{Server, failing},
    webhook::{plain_get, wait_for},
};
use outrigger_bed::{ControlPlane, free_port};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat},
    process::Signal,
};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

/// Long enough for reviews to be sent and answered in it, short enough to wait for.
const DRAIN_DELAY: Duration = Duration::from_secs(2);
const DRAIN: &str = "--drain-delay=2s";
/// In the log of a server that waited for connections as long as it ever does.
const STILL_BUSY: &str = "connections were still busy";

async fn kubeconfig() -> &'static Path {
    ControlPlane::shared().await.kubeconfig_path()
}

/// A review that failed, and when it did.
struct Failure {
    at: Instant,
    error: io::Error,
}

/// Asks for reviews, each over a connection of its own or all over one, until one fails.
async fn ask_until_failure(client: Client, keep_alive: bool) -> (usize, Failure) {
    let request = post(review("load", &pod()).to_string());
    let mut kept = None;
    let mut answered = 0;
    loop {
        let exchange = async {
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => client.connect().await?,
            };
            stream.write_all(&request).await?;
            let answer = read_answer(&mut stream).await?;
            assert_eq!(answer.response()["patchType"], "JSONPatch");
            let last = answer.head.to_ascii_lowercase().contains("connection: close");
            Ok::<_, io::Error>(Some(stream).filter(|_| keep_alive && !last))
        };
        match within("a review under load", exchange).await {
            Ok(stream) => {
                answered += 1;
                kept = stream;
            }
            Err(error) => return (answered, Failure { at: Instant::now(), error }),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_under_load_fails_no_review_before_the_port_closes() {
    let mut server = Server::ready(kubeconfig().await, &[DRAIN]).await;
    let mut clients = JoinSet::new();
    for number in 0..6 {
        clients.spawn(ask_until_failure(server.client(), number % 2 == 0));
    }
    // A request that is still being sent when the port closes, which is to be answered all the same.
    let body = review("slow", &pod()).to_string();
    let (first, rest) = body.split_at(body.len() / 2);
    let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let mut slow = server.client().connect().await.unwrap();
    slow.write_all(&request("POST /mutate/pods HTTP/1.1", &head, first)).await.unwrap();
    slow.flush().await.unwrap();

    let signalled = Instant::now();
    server.signal(Signal::TERM);
    let report = server.until_status("/readyz", 503).await;
    assert!(report.contains("process: waiting"), "{report}");
    server.assert_serving("SIGTERM").await;

    wait_for("the port is closed", async || TcpStream::connect(server.https).await.err()).await;
    slow.write_all(rest.as_bytes()).await.unwrap();
    let answer = within("the answer to a request in progress", read_answer(&mut slow)).await.unwrap();
    assert_eq!(answer.response()["uid"], "slow");
    assert!(answer.head.to_ascii_lowercase().contains("connection: close"), "{}", answer.head);
    drop(slow);

    let status = server.exit().await;
    assert_eq!(status.code(), Some(0), "{status}: {}", server.log());
    assert!(!server.log().contains(STILL_BUSY), "{}", server.log());
    for (answered, failure) in clients.join_all().await {
        assert!(answered > 0, "there was load");
        let after = failure.at.duration_since(signalled);
        assert!(after >= DRAIN_DELAY, "{after:?} after the signal: {}", failure.error);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connected_before_the_port_closed_may_still_shake_hands() {
    let mut server = Server::ready(kubeconfig().await, &["--drain-delay=0s"]).await;
    let client = server.client();
    let connected = TcpStream::connect(server.https).await.unwrap();
    server.signal(Signal::TERM);
    wait_for("the port is closed", async || TcpStream::connect(server.https).await.err()).await;
    let mut stream = within("a late handshake", client.handshake(connected)).await.unwrap();
    stream.write_all(&post(review("late", &pod()).to_string())).await.unwrap();
    let answer = within("an answer after a late handshake", read_answer(&mut stream)).await.unwrap();
    assert_eq!(answer.response()["uid"], "late");
    assert_eq!(until_closed(&mut stream).await, 0);
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_silent_connections_do_not_hold_back_the_end() {
    let mut server = Server::ready(kubeconfig().await, &["--drain-delay=0s"]).await;
    let mut idle = server.client().connect().await.unwrap();
    idle.write_all(&post(review("u", &pod()).to_string())).await.unwrap();
    within("an answer", read_answer(&mut idle)).await.unwrap();
    let mut silent = server.client().connect().await.unwrap();
    server.signal(Signal::INT);
    assert_eq!(until_closed(&mut idle).await, 0);
    assert_eq!(until_closed(&mut silent).await, 0);
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
    assert!(!server.log().contains(STILL_BUSY), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_ends_is_left_behind() {
    let mut server = Server::ready(kubeconfig().await, &["--drain-delay=0s", "--request-deadline=120s"]).await;
    let mut stream = server.client().connect().await.unwrap();
    stream.write_all(b"POST /mutate/pods HTTP/1.1\r\n").await.unwrap();
    stream.flush().await.unwrap();
    server.assert_serving("a head that does not end").await;
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
    assert!(server.log().contains(STILL_BUSY), "{}", server.log());
    assert_eq!(until_closed(&mut stream).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_without_any_wait() {
    let mut server = Server::ready(kubeconfig().await, &["--drain-delay=1h"]).await;
    server.signal(Signal::TERM);
    server.until_status("/readyz", 503).await;
    server.signal(Signal::TERM);
    let status = server.exit().await;
    assert_eq!(status.code(), Some(130), "{status}");
}

/// Any port that is free.
const ANYWHERE: [&str; 2] = ["--https-address=127.0.0.1:0", "--status-address=127.0.0.1:0"];

/// The end of a start that can't be: a failure that names these.
async fn assert_fails(kubeconfig: &Path, arguments: &[&str], expected: &[&str]) {
    let (status, said) = failing(kubeconfig, arguments).await;
    assert_eq!(status.code(), Some(2), "{arguments:?}: {said}");
    let error = said.lines().position(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{arguments:?}: {said}"));
    let error = said.lines().skip(error).collect::<Vec<_>>().join("\n");
    for part in expected {
        assert!(error.contains(part), "{arguments:?}: {part} in {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let taken_by = |flag: &str| format!("{flag}={address}");
    let expected = [&*format!("{address} can't be listened on"), "in use"];
    assert_fails(kubeconfig().await, &[&taken_by("--https-address"), ANYWHERE[1]], &expected).await;
    assert_fails(kubeconfig().await, &[ANYWHERE[0], &taken_by("--status-address")], &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_ipv6_is_served_over_ipv4() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("no-ipv6.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/no-ipv6.c");
    let compiled = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status().unwrap();
    assert!(compiled.success());
    let [https, status] = [(); 2].map(|()| free_port().unwrap());
    let _server = tokio::process::Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .arg("serve")
        .arg("--kubeconfig")
        .arg(kubeconfig().await)
        .args([format!("--https-address=[::]:{https}"), format!("--status-address=[::]:{status}")])
        .arg("--ca-out")
        .arg(folder.path().join("ca.crt"))
        .env("LD_PRELOAD", &library)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    wait_for("it is ready", async || {
        let (code, _) = plain_get(&format!("127.0.0.1:{status}"), "/readyz").await.ok()?;
        (code == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubeconfig_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let missing = folder.path().join("missing");
    assert_fails(&missing, &ANYWHERE, &["missing can't be read", "No such file"]).await;
    assert_fails(&write("garbage", "{{{"), &ANYWHERE, &["garbage can't be read"]).await;
    assert_fails(&write("empty", "apiVersion: v1\nkind: Config\n"), &ANYWHERE, &["empty can't be used"]).await;
    let config = std::fs::read_to_string(kubeconfig().await).unwrap();
    let no_key = config.replace("administrator.key", "nowhere.key");
    assert_ne!(no_key, config);
    assert_fails(&write("no-key", &no_key), &ANYWHERE, &["nowhere.key"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_can_not_be_served_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    std::fs::create_dir_all(&one).unwrap();
    std::fs::create_dir_all(&two).unwrap();
    let (one, two) = (OwnCertificate::write(&one), OwnCertificate::write(&two));
    let garbage = folder.path().join("garbage.crt");
    std::fs::write(&garbage, "garbage").unwrap();
    let fails = async |certificate: &Path, key: &Path, expected: &[&str]| {
        let arguments = [format!("--tls-cert={}", certificate.display()), format!("--tls-key={}", key.display())];
        assert_fails(kubeconfig().await, &[&arguments[0], &arguments[1], ANYWHERE[0], ANYWHERE[1]], expected).await;
    };
    fails(&folder.path().join("missing.crt"), &one.key, &["missing.crt can't be read", "No such file"]).await;
    fails(&one.certificate, folder.path(), &["can't be read", "directory"]).await;
    fails(&garbage, &one.key, &["garbage.crt holds no certificate in PEM"]).await;
    fails(&one.certificate, &two.certificate, &["two/tls.crt holds no private key in PEM"]).await;
    fails(&one.certificate, &two.key, &["certificate and key can't be used together", "one/tls.crt", "two/tls.key"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_kept_to_is_named() {
    for (argument, problem) in [
        ("--tls-interval=0", "give it at least 10ms"),
        ("--request-deadline=0", "give it at least 100ms"),
        ("--repair-interval=10ms", "give it at least 1s"),
        ("--tls-name=two names", "neither a DNS name nor an address"),
    ] {
        let (flag, _) = argument.split_once('=').unwrap();
        assert_fails(kubeconfig().await, &[argument], &[flag, problem]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_that_may_not_be_watched_count_as_none() {
    let cluster = ControlPlane::shared().await;
    let server = Server::ready(&cluster.kubeconfig_of("nobody"), &[]).await;
    let (_, report) = server.status("/readyz").await.unwrap();
    assert!(report.contains("namespaces: forbidden, so it counts as complete and empty"), "{report}");
    server.assert_serving("a forbidden watch").await;
    assert!(server.log().contains("forbidden"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_api_server_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = ControlPlane::shared().await;
    let config = std::fs::read_to_string(cluster.kubeconfig_path()).unwrap();
    // A port that was just given up is not given to another for a while.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = config.replace(&cluster.address().to_string(), &nobody.local_addr().unwrap().to_string());
    assert_ne!(elsewhere, config);
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, elsewhere).unwrap();
    drop(nobody);

    let mut server = Server::start(&kubeconfig, &["--drain-delay=0s"]);
    server.until_status("/livez", 200).await;
    wait_for("the watch has failed", async || server.log().contains("the watch failed; trying again").then_some(())).await;
    let (status, report) = server.status("/readyz").await.unwrap();
    assert_eq!(status, 503);
    assert!(report.contains("namespaces: waiting") && report.contains("certificate: ok"), "{report}");
    assert_eq!(server.status("/livez").await.unwrap().0, 200);
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
}

/// A credential plugin that waits to be let go: it reads a pipe to which nobody has written yet.
struct HangingPlugin {
    pipe: PathBuf,
    kubeconfig: PathBuf,
}

impl HangingPlugin {
    fn write(folder: &Path) -> Self {
        let (pipe, kubeconfig) = (folder.join("pipe"), folder.join("kubeconfig"));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "command": "cat", "args": [pipe],
        });
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": "https://127.0.0.1:1"}}],
            "users": [{"name": "me", "user": {"exec": exec}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        Self { pipe, kubeconfig }
    }

    /// Waits until the plugin runs. It ends with the file that comes back.
    async fn running(&self) -> File {
        let end = || File::options().write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&self.pipe).ok();
        wait_for("the plugin reads its pipe", async || end()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_a_start_that_hangs_ends_it_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = HangingPlugin::write(folder.path());
    let mut server = Server::start(&plugin.kubeconfig, &["--drain-delay=1h"]);
    let running = plugin.running().await;
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
    drop(running);
}

/// A folder with a Secret's files as the kubelet lays them out: links through `..data`, which is swapped whole.
struct Mounted {
    folder: PathBuf,
    version: usize,
}

impl Mounted {
    fn new(folder: &Path) -> Self {
        for file in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(file), folder.join(file)).unwrap();
        }
        Self { folder: folder.to_owned(), version: 0 }
    }

    /// Replaces all files at once with those that `write` puts into a folder.
    fn swap<T>(&mut self, write: impl FnOnce(&Path) -> T) -> T {
        self.version += 1;
        let name = format!("..version-{}", self.version);
        let versioned = self.folder.join(&name);
        std::fs::create_dir(&versioned).unwrap();
        let written = write(&versioned);
        let new_link = self.folder.join("..data_tmp");
        std::os::unix::fs::symlink(&name, &new_link).unwrap();
        std::fs::rename(&new_link, self.folder.join("..data")).unwrap();
        written
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_served_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut mounted = Mounted::new(folder.path());
    let first = mounted.swap(OwnCertificate::write);
    let path = |file: &str| folder.path().join(file).display().to_string();
    let arguments = [format!("--tls-cert={}", path("tls.crt")), format!("--tls-key={}", path("tls.key"))];
    let server = Server::ready(kubeconfig().await, &[&arguments[0], &arguments[1], "--tls-interval=50ms"]).await;
    assert_eq!(ask(&server, &first.pem).await.unwrap(), 200);

    let second = mounted.swap(OwnCertificate::write);
    wait_for("the new certificate is served", async || ask(&server, &second.pem).await.ok()).await;
    assert!(ask(&server, &first.pem).await.is_err(), "who trusts the old one alone is no client any more");

    mounted.swap(|folder| {
        OwnCertificate::write(folder);
        std::fs::write(folder.join("tls.crt"), "garbage").unwrap();
    });
    wait_for("the broken one is complained of", async || server.log().contains("serving the old one").then_some(())).await;
    assert_eq!(ask(&server, &second.pem).await.unwrap(), 200);
    let (_, metrics) = server.status("/metrics").await.unwrap();
    for count in [r#"outrigger_certificate_reloads_total{result="updated"} 1"#, r#"outrigger_certificate_reloads_total{result="failed"}"#] {
        assert!(metrics.contains(count), "{count} in {metrics}");
    }

    let third = mounted.swap(OwnCertificate::write);
    wait_for("a good one is served again", async || ask(&server, &third.pem).await.ok()).await;
}

/// The status of a review, by a client that trusts this certificate alone.
async fn ask(server: &Server, trusted_pem: &str) -> io::Result<u16> {
    server.client_trusting(trusted_pem).review(&review("u", &pod())).await.map(|answer| answer.status)
}
