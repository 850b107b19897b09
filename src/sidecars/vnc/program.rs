//! A program that runs for us: its output goes to our log, and it ends when we say so, with all that it has started.

use std::{
    fs,
    io::{self, ErrorKind, PipeReader},
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tokio::{
    net::unix::pipe::Receiver,
    process::{Child, Command},
    time::timeout,
};

use super::output::{Level, Lines};
use crate::runtime::{
    orphans::{Orphans, OwnChild},
    process_group::ProcessGroup,
};

/// How long a program may take to end by itself: SIGTERM ends all within a second.
const END_LIMIT: Duration = Duration::from_millis(400);

/// How long the kernel may take to end one that was killed.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// As much as a pipe holds, in pieces of a kilobyte (`pipe(7)`).
const MOST_PIECES: usize = 64;

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not there.
    #[error("{program} is not here: install it (in Debian, apt-get install {package}), or use an image that has it")]
    Missing {
        /// The program.
        program: &'static str,
        /// The Debian package that brings it.
        package: &'static str,
    },
    /// It can't be started.
    #[error("{program} can't be started")]
    Start {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended.
    #[error("{program} ended with {status}{}", said(.words))]
    Ended {
        /// The program.
        program: &'static str,
        /// How.
        status: ExitStatus,
        /// What it said last.
        words: String,
    },
    /// Nobody knows how it ended.
    #[error("the end of {program} is unknown")]
    Lost {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; it said: {words}") }
}

/// A program, and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) program: &'static str,
    pub(super) package: &'static str,
}

/// How a program was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It ended when it was asked to, and has cleaned up.
    ByItself,
    /// It was killed, or asked to end before it could clean up.
    Killed,
}

/// A running program. It is killed, with its group, when this is dropped.
#[derive(Debug)]
pub(super) struct Program {
    name: &'static str,
    child: Child,
    group: ProcessGroup,
    output: Receiver,
    lines: Lines,
    _own_child: OwnChild,
}

impl Program {
    /// Starts one.
    ///
    /// # Errors
    /// It is missing, or can't be started.
    pub(super) fn start(kind: Kind, mut command: Command, orphans: &Orphans) -> Result<Self, ProgramError> {
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::NotFound => ProgramError::Missing { program: kind.program, package: kind.package },
            _ => ProgramError::Start { program: kind.program, source },
        };
        let (reader, writer) = io::pipe().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        // A group of its own, so that what it has started ends with it, and no Ctrl-C of a terminal reaches it before us.
        command.kill_on_drop(true).process_group(0);
        let (child, own_child) = orphans.spawn(&mut command).map_err(failed)?;
        let output = receiver(reader).map_err(failed)?;
        Ok(Self { name: kind.program, group: ProcessGroup::of(&child), child, output, lines: Lines::default(), _own_child: own_child })
    }

    /// How often the kernel has let it run, until its end.
    pub(super) fn turns(&self) -> impl Fn() -> Option<u64> + use<> {
        let process = self.child.id();
        move || turns_in(&fs::read_to_string(format!("/proc/{}/status", process?)).ok()?)
    }

    /// Waits for its end, and logs what it prints meanwhile. May be asked again.
    pub(super) async fn ended(&mut self) -> ProgramError {
        let mut piece = [0; 1024];
        loop {
            tokio::select! {
                readable = self.output.readable() => {
                    if readable.is_err() || !self.read(&mut piece) {
                        break;
                    }
                }
                status = self.child.wait() => return self.judge(status),
            }
        }
        // Its output is closed, and it may go on.
        let status = self.child.wait().await;
        self.judge(status)
    }

    /// Reads what is there; `false` if there will be nothing more.
    fn read(&mut self, piece: &mut [u8]) -> bool {
        match self.output.try_read(piece) {
            Ok(0) => false,
            Ok(length) => {
                self.log(piece.get(..length).unwrap_or_default());
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    fn log(&mut self, piece: &[u8]) {
        for (level, line) in self.lines.take(piece) {
            match level {
                Level::Warn => tracing::warn!(program = self.name, "{line}"),
                Level::Debug => tracing::debug!(program = self.name, "{line}"),
            }
        }
    }

    fn judge(&mut self, status: io::Result<ExitStatus>) -> ProgramError {
        self.read_rest();
        match status {
            Ok(status) => {
                // Whoever was killed had no last words, only earlier ones.
                let words = if status.code().is_some() { self.lines.last_words() } else { String::new() };
                ProgramError::Ended { program: self.name, status, words }
            }
            Err(source) => ProgramError::Lost { program: self.name, source },
        }
    }

    /// Reads what it printed before its end. Others may hold its output open, so there is no end to wait for.
    fn read_rest(&mut self) {
        let mut piece = [0; 1024];
        for _ in 0..MOST_PIECES {
            match self.output.try_read(&mut piece) {
                Ok(length) if length > 0 => self.log(piece.get(..length).unwrap_or_default()),
                _ => break,
            }
        }
    }

    /// Lets it go on if somebody has stopped it, so that it hears what it is asked.
    pub(super) fn resume(&self) {
        self.group.signal(Signal::CONT);
    }

    /// Asks it to end, waits a moment for that, and kills what is left.
    pub(super) async fn stop(mut self) -> Stopped {
        self.group.signal(Signal::TERM);
        if let Ok(ended) = timeout(END_LIMIT, self.child.wait()).await {
            // A program that has only begun may die of the signal.
            let has_died_of_it = ended.is_ok_and(|status| status.signal().is_some());
            return if has_died_of_it { Stopped::Killed } else { Stopped::ByItself };
        }
        tracing::warn!(program = self.name, "did not end within {END_LIMIT:?}, and is killed");
        self.group.signal(Signal::KILL);
        if timeout(KILL_LIMIT, self.child.wait()).await.is_err() {
            tracing::warn!(program = self.name, "is killed, and hangs in the kernel; ending without it");
        }
        Stopped::Killed
    }
}

/// The context switches that `proc_pid_status(5)` tells of.
fn turns_in(status: &str) -> Option<u64> {
    let count = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    Some(count("voluntary_ctxt_switches:")?.saturating_add(count("nonvoluntary_ctxt_switches:")?))
}

fn receiver(reader: PipeReader) -> io::Result<Receiver> {
    Receiver::from_owned_fd(OwnedFd::from(reader))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn who_dies_of_the_signal_has_not_cleaned_up() {
        for (trap, expected) in [("trap 'exit 0' TERM;", Stopped::ByItself), ("", Stopped::Killed)] {
            let folder = tempfile::tempdir().unwrap();
            let begun = folder.path().join("begun");
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("{trap} : > {}; while :; do sleep 0.01; done", begun.display()));
            let program = Program::start(Kind { program: "sh", package: "dash" }, command, &Orphans::default()).unwrap();
            let deadline = Instant::now() + Duration::from_secs(30);
            while !begun.exists() {
                assert!(Instant::now() < deadline, "it does not begin");
                tokio::task::yield_now().await;
            }
            assert_eq!(program.stop().await, expected, "{trap:?}");
        }
    }

    #[test]
    fn turns_are_those_that_were_taken_and_those_that_were_cut_short() {
        assert_eq!(turns_in("Name:\tx11vnc\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n"), Some(42));
        assert_eq!(turns_in("Name:\tvoluntary_ctxt_switches: 7\n"), None);
        assert!(turns_in(&fs::read_to_string("/proc/self/status").unwrap()).is_some());
    }
}
