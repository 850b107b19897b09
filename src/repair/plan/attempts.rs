//! What became of evictions: whether the replacement was any better. It is judged by the API server's own times of creation.

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::injection::Standing;

/// How long a replacement is waited for; doubled each time it came without sidecars too.
const FIRST_PAUSE: Duration = Duration::from_secs(600);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// An owner of whom nothing was heard for this long after its pause is forgotten.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(24);
/// Owners that are remembered. With more than that under way, no further one is begun with.
const CAPACITY: usize = 1000;
/// Owners that are tried before one of them has shown that evictions help, and that come back bare in a row before it is
/// doubted: then the webhook is at fault, not they.
const TRIALS: u32 = 3;

/// The evictions of each controller's pods, as far as they are remembered. The next holder of the lease begins anew.
#[derive(Debug, Default)]
pub struct Attempts {
    of: HashMap<String, Attempt>,
    /// Whether a replacement had sidecars, and not too many had none since.
    are_proven: bool,
    /// Controllers whose replacements had none since one had.
    bare_in_a_row: u32,
    latest: Timestamp,
}

#[derive(Debug)]
struct Attempt {
    /// When the evicted pod was created. Younger ones are its replacements.
    created: Timestamp,
    evicted: Timestamp,
    failures: u32,
    is_judged: bool,
}

/// Whether a controller's pod may be evicted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// What becomes of others is to be seen first.
    Queued,
    /// The replacement of an evicted one is not seen yet.
    Awaiting,
    /// The replacement was no better.
    Paused,
}

impl Attempts {
    /// Remembers that a pod of a controller was evicted.
    pub fn evicted(&mut self, controller: &str, created: Timestamp, now: Timestamp) {
        let failures = self.of.get(controller).map_or(0, |attempt| attempt.failures);
        self.of.insert(controller.to_owned(), Attempt { created, evicted: now, failures, is_judged: false });
        self.latest = now;
    }

    /// Learns from a pod whether it is a replacement, and whether it is any better.
    pub fn learn(&mut self, controller: &str, created: Timestamp, standing: Standing) {
        let Some(attempt) = self.of.get_mut(controller).filter(|attempt| created > attempt.created) else { return };
        match standing {
            Standing::Injected => {
                self.of.remove(controller);
                (self.are_proven, self.bare_in_a_row) = (true, 0);
            }
            Standing::Missing | Standing::Outdated if !attempt.is_judged => {
                // One that fails again and again is only one.
                self.bare_in_a_row = self.bare_in_a_row.saturating_add(u32::from(attempt.failures == 0));
                self.are_proven &= self.bare_in_a_row < TRIALS;
                attempt.is_judged = true;
                attempt.failures = attempt.failures.saturating_add(1);
            }
            Standing::Missing | Standing::Outdated | Standing::Settled => {}
        }
    }

    /// Whether a pod of this controller may be evicted.
    #[must_use]
    pub fn permission(&self, controller: &str, now: Timestamp) -> Permission {
        match self.of.get(controller) {
            Some(attempt) if now < attempt.pause_ends() && attempt.failures == 0 => Permission::Awaiting,
            Some(attempt) if now < attempt.pause_ends() => Permission::Paused,
            None if self.of.len() >= CAPACITY => Permission::Queued,
            _ if self.is_on_trial(now) => Permission::Queued,
            _ => Permission::Granted,
        }
    }

    /// Whether evictions have done no good lately.
    #[must_use]
    pub const fn are_doubtful(&self) -> bool {
        self.bare_in_a_row >= TRIALS
    }

    /// Whether enough is under way for as long as nothing shows that it helps. After some that came back bare in a row, one
    /// at a time is tried, with longer and longer pauses.
    fn is_on_trial(&self, now: Timestamp) -> bool {
        if self.are_proven {
            return false;
        }
        let doubts = self.bare_in_a_row.checked_sub(TRIALS);
        if doubts.is_some_and(|doubts| now < after_pause(self.latest, doubts)) {
            return true;
        }
        let under_way = self.of.values().filter(|attempt| !attempt.is_judged && now < attempt.pause_ends());
        under_way.take(TRIALS as usize).count() == TRIALS as usize
    }

    /// Forgets what is long over.
    pub fn forget(&mut self, now: Timestamp) {
        self.of.retain(|_, attempt| now.duration_since(attempt.pause_ends()) < FORGOTTEN);
    }
}

impl Attempt {
    fn pause_ends(&self) -> Timestamp {
        after_pause(self.evicted, self.failures)
    }
}

