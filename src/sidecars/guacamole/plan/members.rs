//! Who is in which user groups, also in groups of groups: Guacamole lets a user do what any of them may.

use std::collections::{BTreeSet, HashMap};

/// Memberships, in both directions.
pub(super) struct Members {
    groups: HashMap<i32, Vec<i32>>,
    members: HashMap<i32, Vec<i32>>,
}

impl Members {
    /// From pairs of a member and its group.
    pub(super) fn new(memberships: &[(i32, i32)]) -> Self {
        let (mut groups, mut members): (HashMap<_, Vec<_>>, HashMap<_, Vec<_>>) = (HashMap::new(), HashMap::new());
        for (member, group) in memberships {
            groups.entry(*member).or_default().push(*group);
            members.entry(*group).or_default().push(*member);
        }
        Self { groups, members }
    }

    /// As whom somebody may do something: oneself, and all groups one is in.
    pub(super) fn identities(&self, entity: i32) -> BTreeSet<i32> {
        reachable(&self.groups, entity)
    }

    /// All who may do what an entity may: itself, and whoever is in it.
    pub(super) fn stands_for(&self, entity: i32) -> BTreeSet<i32> {
        reachable(&self.members, entity)
    }
}

/// The database doesn't keep groups from containing each other.
fn reachable(steps: &HashMap<i32, Vec<i32>>, start: i32) -> BTreeSet<i32> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![start]);
    while let Some(entity) = next.pop() {
        if reached.insert(entity) {
            next.extend(steps.get(&entity).into_iter().flatten());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_in_groups_count_also_where_they_contain_each_other() {
        let members = Members::new(&[(1, 10), (10, 11), (11, 12), (12, 10), (2, 12)]);
        assert_eq!(members.identities(1), BTreeSet::from([1, 10, 11, 12]));
        assert_eq!(members.identities(2), BTreeSet::from([2, 10, 11, 12]));
        assert_eq!(members.stands_for(11), BTreeSet::from([1, 2, 10, 11, 12]));
        assert_eq!(members.identities(3), BTreeSet::from([3]));
    }
}
