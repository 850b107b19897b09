//! Everything a run starts ends with it, by process group, however it goes: return, panic, Ctrl-C or SIGKILL.
//!
//! Rust does not drop statics and a killed process drops nothing, so a small guardian (a POSIX shell script) waits at a pipe whose
//! other end we hold. When the pipe closes, it ends what was started and removes the run's directory. Should the guardian be killed
//! too, the next run finds that nobody holds the directory's lock any more, and cleans up.

use std::fs::{self, DirBuilder, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::progress;

const GUARDIAN: &str = include_str!("guardian.sh");
const LAUNCH: &str = include_str!("launch.sh");

/// The file that tells the guardian of a node.
const NODE_MARK: &str = "node";
/// How many logs of failed runs are kept.
const KEPT_LOGS: usize = 10;
/// How many lines of a log an error shows.
const SHOWN_LINES: usize = 15;
/// How long a process may take to vanish after the guardian has killed it.
const REAP_DEADLINE: Duration = Duration::from_secs(5);
const REAP_INTERVAL: Duration = Duration::from_millis(10);

/// A directory, the processes that work in it, and the guardian that ends both.
pub(crate) struct Run {
    directory: PathBuf,
    logs: PathBuf,
    guardian: Child,
    processes: Mutex<Vec<(String, Child)>>,
}

impl Run {
    /// Cleans up after killed runs, then makes a directory for a new one.
    pub(crate) fn create() -> Result<Self> {
        let base = base_directory()?;
        let _one_at_a_time = lock(&base)?;
        clean_leftovers(&base)?;
        forget_old_logs(&base)?;
        let name = format!("bed-{:08x}", random() & 0xffff_ffff);
        let directory = base.join("runs").join(&name);
        let logs = base.join("logs").join(&name);
        private_directory(&directory.join("processes"))?;
        let held = lock(&directory)?;
        let mut guardian = guardian(&directory, &logs)?;
        let guardian = guardian.stdin(Stdio::piped()).stdout(held).spawn().context("cannot start sh as guardian of a run")?;
        Ok(Self { directory, logs, guardian, processes: Mutex::default() })
    }

    /// The run's unique name: `bed-` and eight hexadecimal digits, short enough for a network interface.
    pub(crate) fn name(&self) -> &str {
        self.directory.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Has the guardian remove what a node leaves.
    pub(crate) fn mark_node(&self) -> Result<()> {
        self.write(NODE_MARK, "").map(drop)
    }

    /// A path inside the run's directory.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.directory.join(relative)
    }

    /// Writes a file that only we can read into the run's directory and returns its path.
    pub(crate) fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(relative);
        if let Some(parent) = path.parent() {
            private_directory(parent)?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Starts a program that lives until the run ends. Its output goes to a log of its own.
    pub(crate) fn start(&self, name: &str, command: &Command) -> Result<()> {
        let mut processes = self.processes();
        let log =
            File::options().create(true).append(true).open(self.log(name)).with_context(|| format!("cannot write the log of {name}"))?;
        let record = format!("{:08x}-{name}", random() & 0xffff_ffff);
        let mut launch = Command::new("/bin/sh");
        launch.args(["-c", LAUNCH, "launch"]).arg(&self.directory).arg(record);
        launch.arg(command.get_program()).args(command.get_args());
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => launch.env(variable, value),
                None => launch.env_remove(variable),
            };
        }
        // A process group of its own: a Ctrl-C at the terminal is for us, and the guardian sees to the rest.
        launch.current_dir(&self.directory).process_group(0).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = launch.spawn().with_context(|| format!("cannot start {name}"))?;
        processes.push((name.to_owned(), child));
        Ok(())
    }

    /// Kills a program and what is in its process group, and waits until it is gone.
    pub(crate) fn kill(&self, name: &str) -> Result<()> {
        let mut processes = self.processes();
        let place = processes.iter().position(|(known, _)| known == name).with_context(|| format!("{name} does not run"))?;
        let (_, mut child) = processes.swap_remove(place);
        kill_process_group(Pid::from_child(&child), Signal::KILL).with_context(|| format!("cannot kill {name}"))?;
        child.wait().with_context(|| format!("cannot wait for {name}"))?;
        Ok(())
    }

    /// The process id of a program that was started.
    pub(crate) fn process_id(&self, name: &str) -> Option<u32> {
        self.processes().iter().find(|(known, _)| known == name).map(|(_, child)| child.id())
    }

    /// Fails if a program ended although the run has not, with the end of its log.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_those(|_| true)
    }

    /// The same for the programs of one name: others may end as they like.
    pub(crate) fn check_program(&self, name: &str) -> Result<()> {
        self.check_those(|known| known == name)
    }

    fn check_those(&self, is_one: impl Fn(&str) -> bool) -> Result<()> {
        for (name, child) in self.processes().iter_mut().filter(|(name, _)| is_one(name)) {
            if let Some(status) = child.try_wait().with_context(|| format!("cannot ask for the state of {name}"))? {
                bail!("{name} ended early ({status}); its log says:\n{}", self.end_of_log(name)?);
            }
        }
        Ok(())
    }

    /// Keeps the logs when the run ends, and says where they are.
    pub(crate) fn keep_logs(&self) {
        match File::create_new(self.path("keep-logs")) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Ok(_) => progress::say(&format!("logs are kept in {}", self.logs.display())),
            Err(error) => progress::say(&format!("cannot keep the logs of {}: {error}", self.name())),
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    fn end_of_log(&self, name: &str) -> Result<String> {
        let log = BufReader::new(File::open(self.log(name))?);
        let lines = log.lines().collect::<io::Result<Vec<String>>>()?;
        Ok(lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join("\n"))
    }

    fn processes(&self) -> MutexGuard<'_, Vec<(String, Child)>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Run {
    /// Closes the guardian's pipe and waits until it has done its work; its own deadlines bound that.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs();
        }
        drop(self.guardian.stdin.take());
        match self.guardian.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => progress::say(&format!("cannot clean up {} ({status}); see {}", self.name(), self.logs.display())),
            Err(error) => progress::say(&format!("cannot wait for the guardian of {}: {error}", self.name())),
        }
        for (name, child) in self.processes().iter_mut() {
            if !ends_within(child, REAP_DEADLINE) {
                progress::say(&format!("{name} (process {}) outlived its run", child.id()));
            }
        }
    }
}

