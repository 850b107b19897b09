//! A server as a process of its own, with what it uses.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

/// What a process holds, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// All that is resident, with the pages of its program.
    pub(crate) resident: u64,
    /// What only this process holds, and would be free again without it.
    pub(crate) own: u64,
}

/// A running program. It is killed when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        // What it says when it fails is for whoever reads the bench's own output.
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// The CPU time it has used, in user and kernel mode (proc(5), `stat`).
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(&self.0.id().to_string())
    }

    /// What it holds (proc(5), `status`).
    pub(crate) fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        Memory { resident: field("VmRSS:"), own: field("RssAnon:") }
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Has it end by itself.
    pub(crate) fn end(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success(), "it did not end well");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The CPU time this process has used.
pub(crate) fn own_cpu() -> Duration {
    cpu_of("self")
}

fn cpu_of(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name in parentheses may hold anything; the fields after it are numbered from 3.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_nanos(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
}
