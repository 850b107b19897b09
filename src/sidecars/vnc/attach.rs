//! The program that shows an X server which cannot show itself: x11vnc, at a Unix socket.

use std::{fs, io, os::unix::fs::FileTypeExt, path::Path, time::Duration};

use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use super::{
    program::{Kind, Program, ProgramError},
    settings::Settings,
};
use crate::runtime::orphans::Orphans;

const X11VNC: Kind = Kind { program: "x11vnc", package: "x11vnc" };

/// It is ready in a fifth of a second; a busy node takes longer.
const READY_LIMIT: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// One may fall into a moment in which the whole pod may not run.
const MOST_STILL_LOOKS: u32 = 3;

/// Why the app's X server is not shown.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The program does not run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// What an earlier one left is in the way.
    #[error("the socket {path}, left by an earlier process, can't be removed")]
    Left {
        /// The socket.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It runs, and nobody can connect.
    #[error("x11vnc runs, but has no socket after {} s", READY_LIMIT.as_secs())]
    Unready,
    /// It is there, and does nothing any more.
    #[error("x11vnc is frozen: it has done nothing for {MOST_STILL_LOOKS} looks in a row, though the app's X server answers")]
    Frozen,
}

/// Whether x11vnc goes on. It looks at the screen many times a second, so that the kernel has let it run between any two looks of ours.
/// To ask it as a viewer does would be felt by the app: with the first viewer it changes how keys repeat.
#[derive(Debug, Default)]
pub(super) struct Stillness {
    turns: Option<u64>,
    looks: u32,
}

impl Stillness {
    /// Looks once more, knowing how often the program has run so far: whether it has stood still for too long.
    pub(super) fn is_frozen(&mut self, turns: Option<u64>) -> bool {
        let stands_still = turns.is_some() && turns == self.turns;
        self.looks = if stands_still { self.looks + 1 } else { 0 };
        self.turns = turns;
        self.looks >= MOST_STILL_LOOKS
    }
}

/// Starts it, and waits until viewers can connect.
///
/// # Errors
/// It can't be started, or ends.
pub(super) async fn start(
    settings: &Settings,
    authority: Option<&Path>,
    rfb_socket: &Path,
    orphans: &Orphans,
) -> Result<Program, AttachError> {
    match fs::remove_file(rfb_socket) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(AttachError::Left { path: rfb_socket.display().to_string(), source });
        }
        _ => {}
    }
    let mut command = Command::new(X11VNC.program);
    command.args(arguments(settings, authority, rfb_socket));
    let mut program = Program::start(X11VNC, command, orphans)?;
    let listening = async {
        let end = Instant::now() + READY_LIMIT;
        // Its existence is enough, and all that is looked for: whoever connects and goes away counts as a failed viewer.
        while !is_socket(rfb_socket) {
            if Instant::now() > end {
                return Err(AttachError::Unready);
            }
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    };
    tokio::select! {
        ended = program.ended() => return Err(ended.into()),
        listening = listening => listening?,
    }
    Ok(program)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn arguments(settings: &Settings, authority: Option<&Path>, rfb_socket: &Path) -> Vec<String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut arguments = vec!["-display".to_owned(), settings.display.to_string()];
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));
    if let Some(authority) = authority {
        add(&["-auth", &path(authority)]);
    }
    // Port 0 is none for IPv4 alone.
    add(&["-rfbport", "0", "-rfbportv6", "-1", "-unixsock", &path(rfb_socket)]);
    // Who reaches the socket is our bridge. Neither a file in some home nor a viewer or an X client commands it.
    add(&["-norc", "-nopw", "-forever", "-shared", "-safer", "-nocmds"]);
    // It looks for changes more often than by itself, and by the X server's damage reports: guesses from scrolling and moving windows cost more.
    add(&["-wait", "5", "-defer", "5", "-noscr", "-nowf"]);
    if let Some(name) = &settings.name {
        add(&["-desktop", name]);
    }
    if settings.view_only {
        add(&["-viewonly"]);
    }
    match (settings.clipboard.comes_in() && !settings.view_only, settings.clipboard.goes_out()) {
        (true, true) => {}
        (true, false) => add(&["-seldir", "recv"]),
        (false, true) => add(&["-seldir", "send"]),
        (false, false) => add(&["-nosel"]),
    }
    if !settings.shares_memory {
        add(&["-noshm"]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecars::vnc::settings;

    fn arguments_with(set: &[(&str, &str)]) -> String {
        let value = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        let settings = settings::read(|row| value(row.name), |row| row.name.to_owned()).unwrap();
        arguments(&settings, Some(Path::new("/a/cookie")), Path::new("/d/rfb.sock")).join(" ")
    }

    #[test]
    fn it_listens_at_a_file_alone_and_takes_orders_from_nobody() {
        assert_eq!(
            arguments_with(&[]),
            "-display :99 -auth /a/cookie -rfbport 0 -rfbportv6 -1 -unixsock /d/rfb.sock -norc -nopw -forever -shared -safer -nocmds \
             -wait 5 -defer 5 -noscr -nowf"
        );
    }

    #[test]
    fn sortie_s11_changes_are_told_by_the_x_server_and_memory_is_shared_unless_the_users_differ() {
        for shares_memory in ["true", "false"] {
            let arguments = arguments_with(&[("VNC_MIT_SHM", shares_memory)]);
            assert!(!arguments.contains("-noxdamage"));
            assert_eq!(arguments.contains("-noshm"), shares_memory == "false");
        }
    }

    #[test]
    fn it_is_frozen_when_it_has_not_run_for_three_looks_in_a_row() {
        let mut stillness = Stillness::default();
        let looks = [Some(1), Some(1), Some(1), Some(2), Some(2), Some(2), Some(2)].map(|turns| stillness.is_frozen(turns));
        assert_eq!(looks, [false, false, false, false, false, false, true]);
        assert!((0..9).all(|_| !stillness.is_frozen(None)), "what can't be seen is not judged");
    }

    #[test]
    fn viewers_do_and_copy_what_they_may() {
        for (set, flag) in [
            (&[("VNC_CLIPBOARD", "in")][..], "-seldir recv"),
            (&[("VNC_CLIPBOARD", "out")], "-seldir send"),
            (&[("VNC_CLIPBOARD", "off")], "-nosel"),
            (&[("VNC_VIEW_ONLY", "true")], "-viewonly -seldir send"),
        ] {
            assert!(arguments_with(set).ends_with(flag), "{set:?}");
        }
    }
}
