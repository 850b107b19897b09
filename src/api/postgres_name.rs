//! Names of databases and roles, as `PostgreSQL` takes them.

use super::rule::Rule;

/// The longest name in bytes: NAMEDATALEN - 1. `PostgreSQL` cuts a longer one with no more than a notice, so that two long names
/// could mean one object.
pub const MAX_BYTES: usize = 63;

/// The database in which we keep which databases are whose.
pub const MAINTENANCE_DATABASE: &str = "outrigger";

/// Databases that belong to the server itself, and the one that is ours.
pub const RESERVED_DATABASES: [&str; 4] = ["postgres", "template0", "template1", MAINTENANCE_DATABASE];

/// Whether `PostgreSQL` keeps the name whole.
#[must_use]
pub fn fits(name: &str) -> bool {
    name.len() <= MAX_BYTES
}

/// Whether the name belongs to the server itself, or to us.
#[must_use]
pub fn is_reserved_database(name: &str) -> bool {
    RESERVED_DATABASES.contains(&name)
}

/// Whether `PostgreSQL` refuses the name for a role (error 42939) or gives it a meaning of its own.
#[must_use]
pub fn is_reserved_role(name: &str) -> bool {
    name.starts_with("pg_") || name == "public" || name == "none"
}

/// The 63-byte rule of every name.
pub(crate) const FITS: Rule = Rule::new(
    "size(bytes(self)) <= 63",
    "is longer than 63 bytes, and PostgreSQL would cut it; shorten it (a letter outside ASCII takes 2 to 4 bytes)",
    |name| name.as_str().is_none_or(fits),
);

/// Databases that can't be managed.
pub(crate) const NOT_RESERVED_DATABASE: Rule = Rule::new(
    "!(self in ['postgres', 'template0', 'template1', 'outrigger'])",
    "postgres, template0 and template1 belong to the server, and outrigger to Outrigger; choose another name",
    |name| name.as_str().is_none_or(|name| !is_reserved_database(name)),
);

/// Names under which databases wait to be dropped.
pub(crate) const NOT_RETIRED: Rule =
    Rule::new("!self.contains('~dropped-')", "a database with ~dropped- in its name waits to be dropped; choose another name", |name| {
        name.as_str().is_none_or(|name| !name.contains("~dropped-"))
    });

/// Roles that can't be managed.
pub(crate) const NOT_RESERVED_ROLE: Rule = Rule::new(
    "!self.startsWith('pg_') && !(self in ['public', 'none'])",
    "PostgreSQL reserves public, none and names that begin with pg_; choose another role",
    |name| name.as_str().is_none_or(|name| !is_reserved_role(name)),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_bytes_not_characters() {
        assert!(fits(&"a".repeat(63)));
        assert!(!fits(&"a".repeat(64)));
        assert!(!fits(&"ü".repeat(32)), "32 letters, 64 bytes");
    }

    #[test]
    fn reserved_words_are_those_of_postgresql() {
        assert!(is_reserved_database("template1") && !is_reserved_database("template2"));
        assert!(is_reserved_role("pg_monitor") && is_reserved_role("none") && !is_reserved_role("pgbouncer"));
    }
}
