//! The plan itself: connections first, since the groups' grants follow from theirs.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

use super::{
    Change, ConnectionChange, Details, GroupChange, Id, NewRows, ParameterChange, Plan, Policy, ProfileChange,
    entities::Entities,
    grants::{self, Changed, Comparison, Wanted},
    matching::{self, Container, Match, Matches, in_the_way, place_of},
    removal,
    tree::Tree,
};
use crate::sidecars::guacamole::{
    desired::Desired,
    document, marks,
    model::{Finding, Grantee, GranteeKind, Grants, GroupColumns, Permission},
    observed::{self, Observed},
};

/// Gathers the changes.
pub(super) struct Planner<'a, 'p> {
    desired: &'a Desired,
    observed: &'a Observed,
    policy: &'p Policy,
    entities: Entities<'a, 'p>,
    tree: Tree<'a>,
    profiles: HashMap<i32, Vec<&'a observed::Profile>>,
    new: NewRows,
    findings: Vec<Finding>,
}

/// Each wanted connection with the group it is to stand in, or none if there is no such place.
type Placed<'a> = Vec<(&'a document::Connection, Option<Container>)>;

impl<'a, 'p> Planner<'a, 'p> {
    pub(super) fn new(desired: &'a Desired, observed: &'a Observed, policy: &'p Policy) -> Self {
        let entities = Entities::new(desired, observed, policy);
        let mut profiles: HashMap<i32, Vec<&observed::Profile>> = HashMap::new();
        for profile in &observed.profiles {
            profiles.entry(profile.connection).or_default().push(profile);
        }
        let (tree, new, findings) = (Tree::new(&observed.groups), NewRows::default(), Vec::new());
        Self { desired, observed, policy, entities, tree, profiles, new, findings }
    }

    pub(super) fn stale(mut self) -> Vec<i32> {
        let placed = self.placed();
        let matches = matching::matches(&placed, self.desired, &self.observed.connections, self.policy);
        let same = placed.iter().zip(&matches.of_desired).filter_map(|((desired, _), matched)| match matched {
            Match::Same(known) => Some((desired, known)),
            Match::New | Match::Blocked => None,
        });
        let is_stale = |desired: &document::Connection, known: &observed::Connection| {
            desired.parameters.as_ref().is_some_and(|parameters| parameters.digest() != known.digest)
        };
        same.filter(|(desired, known)| is_stale(desired, known)).map(|(_, known)| known.id).collect()
    }

    pub(super) fn plan(mut self) -> Plan<'a> {
        self.desired.users.values().for_each(|user| self.user(user));
        let placed = self.placed();
        let mut matches = matching::matches(&placed, self.desired, &self.observed.connections, self.policy);
        self.findings.append(&mut matches.findings);
        self.findings.append(&mut removal::of_empty_folders(&matches, self.desired, self.policy));
        let unwanted = removal::unwanted(&matches, self.desired, self.policy);
        let (removed, refusal) = match removal::removable(&unwanted, matches.ours, self.policy) {
            Ok(removed) => (removed, None),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        let vacating = self.clear_the_way(&placed, &mut matches, &removed);

        let mut group_grants: BTreeMap<Id, Wanted> = BTreeMap::new();
        let mut connections = Vec::new();
        for ((desired, parent), matched) in placed.iter().zip(&matches.of_desired) {
            let (Some(parent), Match::New | Match::Same(_)) = (parent, matched) else { continue };
            let before = if let Match::Same(known) = matched { Some(*known) } else { None };
            let change = self.connection(desired, *parent, before, &vacating, &mut group_grants);
            connections.extend(change);
        }
        self.declared_group_grants(&mut group_grants);

        let changed = Changed {
            removed: removed.iter().map(|connection| connection.id).collect(),
            moved: connections.iter().filter_map(|change| Some((change.before?.id, change.parent))).collect(),
            revoked: connections.iter().filter_map(|change| Some((change.before?.id, change.details.revoked.as_slice()))).collect(),
        };
        let empty_groups = if self.policy.prune { self.empty_groups(&changed, &connections) } else { Vec::new() };
        let unwanted_grants = grants::unwanted(&group_grants, self.observed, &self.policy.owner);
        let kept_grants = grants::retained(&unwanted_grants, &group_grants, self.observed, &changed, &self.tree, &self.policy.owner);
        // Files that are missing or not understood may want both.
        let (kept_grants, removed_groups) = if self.desired.is_all_known() && refusal.is_none() {
            (kept_grants, empty_groups)
        } else {
            if !empty_groups.is_empty() || kept_grants != unwanted_grants {
                self.findings.extend(removal::of_empty_folders_and_groups(self.desired));
            }
            (unwanted_grants, Vec::new())
        };
        let groups = self.groups(&group_grants, &kept_grants);
        let unwanted = unwanted.into_iter().map(|(_, origin)| origin).collect();
        Plan { unwanted, refusal, ..self.assemble(groups, removed, connections, removed_groups) }
    }

