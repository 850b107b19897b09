//! Whether a viewer is still there: by what comes from it, and by what its socket takes. Nothing here asks a clock.
//!
//! A ping is read after all that was sent before it, and much may wait in the sockets' buffers of a viewer who reads slowly. So the pong
//! is only waited for strictly where little was before the ping; else it counts that the socket goes on taking bytes.

use std::time::Duration;

use tokio::time::Instant;

use super::Pace;

/// Bytes that the slowest viewer reads before a pong is due.
const LITTLE: u64 = 64 * 1024;
/// How often [`Pace::stall`] is granted for one pong: a socket's buffer takes bytes for a while when nobody reads them any more.
const MOST_STALLS: u32 = 5;

/// What is known of a viewer's life.
#[derive(Debug)]
pub(super) struct Liveness {
    pong: Duration,
    stall: Duration,
    heard_at: Instant,
    /// When its socket last took bytes.
    taken_at: Instant,
    asked_at: Instant,
    /// When its socket took the ping.
    pinged_at: Option<Instant>,
    /// Bytes that were sent before the last ping and are not known to be read.
    unread_before_ping: u64,
    sent_since_ping: u64,
}

/// What to think of a viewer who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive,
    Dead,
    /// It has until then to show life.
    Unknown {
        until: Instant,
    },
}

impl Liveness {
    pub(super) const fn new(pace: Pace, now: Instant) -> Self {
        let Pace { pong, stall, .. } = pace;
        Self { pong, stall, heard_at: now, taken_at: now, asked_at: now, pinged_at: None, unread_before_ping: 0, sent_since_ping: 0 }
    }

    /// A ping waits to be sent.
    pub(super) const fn asked(&mut self, now: Instant) {
        self.asked_at = now;
        self.pinged_at = None;
    }

    /// The socket has taken bytes.
    pub(super) const fn took(&mut self, length: usize, now: Instant) {
        self.taken_at = now;
        self.sent_since_ping = self.sent_since_ping.saturating_add(length as u64);
    }

    /// The socket has taken the ping.
    pub(super) const fn pinged(&mut self, now: Instant) {
        self.pinged_at = Some(now);
        self.unread_before_ping = self.unread_before_ping.saturating_add(self.sent_since_ping);
        self.sent_since_ping = 0;
    }

    /// The viewer has said something.
    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// The viewer has read a ping, and with it all before.
    pub(super) const fn ponged(&mut self) {
        self.unread_before_ping = 0;
    }

    pub(super) fn judge(&self, now: Instant) -> Verdict {
        if self.heard_at >= self.asked_at {
            return Verdict::Alive;
        }
        let until = match self.pinged_at {
            Some(pinged_at) if self.unread_before_ping <= LITTLE => pinged_at + self.pong,
            _ => self.taken_at.max(self.asked_at) + self.stall,
        };
        let until = until.min(self.asked_at + self.stall * MOST_STALLS);
        if now < until { Verdict::Unknown { until } } else { Verdict::Dead }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        connect: Duration::from_secs(1),
        handshake: Duration::from_secs(1),
        ping: Duration::from_secs(20),
        pong: Duration::from_secs(10),
        stall: Duration::from_secs(120),
        desktop: Duration::from_secs(30),
    };

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// A viewer who was asked at `start`, after `unread` bytes.
    fn asked(start: Instant, unread: usize) -> Liveness {
        let mut liveness = Liveness::new(PACE, start);
        liveness.took(unread, start);
        liveness.asked(start + seconds(1));
        liveness
    }

    #[test]
    fn b5_a_pong_is_due_from_when_the_ping_was_sent() {
        let start = Instant::now();
        let mut liveness = asked(start, 1000);
        assert_eq!(liveness.judge(start + seconds(60)), Verdict::Unknown { until: start + seconds(121) }, "it is not sent yet");
        liveness.pinged(start + seconds(61));
        assert_eq!(liveness.judge(start + seconds(70)), Verdict::Unknown { until: start + seconds(71) });
        liveness.took(100, start + seconds(70));
        assert_eq!(liveness.judge(start + seconds(71)), Verdict::Dead, "a buffer that takes bytes is no viewer that reads them");
        liveness.heard(start + seconds(71));
        assert_eq!(liveness.judge(start + seconds(71)), Verdict::Alive);
    }

    #[test]
    fn b5_behind_many_bytes_a_socket_that_takes_more_is_life_but_not_for_ever() {
        let start = Instant::now();
        let mut liveness = asked(start, 4_000_000);
        liveness.pinged(start + seconds(2));
        for second in (0..600).step_by(100) {
            liveness.took(1, start + seconds(second));
            assert!(matches!(liveness.judge(start + seconds(second + 99)), Verdict::Unknown { .. }), "{second}");
        }
        assert_eq!(liveness.judge(start + seconds(601)), Verdict::Dead);

        let mut stalled = asked(start, 4_000_000);
        stalled.pinged(start + seconds(2));
        assert_eq!(stalled.judge(start + seconds(121)), Verdict::Dead);
    }

    #[test]
    fn what_was_read_before_a_pong_is_not_waited_for_again() {
        let start = Instant::now();
        let mut liveness = asked(start, 4_000_000);
        liveness.pinged(start + seconds(2));
        liveness.took(50_000, start + seconds(3));
        liveness.heard(start + seconds(4));
        liveness.ponged();
        liveness.asked(start + seconds(20));
        liveness.pinged(start + seconds(20));
        assert_eq!(liveness.judge(start + seconds(30)), Verdict::Dead, "only what came after the first ping is unread");
    }
}
