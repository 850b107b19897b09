//! What is next for a database that is to go.

use std::fmt;

use crate::postgres::catalogue::Database;

use super::{Holder, Record, Stage, retired_name};

/// What keeps a database from being dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    /// Somebody is connected; FORCE ends that.
    Session(String),
    /// A replication slot, a prepared transaction or a subscription; only those who made it can end it.
    Firm(String),
}

impl Blocker {
    /// For the status.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Session(text) | Self::Firm(text) => text,
        }
    }
}

/// How a database is dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Manner {
    /// Whether sessions are ended.
    pub force: bool,
    /// Whether it is kept for a while, closed and renamed.
    pub with_grace: bool,
}

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovalStep {
    /// Takes away the mark of a template, which can't be dropped.
    ClearTemplate,
    /// Lets nobody connect any more.
    Close,
    /// Lets them in again: somebody has come before it was closed.
    Reopen,
    /// Ends sessions.
    EndSessions,
    /// Gives it the name of one that waits to be dropped.
    Rename(String),
    /// Writes down that it waits.
    Retire(String),
    /// Drops it.
    Drop,
    /// Takes away the claim, and the owner if it was made for this database and has nothing else.
    Forget,
}

impl fmt::Display for RemovalStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClearTemplate => "the database is no template any more",
            Self::Close => "closing the database",
            Self::Reopen => "opening the database again, which is in use",
            Self::EndSessions => "ending the sessions of the database",
            Self::Rename(_) => "renaming the database",
            Self::Retire(_) => "the database waits to be dropped",
            Self::Drop => "dropping the database",
            Self::Forget => "the database is gone",
        })
    }
}

/// What is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// Nothing is left to do.
    Done,
    /// These, in this order; then one looks again.
    Steps(Vec<RemovalStep>),
    /// It can't go on.
    Blocked(Vec<Blocker>),
}

/// What is next. `database` is the one with the claim's OID, whatever it is called.
#[must_use]
pub fn plan_removal(us: &Holder, record: Option<&Record>, database: Option<&Database>, blockers: &[Blocker], manner: Manner) -> Removal {
    let Some(record) = record.filter(|record| record.holder.is(us)) else { return Removal::Done };
    let (Some(database), Some(found_as)) = (database, &record.found_as) else { return Removal::Steps(vec![RemovalStep::Forget]) };
    if record.stage == Stage::Retired {
        return Removal::Done;
    }
    // The number of ours is now that of another database: the server was made anew, or the number was drawn and never used.
    if *found_as != record.database && *found_as != retired_name(&record.database, record.oid) {
        return Removal::Steps(vec![RemovalStep::Forget]);
    }
    let (sessions, firm): (Vec<_>, Vec<_>) = blockers.iter().cloned().partition(|blocker| matches!(blocker, Blocker::Session(_)));
    let mut steps = Vec::new();
    if database.is_template {
        steps.push(RemovalStep::ClearTemplate);
    }
    let is_renamed = *found_as != record.database;
    if manner.with_grace && !is_renamed && !firm.is_empty() {
        // Closed, it could not be dropped when its time comes, and whoever has prepared a transaction could not get in to end it.
        return if record.is_closed { Removal::Steps(vec![RemovalStep::Reopen]) } else { Removal::Blocked(blockers.to_vec()) };
    }
    if manner.with_grace {
        return retire(record, database, found_as, sessions, manner, steps);
    }
    if !firm.is_empty() || !(manner.force || sessions.is_empty()) {
        return Removal::Blocked(blockers.to_vec());
    }
    steps.push(RemovalStep::Drop);
    Removal::Steps(steps)
}

fn retire(
    record: &Record,
    database: &Database,
    found_as: &str,
    sessions: Vec<Blocker>,
    manner: Manner,
    mut steps: Vec<RemovalStep>,
) -> Removal {
    let retired = retired_name(&record.database, record.oid);
    if found_as == retired {
        steps.push(RemovalStep::Retire(retired));
        return Removal::Steps(steps);
    }
    let is_free = sessions.is_empty() || manner.force;
    match (database.allow_connections, is_free) {
        // Who has come meanwhile is seen when nobody can come any more.
        (true, true) => steps.push(RemovalStep::Close),
        (false, true) if sessions.is_empty() => steps.push(RemovalStep::Rename(retired)),
        (false, true) => steps.push(RemovalStep::EndSessions),
        // Nobody knows when they go, and until then the database is to be of use.
        (false, false) if record.is_closed => return Removal::Steps(vec![RemovalStep::Reopen]),
        (_, false) => return Removal::Blocked(sessions),
    }
    Removal::Steps(steps)
}
