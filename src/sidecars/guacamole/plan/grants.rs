//! Who may see what: what is granted because a file says so, and revoked when it no longer does.
//!
//! Guacamole's tree shows a connection only to those who may also read every group it lies in, so each grant brings those with it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{Details, Id, Record, members::Members, tree::Tree};
use crate::sidecars::guacamole::{
    marks::{self, Attributes, GrantSet},
    model::Permission,
    observed::{self, Observed},
};

/// Grants, by rows that may be new.
pub(super) type Wanted = BTreeSet<(Id, Permission)>;

/// Grants on an object.
pub(super) struct Comparison<'w> {
    /// What files want.
    pub(super) wanted: &'w Wanted,
    /// What files no longer want, but somebody still needs.
    pub(super) retained: &'w GrantSet,
    /// Whether files answer from now on for what they want and somebody else has granted: on connections, which are ours, but not on groups,
    /// in which others may see something that we know nothing of.
    pub(super) adopts: bool,
}

/// What must be granted, revoked and recorded on an object that has these attributes and grants now. Only what some provisioner has granted
/// is recorded: all else is somebody else's, and stays when no file wants it any more.
pub(super) fn compare<'a>(
    details: &mut Details<'a>,
    Comparison { wanted, retained, adopts }: Comparison<'_>,
    now: Option<(&'a Attributes, &GrantSet)>,
    owner: &str,
) {
    let (nothing, no_grants) = (Attributes::new(), GrantSet::new());
    let (attributes, granted) = now.unwrap_or((&nothing, &no_grants));
    let recorded = marks::recorded_grants(attributes, owner);
    let is_there = |(entity, permission): &(Id, Permission)| matches!(entity, Id::Known(id) if granted.contains(&(*id, *permission)));
    details.granted = wanted.iter().filter(|grant| !is_there(grant)).copied().collect();
    let known = |(entity, permission): &(i32, Permission)| (Id::Known(*entity), *permission);
    let is_over = |grant: &&(i32, Permission)| !wanted.contains(&known(grant)) && !retained.contains(grant);
    details.revoked = recorded.iter().filter(is_over).filter(|grant| granted.contains(grant)).copied().collect();
    let of_others = marks::grants_of_others(attributes, owner);
    let is_from_files = |grant: &(i32, Permission)| recorded.contains(grant) || of_others.contains(grant);
    let is_by_hand = |(entity, permission): &(Id, Permission)| match entity {
        Id::Known(id) => !adopts && granted.contains(&(*id, *permission)) && !is_from_files(&(*id, *permission)),
        Id::New(_) => false,
    };
    let record: Wanted = wanted.iter().filter(|grant| !is_by_hand(grant)).copied().chain(retained.iter().map(known)).collect();
    if !recorded.iter().map(known).eq(record.iter().copied()) {
        let names = now.map(|(attributes, _)| marks::record_names(attributes, owner)).unwrap_or_default();
        details.record = Some(Record { grants: record, names });
    }
}

/// Where each connection will stand and what will be revoked on it, if that is to change.
pub(super) struct Changed<'a> {
    pub(super) removed: HashSet<i32>,
    pub(super) moved: HashMap<i32, Option<Id>>,
    pub(super) revoked: HashMap<i32, &'a [(i32, Permission)]>,
}

/// What we have granted on each group, and no file that could be read asks for any more.
pub(super) fn unwanted(wanted: &BTreeMap<Id, Wanted>, observed: &Observed, owner: &str) -> HashMap<i32, GrantSet> {
    let unwanted_on = |group: &observed::Group| {
        let recorded = marks::recorded_grants(&group.attributes, owner);
        let unwanted: GrantSet = recorded.into_iter().filter(|grant| !is_wanted(wanted, group.id, *grant)).collect();
        (group.id, unwanted)
    };
    observed.groups.iter().map(unwanted_on).filter(|(_, unwanted)| !unwanted.is_empty()).collect()
}

fn is_wanted(wanted: &BTreeMap<Id, Wanted>, group: i32, (entity, permission): (i32, Permission)) -> bool {
    wanted.get(&Id::Known(group)).is_some_and(|wanted| wanted.contains(&(Id::Known(entity), permission)))
}

/// Of the grants on groups that files no longer ask for, those that somebody still needs: another owner, or whoever may see something
/// below that stays, also through user groups.
pub(super) fn retained(
    unwanted: &HashMap<i32, GrantSet>,
    wanted: &BTreeMap<Id, Wanted>,
    observed: &Observed,
    changed: &Changed<'_>,
    tree: &Tree<'_>,
    owner: &str,
) -> HashMap<i32, GrantSet> {
    if unwanted.is_empty() {
        return HashMap::new();
    }
    let needed = needed(observed, changed, tree, owner);
    let members = Members::new(&observed.memberships);
    let retain = |group: &observed::Group| {
        let over = unwanted.get(&group.id)?;
        let of_others = marks::grants_of_others(&group.attributes, owner);
        let sees_inside = |entity: i32| needed.contains(&(group.id, entity));
        let may_read = |entity: i32| {
            let read = (entity, Permission::Read);
            is_wanted(wanted, group.id, read) || (group.grants.contains(&read) && !over.contains(&read))
        };
        // Somebody it stands for sees something inside, and the group itself by nothing else.
        let is_somebodys_way = |entity: i32| {
            members.stands_for(entity).into_iter().any(|somebody| {
                let identities = members.identities(somebody);
                identities.iter().any(|one| sees_inside(*one)) && !identities.iter().any(|one| may_read(*one))
            })
        };
        let is_needed = |(entity, permission): &(i32, Permission)| {
            of_others.contains(&(*entity, *permission))
                || (*permission == Permission::Read && (sees_inside(*entity) || is_somebodys_way(*entity)))
        };
        Some((group.id, over.iter().filter(|grant| is_needed(grant)).copied().collect()))
    };
    observed.groups.iter().filter_map(retain).collect()
}

/// Which entities will still see something in which groups, but for what they see of the groups themselves because of us.
fn needed(observed: &Observed, changed: &Changed<'_>, tree: &Tree<'_>, owner: &str) -> HashSet<(i32, i32)> {
    let mut needed = HashSet::new();
    let mut need = |groups: &[Id], entity: i32| {
        needed.extend(groups.iter().filter_map(|group| match group {
            Id::Known(group) => Some((*group, entity)),
            Id::New(_) => None,
        }));
    };
    for connection in observed.connections.iter().filter(|connection| !changed.removed.contains(&connection.id)) {
        let parent = changed.moved.get(&connection.id).copied().unwrap_or_else(|| connection.parent.map(Id::Known));
        let groups = tree.with_ancestors(parent);
        let revoked = changed.revoked.get(&connection.id).copied().unwrap_or_default();
        let staying = connection.grants.iter().filter(|grant| !groups.is_empty() && !revoked.contains(grant));
        staying.for_each(|(entity, _)| need(&groups, *entity));
    }
    for group in &observed.groups {
        let recorded = marks::recorded_grants(&group.attributes, owner);
        let above = tree.with_ancestors(group.parent.map(Id::Known));
        group.grants.difference(&recorded).for_each(|(entity, _)| need(&above, *entity));
    }
    needed
}
