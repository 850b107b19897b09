//! The window manager: started again when it dies, for as long as its X server lives. Without one the desktop still works.

use std::{path::Path, time::Duration};

use tokio::{
    process::Command,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    health::Part,
    program::{Kind, Program, ProgramError},
    settings::WindowManager,
    x_server::display::Display,
};
use crate::runtime::{backoff::Backoff, orphans::Orphans};

const OPENBOX: Kind = Kind { program: "openbox", package: "openbox" };

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The display it manages, and its name for people.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) display: Display,
    pub(super) authority: &'a Path,
    /// Where it may write what it remembers.
    pub(super) home: &'a Path,
}

impl Desk<'_> {
    /// A command that is a client of this display.
    pub(super) fn client(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("DISPLAY", self.display.to_string()).env("XAUTHORITY", self.authority);
        command
    }
}

/// Keeps one running until `stop`.
///
/// # Errors
/// It is missing.
pub(super) async fn keep(
    kind: WindowManager,
    desk: &Desk<'_>,
    stop: &CancellationToken,
    orphans: &Orphans,
    health: &Part,
) -> Result<(), ProgramError> {
    let WindowManager::Openbox = kind;
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let mut command = desk.client(OPENBOX.program);
        // It has nowhere else to write: the root is read-only, and its user may have no home.
        command.arg("--sm-disable").env("HOME", desk.home).env("XDG_CACHE_HOME", desk.home);
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
