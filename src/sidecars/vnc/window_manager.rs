//! The window manager: started again when it dies, for as long as its X server lives. Without one the desktop still works.

use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    health::Part,
    program::{Kind, Program, ProgramError},
    settings::WindowManager,
    x_server::{clients::Clients, manager},
};
use crate::runtime::{backoff::Backoff, complaint::with_causes, orphans::Orphans};

const OPENBOX: Kind = Kind { program: "openbox", package: "openbox" };

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The X server can't be asked: it is about to end, or some client has grabbed it.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Keeps one running until `stop`, and says when the first one `manages` windows.
///
/// # Errors
/// It is missing.
pub(super) async fn keep(
    kind: WindowManager,
    clients: &Clients<'_>,
    manages: &CancellationToken,
    stop: &CancellationToken,
    orphans: &Orphans,
    health: &Part,
) -> Result<(), ProgramError> {
    let WindowManager::Openbox = kind;
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let mut command = clients.command(OPENBOX.program);
        // It has nowhere else to write: the root is read-only, and its user may have no home.
        command.arg("--sm-disable").env("HOME", clients.home).env("XDG_CACHE_HOME", clients.home);
        let error = match Program::start(OPENBOX, command, orphans) {
            Err(error @ ProgramError::Missing { .. }) => return Err(error),
            Err(error) => error,
            Ok(mut program) => {
                let begun = Instant::now();
                let watched = async {
                    until_it_answers(clients).await;
                    tracing::info!(after = ?begun.elapsed(), "the window manager manages windows");
                    health.up();
                    manages.cancel();
                    pending().await
                };
                tokio::select! {
                    () = stop.cancelled() => {
                        program.stop().await;
                        return Ok(());
                    }
                    error = program.ended() => {
                        if begun.elapsed() > LONGEST_PAUSE {
                            backoff.reset();
                        }
                        error
                    }
                    error = watched => error,
                }
            }
        };
        let pause = backoff.pause();
        health.down(&error, Some(pause));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(pause) => {}
        }
    }
}

/// Asks it until it answers, also after a restart: windows that were mapped while it started are shown then, at the latest.
async fn until_it_answers(clients: &Clients<'_>) {
    while let Err(error) = manager::answers(clients.display, clients.cookie).await {
        tracing::debug!("the window manager can't be asked: {}", with_causes(&error));
        sleep(ASK_AGAIN).await;
    }
}
