//! `outrigger inject`: adds the sidecars that pods ask for, offline.

use std::process::ExitCode;

use anyhow::Result;

use super::console::Console;
use super::injector::{Injected, inject_all};
use super::input::Input;
use super::output::Output;
use super::surroundings::SurroundingsArguments;
use super::{FOUND, NOTHING_FOUND};

const EXAMPLES: &str = "\
Examples:
  # Add the sidecars and apply
  outrigger inject -f deployment.yaml | kubectl apply -f -

  # Everything in a directory, with the annotations of a namespace of the cluster as defaults
  kubectl get namespace desk -o yaml > namespace.yaml
  outrigger inject -f manifests/ -R -n desk --namespace-file namespace.yaml

  # Only what changes, as JSON patches
  outrigger inject -f deployment.yaml -o patch

Exit codes:
  0  done
  1  a workload is refused, and nothing is written: a pipe to kubectl applies nothing
  2  the input can't be read";

/// Add the sidecars that pods and pod templates ask for
///
/// Reads pods, the built-in workload kinds, lists of them and any other object; what has no pod passes through as it is.
/// What the webhook would decide is decided here, too, so injecting twice changes nothing. A workload that was injected under
/// other settings gets its sidecars replaced. Warnings, and what had to be assumed, go to standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Inject {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    surroundings: SurroundingsArguments,
    #[command(flatten)]
    output: Output,
}

impl Inject {
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode> {
        let documents = self.input.read()?;
        let surroundings = self.surroundings.read(&documents)?;
        let Injected { changes, is_refused } = inject_all(&documents, &surroundings, console)?;
        if is_refused {
            return Ok(FOUND);
        }
        self.output.write(documents, changes)?;
        Ok(NOTHING_FOUND)
    }
}
