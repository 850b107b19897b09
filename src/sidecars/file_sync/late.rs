//! The places whose contents are not at hand, or could not be written: each is tried again at its own time, so that none waits for another.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::plan::Target;
use crate::runtime::backoff::Backoff;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// All places that are late.
#[derive(Debug, Default)]
pub(super) struct Late(BTreeMap<Target, Attempts>);

#[derive(Debug)]
struct Attempts {
    due: Instant,
    backoff: Backoff,
    progress: Progress,
}

/// How far the attempts for a place went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    NotAsked,
    /// Its object could not be read.
    Asked,
    /// Its object was read: whatever is wrong is wrong with the file.
    Read,
}

impl Late {
    /// A place is late from now on, if it was not already.
    pub(super) fn add(&mut self, target: Target, now: Instant) {
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        self.0.entry(target).or_insert(Attempts { due: now, backoff, progress: Progress::NotAsked });
    }

    /// The object of a place could not be read: it is tried again after a pause.
    pub(super) fn not_read(&mut self, target: &Target, now: Instant) {
        self.put_off(target, Progress::Asked, now);
    }

    /// The file could not be written: it is tried again after a pause.
    pub(super) fn not_written(&mut self, target: &Target, now: Instant) {
        self.add(target.clone(), now);
        self.put_off(target, Progress::Read, now);
    }

    /// A place is no longer late.
    pub(super) fn remove(&mut self, target: &Target) {
        self.0.remove(target);
    }

    /// How many are late.
    #[must_use]
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// When the next is to be tried.
    #[must_use]
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.values().map(|attempts| attempts.due).min()
    }

    /// Those to be tried now.
    #[must_use]
    pub(super) fn due(&self, now: Instant) -> Vec<Target> {
        self.0.iter().filter(|(_, attempts)| attempts.due <= now).map(|(target, _)| target.clone()).collect()
    }

    /// Whether the object of each was asked for.
    #[must_use]
    pub(super) fn were_all_asked(&self) -> bool {
        self.0.values().all(|attempts| attempts.progress >= Progress::Asked)
    }

    /// Whether the object of each was read.
    #[must_use]
    pub(super) fn were_all_read(&self) -> bool {
        self.0.values().all(|attempts| attempts.progress == Progress::Read)
    }

    fn put_off(&mut self, target: &Target, progress: Progress, now: Instant) {
        if let Some(attempts) = self.0.get_mut(target) {
            attempts.progress = progress.max(attempts.progress);
            // News of an object make no pause longer.
            if attempts.due <= now {
                attempts.due = now + attempts.backoff.pause();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> Target {
        Target { root: 0, path: path.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_again_and_again_does_not_delay_another() {
        let mut late = Late::default();
        for _ in 0..10 {
            tokio::time::advance(LONGEST_PAUSE).await;
            late.not_written(&target("a"), Instant::now());
        }
        assert!(late.next_due().unwrap() >= Instant::now() + LONGEST_PAUSE / 2);
        late.add(target("b"), Instant::now());
        assert_eq!(late.due(Instant::now()), [target("b")]);
        late.not_read(&target("b"), Instant::now());
        assert!(late.due(Instant::now()).is_empty() && late.next_due().unwrap() <= Instant::now() + FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_asked_for_and_read_before_all_are() {
        let (mut late, now) = (Late::default(), Instant::now());
        assert!(late.were_all_asked() && late.were_all_read());
        late.add(target("a"), now);
        assert!(!late.were_all_asked());
        late.not_read(&target("a"), now);
        assert!(late.were_all_asked() && !late.were_all_read());
        late.not_written(&target("a"), now);
        assert!(late.were_all_read());
        late.not_read(&target("a"), now);
        assert!(late.were_all_read(), "what was known once is known");
        late.remove(&target("a"));
        assert_eq!((late.count(), late.next_due()), (0, None));
    }
}
