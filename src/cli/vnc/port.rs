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
        readiness::Readiness,
        server,
        shutdown::Shutdown,
    },
    sidecars::vnc::settings::Settings,
};

/// How often the certificate's files are looked at.
const TLS_INTERVAL: Duration = Duration::from_secs(10);

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
    pub(super) async fn open(settings: &Settings, is_for_command: bool, readiness: &Readiness, registry: &mut Registry) -> Result<Self> {
        let tls = settings.access.tls.as_deref().map(|folder| Tls::of(folder, readiness, registry)).transpose()?;
        let listener = if is_for_command { listen_near(settings.port).await } else { listen_everywhere(settings.port).await };
        let listener = listener.with_context(|| format!("VNC_PORT {} can't be listened on: choose another one", settings.port))?;
        let port = Self { listener, tls };
        if is_for_command {
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
        let Some(Tls { served, files }) = self.tls else {
            server::serve_plain(self.listener, router, shutdown).await;
            return Ok(());
        };
        let following = files.follow(served.clone(), TLS_INTERVAL, shutdown.clone());
        let mut serving = pin!(server::serve_tls_here(self.listener, served, router, shutdown));
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

async fn listen_everywhere(port: u16) -> io::Result<TcpListener> {
    server::bind((Ipv6Addr::UNSPECIFIED, port).into()).await
}

/// A desktop that was begun before may have the port; then any will do.
async fn listen_near(port: u16) -> io::Result<TcpListener> {
    let near = |port| server::bind((Ipv4Addr::LOCALHOST, port).into());
    match near(port).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => near(0).await,
        bound => bound,
    }
}
