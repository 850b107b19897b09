//! What became of evictions: whether the replacement came, and was any better. Replacements are known by the API server's own
//! times of creation; pauses go by a clock that never jumps.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::injection::Standing;

use super::{Need, Sighting};

/// How long a replacement is waited for; doubled each time it was no better.
const FIRST_PAUSE: Duration = Duration::from_mins(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);
/// A controller whose pods were not seen for this long is forgotten.
const FORGOTTEN: Duration = Duration::from_hours(24);
/// Controllers that are remembered. With more than that under way, no further one is begun with.
const CAPACITY: usize = 1000;
/// Controllers that are tried before one of them has shown that evictions help, and that fail in a row before it is doubted: then the
/// fault is not theirs.
const TRIALS: u32 = 3;

/// The evictions of each controller's pods, as far as they are remembered. The next holder of the lease begins anew.
#[derive(Debug, Default)]
pub struct Attempts {
    of: HashMap<String, Attempt>,
    trials: Trials,
}

/// Whether evictions help: those of pods without sidecars, and apart from these those of pods with outdated ones.
#[derive(Debug, Default)]
struct Trials {
    missing: Trial,
    outdated: Trial,
}

/// Whether evictions of one sort help.
#[derive(Debug, Default)]
struct Trial {
    /// Whether one has helped, and not too many have failed since.
    is_proven: bool,
    /// Controllers for which they did no good since they last helped one.
    failed_in_a_row: u32,
    latest: Option<Instant>,
}

#[derive(Debug)]
struct Attempt {
    /// When the controller's youngest pod was created. Younger ones are replacements.
    youngest: Timestamp,
    /// The record of the evicted pod.
    record: Option<u64>,
    is_for_newer_sidecars: bool,
    evicted: Instant,
    /// When a pod of the controller was last seen.
    heard: Instant,
    failures: u32,
    setback: Option<Setback>,
}

/// Why an eviction did no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// No replacement has come.
    NotReplaced,
    /// The replacement lacks what the evicted pod lacked.
    NoBetter,
    /// The replacement has the very same outdated sidecars.
    SameSidecars,
}

/// Whether a controller's pod may be evicted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// Others are to be seen first, or its own youngest pods.
    Queued,
    /// The replacement of an evicted one is not seen yet.
    Awaiting,
    /// The last eviction did no good.
    Paused(Setback),
}

impl Attempts {
    /// Remembers that a pod of a controller was evicted, whose youngest pod was created then.
    pub fn evicted(&mut self, controller: &str, seen: &Sighting, youngest: Timestamp, now: Instant) {
        let is_for_newer_sidecars = seen.standing == Standing::Outdated;
        let failures = self.of.get(controller).map_or(0, |attempt| attempt.failures);
        let attempt = Attempt { youngest, record: seen.record, is_for_newer_sidecars, evicted: now, heard: now, failures, setback: None };
        self.trials.of(is_for_newer_sidecars).latest = Some(now);
        self.of.insert(controller.to_owned(), attempt);
    }

    /// Learns from a controller's pod whether it is a replacement, and whether it is any better.
    pub fn learn(&mut self, controller: &str, seen: &Sighting, now: Instant) {
        let Some(attempt) = self.of.get_mut(controller) else { return };
        attempt.heard = now;
        if seen.created <= attempt.youngest {
            return;
        }
        let is_for_newer_sidecars = attempt.is_for_newer_sidecars;
        let setback = match seen.standing {
            // It may be unable to have any, which is no reason to take away another.
            Standing::Settled => return,
            Standing::Outdated if is_for_newer_sidecars && seen.record == attempt.record => Setback::SameSidecars,
            Standing::Outdated if is_for_newer_sidecars => Setback::NoBetter,
            Standing::Missing => Setback::NoBetter,
            Standing::Injected | Standing::Outdated => {
                self.of.remove(controller);
                self.trials.of(is_for_newer_sidecars).helped();
                return;
            }
        };
        // Several replacements are one failure, and so is one that comes late.
        if attempt.setback.replace(setback).is_none() && attempt.failed() {
            self.trials.of(is_for_newer_sidecars).failed();
        }
    }

    /// Gives up waiting for replacements that are long overdue, and forgets controllers that are gone.
    pub fn advance(&mut self, now: Instant) {
        self.of.retain(|_, attempt| now.duration_since(attempt.heard) < FORGOTTEN);
        for attempt in self.of.values_mut().filter(|attempt| attempt.setback.is_none() && now >= attempt.pause_ends()) {
            attempt.setback = Some(Setback::NotReplaced);
            if attempt.failed() {
                self.trials.of(attempt.is_for_newer_sidecars).failed();
            }
        }
    }

    /// Whether a pod of this controller may be evicted because of this need.
    #[must_use]
    pub fn permission(&self, controller: &str, need: &Need, now: Instant) -> Permission {
        match self.of.get(controller) {
            Some(Attempt { setback: None, .. }) => Permission::Awaiting,
            // With one pod less, or the same again, another eviction does only harm.
            Some(Attempt { setback: Some(lasting @ (Setback::NotReplaced | Setback::SameSidecars)), .. }) => Permission::Paused(*lasting),
            Some(attempt @ Attempt { setback: Some(setback), .. }) if now < attempt.pause_ends() => Permission::Paused(*setback),
            None if self.of.len() >= CAPACITY => Permission::Queued,
            _ if self.is_on_trial(*need == Need::Outdated, now) => Permission::Queued,
            _ => Permission::Granted,
        }
    }

    /// Whether evictions of pods without sidecars have done no good lately.
    #[must_use]
    pub const fn are_doubtful(&self) -> bool {
        self.trials.missing.is_doubtful()
    }

    /// Whether evictions of pods with outdated sidecars have done no good lately.
    #[must_use]
    pub const fn renewals_are_doubtful(&self) -> bool {
        self.trials.outdated.is_doubtful()
    }

    /// Whether enough is under way for as long as nothing shows that it helps. After some that failed in a row, one at a time is
    /// tried, with longer and longer pauses.
    fn is_on_trial(&self, is_for_newer_sidecars: bool, now: Instant) -> bool {
        let trial = if is_for_newer_sidecars { &self.trials.outdated } else { &self.trials.missing };
        if trial.is_proven {
            return false;
        }
        let doubts = trial.failed_in_a_row.checked_sub(TRIALS);
        if let (Some(doubts), Some(latest)) = (doubts, trial.latest)
            && now < latest + pause(doubts)
        {
            return true;
        }
        // Those that failed were trials, too: nothing but a success makes room for more than one.
        let allowed = TRIALS.saturating_sub(trial.failed_in_a_row).max(1) as usize;
        let is_under_way = |attempt: &&Attempt| attempt.setback.is_none() && attempt.is_for_newer_sidecars == is_for_newer_sidecars;
        self.of.values().filter(is_under_way).take(allowed).count() == allowed
    }
}

impl Trials {
    const fn of(&mut self, is_for_newer_sidecars: bool) -> &mut Trial {
        if is_for_newer_sidecars { &mut self.outdated } else { &mut self.missing }
    }
}

impl Attempt {
    fn pause_ends(&self) -> Instant {
        self.evicted + pause(self.failures)
    }

    /// Counts a failure. Whether it is the controller's first: one that fails again and again is only one.
    const fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures == 1
    }
}

impl Trial {
    const fn helped(&mut self) {
        self.is_proven = true;
        self.failed_in_a_row = 0;
    }

    const fn failed(&mut self) {
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        self.is_proven &= !self.is_doubtful();
    }

    const fn is_doubtful(&self) -> bool {
        self.failed_in_a_row >= TRIALS
    }
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
