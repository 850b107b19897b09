//! A program with all it starts, and what these use.

use std::{
    collections::HashMap,
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// How long a program may take to end.
const END: Duration = Duration::from_secs(5);
/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(1);

/// A running program. It is ended when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Its standard input ends with this process, however that ends.
    pub(crate) fn start(command: &mut Command) -> Self {
        let started = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(started.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// It and its descendants.
    fn tree(&self) -> Vec<u32> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for process in fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()) {
            if let Some(parent) = parent(process) {
                children.entry(parent).or_default().push(process);
            }
        }
        let mut tree = vec![self.0.id()];
        let mut next = 0;
        while let Some(process) = tree.get(next) {
            tree.extend(children.remove(process).unwrap_or_default());
            next += 1;
        }
        tree
    }

    /// The CPU time that all that still run have used.
    pub(crate) fn cpu(&self) -> Duration {
        self.tree().into_iter().map(cpu_of).sum()
    }

    /// KiB that they hold; of pages that processes share, each has its part (proc(5), `Pss`).
    pub(crate) fn memory(&self) -> u64 {
        self.tree().into_iter().filter_map(memory_of).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let end = Instant::now() + END;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < end {
            thread::sleep(INTERVAL);
        }
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} takes more than {} s", DEADLINE.as_secs());
        thread::sleep(INTERVAL);
    }
}

/// Waits until somebody listens at a port of this machine, without a connection, which some would take for a viewer.
pub(crate) fn until_listening(port: u16) {
    until(&format!("port {port}"), || {
        let sockets = ["tcp", "tcp6"].map(|kind| fs::read_to_string(format!("/proc/net/{kind}")).unwrap_or_default());
        let address = format!(":{port:04X}");
        // The second field is the address, the fourth the state, of which 0A is that of a listener (proc(5), `/proc/net/tcp`).
        let is_it = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().take(4).collect();
            fields.get(1).is_some_and(|local| local.ends_with(&address)) && fields.get(3) == Some(&"0A")
        };
        sockets.iter().flat_map(|text| text.lines()).any(is_it).then_some(())
    });
}

/// A connection on which small writes do not wait.
pub(crate) fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; the state and the parent come after it.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn cpu_of(process: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Duration::ZERO };
    let nanoseconds = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn memory_of(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok())
}
