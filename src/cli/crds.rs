//! `outrigger crds`: writes the definitions of the kinds.

use std::process::ExitCode;

use anyhow::Result;

use crate::api::crd;

use super::NOTHING_FOUND;
use super::console;

const EXAMPLES: &str = "\
Examples:
  # Define the kinds in a cluster
  outrigger crds | kubectl apply --server-side -f -";

/// Write the definitions of the kinds in outrigger.dev/v1alpha1 (custom resource definitions)
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Crds {}

/// Writes them.
pub(super) fn run() -> Result<ExitCode> {
    console::print(&crd::crds_yaml()?)?;
    Ok(NOTHING_FOUND)
}
