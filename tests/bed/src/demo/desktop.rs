//! The story's end: a desktop in a page. On a node it is a pod's; without one it is a program's of this machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::{DEADLINE, Ground, Stage, loopback, path};
use crate::browser::{Browser, Page};
use crate::control_plane::{flag, free_port};
use crate::image::{desktop, dockerfile};
use crate::obtain::{command, web};

/// The example that is shown: its pod has the same name.
const EXAMPLE: &str = "mousepad";
const EXAMPLE_IMAGE: &str = "localhost/mousepad:1";
/// Where its manifest and its image's Dockerfile are, below the examples.
const FOLDER: &str = "desktop";
/// The port of a desktop's page, which is also used on this machine if it is free.
const PORT: u16 = 6080;
/// What a desktop on this machine needs.
const PROGRAMS: [&str; 3] = ["Xtigervnc", "openbox", "xterm"];
const PACKAGES: &str = "tigervnc-standalone-server openbox xterm";
/// The size of the picture.
const PICTURE: (u32, u32) = (1000, 640);

impl Stage<'_> {
    /// Gives a node the sidecar's image and the example's, while other things happen.
    pub(super) async fn bring_images(&self, outrigger: &Path, examples: &Path) -> Result<()> {
        let Ground::Node(node) = &self.ground else { return Ok(()) };
        let [sidecar, app] = ["desktop-image.tar", "app-image.tar"].map(|name| self.cluster().path(name));
        let (outrigger, recipe) = (outrigger.to_owned(), examples.join(FOLDER).join(format!("{EXAMPLE}.Dockerfile")));
        let (sidecar_tar, app_tar) = (sidecar.clone(), app.clone());
        let written = tokio::task::spawn_blocking(move || {
            desktop::write(&outrigger, &sidecar_tar)?;
            dockerfile::write(&recipe, EXAMPLE_IMAGE, &app_tar)
        });
        written.await.context("making images was interrupted")??;
        for tar in [&sidecar, &app] {
            node.try_import_image(tar).await?;
            fs::remove_file(tar)?;
        }
        Ok(())
    }

    /// Shows a desktop, and says where. `None`: it can't be had here, which was said.
    pub(super) async fn show_desktop(&self, outrigger: &Path, examples: &Path) -> Result<Option<SocketAddr>> {
        match &self.ground {
            Ground::Node(_) => self.show_pod(examples).await.map(Some),
            Ground::ControlPlane(_) => self.show_program(outrigger).await,
        }
    }

    async fn show_pod(&self, examples: &Path) -> Result<SocketAddr> {
        self.screen.heading("An editor whose image knows nothing of desktops, in a browser")?;
        let start = Instant::now();
        self.show_kubectl(&["apply", "--filename", path(&examples.join(FOLDER).join(format!("{EXAMPLE}.yaml")))?]).await?;
        self.show_kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", &format!("pod/{EXAMPLE}")]).await?;
        self.screen.line(&format!("ready after {:.1} s", start.elapsed().as_secs_f64()))?;
        let address = address()?;
        let cluster = self.cluster();
        let mut forward = Command::new(cluster.kubectl_path());
        forward.arg("--kubeconfig").arg(cluster.kubeconfig_path()).args(["port-forward", &format!("pod/{EXAMPLE}")]);
        forward.arg(format!("{}:{PORT}", address.port()));
        self.screen.command(&format!("kubectl port-forward pod/{EXAMPLE} {}:{PORT}", address.port()))?;
        cluster.run.start("port-forward", &forward)?;
        self.say_where(address).await
    }

    async fn show_program(&self, outrigger: &Path) -> Result<Option<SocketAddr>> {
        self.screen.heading("A program of this machine, in a browser")?;
        if let Some(missing) = PROGRAMS.into_iter().find(|program| command::find(program).is_none()) {
            self.screen.line(&format!("{missing} is not here: sudo apt-get install {PACKAGES}"))?;
            return Ok(None);
        }
        let novnc = self.cluster().path("novnc");
        let copied = novnc.clone();
        tokio::task::spawn_blocking(move || web::novnc()?.copy_to(&copied)).await.context("fetching noVNC was interrupted")??;
        let address = address()?;
        let mut vnc = Command::new(outrigger);
        vnc.arg("vnc").arg(flag("port", address.port())).arg(flag("web-folder", novnc.display())).args(["--on-end=restart", "--", "xterm"]);
        self.screen.command("outrigger vnc -- xterm")?;
        self.cluster().run.start("desktop", &vnc)?;
        self.say_where(address).await.map(Some)
    }

    async fn say_where(&self, address: SocketAddr) -> Result<SocketAddr> {
        let answers = async || tokio::net::TcpStream::connect(address).await.map_err(Into::into);
        drop(self.cluster().wait_until("the page answers", DEADLINE, answers).await?);
        self.screen.line(&format!("\nOpen http://{address}/"))?;
        Ok(address)
    }

    /// Opens the page as its audience would, if there is a browser, and waits for the window.
    pub(super) async fn look(&self, address: SocketAddr, picture: Option<&Path>) -> Result<()> {
        if command::find("chromium").is_none() {
            return Ok(self.screen.line("There is no chromium on PATH to look at it.")?);
        }
        let seen = tokio::task::spawn_blocking(move || {
            let browser = Browser::try_start()?;
            let page = browser.try_open(&format!("http://{address}/"))?;
            picture_of(&page)
        });
        let seen = seen.await.context("looking was interrupted")??;
        ensure!(!seen.is_empty(), "the page looks like nothing");
        self.screen.line("Chromium was there, and saw the window.")?;
        if let Some(file) = picture {
            fs::write(file, seen).with_context(|| format!("cannot write {}", file.display()))?;
            self.screen.line(&format!("picture: {}", file.display()))?;
        }
        Ok(())
    }
}

/// What the page shows when the window is there: the desktop is dark, and the window has a sheet of white.
fn picture_of(page: &Page) -> Result<Vec<u8>> {
    page.try_resize(PICTURE.0, PICTURE.1)?;
    page.try_until("document.getElementById('status').textContent === 'Connected'")?;
    page.try_until(&format!("Math.abs(document.querySelector('canvas').width - {}) < 2", PICTURE.0))?;
    let white = "((canvas) => { const seen = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer); \
                 return seen.filter((pixel) => pixel === 0xffffffff).length; })(document.querySelector('canvas'))";
    page.try_until(&format!("{white} > 50000"))?;
    page.try_screenshot()
}

/// Where the page is to be on this machine.
fn address() -> Result<SocketAddr> {
    let usual = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).is_ok();
    Ok(loopback(if usual { PORT } else { free_port()? }))
}
