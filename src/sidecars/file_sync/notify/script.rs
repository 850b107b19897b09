//! The program that is run after files changed.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use tokio::{process::Command, time::timeout};

use super::Batch;
use crate::{
    runtime::{orphans::Orphans, process_group::ProcessGroup},
    sidecars::file_sync::settings::{Script, TABLE},
};

/// As much of a program as says what runs it.
const LONGEST_FIRST_LINE: u64 = 256;

/// Why the program was not run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It can't be looked at.
    #[error("SCRIPT {path} can't be read")]
    Unreadable {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not executable.
    #[error("SCRIPT {0} is not executable: set its mode to 0755 or, in a ConfigMap's volume, defaultMode to 0755")]
    NotExecutable(PathBuf),
    /// What would run it is not here.
    #[error("SCRIPT {path} needs {interpreter}, which is not in this image: use a program that needs no shell, or an image that has one")]
    NoInterpreter {
        /// The program.
        path: PathBuf,
        /// What it says runs it.
        interpreter: PathBuf,
    },
    /// It can't be started.
    #[error("SCRIPT {path} can't be started")]
    Start {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("SCRIPT {path} ended with {status}")]
    Failed {
        /// The program.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// It did not end.
    #[error("SCRIPT {path} did not end within {seconds} s and was killed: raise SCRIPT_TIMEOUT if it needs longer")]
    Overdue {
        /// The program.
        path: PathBuf,
        /// How long it had.
        seconds: u64,
    },
}

/// Whether a program can be run here: it is executable, and what it says runs it is there.
///
/// # Errors
/// It is not.
pub(super) fn check(path: &Path) -> Result<(), ScriptError> {
    let failed = |source| ScriptError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let is_executable = file.metadata().map_err(failed)?.permissions().mode() & 0o111 != 0;
    let mut beginning = Vec::new();
    file.take(LONGEST_FIRST_LINE).read_to_end(&mut beginning).map_err(failed)?;
    if let Some(interpreter) = interpreter(&beginning)
        && !interpreter.exists()
    {
        return Err(ScriptError::NoInterpreter { path: path.to_owned(), interpreter });
    }
    if is_executable { Ok(()) } else { Err(ScriptError::NotExecutable(path.to_owned())) }
}

/// What a program says runs it, in its first line; what is neither that nor binary is a shell script (POSIX, `execvp`).
fn interpreter(beginning: &[u8]) -> Option<PathBuf> {
    if beginning.starts_with(b"\x7fELF") {
        return None;
    }
    let first_line = beginning.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let named = first_line.strip_prefix(b"#!").and_then(|line| std::str::from_utf8(line).ok()?.split_whitespace().next());
    Some(PathBuf::from(named.unwrap_or("/bin/sh")))
}

/// The program with our environment, but for what is for the call or the mail server alone.
fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    for row in TABLE.iter().filter(|row| row.is_credential()) {
        command.env_remove(row.name);
    }
    command
}

/// Runs the program, and waits for its end. It learns what changed from `CHANGED_FILES`, a path a line, and `CHANGED_COUNT`.
///
/// # Errors
/// It can't be run, fails, or takes too long.
pub(super) async fn run(script: &Script, batch: &Batch, orphans: &Orphans) -> Result<(), ScriptError> {
    let path = PathBuf::from(&script.path);
    check(&path)?;
    let mut command = command(&path);
    command.env("CHANGED_FILES", batch.files.join("\n")).env("CHANGED_COUNT", batch.count.to_string()).env("FOLDER", &batch.folder);
    // A group of its own, so that what it has started ends with it.
    command.stdin(Stdio::null()).kill_on_drop(true).process_group(0);
    let (mut child, _own_child) = orphans.spawn(&mut command).map_err(|source| ScriptError::Start { path: path.clone(), source })?;
    let mut group = ProcessGroup::of(&child);
    let ended = timeout(script.timeout, child.wait()).await;
    if ended.is_ok() {
        group.release();
    }
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(ScriptError::Failed { path, status }),
        Ok(Err(source)) => Err(ScriptError::Start { path, source }),
        Err(_) => {
            drop(group);
            // Waits for its end, too; one that can't be killed has ended.
            let _ = child.kill().await;
            Err(ScriptError::Overdue { path, seconds: script.timeout.as_secs() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        time::{Duration, Instant},
    };

    use super::*;

    fn program(folder: &Path, mode: u32, text: &str) -> Script {
        let path = folder.join("program");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Script { path: path.display().to_string(), timeout: Duration::from_secs(60) }
    }

    #[test]
    fn a_script_whose_shell_is_not_here_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let script = program(folder.path(), 0o755, "#!/no/such/shell -e\ntrue\n");
        let error = check(Path::new(&script.path)).unwrap_err().to_string();
        assert!(error.contains("program needs /no/such/shell, which is not in this image"), "{error}");
        assert_eq!(interpreter(b"echo hello"), Some(PathBuf::from("/bin/sh")));
        assert_eq!(interpreter(b"\x7fELF\x02"), None);
        assert!(check(&std::env::current_exe().unwrap()).is_ok());
        let script = program(folder.path(), 0o644, "#!/bin/sh\n");
        assert!(check(Path::new(&script.path)).unwrap_err().to_string().contains("0755"));
    }

    #[tokio::test]
    async fn it_learns_what_changed_and_its_failure_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let folder_name = folder.path().display().to_string();
        let batch = Batch { files: vec!["a".to_owned(), "b".to_owned()], count: 2, folder: folder_name, ..Batch::default() };
        let script = program(folder.path(), 0o755, "#!/bin/sh\necho \"$CHANGED_COUNT $CHANGED_FILES\" > \"$FOLDER/told\"\n");
        run(&script, &batch, &Orphans::default()).await.unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("told")).unwrap(), "2 a\nb\n");
        let script = program(folder.path(), 0o755, "#!/bin/sh\nexit 3\n");
        assert!(run(&script, &batch, &Orphans::default()).await.unwrap_err().to_string().contains("exit status: 3"));
    }

    #[test]
    fn it_learns_no_credential() {
        let command = command(Path::new("/bin/true"));
        let removed: Vec<_> = command.as_std().get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name.to_owned()).collect();
        assert_eq!(removed, ["PGBOUNCER_PASSWORD", "PGBOUNCER_USERNAME", "REQ_PASSWORD", "REQ_USERNAME", "SMTP_PASSWORD", "SMTP_USERNAME"]);
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_killed_with_all_that_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let mut script = program(folder.path(), 0o755, "#!/bin/sh\nsleep 600 &\necho $! > \"$FOLDER/started\"\nwait\n");
        script.timeout = Duration::from_secs(3);
        let batch = Batch { folder: folder.path().display().to_string(), ..Batch::default() };
        let error = run(&script, &batch, &Orphans::default()).await.unwrap_err();
        assert!(matches!(error, ScriptError::Overdue { .. }), "{error}");
        let started = fs::read_to_string(folder.path().join("started")).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        let is_running = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", started.trim())).unwrap_or_default();
            // One that nobody has asked for its end yet is a zombie (proc_pid_stat(5)).
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while is_running() {
            assert!(Instant::now() < end, "process {started} goes on");
            tokio::task::yield_now().await;
        }
    }
}
