//! The duty of a container's first process: processes that lose their parent become its children (`pid_namespaces(7)`), and none is gone before
//! it has asked how they ended. Any other process has no such duty, and does nothing here.

use std::{
    collections::BTreeSet,
    fs,
    future::pending,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

/// The children of others, told from our own. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Orphans {
    own: Arc<Mutex<BTreeSet<i32>>>,
}

/// A child of our own. Nobody but its parent asks for its end until this is dropped.
#[derive(Debug)]
pub struct OwnChild {
    id: i32,
    orphans: Orphans,
}

impl Orphans {
    /// Starts a child of our own. The second is to be kept until its end is known.
    ///
    /// # Errors
    /// It can't be started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<(Child, OwnChild)> {
        // While it is not written down yet, nobody looks for orphans.
        let mut own = self.lock();
        let child = command.spawn()?;
        let id = child.id().unwrap_or_default().cast_signed();
        own.insert(id);
        Ok((child, OwnChild { id, orphans: self.clone() }))
    }

    /// Asks for the end of each orphan, for as long as this runs. Not for a process some of whose children are not started by
    /// [`Self::spawn`]: it would be asked for theirs, too.
    pub async fn reap(self) {
        if !getpid().is_init() {
            return pending().await;
        }
        let Ok(mut ended) = signal(SignalKind::child()).inspect_err(|error| tracing::warn!(%error, "orphans are not reaped")) else {
            return pending().await;
        };
        loop {
            self.reap_orphans(&ended_children());
            ended.recv().await;
        }
    }

    /// Asks for the end of those that are not our own.
    fn reap_orphans(&self, ended: &[i32]) {
        let own = self.lock();
        for orphan in ended.iter().filter(|child| !own.contains(child)) {
            if let Ok(Some(_)) = waitpid(Pid::from_raw(*orphan), WaitOptions::NOHANG) {
                tracing::debug!(process = orphan, "an orphan has ended");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        // A set of numbers is whole after any panic.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnChild {
    fn drop(&mut self) {
        self.orphans.lock().remove(&self.id);
    }
}

/// Our children that have ended, and whose end nobody has asked for.
fn ended_children() -> Vec<i32> {
    let this = getpid().as_raw_nonzero().get();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| is_ended_child(&stat, this))).collect()
}

/// Reads a line of `proc_pid_stat(5)`. The name in brackets may hold anything, also brackets.
fn is_ended_child(stat: &str, parent: i32) -> bool {
    let mut fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ')).into_iter().flatten();
    fields.next() == Some("Z") && fields.next().and_then(|id| id.parse().ok()) == Some(parent)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_line_of_the_system_is_read_whatever_the_process_is_called() {
        assert!(is_ended_child("12 (sh) Z 1 12 12 0", 1));
        assert!(is_ended_child("12 (a) S 7 (b) Z 1 12 12 0", 1));
        for other in ["12 (sh) S 1 12", "12 (sh) Z 7 12", "12 (sh) Z 11 12", "", "12 (sh)"] {
            assert!(!is_ended_child(other, 1), "{other}");
        }
    }

    #[tokio::test]
    async fn the_end_of_our_own_child_is_left_to_us_and_anybody_elses_is_asked_for() {
        let orphans = Orphans::default();
        let (mut child, own) = orphans.spawn(Command::new("sh").args(["-c", "exit 7"])).unwrap();
        let id = child.id().unwrap().cast_signed();
        let end = Instant::now() + Duration::from_secs(60);
        while !ended_children().contains(&id) {
            assert!(Instant::now() < end, "{id} goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
        orphans.reap_orphans(&[id]);
        assert!(ended_children().contains(&id));
        drop(own);
        orphans.reap_orphans(&[id]);
        assert!(!ended_children().contains(&id));
        assert!(child.wait().await.is_err(), "it was asked for");
    }
}
