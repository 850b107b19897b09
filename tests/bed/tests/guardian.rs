//! Whatever happens to the program that started a control plane, nothing of it stays behind.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn a_killed_owner_leaves_no_process_and_no_file() {
    let temporary = tempfile::tempdir().unwrap();
    let victim = Victim::start(&temporary);
    let processes = victim.processes();
    kill_process(victim.pid(), Signal::KILL).unwrap();
    eventually("all processes ended", || processes.iter().all(|process| has_ended(*process)));
    eventually("the run's directory is gone", || victim.runs().is_empty());
}

#[test]
fn an_interrupted_owner_leaves_no_process_and_no_file() {
    let temporary = tempfile::tempdir().unwrap();
    let mut victim = Victim::start(&temporary);
    let processes = victim.processes();
    kill_process(victim.pid(), Signal::INT).unwrap();
    assert!(victim.owner.wait().unwrap().success());
    assert!(processes.iter().all(|process| has_ended(*process)), "the owner returns after its processes have ended");
    assert!(victim.runs().is_empty());
}

#[test]
fn what_a_killed_guardian_could_not_end_is_ended_by_the_next_run() {
    let temporary = tempfile::tempdir().unwrap();
    let mut victim = Victim::start(&temporary);
    let processes = victim.processes();
    kill_process(victim.guardian(), Signal::KILL).unwrap();
    kill_process(victim.pid(), Signal::KILL).unwrap();
    victim.owner.wait().unwrap();
    assert!(processes.iter().all(|process| !has_ended(*process)), "nobody was left to end them");
    let next = Victim::start(&temporary);
    assert!(processes.iter().all(|process| has_ended(*process)), "the next run ends them before it starts its own");
    assert_eq!(next.runs().len(), 1, "only the next run's own directory is there");
}

/// `outrigger-bed up` with a temporary directory of its own.
struct Victim<'temporary> {
    owner: Child,
    temporary: &'temporary TempDir,
}

impl<'temporary> Victim<'temporary> {
    fn start(temporary: &'temporary TempDir) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger-bed"));
        command.arg("up").env("TMPDIR", temporary.path()).stdout(Stdio::piped());
        let mut owner = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(owner.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("export KUBECONFIG="), "{line}");
        Self { owner, temporary }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.owner)
    }

    /// The recorded processes: etcd, kube-apiserver and kube-controller-manager. Each records itself when it has been started.
    fn processes(&self) -> Vec<Pid> {
        eventually("all processes are recorded", || self.recorded().len() == 3);
        self.recorded()
    }

    fn recorded(&self) -> Vec<Pid> {
        let records = self.runs().into_iter().flat_map(|run| entries(&run.join("processes")));
        records.filter_map(|record| fs::read_to_string(record).unwrap().split_whitespace().next().map(pid_of)).collect()
    }

    fn guardian(&self) -> Pid {
        let mut children = children_of(self.pid());
        // sh -c SCRIPT guardian RUN LOGS
        children.retain(|child| fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap().split('\0').nth(3) == Some("guardian"));
        assert_eq!(children.len(), 1, "{children:?}");
        children[0]
    }

    fn runs(&self) -> Vec<PathBuf> {
        let user = rustix::process::getuid().as_raw();
        entries(&self.temporary.path().join(format!("outrigger-{user}/runs")))
    }
}

impl Drop for Victim<'_> {
    fn drop(&mut self) {
        self.owner.kill().unwrap();
        self.owner.wait().unwrap();
        // The guardian still works in the temporary directory.
        eventually("the last run is gone", || self.runs().is_empty());
    }
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let threads = entries(Path::new(&format!("/proc/{parent}/task")));
    let children = threads.iter().map(|thread| fs::read_to_string(thread.join("children")).unwrap());
    children.flat_map(|line| line.split_whitespace().map(pid_of).collect::<Vec<Pid>>()).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn pid_of(text: &str) -> Pid {
    Pid::from_raw(text.parse().unwrap()).unwrap()
}

/// A zombie has ended too: whether its parent looks is not the guardian's affair.
fn has_ended(process: Pid) -> bool {
    match fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").unwrap().1.starts_with('Z'),
        Err(_) => true,
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited {} s until {what}", DEADLINE.as_secs());
        sleep(Duration::from_millis(50));
    }
}
