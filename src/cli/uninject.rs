//! `outrigger uninject`: takes away what was injected, and nothing else.

use std::process::ExitCode;

use anyhow::{Context, Result};

use super::NOTHING_FOUND;
use super::change::Change;
use super::console::Console;
use super::injector::undo;
use super::input::Input;
use super::output::Output;
use super::workloads;

const EXAMPLES: &str = "\
Examples:
  # Back to what was written
  outrigger uninject -f injected.yaml

  # Take the sidecars out of a Deployment that was injected offline and applied
  kubectl get deployment web -o yaml | outrigger uninject -f - | kubectl apply -f -

Exit codes:
  0  done
  2  the input, or the record of what was added, can't be read";

/// Take away what was injected
///
/// Goes by the record in the annotation outrigger.dev/status alone: what a manifest's author wrote stays, even if it equals
/// what Outrigger would have added. A workload without that record passes through as it is. A container that was renamed since
/// is known by its mounts of volumes that were added; what can't be found is told on standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Uninject {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    output: Output,
}

impl Uninject {
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode> {
        let documents = self.input.read()?;
        let mut changes = Vec::new();
        for workload in workloads::find(&documents) {
            let pod = workload.pod(&documents)?;
            let Some(undone) = undo(pod).with_context(|| workload.to_string())? else { continue };
            for warning in undone.warnings {
                console.warning(&format!("{workload}: {warning}"));
            }
            let mut change = Change::none(&workload, pod);
            change.push(&undone.patch)?;
            changes.push(change);
        }
        self.output.write(documents, changes)?;
        Ok(NOTHING_FOUND)
    }
}
