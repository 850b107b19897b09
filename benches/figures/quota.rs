//! A bound on the CPU time of a process (cgroup v2, `cpu.max`).

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::process::Process;

/// The kernel hands the time out in these portions.
const PERIOD: Duration = Duration::from_millis(100);

/// How long a group may take to be empty.
const PATIENCE: Duration = Duration::from_secs(5);

/// A control group with a quota, for the life of this.
pub(crate) struct Quota(PathBuf);

impl Quota {
    /// Gives a process so many hundredths of one CPU. Only root may.
    pub(crate) fn on(process: &Process, percent: u32) -> std::io::Result<Self> {
        let group = PathBuf::from(format!("/sys/fs/cgroup/outrigger-figures-{}-{percent}", process.id()));
        fs::create_dir(&group)?;
        let quota = Self(group);
        fs::write(quota.0.join("cpu.max"), format!("{} {}", (PERIOD * percent / 100).as_micros(), PERIOD.as_micros()))?;
        fs::write(quota.0.join("cgroup.procs"), process.id().to_string())?;
        Ok(quota)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let members = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for member in members.lines() {
            // It may have ended already.
            let _ = fs::write("/sys/fs/cgroup/cgroup.procs", member);
        }
        // The kernel takes a moment to see that nobody is left.
        let end = Instant::now() + PATIENCE;
        while fs::remove_dir(&self.0).is_err() && Instant::now() < end {
            thread::sleep(PERIOD);
        }
    }
}
