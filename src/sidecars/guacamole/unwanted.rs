//! What no file wants, for how long, and what was removed lately: files may be missing for a moment, or go one after the other by accident.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::{model::Origin, plan::Removals};

/// Removals count together for so long.
const WINDOW: Duration = Duration::from_secs(60 * 60);

/// What earlier passes found and did.
#[derive(Debug, Default)]
pub(crate) struct Unwanted {
    since: HashMap<Origin, Instant>,
    removed: Vec<(Instant, usize)>,
}

impl Unwanted {
    /// What a pass may go by. Without a delay, what is unwanted goes at once.
    pub(crate) fn removals(&self, now: Instant, delay: Duration) -> Removals {
        let is_due = |since: &Instant| now.duration_since(*since) >= delay;
        let due = || self.since.iter().filter(|(_, since)| is_due(since)).map(|(origin, _)| origin.clone()).collect::<BTreeSet<_>>();
        let lately = self.removed.iter().filter(|(at, _)| now.duration_since(*at) < WINDOW).map(|(_, count)| count);
        Removals { removed_lately: lately.sum(), due: (!delay.is_zero()).then(due) }
    }

    /// Takes note of what a pass found unwanted, and how many of these it removed.
    pub(crate) fn note(&mut self, now: Instant, unwanted: &[Origin], removed: usize) {
        self.since = unwanted.iter().map(|origin| (origin.clone(), self.since.get(origin).copied().unwrap_or(now))).collect();
        self.removed.retain(|(at, _)| now.duration_since(*at) < WINDOW);
        if removed > 0 {
            self.removed.push((now, removed));
        }
    }

    /// How long it is until something is due that isn't yet.
    pub(crate) fn next_due(&self, now: Instant, delay: Duration) -> Option<Duration> {
        self.since.values().filter_map(|since| (*since + delay).checked_duration_since(now)).filter(|pause| !pause.is_zero()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(120);

    fn origin(file: &str) -> Origin {
        Origin { file: file.into(), key: "".into() }
    }

    #[test]
    fn only_what_was_unwanted_all_the_time_is_due() {
        let (mut unwanted, start) = (Unwanted::default(), Instant::now());
        let due = |unwanted: &Unwanted, after: u64| unwanted.removals(start + Duration::from_secs(after), DELAY).due.unwrap();
        unwanted.note(start, &[origin("a"), origin("b")], 0);
        assert!(due(&unwanted, 119).is_empty());
        unwanted.note(start + Duration::from_secs(60), &[origin("a")], 0);
        unwanted.note(start + Duration::from_secs(90), &[origin("a"), origin("b")], 0);
        assert_eq!(due(&unwanted, 120), BTreeSet::from([origin("a")]), "b was back for a while");
        assert_eq!(unwanted.next_due(start + Duration::from_secs(100), DELAY), Some(Duration::from_secs(20)));
        assert_eq!(unwanted.next_due(start + Duration::from_secs(130), DELAY), Some(Duration::from_secs(80)));
        assert_eq!(unwanted.removals(start, Duration::ZERO).due, None);
    }

    #[test]
    fn removals_of_an_hour_count_together() {
        let (mut unwanted, start) = (Unwanted::default(), Instant::now());
        unwanted.note(start, &[], 2);
        unwanted.note(start + Duration::from_secs(60), &[], 3);
        let lately = |after: u64| unwanted.removals(start + Duration::from_secs(after), DELAY).removed_lately;
        assert_eq!((lately(60), lately(3600), lately(3660)), (5, 3, 0));
    }
}
