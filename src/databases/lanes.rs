//! The connections to one server: how many there are, and when another one may be opened. Pure but for the time, which comes in.

use std::time::Duration;

use tokio::time::Instant;

use crate::runtime::backoff::jittered;

/// Connections at a time, for a job each: more only wait for the same disk.
const MOST: usize = 4;
/// How long no further connection is asked for after one was refused.
pub(super) const PAUSE: Duration = Duration::from_secs(2);

/// Connections, of which each is idle or lent.
#[derive(Debug)]
pub(super) struct Lanes<S> {
    idle: Vec<S>,
    /// Idle, lent, or about to be opened.
    count: usize,
    refused_until: Option<Instant>,
}

/// What somebody may work with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lane<S> {
    /// A connection.
    Open(S),
    /// The right to open one.
    Closed,
}

impl<S> Lanes<S> {
    pub(super) const fn new() -> Self {
        Self { idle: Vec::new(), count: 0, refused_until: None }
    }

    /// Whether one can be taken.
    pub(super) fn is_free(&self, now: Instant) -> bool {
        let is_too_early = self.refused_until.is_some_and(|until| now < until);
        // Who has none at all asks: nobody else would notice that the server is back.
        !self.idle.is_empty() || self.count == 0 || self.count < MOST && !is_too_early
    }

    /// A lane, if one is free. It must come back, or be said to be refused.
    pub(super) fn take(&mut self, now: Instant) -> Option<Lane<S>> {
        if !self.is_free(now) {
            return None;
        }
        if let Some(idle) = self.idle.pop() {
            return Some(Lane::Open(idle));
        }
        self.count += 1;
        Some(Lane::Closed)
    }

    /// Takes a connection back. Where one has ended, those that nobody uses may have as well.
    pub(super) fn give_back(&mut self, connection: Option<S>) {
        if let Some(connection) = connection {
            self.idle.push(connection);
            return;
        }
        self.count -= 1 + self.idle.len();
        self.idle.clear();
    }

    /// No connection could be had. Tells whether work goes on over others.
    pub(super) fn refused(&mut self, now: Instant) -> bool {
        self.count -= 1;
        self.refused_until = Some(now + jittered(PAUSE));
        self.count > 0
    }

    /// Whether there is a connection, idle or lent.
    pub(super) const fn is_any_open(&self) -> bool {
        self.count > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn there_are_no_more_than_so_many() {
        let (mut lanes, now) = (Lanes::new(), Instant::now());
        for _ in 0..MOST {
            assert_eq!(lanes.take(now), Some(Lane::Closed));
        }
        assert_eq!(lanes.take(now), None);
        lanes.give_back(Some("one"));
        assert_eq!(lanes.take(now), Some(Lane::Open("one")));
        assert_eq!(lanes.take(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_one_waits_while_the_others_work() {
        let (mut lanes, now) = (Lanes::new(), Instant::now());
        assert_eq!((lanes.take(now), lanes.take(now)), (Some(Lane::Closed), Some(Lane::Closed)));
        assert!(lanes.refused(now), "the other one works");
        assert_eq!(lanes.take(now), None);
        lanes.give_back(Some("other"));
        assert_eq!(lanes.take(now), Some(Lane::Open("other")));
        assert_eq!(lanes.take(now + 2 * PAUSE), Some(Lane::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn when_one_ends_the_idle_ones_are_not_trusted() {
        let (mut lanes, now) = (Lanes::new(), Instant::now());
        for _ in 0..3 {
            lanes.take(now);
        }
        lanes.give_back(Some("idle"));
        lanes.give_back(None);
        assert!(lanes.is_any_open(), "one is still lent");
        assert_eq!(lanes.take(now), Some(Lane::Closed));
        assert!(lanes.refused(now));
        lanes.give_back(None);
        assert!(!lanes.is_any_open());
        assert_eq!(lanes.take(now), Some(Lane::Closed), "somebody has to ask");
        assert!(!lanes.refused(now));
    }
}
