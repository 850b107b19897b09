//! The command line: one file for each subcommand.

mod change;
mod check;
mod columns;
mod completion;
mod connection;
mod console;
mod convert;
mod crds;
mod diff;
mod explain;
mod export;
mod file_sync;
mod flags;
mod guacamole_provisioner;
mod inject;
mod injector;
mod input;
mod man;
pub mod manifests;
mod misplaced;
mod output;
mod probe;
mod reference;
mod remove_finalizers;
mod serve;
mod skew;
mod surroundings;
mod tasks;
mod uninject;
mod validate;
mod vnc;
mod workloads;

use std::process::ExitCode;

use clap::{ColorChoice, Parser, Subcommand};

use console::Console;

pub use reference::reference;

/// What the subcommand was for is done, and there is nothing its caller must look at.
const NOTHING_FOUND: ExitCode = ExitCode::SUCCESS;
/// There is something to look at: a difference, a finding, a refusal. With kubectl, too, 1 is a difference and more a failure.
const FOUND: ExitCode = ExitCode::FAILURE;
/// The subcommand could not do what it is for. The parser of the command line exits with the same.
const FAILED: u8 = 2;

/// Rigs Kubernetes pods: desktops, Guacamole connections and live files from a few annotations.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    /// When to colour; auto does on a terminal, unless `NO_COLOR` is set
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto", global = true)]
    color: ColorChoice,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Inject(inject::Inject),
    Uninject(uninject::Uninject),
    Diff(diff::Diff),
    Explain(explain::Explain),
    Validate(validate::Validate),
    Check(check::Check),
    Crds(crds::Crds),
    Export(export::Export),
    RemoveFinalizers(remove_finalizers::RemoveFinalizers),
    FileSync(file_sync::FileSync),
    Convert(convert::Convert),
    GuacamoleProvisioner(Box<guacamole_provisioner::GuacamoleProvisioner>),
    Vnc(vnc::Vnc),
    Completion(completion::Completion),
    Man(man::Man),
}

impl Arguments {
    /// Runs the chosen subcommand. What went wrong is on standard error.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let console = Console::new(self.color);
        let done = match self.command {
            Command::Serve(serve) => serve.run().map(|()| NOTHING_FOUND),
            Command::Inject(inject) => inject.run(&console),
            Command::Uninject(uninject) => uninject.run(&console),
            Command::Diff(diff) => diff.run(&console),
            Command::Explain(explain) => explain.run(&console),
            Command::Validate(validate) => validate.run(&console),
            Command::Check(check) => check.run(&console),
            Command::Crds(crds::Crds {}) => crds::run(),
            Command::Export(export) => export.run(&console).map(|()| NOTHING_FOUND),
            Command::RemoveFinalizers(finalizers) => finalizers.run(),
            Command::FileSync(file_sync) => file_sync.run(),
            Command::Convert(convert) => convert.run(&console),
            Command::GuacamoleProvisioner(provisioner) => provisioner.run(&console),
            Command::Vnc(vnc) => vnc.run(),
            Command::Completion(completion) => completion.run(),
            Command::Man(man) => man.run(&console),
        };
        done.unwrap_or_else(|error| {
            console.error(&format!("{error:#}"));
            ExitCode::from(FAILED)
        })
    }
}