    /// A user with an entry of its own.
    fn user(&mut self, user: &document::User) {
        let grantee = Grantee { kind: GranteeKind::User, name: user.name.clone() };
        self.entities.find_or_make(&grantee, &document::subject(&user.file, "user", &user.name));
    }

    fn placed(&mut self) -> Placed<'a> {
        let mut placed = Vec::with_capacity(self.desired.connections.len());
        for connection in &self.desired.connections {
            let parent = self.tree.resolve(&connection.parent);
            let parent = parent.map_err(|message| self.findings.push(Finding::error(connection.subject(), message))).ok();
            placed.push((&**connection, parent));
        }
        placed
    }

    /// Blocks what would stand where something else stays, and tells which connections must be out of the way first.
    fn clear_the_way(&mut self, placed: &Placed<'a>, matches: &mut Matches<'a>, removed: &[&observed::Connection]) -> HashSet<i32> {
        let mut leaving: HashSet<i32> = removed.iter().map(|connection| connection.id).collect();
        let mut occupants: HashMap<_, Vec<i32>> = HashMap::new();
        for connection in &self.observed.connections {
            occupants.entry(place_of(connection)).or_default().push(connection.id);
        }
        for ((desired, parent), matched) in placed.iter().zip(&matches.of_desired) {
            if let (Some(parent), Match::Same(known)) = (parent, matched)
                && place_of(known) != (*parent, desired.name.as_str())
            {
                leaving.insert(known.id);
            }
        }
        // What is blocked stays where it is, which may block another one.
        loop {
            let mut is_settled = true;
            let mut vacating = HashSet::new();
            for ((desired, parent), matched) in placed.iter().zip(&mut matches.of_desired) {
                let (Some(parent), Match::New | Match::Same(_)) = (parent, &*matched) else { continue };
                let own = if let Match::Same(known) = matched { Some(*known) } else { None };
                let there = occupants.get(&(*parent, desired.name.as_str())).into_iter().flatten().copied();
                let others: Vec<i32> = there.filter(|id| own.is_none_or(|own| own.id != *id)).collect();
                let stays = own.is_some_and(|own| !leaving.contains(&own.id));
                if stays || others.iter().all(|id| leaving.contains(id)) {
                    vacating.extend(others);
                } else {
                    self.findings.push(Finding::error(desired.subject(), in_the_way()));
                    own.map(|own| leaving.remove(&own.id));
                    *matched = Match::Blocked;
                    is_settled = false;
                }
            }
            if is_settled {
                self.warn_of_twins(placed, matches, &occupants, &leaving);
                return vacating;
            }
        }
    }

    /// Nothing keeps the root from having two connections of one name.
    fn warn_of_twins(
        &mut self,
        placed: &Placed<'a>,
        matches: &Matches<'a>,
        occupants: &HashMap<(Option<Id>, &str), Vec<i32>>,
        leaving: &HashSet<i32>,
    ) {
        for ((desired, _), matched) in placed.iter().zip(&matches.of_desired) {
            let Match::Same(known) = matched else { continue };
            let twins = || occupants.get(&place_of(known)).into_iter().flatten().filter(|id| **id != known.id && !leaving.contains(id));
            if !leaving.contains(&known.id) && twins().next().is_some() {
                let message = "another connection of this name stands in the same group, and Guacamole can't tell them apart: remove one";
                self.findings.push(Finding::warning(desired.subject(), message));
            }
        }
    }

    fn connection(
        &mut self,
        desired: &'a document::Connection,
        parent: Option<Id>,
        before: Option<&'a observed::Connection>,
        vacating: &HashSet<i32>,
        group_grants: &mut BTreeMap<Id, Wanted>,
    ) -> Option<ConnectionChange<'a>> {
        let subject = desired.subject();
        let wanted = self.resolve(&desired.grants, &subject);
        self.grant_above(&wanted, parent, group_grants);
        let id = before.map_or_else(|| Id::New(self.new.connections), |known| Id::Known(known.id));
        let writes_row = before.is_none_or(|known| {
            (place_of(known), &known.protocol, &known.columns) != ((parent, desired.name.as_str()), &desired.protocol, &desired.columns)
        });
        let parameters = desired.parameters.as_ref().and_then(|wanted| match before {
            Some(known) if known.digest == wanted.digest() => None,
            _ => ParameterChange::between(wanted, before.and_then(|known| known.parameters.as_ref())),
        });
        let mut details = Details { parameters, ..Details::default() };
        let is_marked = |known: &observed::Connection| {
            let mark = marks::connection_mark(&self.policy.owner, known.id, &desired.origin);
            marks::attribute(&known.attributes, marks::OWNER) == Some(&mark)
        };
        let writes_mark = !before.is_some_and(is_marked);
        compare_attributes(&mut details, Some(&desired.attributes), None, before.map(|known| &known.attributes));
        let now = before.map(|known| (&known.attributes, &known.grants));
        self.compare_grants(&mut details, &wanted, now);
        let (profiles, removed_profiles) = self.profiles(desired, before, &subject);

        let vacates = before.is_some_and(|known| vacating.contains(&known.id));
        let change =
            ConnectionChange { id, desired, before, parent, writes_row, writes_mark, vacates, details, profiles, removed_profiles };
        let is_change = change.writes_row
            || change.writes_mark
            || !change.details.is_empty()
            || !change.profiles.is_empty()
            || !change.removed_profiles.is_empty();
        self.new.connections += usize::from(before.is_none());
        is_change.then_some(change)
    }

    /// Compares the grants on what is ours, or becomes so.
    fn compare_grants(&self, details: &mut Details<'a>, wanted: &Wanted, now: Option<(&'a marks::Attributes, &marks::GrantSet)>) {
        let comparison = Comparison { wanted, retained: &marks::GrantSet::new(), adopts: true };
        grants::compare(details, comparison, now, &self.policy.owner);
    }

    fn resolve(&mut self, grants: &Grants, subject: &str) -> Wanted {
        let resolve = |(grantee, permission): &(Grantee, Permission)| Some((self.entities.find_or_make(grantee, subject)?, *permission));
        grants.iter().filter_map(resolve).collect()
    }

    fn grant_above(&self, wanted: &Wanted, parent: Option<Id>, group_grants: &mut BTreeMap<Id, Wanted>) {
        for group in self.tree.with_ancestors(parent) {
            let readers = wanted.iter().map(|(entity, _)| (*entity, Permission::Read));
            group_grants.entry(group).or_default().extend(readers);
        }
    }

    fn profiles(
        &mut self,
        desired: &'a document::Connection,
        before: Option<&observed::Connection>,
        subject: &str,
    ) -> (Vec<ProfileChange<'a>>, Vec<&'a observed::Profile>) {
        let known = before.and_then(|known| self.profiles.get(&known.id)).cloned().unwrap_or_default();
        let is_ours = |profile: &observed::Profile| marks::owner(&profile.attributes) == Some(self.policy.owner.as_str());
        let is_wanted = |profile: &observed::Profile| desired.profiles.iter().any(|wanted| wanted.name == profile.name);
        let removed = known.iter().filter(|profile| self.policy.prune && is_ours(profile) && !is_wanted(profile)).copied().collect();
        let mut changes = Vec::new();
        for wanted in &desired.profiles {
            let before = known.iter().find(|profile| profile.name == wanted.name).copied();
            if before.is_some_and(|profile| !is_ours(profile) && !self.policy.adopt) {
                let message =
                    format!("its sharing profile {:?} was made by somebody else: rename one, or take it over with ADOPT=true", wanted.name);
                self.findings.push(Finding::error(subject, message));
                continue;
            }
            changes.extend(self.profile(wanted, before, subject));
        }
        (changes, removed)
    }

    fn profile(
        &mut self,
        wanted: &'a document::Profile,
        before: Option<&'a observed::Profile>,
        subject: &str,
    ) -> Option<ProfileChange<'a>> {
        let grants = self.resolve(&wanted.grants, subject);
        let parameters = ParameterChange::between(&wanted.parameters, before.map(|known| &known.parameters));
        let mut details = Details { parameters, ..Details::default() };
        let mark = marks::owner_mark(&self.policy.owner);
        compare_attributes(&mut details, None, Some(mark), before.map(|known| &known.attributes));
        let now = before.map(|known| (&known.attributes, &known.grants));
        self.compare_grants(&mut details, &grants, now);
        let id = before.map_or_else(|| Id::New(self.new.profiles), |known| Id::Known(known.id));
        self.new.profiles += usize::from(before.is_none());
        (before.is_none() || !details.is_empty()).then_some(ProfileChange { id, name: &wanted.name, details })
    }

    fn declared_group_grants(&mut self, group_grants: &mut BTreeMap<Id, Wanted>) {
        for group in self.desired.groups.values() {
            let id = self.tree.find_or_make(&group.path);
            let wanted = self.resolve(&group.grants, &document::subject(&group.file, "connection group", &group.path.to_string()));
            self.grant_above(&wanted, id, group_grants);
            if let Some(id) = id {
                group_grants.entry(id).or_default().extend(wanted);
            }
        }
    }

    fn groups(&mut self, wanted: &BTreeMap<Id, Wanted>, retained: &HashMap<i32, marks::GrantSet>) -> Vec<GroupChange<'a>> {
        let (none, nothing) = (Wanted::new(), marks::GrantSet::new());
        let desired = self.desired;
        let new = self.tree.new_groups().iter().enumerate().map(|(index, group)| {
            let id = Id::New(index);
            let mut details = Details::default();
            details.attributes.push((marks::OWNER.into(), marks::owner_mark(&self.policy.owner).into()));
            let comparison = Comparison { wanted: wanted.get(&id).unwrap_or(&none), retained: &nothing, adopts: false };
            grants::compare(&mut details, comparison, None, &self.policy.owner);
            let columns = desired.groups.get(&group.path).map(|group| group.settings.over(&GroupColumns::default())).unwrap_or_default();
            GroupChange { id, path: group.path.clone(), parent: group.parent, before: None, columns: Some(columns), details }
        });
        let mut findings = Vec::new();
        let known = self.observed.groups.iter().filter_map(|group| {
            let (id, path) = (Id::Known(group.id), self.tree.path(group.id));
            let mut details = Details::default();
            let now = Some((&group.attributes, &group.grants));
            let (wanted, retained) = (wanted.get(&id).unwrap_or(&none), retained.get(&group.id).unwrap_or(&nothing));
            grants::compare(&mut details, Comparison { wanted, retained, adopts: false }, now, &self.policy.owner);
            let columns = desired.groups.get(&path).and_then(|wanted| {
                let columns = group_columns(wanted, group, self.policy);
                columns.map_err(|finding| findings.push(finding)).ok().flatten()
            });
            let (parent, before) = (group.parent.map(Id::Known), Some(&group.columns));
            (columns.is_some() || !details.is_empty()).then_some(GroupChange { id, path, parent, before, columns, details })
        });
        let groups = new.chain(known).collect();
        self.findings.append(&mut findings);
        groups
    }

    /// Our groups in which nothing will be left, those inside first.
    fn empty_groups(&self, changed: &Changed<'_>, connections: &[ConnectionChange<'_>]) -> Vec<&'a observed::Group> {
        let staying = self.observed.connections.iter().filter(|connection| !changed.removed.contains(&connection.id));
        let parents = staying.map(|known| changed.moved.get(&known.id).copied().unwrap_or_else(|| known.parent.map(Id::Known)));
        let mut full: HashSet<Id> = parents.chain(connections.iter().map(|change| change.parent)).flatten().collect();
        full.extend(self.tree.new_groups().iter().filter_map(|group| group.parent));
        let is_ours = |group: &observed::Group| marks::owner(&group.attributes) == Some(self.policy.owner.as_str());
        let mut by_depth: Vec<_> =
            self.observed.groups.iter().map(|group| (self.tree.with_ancestors(Some(Id::Known(group.id))).len(), group)).collect();
        by_depth.sort_by_key(|(depth, group)| (std::cmp::Reverse(*depth), group.id));
        let mut empty = Vec::new();
        for (_, group) in by_depth {
            if is_ours(group) && !self.tree.is_used(group.id) && !full.contains(&Id::Known(group.id)) {
                empty.push(group);
            } else {
                full.extend(group.parent.map(Id::Known));
            }
        }
        empty
    }

    fn assemble(
        mut self,
        groups: Vec<GroupChange<'a>>,
        removed: Vec<&'a observed::Connection>,
        mut connections: Vec<ConnectionChange<'a>>,
        removed_groups: Vec<&'a observed::Group>,
    ) -> Plan<'a> {
        // What is in the way goes first, and what is new comes when all else has its place.
        connections.sort_by_key(|change| (!change.vacates, change.before.is_none()));
        let is_going = |group: &GroupChange<'_>| removed_groups.iter().any(|removed| group.id == Id::Known(removed.id));
        let groups: Vec<_> = groups.into_iter().filter(|group| !is_going(group)).collect();
        self.name_revoked(&groups, &connections);
        self.new.entities = self.entities.count_new();
        self.new.groups = self.tree.new_groups().len();

        let mut changes = std::mem::take(&mut self.entities.changes);
        changes.extend(groups.into_iter().map(|change| Change::Group(Box::new(change))));
        changes.extend(removed.into_iter().map(Change::RemoveConnection));
        changes.extend(connections.into_iter().map(|change| Change::Connection(Box::new(change))));
        changes.extend(removed_groups.into_iter().map(Change::RemoveGroup));
        let mut findings = self.findings;
        findings.append(&mut self.entities.findings);
        findings.append(&mut self.tree.findings);
        Plan { changes, new: self.new, unwanted: Vec::new(), refusal: None, findings, grantees: self.entities.grantees }
    }

    /// Makes the names known of those who lose something.
    fn name_revoked(&mut self, groups: &[GroupChange<'_>], connections: &[ConnectionChange<'_>]) {
        let of_profiles = connections.iter().flat_map(|change| change.profiles.iter().map(|profile| &profile.details));
        let details = groups.iter().map(|group| &group.details).chain(connections.iter().map(|change| &change.details)).chain(of_profiles);
        let revoked: BTreeSet<i32> = details.flat_map(|details| details.revoked.iter().map(|(entity, _)| *entity)).collect();
        if !revoked.is_empty() {
            let losers = self.observed.entities.iter().filter(|entity| revoked.contains(&entity.id));
            losers.for_each(|entity| self.entities.name(entity));
        }
    }
}

