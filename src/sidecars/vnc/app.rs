//! A command that runs on the desktop and for whose sake the desktop is there: on a developer's machine, where no pod has an app.

use std::{
    ffi::OsString,
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tokio::{
    process::Child,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::x_server::clients::Clients;
use crate::runtime::{backoff::Backoff, orphans::Orphans, process_group::ProcessGroup};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long it may take to end when the desktop does.
const END_LIMIT: Duration = Duration::from_millis(400);

/// What becomes of the desktop when the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnEnd {
    /// It ends, too.
    End,
    /// The command is started again.
    Restart,
    /// It stays.
    Keep,
}

/// A command.
#[derive(Debug, Clone)]
pub struct App {
    /// Its program.
    pub program: OsString,
    /// The arguments of that.
    pub arguments: Vec<OsString>,
    /// What follows its end.
    pub on_end: OnEnd,
}

/// Why the command does not run.
#[derive(Debug, thiserror::Error)]
#[error("{} can't be started on the desktop", .program.display())]
pub struct AppError {
    program: OsString,
    /// Why.
    #[source]
    source: io::Error,
}

/// Runs the command until `stop`, or until its end is that of the desktop: then its status is told.
///
/// # Errors
/// It can't be started.
pub(super) async fn run(
    app: &App,
    clients: &Clients<'_>,
    stop: &CancellationToken,
    orphans: &Orphans,
) -> Result<Option<ExitStatus>, AppError> {
    let failed = |source| AppError { program: app.program.clone(), source };
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let mut command = clients.command(&app.program);
        // It writes where we were told to, but does not read: a terminal stops whoever reads from the background.
        command.args(&app.arguments).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        let (mut child, _own_child) = orphans.spawn(&mut command).map_err(failed)?;
        let (mut group, begun) = (ProcessGroup::of(&child), Instant::now());
        let status = tokio::select! {
            () = stop.cancelled() => {
                end(&mut child, &group).await;
                return Ok(None);
            }
            status = child.wait() => status.map_err(failed)?,
        };
        match app.on_end {
            OnEnd::End => return Ok(Some(status)),
            OnEnd::Keep => {
                // Its number may become another's while the desktop stays.
                group.release_if_empty();
                tracing::info!(%status, "the command has ended; the desktop stays");
                stop.cancelled().await;
                return Ok(None);
            }
            OnEnd::Restart => {
                drop(group);
                if begun.elapsed() > LONGEST_PAUSE {
                    backoff.reset();
                }
                let pause = backoff.pause();
                tracing::info!(%status, ?pause, "the command has ended, and is started again");
                tokio::select! {
                    () = stop.cancelled() => return Ok(None),
                    () = sleep(pause) => {}
                }
            }
        }
    }
}

async fn end(child: &mut Child, group: &ProcessGroup) {
    group.signal(Signal::TERM);
    // Whoever does not listen is killed when the group is dropped.
    let _ = timeout(END_LIMIT, child.wait()).await;
}
