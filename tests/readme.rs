//! The README's tour without a cluster works as it is written, and prints what is shown.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/readme.rs"]
mod readme;

use std::path::Path;
use std::process::Command;

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

#[test]
fn every_file_that_is_linked_is_there() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = ["architecture", "from-guacamole-import", "file-sync", "from-k8s-sidecar", "guacamole", "installation"];
    let pages = pages.map(|page| format!("docs/{page}.md"));
    for page in pages.iter().map(String::as_str).chain(["README.md", "webhook-config/README.md"]) {
        let text = std::fs::read_to_string(repository.join(page)).unwrap();
        let folder = repository.join(page).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap());
        for link in links.filter(|link| !link.is_empty()) {
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
