//! `outrigger man`: writes the manual pages.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;

use super::console::Console;
use super::{Arguments, NOTHING_FOUND};

const EXAMPLES: &str = "\
Examples:
  outrigger man --output-dir ~/.local/share/man/man1
  man outrigger-inject";

/// Write the manual pages, one for each subcommand
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Man {
    /// Directory for the pages; it is made if need be
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
}

impl Man {
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode> {
        let directory = self.output_dir.display();
        fs::create_dir_all(&self.output_dir).with_context(|| format!("can't make {directory}"))?;
        clap_mangen::generate_to(Arguments::command(), &self.output_dir).with_context(|| format!("can't write to {directory}"))?;
        console.note(&format!("the manual pages are in {directory}"));
        Ok(NOTHING_FOUND)
    }
}
