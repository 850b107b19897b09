//! Why the database did not do something, and what that asks for.

use std::error::Error as _;

use tokio_postgres::Error;

/// Why the database did not do something. It repeats no value of a row: the server's details would, so they are left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server refused.
    #[error("{message} (SQLSTATE {code}{})", constraint.as_ref().map(|name| format!(", {name}")).unwrap_or_default())]
    Refused {
        /// Five characters, of which the first two are the class (PostgreSQL, appendix A).
        code: String,
        /// What the server says.
        message: String,
        /// The constraint that would be violated.
        constraint: Option<String>,
    },
    /// The server can't be reached, or the connection to it has ended.
    #[error("{0}")]
    Unreachable(String),
}

/// What a failure asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// To be tried again: the server is away, busy, or somebody else was quicker.
    Wait,
    /// Other data: what was to be written can't be.
    OtherData,
    /// Somebody who sets up something: rights, a password, a database, a schema. It is tried again all the same.
    Operator,
}

impl Failure {
    /// What it asks for, by the class of its code.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        let Self::Refused { code, .. } = self else { return Recovery::Wait };
        match code.get(..2) {
            // Data exceptions, violated constraints and checks of views, and what triggers raise.
            Some("22" | "23" | "44" | "P0") => Recovery::OtherData,
            // Rights, passwords, what isn't there, features the server lacks.
            Some("28" | "3D" | "3F" | "42" | "0A") => Recovery::Operator,
            // Connections, conflicts with others, resources, locks, shutdown, and all else.
            _ => Recovery::Wait,
        }
    }

    /// Whether somebody else may have made or removed a row since it was looked for: a unique or a foreign key is violated.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self.code(), Some("23503" | "23505"))
    }

    /// Whether somebody else has created or changed the same thing at the same time, so that another look says what is left to do: a
    /// database (42P04) or role (42710) that exists, the same found out later by a unique index (23505), a row of the catalogue that
    /// changed meanwhile (XX000).
    #[must_use]
    pub fn is_race(&self) -> bool {
        match self {
            Self::Refused { code, message, .. } => match code.as_str() {
                "42P04" | "42710" | "23505" => true,
                "XX000" => message.contains("concurrently"),
                _ => false,
            },
            Self::Unreachable(_) => false,
        }
    }

    /// Whether somebody uses what was to be changed or copied (55006): it may be free in a while.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.code() == Some("55006")
    }

    /// Whether the connection has ended with it: connection exceptions (class 08), and what the server says before it hangs up (57P).
    #[must_use]
    pub fn ends_connection(&self) -> bool {
        self.code().is_none_or(|code| code.starts_with("08") || code.starts_with("57P"))
    }

    /// The server's code, if it refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Unreachable(_) => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if let Some(refusal) = error.as_db_error() {
            return Self::Refused {
                code: refusal.code().code().to_owned(),
                message: refusal.message().to_owned(),
                constraint: refusal.constraint().map(ToOwned::to_owned),
            };
        }
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let text = error.to_string();
        Self::Unreachable(if text.ends_with(&cause) { text } else { text + &cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_code_decides() {
        for (code, recovery) in [
            ("22001", Recovery::OtherData),
            ("23505", Recovery::OtherData),
            ("P0001", Recovery::OtherData),
            ("28P01", Recovery::Operator),
            ("3D000", Recovery::Operator),
            ("42P01", Recovery::Operator),
            ("57P01", Recovery::Wait),
            ("40P01", Recovery::Wait),
            ("55P03", Recovery::Wait),
            ("53300", Recovery::Wait),
        ] {
            let failure = Failure::Refused { code: code.to_owned(), message: String::new(), constraint: None };
            assert_eq!(failure.recovery(), recovery, "{code}");
        }
        assert_eq!(Failure::Unreachable(String::new()).recovery(), Recovery::Wait);
    }

    #[test]
    fn what_the_server_says_last_ends_the_connection() {
        let refused = |code: &str| Failure::Refused { code: code.to_owned(), message: String::new(), constraint: None };
        for code in ["57P01", "57P05", "08006"] {
            assert!(refused(code).ends_connection(), "{code}");
        }
        assert!(Failure::Unreachable(String::new()).ends_connection());
        assert!(!refused("57014").ends_connection() && !refused("42501").ends_connection());
    }

    #[test]
    fn provider_sql_8_who_creates_the_same_at_once_is_told_apart_from_who_may_not() {
        let refused = |code: &str, message: &str| Failure::Refused { code: code.to_owned(), message: message.to_owned(), constraint: None };
        for race in ["42P04", "42710", "23505"] {
            assert!(refused(race, "").is_race(), "{race}");
        }
        assert!(refused("55006", "").is_in_use() && !refused("55006", "").is_race(), "who looks again at once finds the same");
        assert!(refused("XX000", "tuple concurrently updated").is_race());
        assert!(!refused("XX000", "cache lookup failed").is_race() && !refused("42501", "permission denied").is_race());
    }
}