/// The columns that a group should have, if not those it has. One of ours is as its entry says, also where that says nothing; of somebody
/// else's only what the entry says is written, and only if that may be.
fn group_columns(wanted: &document::Group, group: &observed::Group, policy: &Policy) -> Result<Option<GroupColumns>, Finding> {
    let owner = marks::owner(&group.attributes);
    let is_ours = owner == Some(policy.owner.as_str());
    let columns = if is_ours { wanted.settings.over(&GroupColumns::default()) } else { wanted.settings.over(&group.columns) };
    if columns == group.columns {
        return Ok(None);
    }
    if is_ours || (policy.adopt && owner.is_none()) {
        return Ok(Some(columns));
    }
    let message =
        "somebody else made it, so its type and attributes stay as they are: leave them out, or have them written with ADOPT=true";
    Err(Finding::error(document::subject(&wanted.file, "connection group", &wanted.path.to_string()), message))
}

/// Compares the attributes of a file's entry, and our marks, except for a connection's, which depends on its number. Attributes that never were in a file are somebody else's.
fn compare_attributes<'a>(
    details: &mut Details<'a>,
    wanted: Option<&'a BTreeMap<String, String>>,
    mark: Option<String>,
    now: Option<&'a marks::Attributes>,
) {
    let known = |name: &str| now.and_then(|now| marks::attribute(now, name));
    let wanted = || wanted.into_iter().flatten();
    let names = wanted().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("\n");
    let mut set: Vec<(Cow<'a, str>, Cow<'a, str>)> = mark.into_iter().map(|mark| (marks::OWNER.into(), mark.into())).collect();
    if !names.is_empty() {
        set.push((marks::ATTRIBUTES.into(), names.into()));
    }
    set.extend(wanted().map(|(name, value)| (name.into(), value.into())));
    set.retain(|(name, value)| known(name) != Some(value));
    details.attributes = set;

    let recorded = known(marks::ATTRIBUTES);
    let is_wanted = |name: &str| wanted().any(|(wanted, _)| wanted == name);
    let over = recorded.into_iter().flat_map(str::lines).filter(|name| !is_wanted(name) && known(name).is_some());
    let record = recorded.filter(|_| wanted().next().is_none()).map(|_| marks::ATTRIBUTES);
    details.removed_attributes = over.chain(record).collect();
}
