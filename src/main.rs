//! The program: reads the command line, installs the TLS provider, runs.

use std::process::ExitCode;

use clap::Parser;
use outrigger::cli::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("error: another TLS provider was installed before ours");
        return ExitCode::FAILURE;
    }
    arguments.run()
}
