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
    let mut page = format!(
        "# The command line\n\n\
         <!-- Generated from the definition in src/cli: `UPDATE_GENERATED=1 cargo test --test cli generated`. -->\n\n\
         {}",
        section(&mut program.clone())
    );
    let subcommands = program.get_subcommands_mut().filter(|subcommand| !subcommand.is_hide_set() && subcommand.get_name() != "help");
    page.extend(subcommands.map(|subcommand| {
        let title = subcommand.get_name().to_owned();
        format!("\n## {title}\n\n{}", section(subcommand))
    }));
    page
}

fn section(command: &mut Command) -> String {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    format!("```text\n{}\n```\n", lines.join("\n").trim_end())
}
