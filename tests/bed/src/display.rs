//! Numbers of X displays, so that tests which run at the same time do not meet.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::supervise;

/// People's own displays have small numbers.
const NUMBERS: std::ops::Range<u16> = 200..1000;

/// A display that nobody else on this machine uses, for as long as this lives. No server runs on it yet.
#[derive(Debug)]
pub struct Display {
    number: u16,
    /// Held so that no other test takes the number.
    _claim: File,
}

impl Display {
    /// One that is free.
    ///
    /// # Panics
    /// When none is.
    #[must_use]
    pub fn free() -> Self {
        crate::expect(Self::try_free(), "cannot get a display")
    }

    pub(crate) fn try_free() -> Result<Self> {
        for number in NUMBERS {
            let Some(claim) = supervise::claim(&format!("display-{number}"))? else { continue };
            let display = Self { number, _claim: claim };
            if !display.socket().exists() && !display.lock_file().exists() {
                return Ok(display);
            }
        }
        None.with_context(|| format!("all displays from {} to {} are taken", NUMBERS.start, NUMBERS.end))
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Its name, such as `:200`.
    #[must_use]
    pub fn name(&self) -> String {
        format!(":{}", self.number)
    }

    /// Where a server on it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        Path::new("/tmp/.X11-unix").join(format!("X{}", self.number))
    }

    /// The file by which a server on it keeps others away.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        PathBuf::from(format!("/tmp/.X{}-lock", self.number))
    }
}

impl Drop for Display {
    /// A server that was killed leaves these, and the number would be lost.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let _ = std::fs::remove_file(self.lock_file());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_gets_the_same_display_until_it_is_given_back() {
        let (first, second) = (Display::free(), Display::free());
        assert_ne!(first.number(), second.number());
        let claim = format!("display-{}", first.number());
        assert!(supervise::claim(&claim).unwrap().is_none());
        drop(first);
        assert!(supervise::claim(&claim).unwrap().is_some());
    }
}
