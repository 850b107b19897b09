//! What a sidecar answers to those who wait for it in the same pod.

use std::{io, process::ExitCode, time::Duration};

use anyhow::{Context, Result};

use crate::sidecars::health::Answer;

use super::{FOUND, NOTHING_FOUND, console};

/// As long as the kubelet waits for a native sidecar.
pub(super) const WAIT_LIMIT: Duration = Duration::from_secs(300);

/// What the sidecar says is missing, for the kubelet's Event and for people.
pub(super) fn tell(port: u16, answer: io::Result<Answer>) -> Result<ExitCode> {
    let Answer { is_good, report } = answer.with_context(|| format!("the sidecar does not answer at port {port}"))?;
    // What is well, or only waits for the others, would push what is to be done out of sight.
    let is_telling = |line: &&str| is_good || !(line.ends_with(": ok") || line.ends_with(": waiting"));
    let telling: Vec<&str> = report.lines().filter(is_telling).collect();
    let said = if telling.is_empty() { report } else { telling.join("\n") + "\n" };
    console::print(&said)?;
    Ok(if is_good { NOTHING_FOUND } else { FOUND })
}
