//! Where viewers connect: in a pod from everywhere, on a developer's machine from this machine alone.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use axum::Router;
use clap::ColorChoice;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::{
    cli::console::Console,
    runtime::{
        certificate::{CertificateFiles, Served},
        patience::Limits,
        readiness::Readiness,
        server,
        shutdown::Shutdown,
    },
    sidecars::vnc::settings::Settings,
};

/// How often the certificate's files are looked at.
const TLS_INTERVAL: Duration = Duration::from_secs(10);

/// How long a request that has begun may go on when the desktop ends. Viewers are told at once.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// Whom a port is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// Everybody who reaches the pod.
    Pod,
    /// This machine alone; where no port was asked for, any will do if a desktop that was begun before has the usual one.
    Machine {
        /// Whether one was asked for.
        is_asked_for: bool,
    },
}

/// A port that is listened on.
pub(super) struct Port {
    listener: TcpListener,
    tls: Option<Tls>,
}

/// A certificate, and where another one will come from.
struct Tls {
    served: Arc<Served>,
    files: CertificateFiles,
}

impl Port {
    /// Listens. On a developer's machine the address of the page is said.
    pub(super) async fn open(settings: &Settings, place: Place, readiness: &Readiness, registry: &mut Registry) -> Result<Self> {
        let tls = settings.access.tls.as_deref().map(|folder| Tls::of(folder, readiness, registry)).transpose()?;
        let listener = listen(place, settings.port).await;
        let listener = listener.with_context(|| format!("VNC_PORT {} can't be listened on: choose another one", settings.port))?;
        let port = Self { listener, tls };
        if matches!(place, Place::Machine { .. }) {
            let is_open = settings.access.admittance("").is_open();
            let to_whom = if is_open { "everybody on this machine" } else { "everybody on this machine who has a token" };
            // What the command prints is the command's.
            Console::new(ColorChoice::Auto).note(&format!("{} shows the desktop to {to_whom}", port.page()?));
        }
        Ok(port)
    }

    /// The address of the page, on this machine.
    pub(super) fn page(&self) -> Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}/", self.listener.local_addr()?))
    }

    /// Serves viewers until shutdown, and whatever certificate is in the folder.
    pub(super) async fn serve(self, router: Router, shutdown: Shutdown) -> Result<()> {
        let limits = Limits { drain: DRAIN_LIMIT, ..Limits::default() };
        let Some(Tls { served, files }) = self.tls else {
            return Ok(server::serve_here(self.listener, None, router, limits, shutdown).await?);
        };
        let following = files.follow(served.clone(), TLS_INTERVAL, shutdown.clone());
        let mut serving = pin!(server::serve_here(self.listener, Some(served), router, limits, shutdown));
        tokio::select! {
            // The certificate is there before the first viewer is met.
            biased;
            () = following => {}
            ended = &mut serving => return Ok(ended?),
        }
        Ok(serving.await?)
    }
}

impl Tls {
    /// The kubelet makes the folder of a Secret that is not there yet, so only the folder must be there.
    fn of(folder: &Path, readiness: &Readiness, registry: &mut Registry) -> Result<Self> {
        ensure!(
            folder.is_dir(),
            "VNC_TLS_FOLDER {} is no folder: name one that has tls.crt and tls.key, or leave it out",
            folder.display()
        );
        let files = CertificateFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        Ok(Self { served: Served::new(readiness.gate("certificate"), registry), files })
    }
}

async fn listen(place: Place, port: u16) -> io::Result<TcpListener> {
    let near = |port| server::bind((Ipv4Addr::LOCALHOST, port).into());
    match place {
        Place::Pod => server::bind((Ipv6Addr::UNSPECIFIED, port).into()).await,
        Place::Machine { is_asked_for } => match near(port).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && !is_asked_for => near(0).await,
            bound => bound,
        },
    }
}
