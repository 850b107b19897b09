//! `outrigger crds`: writes the definitions of the kinds.

use std::process::ExitCode;

use anyhow::Result;

use crate::api::crd;

use super::NOTHING_FOUND;
use super::console::Console;

const EXAMPLES: &str = "\
Examples:
  # Define the kinds in a cluster
  outrigger crds | kubectl apply --server-side -f -";

/// Write the definitions of the kinds: PgServer, PgDatabase, UserList, SessionTemplate and Session
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Crds {}

impl Crds {
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode> {
        console.print(&crd::crds_yaml()?)?;
        Ok(NOTHING_FOUND)
    }
}
