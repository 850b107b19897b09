//! The README's tour without a cluster works as it is written, and prints what is shown.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/readme.rs"]
mod readme;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use outrigger_bed::{gaps, obtain};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn the_offline_tour_works_as_written() {
    let examples = readme::examples("### Offline");
    assert!(examples.len() >= 4, "the tour is found: {examples:?}");
    let folder = tempfile::tempdir().unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::os::unix::fs::symlink(repository.join("examples"), folder.path().join("examples")).unwrap();
    for example in examples {
        let mut shell = Command::new("sh");
        shell.current_dir(folder.path()).env("PATH", path_with_the_program());
        example.check(&mut shell, "");
    }
}

/// The page's port is another one where that is taken.
#[test]
fn the_desktop_without_a_cluster_works_as_written() {
    if let Err(why) = obtain::desktop() {
        return gaps::skip("the_desktop_without_a_cluster", &why).unwrap();
    }
    let [example] = &readme::examples("## Without any cluster")[..] else { panic!("there is one command") };
    let (before, after) = example.shown.as_deref().unwrap().split_once("6080").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell.env("PATH", path_with_the_program()).env("XDG_RUNTIME_DIR", folder.path()).stderr(Stdio::piped());
    let mut desktop = shell.arg("-c").arg(format!("exec {}", example.commands.trim())).spawn().unwrap();
    let mut said = String::new();
    let mut errors = BufReader::new(desktop.stderr.take().unwrap());
    let read = errors.read_line(&mut said);
    kill_process(Pid::from_child(&desktop), Signal::TERM).unwrap();
    // It ends by itself when it is told to, and takes its window along.
    assert!(desktop.wait().unwrap().success());
    read.unwrap();
    let port = said.trim_end().strip_prefix(before).and_then(|rest| rest.strip_suffix(after.trim_end()));
    assert!(port.is_some_and(|port| port.parse::<u16>().is_ok()), "{said}");
}

#[test]
fn every_file_that_is_linked_is_there() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages =
        ["architecture", "databases", "desktop", "from-guacamole-import", "file-sync", "from-k8s-sidecar", "from-my-local", "guacamole"];
    let pages = pages.iter().chain(&["installation"]).map(|page| format!("docs/{page}.md")).collect::<Vec<_>>();
    for page in pages.iter().map(String::as_str).chain(["README.md", "webhook-config/README.md"]) {
        let text = std::fs::read_to_string(repository.join(page)).unwrap();
        let folder = repository.join(page).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap());
        for link in links.filter(|link| !link.is_empty() && !link.starts_with("https://")) {
            assert!(folder.join(link).exists(), "{page} links to {link}, which is not there");
        }
    }
}

/// The folder of the program under test, before all others.
fn path_with_the_program() -> std::ffi::OsString {
    let program = Path::new(env!("CARGO_BIN_EXE_outrigger")).parent().unwrap().to_owned();
    let others = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(program).chain(std::env::split_paths(&others))).unwrap()
}
