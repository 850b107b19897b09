//! The window manager: started again when it dies, for as long as its X server lives. Without one the desktop still works.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    health::Part,
    program::{Kind, Program, ProgramError},
    settings::WindowManager,
    x_server::clients::Clients,
};
use crate::runtime::{backoff::Backoff, orphans::Orphans};

const OPENBOX: Kind = Kind { program: "openbox", package: "openbox" };

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Keeps one running until `stop`.
///
/// # Errors
/// It is missing.
pub(super) async fn keep(
    kind: WindowManager,
    clients: &Clients<'_>,
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
                health.up();
                let begun = Instant::now();
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