fn after_pause(start: Timestamp, failures: u32) -> Timestamp {
    let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
    start.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "uid";

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(minutes * 60).unwrap()
    }

    /// Attempts of which one has helped.
    fn proven() -> Attempts {
        let mut attempts = Attempts::default();
        attempts.evicted("first", at(0), at(0));
        attempts.learn("first", at(1), Standing::Injected);
        attempts
    }

    #[test]
    fn each_bare_replacement_doubles_the_pause_up_to_a_day() {
        let mut attempts = Attempts::default();
        let mut now = 0;
        for pause in [20, 40, 80, 160, 320, 640, 1280, 1440, 1440] {
            assert_eq!(attempts.permission(OWNER, at(now)), Permission::Granted, "at {now}");
            attempts.evicted(OWNER, at(now), at(now));
            assert_ne!(attempts.permission(OWNER, at(now)), Permission::Granted);
            // Several bare replacements are one failure.
            attempts.learn(OWNER, at(now + 1), Standing::Missing);
            attempts.learn(OWNER, at(now + 2), Standing::Missing);
            assert_eq!(attempts.permission(OWNER, at(now + pause - 1)), Permission::Paused, "{pause} minutes from {now}");
            now += pause;
        }
    }

    #[test]
    fn a_replacement_with_sidecars_frees_its_siblings_at_once() {
        let mut attempts = Attempts::default();
        attempts.evicted(OWNER, at(5), at(10));
        attempts.learn(OWNER, at(5), Standing::Injected);
        attempts.learn(OWNER, at(4), Standing::Missing);
        assert_eq!(attempts.permission(OWNER, at(11)), Permission::Awaiting, "older pods prove nothing");
        attempts.learn(OWNER, at(10), Standing::Injected);
        assert_eq!(attempts.permission(OWNER, at(11)), Permission::Granted);
    }

    #[test]
    fn a_replacement_that_never_comes_is_waited_for_a_while() {
        let mut attempts = Attempts::default();
        attempts.evicted(OWNER, at(5), at(10));
        assert_eq!(attempts.permission(OWNER, at(19)), Permission::Awaiting);
        assert_eq!(attempts.permission(OWNER, at(20)), Permission::Granted);
        assert_eq!(attempts.permission("another", at(11)), Permission::Granted);
    }

    #[test]
    fn a_few_are_tried_until_one_shows_that_it_helps() {
        let mut attempts = Attempts::default();
        for owner in ["a", "b", "c"] {
            assert_eq!(attempts.permission(owner, at(0)), Permission::Granted);
            attempts.evicted(owner, at(0), at(0));
        }
        assert_eq!(attempts.permission("d", at(0)), Permission::Queued);
        assert_eq!(attempts.permission("d", at(10)), Permission::Granted, "replacements that never come hold up nobody for long");
        attempts.learn("a", at(1), Standing::Missing);
        attempts.learn("b", at(1), Standing::Injected);
        for owner in ["d", "e", "f", "g"] {
            assert_eq!(attempts.permission(owner, at(1)), Permission::Granted);
            attempts.evicted(owner, at(1), at(1));
        }
    }

    #[test]
    fn when_several_come_back_bare_in_a_row_one_at_a_time_is_tried_with_longer_pauses() {
        let mut attempts = proven();
        for owner in ["a", "b", "c"] {
            assert!(!attempts.are_doubtful());
            assert_eq!(attempts.permission(owner, at(0)), Permission::Granted);
            attempts.evicted(owner, at(0), at(0));
            attempts.learn(owner, at(1), Standing::Missing);
        }
        assert!(attempts.are_doubtful());
        for (owner, now, pause) in [("d", 10, 20), ("e", 30, 40), ("f", 70, 80)] {
            assert_eq!(attempts.permission(owner, at(now - 1)), Permission::Queued);
            assert_eq!(attempts.permission(owner, at(now)), Permission::Granted);
            attempts.evicted(owner, at(now), at(now));
            assert_eq!(attempts.permission("x", at(now + 1)), Permission::Queued, "one at a time");
            attempts.learn(owner, at(now + 1), Standing::Missing);
            assert_eq!(attempts.permission("x", at(now + pause - 1)), Permission::Queued, "{pause} minutes from {now}");
        }
        attempts.learn("f", at(71), Standing::Injected);
        assert_eq!(attempts.permission("x", at(71)), Permission::Granted);
    }

    #[test]
    fn an_owner_that_fails_again_and_again_stops_nobody_else() {
        let mut attempts = proven();
        for day in 1..10 {
            attempts.evicted(OWNER, at(day * 1440), at(day * 1440));
            attempts.learn(OWNER, at(day * 1440 + 1), Standing::Outdated);
        }
        assert_eq!(attempts.permission("another", at(9 * 1440 + 2)), Permission::Granted);
    }

    #[test]
    fn memory_is_bounded_and_what_is_long_over_is_forgotten() {
        let mut attempts = proven();
        for n in 0..CAPACITY {
            attempts.evicted(&n.to_string(), at(0), at(0));
        }
        assert_eq!(attempts.permission(OWNER, at(1)), Permission::Queued);
        attempts.forget(at(10 + 24 * 60 - 1));
        assert_eq!(attempts.of.len(), CAPACITY);
        attempts.forget(at(10 + 24 * 60));
        assert_eq!(attempts.permission(OWNER, at(1)), Permission::Granted);
    }
}
