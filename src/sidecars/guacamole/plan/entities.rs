//! Who is granted something: found among those there are, or made.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{Change, EntityChange, EntityStep, Id, Policy};
use crate::sidecars::guacamole::{
    desired::Desired,
    document::{self, Password, User},
    model::{Finding, Grantee, GranteeKind},
    observed::{self, Observed},
};

/// The entities there are, and those that are to be made.
pub(super) struct Entities<'a, 'p> {
    observed: &'a Observed,
    policy: &'p Policy,
    /// Users with an entry of their own.
    users: BTreeMap<Name, &'a User>,
    known: HashMap<Name, &'a observed::Entity>,
    used: BTreeMap<Name, Id>,
    new: usize,
    pub(super) changes: Vec<Change<'a>>,
    pub(super) findings: Vec<Finding>,
    pub(super) grantees: BTreeMap<Id, Grantee>,
}

/// The users that are to be made, or get their row as a user, with a generated password.
pub(super) fn users_to_generate_for(desired: &Desired, observed: &Observed, policy: &Policy) -> Vec<Arc<str>> {
    let with_account = observed.entities.iter().filter(|entity| entity.kind == GranteeKind::User && entity.has_account);
    let there: BTreeSet<Name> = with_account.map(|entity| compared(observed, policy, entity.kind, &entity.name)).collect();
    let (users, _) = users_by_name(desired, observed, policy);
    let without_account = users.into_iter().filter(|(name, _)| !there.contains(name)).map(|(_, user)| user);
    without_account.filter(|user| matches!(user.password, Password::Generated)).map(|user| user.name.clone()).collect()
}

/// The users with an entry of their own, by their names as these are compared. Of two that are one then, the first counts.
fn users_by_name<'a>(desired: &'a Desired, observed: &Observed, policy: &Policy) -> (BTreeMap<Name, &'a User>, Vec<Finding>) {
    let (mut users, mut findings) = (BTreeMap::new(), Vec::new());
    for user in desired.users.values() {
        let first = *users.entry(compared(observed, policy, GranteeKind::User, &user.name)).or_insert(user);
        if first.name != user.name {
            let message = format!(
                "{} has the user {:?}, and the case of letters doesn't count here, so this entry is left out: remove one of the two",
                first.file, first.name
            );
            findings.push(Finding::error(document::subject(&user.file, "user", &user.name), message));
        }
    }
    (users, findings)
}

/// A name as it is compared.
type Name = (GranteeKind, String);

impl<'a, 'p> Entities<'a, 'p> {
    pub(super) fn new(desired: &'a Desired, observed: &'a Observed, policy: &'p Policy) -> Self {
        let mut known: HashMap<Name, &observed::Entity> = HashMap::with_capacity(observed.entities.len());
        let (users, mut findings) = users_by_name(desired, observed, policy);
        for entity in &observed.entities {
            // Of two, the first, by number, is granted what files say.
            let other = *known.entry(compared(observed, policy, entity.kind, &entity.name)).or_insert(entity);
            if other.id != entity.id {
                let names = format!("{:?} and {:?}", other.name, entity.name);
                let message =
                    "their names differ only in the case of letters, which doesn't count here, so neither can sign in: remove one";
                findings.push(Finding::warning(names, message));
            }
        }
        let (used, grantees) = (BTreeMap::new(), BTreeMap::new());
        Self { observed, policy, users, known, used, new: 0, changes: Vec::new(), findings, grantees }
    }

    /// How many are new.
    pub(super) const fn count_new(&self) -> usize {
        self.new
    }

    /// The entity of a grantee; none if it isn't there and must not be made.
    pub(super) fn find_or_make(&mut self, grantee: &Grantee, subject: &str) -> Option<Id> {
        let name = compared(self.observed, self.policy, grantee.kind, &grantee.name);
        if let Some(id) = self.used.get(&name) {
            return Some(*id);
        }
        let known = self.known.get(&name).copied();
        if known.is_none() && !self.may_make(&name) {
            let message = format!("{grantee} does not exist, and making users is switched off: nothing is granted to it");
            self.findings.push(Finding::warning(subject, message));
            return None;
        }
        if known.is_none_or(|entity| !entity.has_account) && self.waits_for_password(&name) {
            return None;
        }
        let password = self.password(&name);
        let (id, step) = match known {
            None => {
                self.new += 1;
                (Id::New(self.new - 1), Some(EntityStep::Create))
            }
            Some(entity) if !entity.has_account => (Id::Known(entity.id), Some(EntityStep::AddAccount)),
            Some(entity) => {
                let is_changed = password.is_some_and(|password| entity.password.as_ref().is_none_or(|stored| !stored.fits(password)));
                (Id::Known(entity.id), is_changed.then_some(EntityStep::SetPassword))
            }
        };
        let grantee = known.map_or_else(|| grantee.clone(), |entity| Grantee { kind: grantee.kind, name: entity.name.as_str().into() });
        self.changes.extend(step.map(|step| Change::Entity(EntityChange { id, grantee: grantee.clone(), step, password })));
        self.used.insert(name, id);
        self.grantees.insert(id, grantee);
        Some(id)
    }

    /// Remembers who is meant by a number, for those that are only revoked.
    pub(super) fn name(&mut self, entity: &observed::Entity) {
        let grantee = || Grantee { kind: entity.kind, name: entity.name.as_str().into() };
        self.grantees.entry(Id::Known(entity.id)).or_insert_with(grantee);
    }

    /// A user with an entry of its own is to be there in any case.
    fn may_make(&self, name: &Name) -> bool {
        self.policy.create_users || self.users.contains_key(name)
    }

    fn password(&self, name: &Name) -> Option<&'a secrecy::SecretString> {
        match &self.users.get(name)?.password {
            Password::Given(password) => Some(password),
            // A file that could not be read is a finding of its own.
            Password::None | Password::File(_) | Password::Generated => None,
        }
    }

    /// Whether somebody is not made because there is no generated password for them yet, which is a finding of its own.
    fn waits_for_password(&self, name: &Name) -> bool {
        self.users.get(name).is_some_and(|user| matches!(user.password, Password::Generated))
    }
}

fn compared(observed: &Observed, policy: &Policy, kind: GranteeKind, name: &str) -> Name {
    let is_sensitive = match kind {
        GranteeKind::User => policy.case.users,
        GranteeKind::UserGroup => policy.case.user_groups,
    };
    (kind, if is_sensitive { name } else { observed.folded(name) }.to_owned())
}
