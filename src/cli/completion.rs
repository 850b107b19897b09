//! `outrigger completion`: lets a shell complete the command line.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use super::console;
use super::{Arguments, NOTHING_FOUND};

const EXAMPLES: &str = "\
Examples:
  # For the current bash
  source <(outrigger completion bash)

  # For every zsh to come
  outrigger completion zsh > \"${fpath[1]}/_outrigger\"

  # For every fish to come
  outrigger completion fish > ~/.config/fish/completions/outrigger.fish";

/// Write the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let mut command = Arguments::command();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        console::print(&String::from_utf8(script).context("the completion script is not text")?)?;
        Ok(NOTHING_FOUND)
    }
}
