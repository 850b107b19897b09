//! The changes that readers don't see yet, and when they are to: once nothing has changed for a while, but not for ever.

use std::time::Duration;

use tokio::time::Instant;

/// Changes that wait for others to be published together with.
#[derive(Debug)]
pub(super) struct Unpublished {
    quiet: Duration,
    latest: Duration,
    names: Vec<String>,
    begun: Option<Instant>,
    due: Option<Instant>,
}

impl Unpublished {
    /// None yet. They wait until nothing has changed for `quiet`, at most for `latest`.
    #[must_use]
    pub(super) const fn new(quiet: Duration, latest: Duration) -> Self {
        Self { quiet, latest, names: Vec::new(), begun: None, due: None }
    }

    /// A file has changed.
    pub(super) fn add(&mut self, name: String, now: Instant) {
        self.names.push(name);
        self.touch(now);
    }

    /// Something has changed, of which nobody is told.
    pub(super) fn touch(&mut self, now: Instant) {
        let begun = *self.begun.get_or_insert(now);
        self.due = Some((now + self.quiet).min(begun + self.latest));
    }

    /// When they are to be published.
    #[must_use]
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// They can't be published now.
    pub(super) const fn put_off(&mut self, until: Instant) {
        self.due = Some(until);
    }

    /// Whether none wait.
    #[must_use]
    pub(super) const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// They were published. Returns the names of the files.
    pub(super) fn take(&mut self) -> Vec<String> {
        (self.begun, self.due) = (None, None);
        std::mem::take(&mut self.names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_wait_for_quiet_and_not_for_ever() {
        let second = Duration::from_secs(1);
        let (start, mut unpublished) = (Instant::now(), Unpublished::new(second, 3 * second));
        assert!(unpublished.due().is_none() && unpublished.is_empty());
        for (at, due) in [(0, 1), (1, 2), (2, 3), (3, 3)] {
            unpublished.add(at.to_string(), start + at * second);
            assert_eq!(unpublished.due(), Some(start + due * second), "at {at} s");
        }
        assert_eq!(unpublished.take(), ["0", "1", "2", "3"]);
        assert!(unpublished.due().is_none());
        unpublished.touch(start + 10 * second);
        assert_eq!(unpublished.due(), Some(start + 11 * second), "the wait begins anew");
        assert!(unpublished.is_empty());
    }
}
