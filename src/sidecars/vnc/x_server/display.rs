//! The number of an X display, and the files that go with it.

use std::{fmt, path::PathBuf, str::FromStr};

/// The largest number that a display may have here, as the annotation says.
const LARGEST: u16 = 999;

/// A display of this machine, such as `:99`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Display(u16);

/// The text names no display of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("use a display from :0 to :{LARGEST}, such as :99")]
pub struct NoDisplay;

impl Display {
    /// All there are, those first that nobody is used to have.
    pub fn all() -> impl Iterator<Item = Self> {
        (99..=LARGEST).chain(1..99).map(Self)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Where X clients look for its server (Xserver(1), FILES).
    #[must_use]
    pub fn socket(self) -> PathBuf {
        PathBuf::from(format!("/tmp/.X11-unix/X{}", self.0))
    }

    /// Whether it looks as if a server had it. Only an answer would prove it.
    #[must_use]
    pub fn seems_taken(self) -> bool {
        self.socket().exists() || self.lock_file().exists()
    }

    /// The file by which its server keeps others away (Xserver(1), FILES).
    #[must_use]
    pub fn lock_file(self) -> PathBuf {
        PathBuf::from(format!("/tmp/.X{}-lock", self.0))
    }
}

impl FromStr for Display {
    type Err = NoDisplay;

    /// Reads `:99`, or `:99.0`, where the screen says nothing: there is one.
    fn from_str(text: &str) -> Result<Self, NoDisplay> {
        let number = text.strip_prefix(':').ok_or(NoDisplay)?;
        let number = number.strip_suffix(".0").unwrap_or(number);
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse().ok().filter(|number| is_number && *number <= LARGEST).map(Self).ok_or(NoDisplay)
    }
}

impl fmt::Display for Display {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ":{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_is_a_number_of_this_machine() {
        for (text, number) in [(":0", 0), (":99", 99), (":99.0", 99), (":999", 999)] {
            assert_eq!(text.parse(), Ok(Display(number)), "{text}");
        }
        for text in ["", "99", ":", ":1000", ":-1", ":+1", ":1.1", "host:1", "unix/:1", ":1 "] {
            assert_eq!(text.parse::<Display>(), Err(NoDisplay), "{text}");
        }
        let display = Display(99);
        assert_eq!((display.to_string().as_str(), display.lock_file().to_str()), (":99", Some("/tmp/.X99-lock")));
    }
}
