//! Our own X server: Xtigervnc, which shows its screen over RFB at a Unix socket.

pub mod authority;
pub mod client;
pub(super) mod clients;
pub mod cookie;
pub mod display;
pub mod flags;
pub mod handshake;
pub(super) mod manager;
pub mod requests;
mod stale;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

use tokio_util::sync::CancellationToken;

use super::{
    program::{Kind, Program, ProgramError, Stopped},
    settings::Settings,
};
use crate::runtime::{complaint::with_causes, orphans::Orphans};
use authority::Cookie;
use client::ConnectError;
use cookie::CookieError;
use display::Display;
use flags::Features;
pub use stale::TakenError;

const XTIGERVNC: Kind = Kind { program: "Xtigervnc", package: "tigervnc-standalone-server" };

/// A server is ready in a tenth of a second; a busy node takes longer.
const READY_LIMIT: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
const HELP_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no X server.
#[derive(Debug, thiserror::Error)]
pub enum XServerError {
    /// There is no cookie.
    #[error(transparent)]
    Cookie(#[from] CookieError),
    /// The display can't be had.
    #[error(transparent)]
    Taken(#[from] TakenError),
    /// The program does not run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It runs, and lets no client in.
    #[error("Xtigervnc runs, but lets no client in after {} s", READY_LIMIT.as_secs())]
    Unready(#[source] ConnectError),
}

impl XServerError {
    /// Whether another attempt would meet the same: somebody has to change something.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        matches!(self, Self::Cookie(_) | Self::Taken(_) | Self::Program(ProgramError::Missing { .. }))
    }
}

/// What a server is started with.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) settings: &'a Settings,
    pub(super) authority: &'a Path,
    pub(super) cookie_mode: u32,
    pub(super) rfb_socket: PathBuf,
    pub(super) features: Features,
}

/// A server that lets clients in.
#[derive(Debug)]
pub(super) struct XServer {
    pub(super) program: Program,
    pub(super) cookie: Cookie,
}

impl XServer {
    /// Makes the display free, starts a server and waits until it lets clients in. There is none if all is to `stop` meanwhile.
    ///
    /// # Errors
    /// The display is somebody else's, or the server does not come up.
    pub(super) async fn start(plan: &Plan<'_>, stop: &CancellationToken, orphans: &Orphans) -> Result<Option<Self>, XServerError> {
        let display = plan.settings.display;
        // Nothing is written for a display that is somebody else's.
        let kept = cookie::kept(plan.authority, display)?;
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            cleared = stale::clear(display, &plan.rfb_socket, kept.as_ref()) => cleared?,
        }
        let cookie = cookie::keep_or_make(plan.authority, display, plan.cookie_mode)?;
        let mut command = Command::new(XTIGERVNC.program);
        command.args(flags::arguments(plan.settings, plan.authority, &plan.rfb_socket, plan.features));
        let mut program = Program::start(XTIGERVNC, command, orphans)?;
        let start = Instant::now();
        tokio::select! {
            () = stop.cancelled() => {
                Self { program, cookie }.stop(plan).await;
                return Ok(None);
            }
            ended = program.ended() => return Err(ended.into()),
            ready = become_ready(display, &cookie) => ready?,
        }
        tracing::info!(display = %plan.settings.display, after = ?start.elapsed(), "the X server lets clients in");
        Ok(Some(Self { program, cookie }))
    }

    /// Ends it, and sees to it that nothing is left of it.
    pub(super) async fn stop(self, plan: &Plan<'_>) {
        let was_killed = self.program.stop().await == Stopped::Killed;
        if was_killed && let Err(error) = stale::remove_left(plan.settings.display, &plan.rfb_socket) {
            tracing::warn!("{}", with_causes(&error));
        }
    }
}

async fn become_ready(display: Display, cookie: &Cookie) -> Result<(), XServerError> {
    let end = Instant::now() + READY_LIMIT;
    while let Err(error) = client::ask(display, Some(cookie)).await {
        if Instant::now() > end {
            return Err(XServerError::Unready(error));
        }
        sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// Asks the program for its flags.
///
/// # Errors
/// It is missing, or does not answer.
pub(super) async fn features(orphans: &Orphans) -> Result<Features, ProgramError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ProgramError::Missing { program: XTIGERVNC.program, package: XTIGERVNC.package },
        _ => ProgramError::Start { program: XTIGERVNC.program, source },
    };
    let mut command = Command::new(XTIGERVNC.program);
    command.arg("-help").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let (child, _own_child) = orphans.spawn(&mut command).map_err(failed)?;
    let output = timeout(HELP_LIMIT, child.wait_with_output()).await.map_err(std::io::Error::from).flatten().map_err(failed)?;
    let printed = [output.stdout, output.stderr].concat();
    Ok(Features::read(&String::from_utf8_lossy(&printed)))
}
