//! Pauses between attempts: longer after each failure, and never those of all processes at once.

use std::time::Duration;

/// The pauses after failures in a row.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses of about `first`, and then of twice the last one, up to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// How long to wait after one more failure: at most what is due, at least half of it.
    pub fn pause(&mut self) -> Duration {
        let due = self.next;
        self.next = due.saturating_mul(2).min(self.longest);
        due.mul_f64(f64::midpoint(1.0, chance()))
    }

    /// Things went well: the next failure is a first one again.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A tenth more or less, so that processes that were started together don't act together.
#[must_use]
pub fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * chance())
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let mut random = [0];
    // Without random bytes there is no jitter, and nothing worse.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let [random] = random;
    f64::from(random) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew_after_success() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 5 * second);
        for due in [1, 2, 4, 5, 5] {
            let pause = backoff.pause();
            assert!(pause >= due * second / 2 && pause <= due * second, "{pause:?} of {due} s");
        }
        backoff.reset();
        assert!(backoff.pause() <= second);
    }

    #[test]
    fn no_two_rows_of_pauses_are_the_same() {
        let row = || {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
            [(); 20].map(|()| backoff.pause())
        };
        assert_ne!(row(), row());
        let interval = Duration::from_secs(100);
        let tenth = interval / 10;
        assert!((0..100).all(|_| jittered(interval).abs_diff(interval) <= tenth + Duration::from_millis(1)));
    }
}
