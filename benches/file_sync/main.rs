//! What the file mirror costs, against a real API server: time of the first sync, from an event to its file, memory, and bytes when idle.
//!
//! `cargo bench --bench file_sync` measures for about two minutes and prints a table. `cargo test` runs it once with few objects, without
//! measuring.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a bench that fails must say where")]

#[path = "../../tests/file_sync/proxy.rs"]
#[allow(dead_code, reason = "the tests cut and silence it, too")]
mod proxy;

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use outrigger_bed::{ControlPlane, Namespace, free_port};

use proxy::Proxy;

const SIZE: usize = 20_000;
const LABEL: &str = "mirrored";
const DEADLINE: Duration = Duration::from_secs(120);

/// How much is measured.
struct Extent {
    objects: usize,
    changes: usize,
    idle: Duration,
}

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let is_measuring = std::env::args().any(|argument| argument == "--bench");
    let extent = if is_measuring {
        Extent { objects: 1000, changes: 500, idle: Duration::from_secs(60) }
    } else {
        Extent { objects: 10, changes: 3, idle: Duration::ZERO }
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure(&extent));
}

async fn measure(extent: &Extent) {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("bench").await;
    let objects: Api<ConfigMap> = Api::default_namespaced(namespace.client());
    for number in 0..extent.objects {
        objects.create(&PostParams::default(), &object(number, 0)).await.unwrap();
    }
    println!("{} ConfigMaps of {SIZE} bytes, one key each\n", extent.objects);
    println!("| figure | value |\n|---|---|");
    for (list, settings) in [("streamed", &[][..]), ("in pages of 10", &[("METHOD", "poll"), ("POLL_INTERVAL", "1h")])] {
        let folder = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let mut sidecar = Sidecar::start(cluster, &namespace, folder.path(), settings, None);
        let peak = sidecar.until_ready().await;
        println!("| first sync, list {list} | {} ms |", begun.elapsed().as_millis());
        println!("| memory of its own (RssAnon), peak of the first sync, list {list} | {peak} KiB |");
        sidecar.kill();
        let begun = Instant::now();
        let mut sidecar = Sidecar::start(cluster, &namespace, folder.path(), settings, None);
        sidecar.until_ready().await;
        println!("| restart with nothing changed, list {list} | {} ms |", begun.elapsed().as_millis());
        assert_eq!(files(folder.path()), extent.objects);
    }
    follow(cluster, &namespace, &objects, extent).await;
}

/// One that runs for a while: how soon changes are there, and what it takes and reads in between.
async fn follow(cluster: &ControlPlane, namespace: &Namespace<'_>, objects: &Api<ConfigMap>, extent: &Extent) {
    let (folder, proxy) = (tempfile::tempdir().unwrap(), Proxy::start(cluster.address()).await);
    let mut sidecar = Sidecar::start(cluster, namespace, folder.path(), &[], Some(&proxy));
    sidecar.until_ready().await;
    println!("| bytes read from the API server in the first sync, list streamed | {} |", proxy.carried());
    let mut times = Histogram::<u64>::new(3).unwrap();
    for turn in 1..=extent.changes {
        let number = turn % extent.objects;
        let changed = object(number, turn);
        let (path, expected) =
            (folder.path().join(format!("file-{number}")), changed.data.as_ref().unwrap().values().next().unwrap().clone());
        objects.replace(&format!("object-{number}"), &PostParams::default(), &changed).await.unwrap();
        // From the API server's answer on: what we see of the event is not sooner than its author does.
        let answered = Instant::now();
        while fs::read_to_string(&path).unwrap() != expected {
            assert!(answered.elapsed() < DEADLINE, "the change arrives");
        }
        times.record(u64::try_from(answered.elapsed().as_micros()).unwrap()).unwrap();
    }
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("longest", 1.0)] {
        println!("| from the API server's answer to a change to the file, {name} | {} µs |", times.value_at_quantile(quantile));
    }
    let before = proxy.carried();
    tokio::time::sleep(extent.idle).await;
    println!("| bytes read from the API server in {} s idle | {} |", extent.idle.as_secs(), proxy.carried() - before);
    println!("| memory of its own (RssAnon), steady | {} KiB |", sidecar.memory());
}

fn object(number: usize, turn: usize) -> ConfigMap {
    let beginning = format!("{number}-{turn}-");
    let contents = beginning.clone() + &"x".repeat(SIZE - beginning.len());
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(format!("object-{number}")),
            labels: Some([(LABEL.to_owned(), "yes".to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some([(format!("file-{number}"), contents)].into()),
        ..ConfigMap::default()
    }
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("file-")).count()
}

/// A running mirror. It is killed when this is dropped.
struct Sidecar {
    child: Child,
    port: u16,
}

impl Sidecar {
    fn start(cluster: &ControlPlane, namespace: &Namespace<'_>, folder: &Path, settings: &[(&str, &str)], proxy: Option<&Proxy>) -> Self {
        let port = free_port().unwrap();
        let kubeconfig = proxy.map_or_else(|| cluster.kubeconfig_path().to_owned(), |proxy| through(cluster, proxy));
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(["file-sync", "--kubeconfig"]).arg(kubeconfig).env("FOLDER", folder).env("NAMESPACE", namespace.name());
        command.env("LABEL", LABEL).env("HEALTH_PORT", port.to_string()).env("LOG_LEVEL", "warn").envs(settings.iter().copied());
        Self { child: command.stdin(Stdio::null()).spawn().unwrap(), port }
    }

    /// Waits for the first sync; returns the most memory that was seen meanwhile.
    async fn until_ready(&mut self) -> u64 {
        let (begun, mut peak) = (Instant::now(), 0);
        let url = format!("http://127.0.0.1:{}/startupz", self.port);
        loop {
            peak = peak.max(self.memory());
            if reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
                return peak.max(self.memory());
            }
            assert!(begun.elapsed() < DEADLINE, "the first sync ends");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Memory of its own, in KiB (proc(5), `RssAnon`).
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A kubeconfig by which the API server is reached through a proxy.
fn through(cluster: &ControlPlane, proxy: &Proxy) -> std::path::PathBuf {
    let path = cluster.path("bench-kubeconfig");
    let config = fs::read_to_string(cluster.kubeconfig_path()).unwrap();
    fs::write(&path, config.replace(&cluster.address().to_string(), &proxy.address())).unwrap();
    path
}
