//! The reference page of the command line, generated from its definition.

use clap::{Command, CommandFactory};

use super::Arguments;

/// Columns of the help texts in the page.
const WIDTH: usize = 100;

/// `docs/cli.md`, whole.
#[must_use]
pub fn reference() -> String {
    let mut program = Arguments::command().term_width(WIDTH);
    program.build();
    format!(
        "# The command line\n\n\
         <!-- Generated from the definition in src/cli: `UPDATE_GENERATED=1 cargo test --test cli generated`. -->\n{}",
        sections(&mut program)
    )
}

/// A section for a command and for each of its subcommands.
fn sections(command: &mut Command) -> String {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    let title = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut text = format!("\n## {title}\n\n```text\n{}\n```\n", lines.join("\n").trim_end());
    let subcommands = command.get_subcommands_mut().filter(|subcommand| !subcommand.is_hide_set() && subcommand.get_name() != "help");
    text.extend(subcommands.map(sections));
    text
}
