//! What is generated: the pages in docs/, completion scripts, manual pages, definitions.

use std::fs;

use outrigger::api::annotations;
use outrigger::cli;

use crate::committed;
use crate::program::{Files, output};

#[test]
fn the_page_of_annotations_is_generated() {
    committed::check("docs/annotations.md", annotations::reference(), "cli");
}

#[test]
fn the_page_of_the_command_line_is_generated() {
    committed::check("docs/cli.md", cli::reference(), "cli");
}

#[test]
fn the_settings_of_the_file_mirror_are_generated() {
    with_table("docs/file-sync.md", &outrigger::sidecars::file_sync::settings::reference());
}

#[test]
fn the_settings_of_the_desktop_are_generated() {
    with_table("docs/desktop.md", &outrigger::sidecars::vnc::settings::reference());
}

/// Holds the table between two marks of a page against this one.
fn with_table(path: &str, table: &str) {
    let page = fs::read_to_string(path).expect("the page");
    let (before, rest) = page.split_once("generated`. -->\n").expect("where the table begins");
    let (_, after) = rest.split_once("<!-- end of settings -->").expect("where it ends");
    committed::check(path, format!("{before}generated`. -->\n\n{table}\n<!-- end of settings -->{after}"), "cli");
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
