//! What the settings of all sidecars have in common: a table with a row for each, and how the text of one is read.

use std::net::IpAddr;

/// All settings of a sidecar.
pub trait Table: 'static {
    /// The rows, in the order the reference shows them.
    const ROWS: &'static [&'static Row];
}

/// One setting: a variable of the environment and, but for secrets, a flag.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The variable.
    pub name: &'static str,
    /// Another name of it, which counts where the first is not set.
    pub also: Option<&'static str>,
    /// What holds when nobody says; `None` where that is nothing.
    pub default: Option<&'static str>,
    /// What may be written.
    pub values: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

impl Row {
    /// The flag, without its dashes: `REQ_URL` is `--req-url`. What tells a desktop's variables from those of the app is left out:
    /// `VNC_GEOMETRY` is `--geometry`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.trim_start_matches("VNC_").to_ascii_lowercase().replace('_', "-")
    }

    /// Whether its value must not be seen in a list of processes.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.name.ends_with("_PASSWORD")
    }

    /// Whether it is for one server alone: programs that are run don't learn it.
    #[must_use]
    pub fn is_credential(&self) -> bool {
        self.is_secret() || self.name.ends_with("_USERNAME")
    }

    /// Whether it is an address, in which people write passwords and tokens: errors don't show it.
    #[must_use]
    pub fn is_address(&self) -> bool {
        self.name.ends_with("_URL")
    }
}

/// Turns each row into a constant and all of them into `TABLE`, so that none can be left out.
macro_rules! table {
    ($($name:ident $(also $also:literal)?: $values:literal $(= $default:literal)?, $meaning:literal;)*) => {
        $(
            #[doc = concat!("The row `", stringify!($name), "`.")]
            pub(super) const $name: $crate::sidecars::setting::Row = $crate::sidecars::setting::Row {
                name: stringify!($name),
                also: $crate::sidecars::setting::table!(@option $($also)?),
                default: $crate::sidecars::setting::table!(@option $($default)?),
                values: $values,
                meaning: $meaning,
            };
        )*

        /// The table, in the order the reference shows it.
        pub const TABLE: &[&$crate::sidecars::setting::Row] = &[$(&$name),*];

        /// The table as a type, by which flags are made of it.
        #[derive(Debug)]
        pub enum Table {}

        impl $crate::sidecars::setting::Table for Table {
            const ROWS: &'static [&'static $crate::sidecars::setting::Row] = TABLE;
        }
    };
    (@option) => { None };
    (@option $value:literal) => { Some($value) };
}
pub(in crate::sidecars) use table;

/// Levels of the log in the words of Rust's, Go's and Python's libraries.
pub(super) const LOG_LEVELS: [(&str, &str); 7] = [
    ("error", "error"),
    ("warn", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
    ("warning", "warn"),
    ("critical", "error"),
];

/// The result of a reader; the error is what may be written instead.
pub(super) type Read<T> = Result<T, String>;

/// One of a few words, in any case.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Read<T> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, meaning)| *meaning);
    found.ok_or_else(|| {
        let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("use one of {}", allowed.join(", "))
    })
}

/// `true` or `false`, in any case.
pub(super) fn boolean(text: &str) -> Read<bool> {
    word(text, &[("true", true), ("false", false)])
}

/// A whole number.
pub(super) fn number(text: &str) -> Read<u32> {
    text.parse().map_err(|_| format!("use a whole number from 0 to {}", u32::MAX))
}

/// An absolute path without `..`, cleaned of doubled slashes and of one at its end.
pub(super) fn folder(text: &str) -> Read<String> {
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if !text.starts_with('/') || parts.contains(&"..") || text.contains('\0') {
        return Err("use an absolute path without \"..\", such as /srv/files".to_owned());
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A port that can be listened at by its number.
pub(super) fn port(text: &str) -> Read<u16> {
    text.parse().ok().filter(|port| *port > 0).ok_or_else(|| "use a port from 1 to 65535".to_owned())
}

/// An address to listen at, in brackets or not.
pub(super) fn ip(text: &str) -> Read<IpAddr> {
    text.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| "use an IP address such as 0.0.0.0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_who_writes_too_large_a_one_learns_the_bound() {
        assert_eq!((number("0"), number("4294967295")), (Ok(0), Ok(u32::MAX)));
        for text in ["", "-1", "1.5", "four", "4294967296", "99999999999999"] {
            assert_eq!(number(text).unwrap_err(), "use a whole number from 0 to 4294967295", "{text}");
        }
    }

    #[test]
    fn folders_are_absolute_and_go_nowhere_else() {
        assert_eq!(folder("/srv//files/./").unwrap(), "/srv/files");
        assert_eq!(folder("/").unwrap(), "/");
        for text in ["", "srv", "/srv/../etc", "/srv\0"] {
            assert!(folder(text).is_err(), "{text:?}");
        }
    }
}
