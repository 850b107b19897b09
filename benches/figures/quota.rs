//! A bound on the CPU time of a process, by a control group of either version.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::process::Process;

/// The kernel hands the time out in these portions.
const PERIOD: Duration = Duration::from_millis(100);

const MEMBERS: &str = "cgroup.procs";
/// How long a group may take to be empty.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where control groups of version 2 are, and those of version 1 that bound CPU time.
const UNIFIED: &str = "/sys/fs/cgroup";
const CPU: &str = "/sys/fs/cgroup/cpu";

/// A control group with a quota, for the life of this.
pub(crate) struct Quota(PathBuf);

impl Quota {
    /// Gives a process so many hundredths of one CPU. Only root may.
    pub(crate) fn on(process: &Process, percent: u32) -> io::Result<Self> {
        let is_unified = Path::new(UNIFIED).join("cgroup.controllers").exists();
        let group = Path::new(if is_unified { UNIFIED } else { CPU }).join(format!("outrigger-figures-{}-{percent}", process.id()));
        fs::create_dir(&group)?;
        let quota = Self(group);
        let (portion, period) = ((PERIOD * percent / 100).as_micros().to_string(), PERIOD.as_micros().to_string());
        if is_unified {
            quota.set("cpu.max", &format!("{portion} {period}"))?;
        } else {
            quota.set("cpu.cfs_period_us", &period)?;
            quota.set("cpu.cfs_quota_us", &portion)?;
        }
        quota.set(MEMBERS, &process.id().to_string())?;
        Ok(quota)
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        set(&self.0.join(file), value)
    }
}

/// Writes to a file that the kernel made: where there is none, there are no control groups.
fn set(file: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

impl Drop for Quota {
    fn drop(&mut self) {
        let members = fs::read_to_string(self.0.join(MEMBERS)).unwrap_or_default();
        let parent = self.0.parent().unwrap_or(&self.0).join(MEMBERS);
        for member in members.lines() {
            // It may have ended already.
            let _ = set(&parent, member);
        }
        // The kernel takes a moment to see that nobody is left.
        let end = Instant::now() + PATIENCE;
        while fs::remove_dir(&self.0).is_err() && Instant::now() < end {
            thread::sleep(PERIOD);
        }
    }
}
