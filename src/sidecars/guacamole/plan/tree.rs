//! The tree of connection groups: those there are, and those that paths name.

use std::collections::{BTreeSet, HashMap};

use super::Id;
use crate::sidecars::guacamole::{
    model::{Finding, GroupPath, Parent},
    observed,
};

/// Deeper trees are taken for loops, which the database doesn't prevent.
const MAX_DEPTH: usize = 100;

/// Groups by number and by place.
pub(super) struct Tree<'a> {
    known: HashMap<i32, &'a observed::Group>,
    places: HashMap<Option<Id>, HashMap<String, Id>>,
    new: Vec<NewGroup>,
    /// Known groups that a path leads to or through.
    used: BTreeSet<i32>,
    pub(super) findings: Vec<Finding>,
}

/// A group that is to be made.
pub(super) struct NewGroup {
    pub(super) path: GroupPath,
    pub(super) parent: Option<Id>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(observed: &'a [observed::Group]) -> Self {
        let mut places: HashMap<Option<Id>, HashMap<String, Id>> = HashMap::new();
        let mut findings = Vec::new();
        for group in observed {
            let siblings = places.entry(group.parent.map(Id::Known)).or_default();
            // Nothing keeps the root from having two groups of one name. The first, by number, counts.
            if let Some(Id::Known(first)) = siblings.get(&group.name) {
                let message = format!("there are two of this name in one group, with the numbers {first} and {}: rename one", group.id);
                findings.push(Finding::warning(format!("connection group {:?}", group.name), message));
                continue;
            }
            siblings.insert(group.name.clone(), Id::Known(group.id));
        }
        let known = observed.iter().map(|group| (group.id, group)).collect();
        Self { known, places, new: Vec::new(), used: BTreeSet::new(), findings }
    }

    /// The group of a path, made if it isn't there, with those above it; none is the root.
    pub(super) fn find_or_make(&mut self, path: &GroupPath) -> Option<Id> {
        let mut parent = None;
        for path in path.with_ancestors() {
            let name = path.name().unwrap_or_default();
            let siblings = self.places.entry(parent).or_default();
            let id = siblings.get(name).copied().unwrap_or_else(|| {
                let id = Id::New(self.new.len());
                siblings.insert(name.to_owned(), id);
                self.new.push(NewGroup { path: path.clone(), parent });
                id
            });
            self.note_use(id);
            parent = Some(id);
        }
        parent
    }

    /// Where a file wants something to be; an error if there is no such place.
    pub(super) fn resolve(&mut self, parent: &Parent) -> Result<Option<Id>, String> {
        match parent {
            Parent::Path(path) => Ok(self.find_or_make(path)),
            Parent::Identifier(number) if self.known.contains_key(number) => {
                self.with_ancestors(Some(Id::Known(*number))).into_iter().for_each(|id| self.note_use(id));
                Ok(Some(Id::Known(*number)))
            }
            Parent::Identifier(number) => Err(format!("there is no connection group with the number {number}: name the group by its path")),
        }
    }

    fn note_use(&mut self, id: Id) {
        if let Id::Known(number) = id {
            self.used.insert(number);
        }
    }

    /// Whether a path leads to or through a group.
    pub(super) fn is_used(&self, group: i32) -> bool {
        self.used.contains(&group)
    }

    /// A group and those it lies in, from the inside out.
    pub(super) fn with_ancestors(&self, group: Option<Id>) -> Vec<Id> {
        let above = |id: &Id| match id {
            Id::Known(number) => self.known.get(number).and_then(|group| group.parent).map(Id::Known),
            Id::New(index) => self.new.get(*index).and_then(|group| group.parent),
        };
        std::iter::successors(group, above).take(MAX_DEPTH).collect()
    }

    /// The groups that are to be made, those above first.
    pub(super) fn new_groups(&self) -> &[NewGroup] {
        &self.new
    }

    /// A known group's path, for messages.
    pub(super) fn path(&self, group: i32) -> GroupPath {
        let ids = self.with_ancestors(Some(Id::Known(group)));
        let names = ids.iter().rev().filter_map(|id| match id {
            Id::Known(number) => self.known.get(number).map(|group| group.name.as_str()),
            Id::New(_) => None,
        });
        names.fold(GroupPath::default(), |path, name| path.child(name))
    }
}
