//! What a sidecar answers to those who wait for it in the same pod.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;

use crate::sidecars::health::{Answer, Unanswered};

use super::{FOUND, NOTHING_FOUND, console};

/// As long as the kubelet waits for a native sidecar.
pub(super) const WAIT_LIMIT: Duration = Duration::from_secs(300);

/// What the sidecar says is missing, for the kubelet's Event and for people.
pub(super) fn tell(answer: Result<Answer, Unanswered>) -> Result<ExitCode> {
    let Answer { is_good, report } = answer?;
    let missing = missing(&report);
    let said = if is_good || missing.is_empty() { report } else { missing.join("\n") + "\n" };
    console::print(&said)?;
    Ok(if is_good { NOTHING_FOUND } else { FOUND })
}

/// The lines of a report that say what to do. What is well, or only waits for the others, would push them out of sight.
pub(super) fn missing(report: &str) -> Vec<&str> {
    report.lines().filter(|line| !(line.ends_with(": ok") || line.ends_with(": waiting"))).collect()
}
