//! What is generated: the pages in docs/, completion scripts, manual pages, definitions.

use std::fs;
use std::path::Path;

use outrigger::api::annotations;
use outrigger::cli;

use crate::program::{Files, output};

/// Holds a generated page against the one in the tree, or writes it if asked to.
fn check(path: &str, generated: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&file, generated).expect("written");
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(there == generated, "{path} is stale: write it again with `UPDATE_GENERATED=1 cargo test --test cli generated`");
}

#[test]
fn the_page_of_annotations_is_generated() {
    check("docs/annotations.md", &annotations::reference());
}

#[test]
fn the_page_of_the_command_line_is_generated() {
    check("docs/cli.md", &cli::reference());
}

#[test]
fn shells_get_completion_scripts() {
    for (shell, mark) in
        [("bash", "complete -F"), ("zsh", "#compdef outrigger"), ("fish", "complete -c outrigger"), ("elvish", "outrigger")]
    {
        let script = output(&["completion", shell], "");
        assert!(script.contains(mark) && script.contains("uninject"), "{shell}: {script}");
    }
}

#[test]
fn each_subcommand_gets_a_manual_page() {
    let files = Files::new(&[]);
    output(&["man", "--output-dir", &files.path("man1")], "");
    for page in ["outrigger.1", "outrigger-inject.1", "outrigger-validate.1"] {
        let text = fs::read_to_string(files.directory().join("man1").join(page)).expect(page);
        assert!(text.contains(".SH SYNOPSIS"), "{text}");
    }
}

#[test]
fn the_definitions_are_printed() {
    let definitions = output(&["crds"], "");
    for kind in ["PgServer", "PgDatabase", "UserList", "SessionTemplate", "Session"] {
        assert!(definitions.contains(&format!("    kind: {kind}\n")), "{kind}");
    }
    assert_eq!(
        output(&["inject", "-f", "-"], &definitions).matches("kind: CustomResourceDefinition\n").count(),
        5,
        "it is a stream of manifests"
    );
}
