//! A running bridge, and sockets that stand for desktops.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use outrigger::{
    runtime::{server, shutdown::Shutdown, telemetry},
    sidecars::vnc::{
        admittance::administrator::TokenFile,
        bridge::target::{Target, Targets},
        metrics::Metrics,
        router::{Desk, Protocol, Settings},
    },
};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::client::LONG;

/// What the administrator's file has in it.
pub(crate) const TOKEN: &str = "a token of the administrator";

pub(crate) fn administrator() -> TokenFile {
    TokenFile::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/administrator-token").into())
}

/// A bridge on a port of its own. It ends with this.
pub(crate) struct Bridge {
    pub(crate) address: SocketAddr,
    pub(crate) desk: Desk,
    pub(crate) registry: Registry,
    shutdown: Shutdown,
    serving: Option<JoinHandle<()>>,
}

impl Bridge {
    pub(crate) async fn start(settings: Settings) -> Self {
        let (shutdown, mut registry) = (Shutdown::default(), telemetry::registry());
        let desk = Desk::new(settings, Metrics::new(&mut registry), shutdown.clone());
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(server::serve_plain(listener, desk.router(), shutdown.clone()));
        Self { address, desk, registry, shutdown, serving: Some(serving) }
    }

    /// Begins to end.
    pub(crate) fn close(&self) {
        self.shutdown.close();
    }

    /// Waits until all connections have ended.
    pub(crate) async fn ended(mut self) {
        timeout(LONG, self.serving.take().unwrap()).await.unwrap().unwrap();
    }

    /// Waits until so many viewers are connected.
    pub(crate) async fn has_viewers(&self, count: usize) {
        until(|| self.desk.viewers().activity().viewers.len() == count).await;
    }

    /// The value of a metric's line, which begins with `name`.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = telemetry::exposition(&self.registry).unwrap().1;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shutdown.close();
    }
}

/// Waits until something is so.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, waiting).await.expect("it becomes so in time");
}

/// A unix socket in a folder of its own.
pub(crate) struct Desktop {
    folder: TempDir,
    listener: Option<UnixListener>,
}

impl Desktop {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("rfb.sock")).unwrap();
        Self { folder, listener: Some(listener) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("rfb.sock")
    }

    pub(crate) fn targets(&self) -> Targets {
        Targets::new(Target::Unix(self.socket()))
    }

    /// The next connection of the bridge.
    pub(crate) async fn accept(&self) -> UnixStream {
        timeout(LONG, self.listener.as_ref().unwrap().accept()).await.unwrap().unwrap().0
    }

    /// Sends back what each connection says, and ends it when it has said all.
    pub(crate) fn echo(mut self) -> Echo {
        let listener = self.listener.take().unwrap();
        let echoing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        Echo { desktop: self, echoing }
    }
}

/// A desktop that echoes. It ends with this.
pub(crate) struct Echo {
    pub(crate) desktop: Desktop,
    echoing: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.echoing.abort();
    }
}

/// A bridge to a desktop that echoes, of which nothing is read.
pub(crate) async fn echoing(change: impl FnOnce(&mut Settings)) -> (Bridge, Echo) {
    let echo = Desktop::new().echo();
    let mut settings = Settings::open(echo.desktop.targets(), Protocol::Opaque);
    change(&mut settings);
    (Bridge::start(settings).await, echo)
}

/// A bridge to a desktop that the test itself speaks for.
pub(crate) async fn scripted(change: impl FnOnce(&mut Settings)) -> (Bridge, Desktop) {
    let desktop = Desktop::new();
    let mut settings = Settings::open(desktop.targets(), Protocol::Rfb { knows_more_buttons: true });
    change(&mut settings);
    (Bridge::start(settings).await, desktop)
}

/// What the bridge sends a desktop.
pub(crate) async fn received(desktop: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    timeout(LONG, desktop.read_exact(&mut bytes)).await.expect("the desktop gets it in time").unwrap();
    bytes
}

/// What a desktop sends.
pub(crate) async fn says(desktop: &mut UnixStream, bytes: &[u8]) {
    timeout(LONG, desktop.write_all(bytes)).await.unwrap().unwrap();
}
