//! The README's commands and what it says they print.

use std::process::Command;

/// A block of commands, and the output shown below it.
#[derive(Debug)]
pub(crate) struct Example {
    pub(crate) commands: String,
    pub(crate) shown: Option<String>,
}

/// The blocks of commands below a heading, down to the next heading.
pub(crate) fn examples(heading: &str) -> Vec<Example> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, section) = readme.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("there is no heading {heading}"));
    let section = section.split("\n#").next().unwrap_or_default();
    let mut examples: Vec<Example> = Vec::new();
    for block in section.split("\n```").skip(1).step_by(2) {
        match (block.split_once('\n'), examples.last_mut()) {
            (Some(("sh", commands)), _) => examples.push(Example { commands: commands.to_owned(), shown: None }),
            (Some(("text", shown)), Some(example)) => example.shown = Some(shown.to_owned()),
            _ => panic!("a block is neither sh nor the text shown below one: {block}"),
        }
    }
    examples
}

impl Example {
    /// Runs the commands in a shell, and compares what a terminal would show with what is shown, in which `...` stands for anything.
    /// Commands whose output is not shown must succeed.
    pub(crate) fn check(&self, shell: &mut Command, prelude: &str) {
        let output = shell.arg("-c").arg(format!("exec 2>&1\n{prelude}\n{}", self.commands)).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let is_as_shown = match &self.shown {
            Some(shown) => fits(printed.trim_end(), shown),
            None => output.status.success(),
        };
        assert!(is_as_shown, "{}\nprints:\n{printed}\nbut the README shows:\n{:?}", self.commands, self.shown);
    }
}

fn fits(printed: &str, shown: &str) -> bool {
    let mut pieces = shown.split("...");
    let Some(mut rest) = pieces.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let mut last = "";
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        (rest, last) = (after, piece);
    }
    // The end is free only if the last piece is `...`.
    rest.is_empty() || (shown.ends_with("...") && last.is_empty())
}

#[test]
fn what_is_shown_must_fit_what_is_printed() {
    for (shown, is_fitting) in [
        ("one\ntwo\nthree", true),
        ("one\n...\nthree", true),
        ("one...", true),
        ("...three", true),
        ("one", false),
        ("two...", false),
        ("...two", false),
        ("one\n...four...", false),
    ] {
        assert_eq!(fits("one\ntwo\nthree", shown), is_fitting, "{shown}");
    }
}
