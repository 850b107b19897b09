//! All processes that a child has started, itself among them.

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::Child;

/// The group of a child that was started with `process_group(0)`. It is killed when this is dropped.
#[derive(Debug)]
pub struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    /// The group whose leader a child is.
    #[must_use]
    pub fn of(leader: &Child) -> Self {
        Self(leader.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    /// Sends a signal to all of them.
    pub fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // Those that can't be signalled have ended.
            let _ = kill_process_group(group, signal);
        }
    }

    /// The leader has ended: if it has left nobody, there is no such group any more, and another may get its number.
    pub fn release_if_empty(&mut self) {
        self.0 = self.0.filter(|group| test_kill_process_group(*group).is_ok());
    }

    /// The leader has ended by itself: what it left running is to go on.
    pub const fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
