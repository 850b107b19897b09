//! The demonstration as people see it: the whole story once, the README's tour on its cluster, and nothing left after Ctrl-C.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/readme.rs"]
mod readme;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Runs with temporary directories of their own know nothing of each other, and their nodes would want the same addresses.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the audience must have read, in this order.
const STORY: [&str; 17] = [
    "== The kinds are defined",
    "customresourcedefinition.apiextensions.k8s.io/pgdatabases.outrigger.dev serverside-applied",
    "== The webhook server starts",
    "== The webhooks are registered",
    "mutatingwebhookconfiguration.admissionregistration.k8s.io/outrigger created",
    "== The examples are applied",
    "== What was added to workplace in namespace default: outrigger-file-sync, outrigger-guacamole, outrigger-vnc",
    "== What was added to quiet in namespace desks: outrigger-vnc",
    "== Nothing was added to opted-out in namespace desks",
    "== bad-annotation.yaml is refused",
    "vnc.outrigger.dev/geometry is \"1280\": it must be WIDTHxHEIGHT",
    "== bad-pg-database.yaml is refused",
    "choose another name",
    "== bad-session.yaml is refused",
    "spec.geometry: Invalid value: ",
    "must be WIDTHxHEIGHT in pixels, each from 64 to 16384, such as 1280x800",
    "administrator.kubeconfig'",
];

#[test]
fn the_story_is_told_to_its_end() {
    let _turn = turn();
    let temporary = tempfile::tempdir().unwrap();
    let picture = temporary.path().join("picture.png");
    let output = demo(&temporary).arg("--once").arg("--picture").arg(&picture).output().unwrap();
    let (told, complaint) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{complaint}\n{told}");
    let mut rest = told.as_str();
    for line in STORY {
        let (_, after) = rest.split_once(line).unwrap_or_else(|| panic!("{line:?} is not told, or too early:\n{told}"));
        rest = after;
    }
    assert!(told.contains("+  - name: outrigger-"), "one pod's additions are shown");
    assert!(!told.contains('\x1b'), "colour is for terminals");
    if told.contains("Chromium was there, and saw the window.") {
        assert!(fs::read(&picture).unwrap().starts_with(b"\x89PNG"), "what it saw is written");
    }
    let left = runs(&temporary);
    assert!(left.is_empty(), "the run has gone, but for {left:?}: {complaint}");
}

#[test]
fn the_tour_works_on_its_cluster_and_ctrl_c_leaves_no_process_and_no_file() {
    let _turn = turn();
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Running(demo(&temporary).stdout(Stdio::piped()).spawn().unwrap());
    let mut told = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let alias = told.find(|line| line.starts_with("alias kubectl=")).unwrap();
    let kubectl = alias.trim_start_matches("alias kubectl=").replace('\'', "");
    let page = told.find(|line| line.starts_with("Open http://") || line.contains(" is not here: ")).unwrap();
    assert!(told.any(|line| line == "Ctrl-C ends everything."), "it waits at its end");
    if let Some(page) = page.strip_prefix("Open http://") {
        let mut connection = TcpStream::connect(page.trim_end_matches('/')).unwrap();
        write!(connection, "GET / HTTP/1.1\r\nHost: {page}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("<title>Desktop</title>"), "a page is at the printed address: {answer}");
    }
    let processes = recorded_processes(&temporary);
    assert!(processes.len() >= 4, "etcd, kube-apiserver, kube-controller-manager and outrigger at least: {processes:?}");
    assert!(processes.iter().all(|process| !has_ended(process)), "they run as long as it waits");
    for example in readme::examples("### On the demo's cluster") {
        // Shells that are not interactive know no aliases.
        example.check(&mut Command::new("sh"), &format!("kubectl() {{ {kubectl} \"$@\"; }}"));
    }

    kill_process(Pid::from_child(&demo.0), Signal::INT).unwrap();
    let last = told.last();
    assert!(demo.0.wait().unwrap().success());
    assert_eq!(last.as_deref(), Some("== Everything has ended; nothing is left behind"));
    assert!(processes.iter().all(|process| has_ended(process)), "it returns after its processes have ended");
    assert!(runs(&temporary).is_empty(), "the run has gone");
}

#[test]
fn a_program_that_does_not_work_fails_the_demo() {
    let _turn = turn();
    let temporary = tempfile::tempdir().unwrap();
    let output = bed(&temporary).args(["--outrigger", "/bin/false", "--once"]).output().unwrap();
    assert!(!output.status.success());
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("outrigger ended early"), "{complaint}");
    assert!(runs(&temporary).is_empty(), "the run has gone");
}

/// The demo of the program under test.
fn demo(temporary: &TempDir) -> Command {
    let mut demo = bed(temporary);
    // Without the tables that only debuggers read: it becomes part of an image.
    let program = temporary.path().join("outrigger");
    let stripped = Command::new("strip").arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_outrigger")).status().unwrap();
    assert!(stripped.success(), "strip comes with the C compiler");
    demo.arg("--outrigger").arg(program);
    demo
}

/// The test bed's demo, with a temporary directory of its own. Cargo becomes the program it runs, and so keeps its process id.
fn bed(temporary: &TempDir) -> Command {
    let mut bed = Command::new(env!("CARGO"));
    bed.current_dir(env!("CARGO_MANIFEST_DIR")).env("TMPDIR", temporary.path());
    bed.args(["run", "--quiet", "--package", "outrigger-bed", "--", "demo", "--examples", "examples", "--crds", "charts/outrigger/crds"]);
    bed
}

/// Ends with the test, also if that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The directories of runs that have not ended.
fn runs(temporary: &TempDir) -> Vec<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    entries(temporary.path().join(format!("outrigger-{user}/runs")))
}

/// The ids of the processes that a run has started.
fn recorded_processes(temporary: &TempDir) -> Vec<String> {
    let records = runs(temporary).into_iter().flat_map(|run| entries(run.join("processes")));
    records.filter_map(|record| Some(fs::read_to_string(record).unwrap().split_whitespace().next()?.to_owned())).collect()
}

fn entries(folder: PathBuf) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// A zombie has ended too.
fn has_ended(process: &str) -> bool {
    match fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").unwrap().1.starts_with('Z'),
        Err(_) => true,
    }
}
