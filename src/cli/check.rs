//! `outrigger check`: whether the pod it runs in was injected. `helm test` runs it.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{api::annotations::STATUS, injection::Record};

use super::console::{self, Console};
use super::{FOUND, NOTHING_FOUND};

const EXAMPLES: &str = "\
Examples:
  # In a pod's container, with the annotation handed over by the downward API
  command: [outrigger, check]
  env:
    - name: OUTRIGGER_STATUS
      valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['outrigger.dev/status']\"}}

Exit codes:
  0  the pod was injected
  1  it was not
  2  the annotation can't be read";

/// Check, inside a pod, whether it was injected
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// The pod's annotation outrigger.dev/status; empty if it has none
    #[arg(long, value_name = "JSON", env = "OUTRIGGER_STATUS", default_value = "", hide_default_value = true)]
    status: String,
}

impl Check {
    /// Tells what the annotation says.
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        if self.status.is_empty() {
            console.error(&format!(
                "this pod was not injected: it has no annotation {STATUS}. Look whether the pods of outrigger-admission are ready, whether the API \
                 server can reach them, and whether the webhook configurations named outrigger have a caBundle"
            ));
            return Ok(FOUND);
        }
        let record = Record::parse(&self.status).with_context(|| format!("the annotation {STATUS} can't be read"))?;
        if record.injected.is_empty() {
            let reasons: Vec<String> = record.skipped.iter().map(|(sidecar, reason)| format!("{}: {}", &**sidecar, &**reason)).collect();
            console.error(&format!("this pod was not injected: {}", reasons.join("; ")));
            return Ok(FOUND);
        }
        let injected: Vec<&str> = record.injected.iter().map(|sidecar| &**sidecar).collect();
        console::print(&format!("this pod was injected with {} by Outrigger {}\n", injected.join(", "), &*record.version))?;
        Ok(NOTHING_FOUND)
    }
}
