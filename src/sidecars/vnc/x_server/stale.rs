//! What a killed X server leaves: a lock file and a socket by which the next one takes its display for taken.
//!
//! The process id in the lock says nothing: in a new container the same id is somebody else's. What counts is whether a server answers.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep, timeout};

use super::{
    authority::Cookie,
    client::{self, ConnectError},
    display::Display,
};

/// How long a killed server may take to be gone.
const END_LIMIT: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Why a display can't be had.
#[derive(Debug, thiserror::Error)]
pub enum TakenError {
    /// Somebody else has it.
    #[error(
        "another X server has the display {0}: set VNC_MODE to attach if it is the app's own, or DISPLAY to another one, also for the app"
    )]
    Taken(Display),
    /// What is left can't be removed.
    #[error("{path}, which an X server has left there, can't be removed: set DISPLAY to another one, also for the app")]
    Left {
        /// What is left.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes a display free: a server that an earlier process of ours has left is ended, and what a dead one has left is removed.
///
/// # Errors
/// Somebody else's server has it.
pub(super) async fn clear(display: Display, rfb_socket: &Path, cookie: Option<&Cookie>) -> Result<(), TakenError> {
    if let Some(process) = left_server(display, rfb_socket, cookie).await? {
        end(display, process).await?;
    }
    remove_left(display, rfb_socket)
}

/// Removes what a dead server has left.
///
/// # Errors
/// It can't be removed.
pub(super) fn remove_left(display: Display, rfb_socket: &Path) -> Result<(), TakenError> {
    for path in [display.socket(), display.lock_file(), rfb_socket.to_owned()] {
        match fs::remove_file(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed what a dead X server had left"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(TakenError::Left { path, source }),
        }
    }
    Ok(())
}

/// The process of a server that is certainly ours. Anybody else's is an error.
async fn left_server(display: Display, rfb_socket: &Path, cookie: Option<&Cookie>) -> Result<Option<Pid>, TakenError> {
    if is_there(&client::ask_abstract(display, cookie).await) {
        return Err(TakenError::Taken(display));
    }
    match client::ask(display, cookie).await {
        Err(error) if error.is_absent() => Ok(None),
        Err(_) => Err(TakenError::Taken(display)),
        Ok(answer) => {
            let process = answer.process.and_then(Pid::from_raw).filter(|process| was_told(*process, rfb_socket));
            process.map(Some).ok_or(TakenError::Taken(display))
        }
    }
}

fn is_there<T>(asked: &Result<T, ConnectError>) -> bool {
    !asked.as_ref().is_err_and(ConnectError::is_absent)
}

/// Whether a process was started with our socket among its arguments (`proc_pid_cmdline(5)`). To know our cookie is not enough: the app does, too.
fn was_told(process: Pid, rfb_socket: &Path) -> bool {
    let arguments = fs::read(format!("/proc/{}/cmdline", process.as_raw_nonzero())).unwrap_or_default();
    arguments.split(|byte| *byte == 0).any(|argument| argument == rfb_socket.as_os_str().as_bytes())
}

async fn end(on: Display, process: Pid) -> Result<(), TakenError> {
    tracing::warn!(display = %on, process = process.as_raw_nonzero(), "ending the X server that an earlier process of ours has left");
    // One that can't be killed has ended, or is noticed below.
    let _ = kill_process(process, Signal::KILL);
    let gone = async {
        while is_there(&client::ask(on, None).await) {
            sleep(LOOK_INTERVAL).await;
        }
    };
    timeout(END_LIMIT, gone).await.map_err(|_| TakenError::Taken(on))
}
