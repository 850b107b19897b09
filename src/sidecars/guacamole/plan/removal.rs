//! What no file wants any more, and whether it may go.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{Policy, matching::Matches};
use crate::sidecars::guacamole::{
    desired::Desired,
    model::{Finding, Origin},
    observed,
};

/// More would be removed than one pass may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How many connections no file wants.
    pub(crate) unwanted: usize,
    /// How many were removed before, within an hour.
    pub(crate) removed_lately: usize,
    /// Of how many that are ours.
    pub(crate) ours: usize,
    /// How many percent may go at once.
    pub(crate) limit: u8,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unwanted, removed_lately, ours, limit } = self;
        let lately = if *removed_lately > 0 { format!(", {removed_lately} were removed in the last hour") } else { String::new() };
        write!(
            f,
            "no file wants {unwanted} of our {ours} connections any more{lately}, and at most {limit} % may be removed at once: nothing is removed; \
             if files or Secrets are missing, bring them back, else raise PRUNE_LIMIT (100 allows everything) until they are gone"
        )
    }
}

/// What earlier passes know of removals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Removals {
    /// How many connections were removed lately: those that go now count together with them.
    pub(crate) removed_lately: usize,
    /// Where the connections come from that have been unwanted for long enough. None if all that is unwanted may go.
    pub(crate) due: Option<BTreeSet<Origin>>,
}

/// The connections that no file wants.
pub(super) fn unwanted<'a>(matches: &Matches<'a>, desired: &Desired, policy: &Policy) -> Vec<(&'a observed::Connection, Origin)> {
    let is_unwanted = |(_, origin): &&(&observed::Connection, Origin)| {
        policy.prune && !desired.may_want(origin) && desired.empty_folder(origin).is_none()
    };
    matches.orphans.iter().filter(is_unwanted).cloned().collect()
}

/// What there is to say of those that stay because there is nothing in the folder of their file.
pub(super) fn of_empty_folders(matches: &Matches<'_>, desired: &Desired, policy: &Policy) -> Vec<Finding> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for folder in matches.orphans.iter().filter(|_| policy.prune).filter_map(|(_, origin)| desired.empty_folder(origin)) {
        *counts.entry(folder).or_default() += 1;
    }
    let finding = |(folder, count): (&str, usize)| {
        let message = format!(
            "there is nothing in this folder, and {count} of our connections come from it: they stay, since a volume may not be mounted; \
             mount it, or remove the folder, too"
        );
        Finding::error(format!("{folder}/"), message)
    };
    counts.into_iter().map(finding).collect()
}

/// What there is to say of groups and grants on them that stay because of folders in which there is nothing.
pub(super) fn of_empty_folders_and_groups(desired: &Desired) -> impl Iterator<Item = Finding> {
    desired.empty_folders.iter().map(|folder| {
        let (subject, way_out) = match folder.as_str() {
            "" => ("the folder of connections".to_owned(), "put a file with [] in it"),
            folder => (format!("{folder}/"), "remove the folder, too"),
        };
        let message = format!(
            "there is nothing in this folder, so connection groups and grants on them stay that no other file wants, since a volume may not be \
             mounted; mount it, or {way_out}"
        );
        Finding::error(subject, message)
    })
}

/// Those of them that go, by the one decision for all.
pub(super) fn removable<'a>(
    unwanted: &[(&'a observed::Connection, Origin)],
    ours: usize,
    policy: &Policy,
) -> Result<Vec<&'a observed::Connection>, Refusal> {
    let Removals { removed_lately, due } = &policy.removals;
    if (unwanted.len() + removed_lately) * 100 > (ours + removed_lately) * usize::from(policy.prune_limit) && !unwanted.is_empty() {
        return Err(Refusal { unwanted: unwanted.len(), removed_lately: *removed_lately, ours, limit: policy.prune_limit });
    }
    let is_due = |origin: &Origin| due.as_ref().is_none_or(|due| due.contains(origin));
    Ok(unwanted.iter().filter(|(_, origin)| is_due(origin)).map(|(connection, _)| *connection).collect())
}