/// Waits for a process that has been told to end: its threads may take a moment longer than its main thread.
fn ends_within(child: &mut Child, deadline: Duration) -> bool {
    let end = Instant::now() + deadline;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return true,
            Ok(None) if Instant::now() < end => std::thread::sleep(REAP_INTERVAL),
            _ => return false,
        }
    }
}

/// Claims something that only one process on this machine may have at a time, by a name for it; `None` if somebody has it. The kernel
/// gives it back when the process has gone.
pub(crate) fn claim(name: &str) -> Result<Option<File>> {
    let directory = base_directory()?.join("claims").join(name);
    private_directory(&directory)?;
    try_lock(&directory)
}

/// Where runs live: the temporary directory, since a node's images do not belong into a runtime directory held in memory.
fn base_directory() -> Result<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    let base = std::env::temp_dir().join(format!("outrigger-{user}"));
    private_directory(&base)?;
    let owner = fs::symlink_metadata(&base)?;
    ensure!(
        owner.is_dir() && owner.uid() == user,
        "{} belongs to somebody else: remove it, or set TMPDIR to a directory of your own",
        base.display()
    );
    for part in ["runs", "logs"] {
        private_directory(&base.join(part))?;
    }
    Ok(base)
}

pub(crate) fn private_directory(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("cannot make {}", path.display()))
}

fn guardian(run: &Path, logs: &Path) -> Result<Command> {
    private_directory(logs)?;
    let log = File::create(logs.join("guardian.log")).context("cannot write the log of a guardian")?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", GUARDIAN, "guardian"]).arg(run).arg(logs);
    command.process_group(0).stderr(log);
    Ok(command)
}

/// Ends what killed runs left: a run whose lock nobody holds has neither owner nor guardian.
fn clean_leftovers(base: &Path) -> Result<()> {
    for entry in fs::read_dir(base.join("runs"))? {
        let run = entry?.path();
        let Some(held) = try_lock(&run)? else { continue };
        let name = run.file_name().unwrap_or_default();
        progress::say(&format!("ending what an earlier run left: {}", name.display()));
        let logs = base.join("logs").join(name);
        let status = guardian(&run, &logs)?.stdin(Stdio::null()).stdout(held).status().context("cannot start sh to clean up")?;
        ensure!(status.success(), "cannot clean up {} ({status}); see {}", run.display(), logs.display());
    }
    Ok(())
}

fn forget_old_logs(base: &Path) -> Result<()> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(base.join("logs"))? {
        let entry = entry?;
        if !base.join("runs").join(entry.file_name()).exists() {
            kept.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    kept.sort();
    for (_, path) in kept.iter().rev().skip(KEPT_LOGS) {
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Waits for the lock of a directory. The kernel gives it back when the last process that holds it has gone.
pub(crate) fn lock(directory: &Path) -> Result<File> {
    let opened = File::open(directory).with_context(|| format!("cannot open {}", directory.display()))?;
    flock(&opened, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", directory.display()))?;
    Ok(opened)
}

/// Takes the lock of a directory, unless somebody holds it or removes the directory meanwhile.
fn try_lock(directory: &Path) -> Result<Option<File>> {
    let opened = match File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("cannot open {}", directory.display()))?,
    };
    match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        locked => locked.with_context(|| format!("cannot lock {}", directory.display())).map(|()| Some(opened)),
    }
}

/// A number nobody can foresee, from the seed that the standard library gives each hash map.
pub(crate) fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a directory again and again, in the background of a program that ends when it is told to.
    const CHILD_THAT_WRITES_ON: &str =
        "(trap '' HUP TERM; for round in $(seq 3000); do mkdir -p \"$PWD/again\"; sleep 0.01; done) & exec sleep 60";

    #[test]
    fn a_child_that_outlives_its_program_ends_with_the_run() {
        let run = Run::create().unwrap();
        run.start("parent", Command::new("/bin/sh").args(["-c", CHILD_THAT_WRITES_ON])).unwrap();
        let end = Instant::now() + REAP_DEADLINE;
        while !run.path("again").exists() {
            assert!(Instant::now() < end, "the child has not begun to write");
            std::thread::sleep(REAP_INTERVAL);
        }
        let directory = run.directory.clone();
        drop(run);
        assert!(!directory.exists(), "{} has been made again", directory.display());
    }
}
