//! The command line: one file for each subcommand.

mod export;
pub mod manifests;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Rigs Kubernetes pods: desktops, Guacamole connections and live files from a few annotations.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Export(export::Export),
}

impl Arguments {
    /// Runs the chosen subcommand. What went wrong is on standard error.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Export(export) => export.run(),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}
