//! What must be written so that the database holds what the files want: a pure function of both.
//!
//! The plan of an applied plan is empty. What can't be done for one entry is a finding, and leaves the others as they are.

mod connections;
mod entities;
mod grants;
mod matching;
mod members;
mod removal;
mod show;
mod tree;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use secrecy::SecretString;

use super::{
    desired::Desired,
    document,
    model::{CaseSensitivity, Finding, Grantee, GroupColumns, GroupPath, Origin, Permission},
    observed::{self, Observed},
    packed::Parameters,
};

pub(crate) use removal::{Refusal, Removals};
pub(crate) use show::summary;

/// What a plan goes by, besides files and database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// In whose name we mark what we make. Provisioners with different files and one database need different ones.
    pub(crate) owner: String,
    /// Whether what is ours goes when no file wants it any more.
    pub(crate) prune: bool,
    /// How many percent of our connections may be removed at once.
    pub(crate) prune_limit: u8,
    /// What earlier passes know of removals.
    pub(crate) removals: Removals,
    /// Whether connections become ours that somebody else has made where a file wants one.
    pub(crate) adopt: bool,
    /// Whether users and user groups are made that a file names and the database lacks.
    pub(crate) create_users: bool,
    pub(crate) case: CaseSensitivity,
}

/// A row: one there is, by its number, or a new one, by its place among the new ones of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Id {
    Known(i32),
    New(usize),
}

/// All that is to be written, in an order in which nothing refers to what comes later.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) changes: Vec<Change<'a>>,
    /// How many new rows need numbers.
    pub(crate) new: NewRows,
    /// Where the connections come from that no file wants any more, whether they go now or not.
    pub(crate) unwanted: Vec<Origin>,
    /// Set if more would be removed than may be; then nothing is.
    pub(crate) refusal: Option<Refusal>,
    pub(crate) findings: Vec<Finding>,
    /// Who is meant by the numbers in grants.
    grantees: BTreeMap<Id, Grantee>,
}

/// How many rows are new, by table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NewRows {
    pub(crate) entities: usize,
    pub(crate) groups: usize,
    pub(crate) connections: usize,
    pub(crate) profiles: usize,
}

/// Something to write, whole or not at all.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    Entity(EntityChange<'a>),
    Group(Box<GroupChange<'a>>),
    RemoveConnection(&'a observed::Connection),
    Connection(Box<ConnectionChange<'a>>),
    RemoveGroup(&'a observed::Group),
}

/// A user or a user group.
#[derive(Debug)]
pub(crate) struct EntityChange<'a> {
    pub(crate) id: Id,
    pub(crate) grantee: Grantee,
    pub(crate) step: EntityStep,
    /// What signs the user in; none is a password that nothing fits.
    pub(crate) password: Option<&'a SecretString>,
}

/// What an entity lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntityStep {
    /// Everything.
    Create,
    /// Its row as a user or a user group.
    AddAccount,
    /// The password that its file gives it.
    SetPassword,
}

/// A connection group: a new one, other columns, or other grants.
#[derive(Debug)]
pub(crate) struct GroupChange<'a> {
    pub(crate) id: Id,
    pub(crate) path: GroupPath,
    /// The group it lies in; none is the root.
    pub(crate) parent: Option<Id>,
    /// What its columns are now; none if it is new.
    pub(crate) before: Option<&'a GroupColumns>,
    /// Its columns, if they are to be written.
    pub(crate) columns: Option<GroupColumns>,
    pub(crate) details: Details<'a>,
}

/// A connection: a new one, or what is different.
#[derive(Debug)]
pub(crate) struct ConnectionChange<'a> {
    pub(crate) id: Id,
    pub(crate) desired: &'a document::Connection,
    pub(crate) before: Option<&'a observed::Connection>,
    pub(crate) parent: Option<Id>,
    /// Whether its row is to be written.
    pub(crate) writes_row: bool,
    /// Whether its mark is to be written.
    pub(crate) writes_mark: bool,
    /// Whether another one moves to where it stands, so that it must be out of the way first.
    pub(crate) vacates: bool,
    pub(crate) details: Details<'a>,
    pub(crate) profiles: Vec<ProfileChange<'a>>,
    pub(crate) removed_profiles: Vec<&'a observed::Profile>,
}

/// A sharing profile: a new one, or what is different.
#[derive(Debug)]
pub(crate) struct ProfileChange<'a> {
    pub(crate) id: Id,
    pub(crate) name: &'a str,
    pub(crate) details: Details<'a>,
}

/// What objects of several kinds have.
#[derive(Debug, Default)]
pub(crate) struct Details<'a> {
    pub(crate) parameters: Option<ParameterChange<'a>>,
    pub(crate) attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(crate) removed_attributes: Vec<&'a str>,
    pub(crate) granted: Vec<(Id, Permission)>,
    pub(crate) revoked: Vec<(i32, Permission)>,
    /// What is to be recorded as granted by us, if the record is to be written.
    pub(crate) record: Option<Record<'a>>,
}

impl Details<'_> {
    fn is_empty(&self) -> bool {
        let Self { parameters, attributes, removed_attributes, granted, revoked, record } = self;
        parameters.is_none()
            && attributes.is_empty()
            && removed_attributes.is_empty()
            && granted.is_empty()
            && revoked.is_empty()
            && record.is_none()
    }
}

/// Parameters that are to be others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ParameterChange<'a> {
    wanted: &'a Parameters,
    now: Option<&'a Parameters>,
}

impl<'a> ParameterChange<'a> {
    fn between(wanted: &'a Parameters, now: Option<&'a Parameters>) -> Option<Self> {
        (now != Some(wanted)).then_some(Self { wanted, now })
    }

    /// Those that are new, or get another value.
    pub(crate) fn set(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.wanted.iter().filter(move |(name, value)| self.before(name) != Some(value))
    }

    /// The names of those that go.
    pub(crate) fn removed(self) -> impl Iterator<Item = &'a str> {
        let names = self.now.into_iter().flat_map(Parameters::iter).map(|(name, _)| name);
        names.filter(move |name| self.wanted.get(name).is_none())
    }

    /// The value that a parameter has now.
    pub(crate) fn before(self, name: &str) -> Option<&'a str> {
        self.now?.get(name)
    }
}

/// What we granted on an object.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) grants: BTreeSet<(Id, Permission)>,
    /// The attributes that hold the record now.
    pub(crate) names: Vec<&'a str>,
}

impl Plan<'_> {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Plans what is to be written.
pub(crate) fn plan<'a>(desired: &'a Desired, observed: &'a Observed, policy: &Policy) -> Plan<'a> {
    connections::Planner::new(desired, observed, policy).plan()
}

/// The connections whose parameters must be read before a plan can say what is different in them.
pub(crate) fn stale(desired: &Desired, observed: &Observed, policy: &Policy) -> Vec<i32> {
    if desired.connections.iter().all(|connection| connection.parameters.is_none()) {
        return Vec::new();
    }
    connections::Planner::new(desired, observed, policy).stale()
}

/// The users that need a generated password before a plan is made: those that are made by it.
pub(crate) fn users_to_generate_for(desired: &Desired, observed: &Observed, policy: &Policy) -> Vec<Arc<str>> {
    entities::users_to_generate_for(desired, observed, policy)
}

#[cfg(test)]
mod tests;
