//! A real X server on a display of its own, that shows it over RFB at a Unix socket.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::display::Display;
use crate::obtain::{self, DesktopPrograms, command};
use crate::progress;
use crate::supervise::{self, Run};

const SERVER: &str = "Xtigervnc";
const COOKIE: &str = "cookie";
const READY_DEADLINE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running X server. It ends when this is dropped or when the process ends, however that happens, and its clients with it.
///
/// X clients need its cookie; whoever reaches its RFB socket needs none.
pub struct XServer {
    run: Run,
    programs: DesktopPrograms,
    display: Display,
    arguments: Vec<String>,
}

impl XServer {
    /// Starts one with a screen of 1280x800.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with further arguments, such as `-geometry 640x480`; a later argument counts for more than ours.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let started = tokio::task::spawn_blocking(|| Self::try_start(arguments)).await;
        crate::expect(started.map_err(anyhow::Error::from).flatten(), "cannot start an X server")
    }

    fn try_start(arguments: Vec<String>) -> Result<Self> {
        let server = Self { run: Run::create()?, programs: obtain::desktop()?, display: Display::try_free()?, arguments };
        server.run.write(COOKIE, authority(server.display.number()))?;
        server.launch()?;
        server.become_ready()?;
        Ok(server)
    }

    /// Its display.
    #[must_use]
    pub const fn display(&self) -> &Display {
        &self.display
    }

    /// The file with its cookie, which X clients are told by `XAUTHORITY`.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.run.path(COOKIE)
    }

    /// The Unix socket at which it speaks RFB, without a password.
    #[must_use]
    pub fn rfb_socket(&self) -> PathBuf {
        self.run.path("rfb.sock")
    }

    /// A folder that goes with it.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.run.path("")
    }

    /// The process id of the server.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.run.process_id(SERVER)
    }

    /// An X client of this display by its name, such as `xdotool`, to be run by the caller.
    #[must_use]
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("DISPLAY", self.display.name()).env("XAUTHORITY", self.authority());
        command
    }

    /// Runs an X client to its end, and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn output(&self, program: &str, arguments: &[&str]) -> String {
        crate::expect(command::output(self.client(program).args(arguments)), "an X client failed")
    }

    /// Starts an X client that lives as long as the server, such as `xterm`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_client(&self, program: &str, arguments: &[&str]) {
        crate::expect(self.run.start(program, self.client(program).args(arguments)), "cannot start an X client");
    }

    /// Kills the server, as a crash would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        crate::expect(self.run.kill(SERVER), "cannot kill the X server");
    }

    /// Starts a killed server again, on its display.
    ///
    /// # Panics
    /// When it does not come back.
    pub fn restart(&self) {
        let _ = std::fs::remove_file(self.display.lock_file());
        crate::expect(self.launch().and_then(|()| self.become_ready()), "cannot restart the X server");
    }

    fn launch(&self) -> Result<()> {
        let mut server = Command::new(&self.programs.xtigervnc);
        server.arg(self.display.name()).args(["-geometry", "1280x800", "-depth", "24", "-nolisten", "tcp", "-nolisten", "local"]);
        server.args(["-rfbport", "-1", "-rfbunixmode", "0600", "-SecurityTypes", "None", "-UseBlacklist=0", "-AlwaysShared"]);
        server.arg("-rfbunixpath").arg(self.rfb_socket()).arg("-auth").arg(self.authority());
        self.run.start(SERVER, server.args(&self.arguments))
    }

    /// Waits until both an X client and an RFB client are let in.
    fn become_ready(&self) -> Result<()> {
        let end = Instant::now() + READY_DEADLINE;
        loop {
            let answered = command::output(&mut self.client(&self.programs.xdpyinfo.to_string_lossy())).map(drop);
            let Err(error) = answered.and_then(|()| is_socket(&self.rfb_socket())) else { return Ok(()) };
            // Clients end with the server they had.
            self.run.check_program(SERVER)?;
            if Instant::now() > end {
                return Err(error.context(format!("waited {} s until the X server is ready", READY_DEADLINE.as_secs())));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for XServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            progress::say("a test with an X server of its own has failed");
            self.run.keep_logs();
        }
    }
}

fn is_socket(path: &Path) -> Result<()> {
    let metadata = std::fs::metadata(path).with_context(|| format!("there is no {}", path.display()))?;
    ensure!(metadata.file_type().is_socket(), "{} is no socket", path.display());
    Ok(())
}

/// A file of Xau(3) with one cookie, good for this display on any host.
fn authority(display: u16) -> Vec<u8> {
    const ANY_HOST: u16 = 0xffff;
    let cookie = [supervise::random().to_be_bytes(), supervise::random().to_be_bytes()].concat();
    let mut file = ANY_HOST.to_be_bytes().to_vec();
    for field in [&b""[..], display.to_string().as_bytes(), b"MIT-MAGIC-COOKIE-1", &cookie] {
        file.extend(u16::try_from(field.len()).unwrap_or_default().to_be_bytes());
        file.extend(field);
    }
    file
}
