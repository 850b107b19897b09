//! How often something that keeps ending is started again.

use std::time::Duration;

use crate::runtime::backoff::Backoff;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Whatever lives as long has not failed.
const SUCCESS: Duration = Duration::from_secs(60);

/// The failures in a row.
#[derive(Debug)]
pub(super) struct Attempts {
    most: u32,
    failures: u32,
    backoff: Backoff,
}

impl Attempts {
    /// So many restarts in a row are allowed.
    pub(super) const fn new(most: u32) -> Self {
        Self { most, failures: 0, backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE) }
    }

    /// How long to wait before the next attempt, after one that lived so long; `None` if there is to be no other.
    pub(super) fn pause_after(&mut self, life: Duration) -> Option<Duration> {
        if life >= SUCCESS {
            self.failures = 0;
            self.backoff.reset();
        }
        self.failures = self.failures.saturating_add(1);
        (self.failures <= self.most).then(|| self.backoff.pause())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_deaths_in_a_row_come_to_an_end_and_a_long_life_makes_up_for_them() {
        let mut attempts = Attempts::new(2);
        for life in [Duration::ZERO, Duration::ZERO, SUCCESS, Duration::ZERO] {
            assert!(attempts.pause_after(life).is_some_and(|pause| pause <= LONGEST_PAUSE));
        }
        assert_eq!(attempts.pause_after(Duration::ZERO), None);
        assert_eq!(Attempts::new(0).pause_after(Duration::ZERO), None);
    }
}
