//! Which connection of the database is which of the files.
//!
//! A connection is known by the mark of its origin, so it stays the same one when it is renamed or moved. Failing that, one of ours at the
//! wanted place whose own origin is gone is taken over: its file was renamed. What else stands there is somebody else's, copies of ours
//! included.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
};

use super::{Id, Policy};
use crate::sidecars::guacamole::{
    desired::Desired,
    document, marks,
    model::{Finding, Origin},
    observed,
};

/// What stands for a wanted connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Match<'a> {
    /// Nothing yet.
    New,
    /// This one.
    Same(&'a observed::Connection),
    /// Something that is in the way; a finding says what.
    Blocked,
}

/// One of ours, and where it comes from.
pub(super) type Ours<'a> = (&'a observed::Connection, Origin);

/// All matches.
pub(super) struct Matches<'a> {
    /// In the order of the wanted connections.
    pub(super) of_desired: Vec<Match<'a>>,
    /// Ours, with nothing in the files to stand for.
    pub(super) orphans: Vec<Ours<'a>>,
    /// How many bear our mark.
    pub(super) ours: usize,
    pub(super) findings: Vec<Finding>,
}

/// The group that something is in; none is the root.
pub(super) type Container = Option<Id>;

type Place<'a> = (Container, &'a str);

/// The connections of the database, by what they can be known by.
struct Index<'a, 'o> {
    observed: &'a [observed::Connection],
    by_origin: HashMap<&'o Origin, &'a observed::Connection>,
    /// Most are known by their origin, so this is made when one isn't.
    by_place: OnceCell<HashMap<Place<'a>, Vec<&'a observed::Connection>>>,
}

impl<'a, 'o> Index<'a, 'o> {
    fn new(observed: &'a [observed::Connection], ours: &'o [Ours<'a>]) -> Self {
        let mut by_origin = HashMap::with_capacity(ours.len());
        for (connection, origin) in ours {
            by_origin.entry(origin).or_insert(*connection);
        }
        Self { observed, by_origin, by_place: OnceCell::new() }
    }

    fn at<'s>(&'s self, place: Place<'s>) -> &'s [&'a observed::Connection] {
        let by_place = self.by_place.get_or_init(|| {
            let mut by_place: HashMap<_, Vec<_>> = HashMap::with_capacity(self.observed.len());
            for connection in self.observed {
                by_place.entry(place_of(connection)).or_default().push(connection);
            }
            by_place
        });
        by_place.get(&place).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Where a connection stands now.
pub(super) fn place_of(connection: &observed::Connection) -> Place<'_> {
    (connection.parent.map(Id::Known), &connection.name)
}

/// Where a connection comes from, if it is ours.
fn origin_of(connection: &observed::Connection, policy: &Policy) -> Option<Origin> {
    marks::origin(&connection.attributes, &policy.owner, connection.id)
}

/// Matches wanted connections, each with the group it is to stand in, or none if there is no such place.
pub(super) fn matches<'a>(
    placed: &[(&document::Connection, Option<Container>)],
    desired: &Desired,
    observed: &'a [observed::Connection],
    policy: &Policy,
) -> Matches<'a> {
    let ours: Vec<Ours<'a>> = observed.iter().filter_map(|connection| Some((connection, origin_of(connection, policy)?))).collect();
    let index = Index::new(observed, &ours);
    let wanted: HashSet<&Origin> = placed.iter().map(|(connection, _)| &connection.origin).collect();
    let mut findings = Vec::new();
    let mut taken: HashSet<i32> = HashSet::new();
    let mut of_desired = Vec::with_capacity(placed.len());
    let is_abandoned = |origin: &Origin| !wanted.contains(origin) && (desired.outdone.contains(origin) || !desired.may_want(origin));
    for (connection, parent) in placed {
        let Some(parent) = parent else {
            // Its old self stays as it is.
            taken.extend(index.by_origin.get(&connection.origin).map(|known| known.id));
            of_desired.push(Match::Blocked);
            continue;
        };
        let place = (*parent, connection.name.as_str());
        let marked = index.by_origin.get(&connection.origin).copied();
        let found = marked.map_or_else(|| by_place(&index, place, &is_abandoned, policy), Match::Same);
        match found {
            Match::Same(known) => drop(taken.insert(known.id)),
            Match::Blocked => findings.push(Finding::error(connection.subject(), in_the_way())),
            Match::New => {}
        }
        of_desired.push(found);
    }
    let count = ours.len();
    let is_orphan = |(connection, origin): &Ours<'a>| !taken.contains(&connection.id) && !wanted.contains(origin);
    Matches { of_desired, orphans: ours.into_iter().filter(is_orphan).collect(), ours: count, findings }
}

/// What an author is told whose connection's place is taken.
pub(super) fn in_the_way() -> String {
    "another connection of this name stands in the same group, made by somebody else or from a file that can't be used now: rename one, \
     mend that file, or have it taken over with ADOPT=true"
        .to_owned()
}

fn by_place<'a>(index: &Index<'a, '_>, place: Place<'_>, is_abandoned: &dyn Fn(&Origin) -> bool, policy: &Policy) -> Match<'a> {
    let there = index.at(place);
    let Some(first) = there.iter().copied().min_by_key(|known| known.id) else { return Match::New };
    let is_free = |known: &&observed::Connection| origin_of(known, policy).is_some_and(|origin| is_abandoned(&origin));
    if let Some(ours) = there.iter().copied().filter(is_free).min_by_key(|known| known.id) {
        return Match::Same(ours);
    }
    match origin_of(first, policy) {
        // It moves away, or is in the way; that is judged when all are matched.
        Some(_) => Match::New,
        None if policy.adopt && marks::owner(&first.attributes).is_none_or(|owner| owner == policy.owner) => Match::Same(first),
        None => Match::Blocked,
    }
}
