//! Which users a list has, decided from what was found: pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use secrecy::ExposeSecret;

use self::{
    contents::{CAPACITY, TOMBSTONE_PASSWORD},
    form::{Choice, Forms},
};
use super::{
    grammar::{self, Password, UserName, Users},
    origins::{Origin, Origins},
    source::{Credentials, RoleVerifier, SourceSecret, Unusable},
};

pub(super) mod contents;
pub(super) mod form;
pub(super) mod pooler;

/// What the list is made of.
#[derive(Debug)]
pub(super) struct Found {
    /// The namespace of the list.
    pub(super) namespace: String,
    /// The Secret that the spec names as one with extra users.
    pub(super) extra: Option<Arc<SourceSecret>>,
    /// All selected Secrets, of all namespaces.
    pub(super) secrets: Vec<Arc<SourceSecret>>,
    /// Whether all sources could be read. If not, somebody who is missing may only be unseen.
    pub(super) is_complete: bool,
}

/// Users who are ours to give, or whose password others must not know.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reserved<'a> {
    /// The user of the console: only Secrets of the list's own namespace may give it.
    pub(super) admin: Option<&'a str>,
    /// The user of the probe: no Secret may give it.
    pub(super) probe: Option<&'a str>,
    /// More users whom only Secrets of the list's own namespace may give.
    pub(super) own: &'a [String],
}

/// The users that a list is to have.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) users: Users,
    /// What is known of the roles of those who come from a Secret now.
    pub(super) roles: BTreeMap<UserName, RoleVerifier>,
    /// Those who are gone since the list was last written, or were before.
    pub(super) removed: BTreeSet<UserName>,
    /// Whose Secrets gave them all.
    pub(super) origins: Origins,
    pub(super) skipped: Vec<Skipped>,
}

/// A Secret, or one user of it, that was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Skipped {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) reason: String,
}

/// What the list was when it was last written.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    pub(super) users: Users,
    /// Those who were removed, and whom some pooler may remember.
    pub(super) removed: BTreeSet<UserName>,
    pub(super) origins: Origins,
}

/// What a Secret says of one user.
enum Says<'a> {
    /// That this is their password.
    Gives(&'a Credentials),
    /// Nothing that can be used: they keep the password that the list has.
    Keeps(&'a UserName),
    /// Nothing, not even who it is about.
    Nothing,
}

struct Statement<'a> {
    secret: &'a Arc<SourceSecret>,
    says: Says<'a>,
    /// What is wrong with it.
    trouble: Option<&'a str>,
}

/// Decides who is in the list.
///
/// Of several Secrets for one user the first counts: that with the extra users, then those of the list's own namespace, then the one
/// that gave the user before, then the oldest, then by namespace and name. A user of one foreign namespace, even one who was removed, is
/// never another's: whoever took the name over would be handed the server connections of who had it.
///
/// Whose Secret can't be used keeps the password that the list has already, and so does everybody who may only be unseen.
pub(super) fn plan(found: &Found, reserved: Reserved<'_>, forms: &Forms<'_>, past: &Past) -> Plan {
    let is_probe = |name: &UserName| reserved.probe == Some(name.as_str());
    let mut draft = Draft::new(found, reserved, forms, past);
    for statement in statements(found, forms, past) {
        draft.hear(statement);
    }
    draft.keep_unusable();
    if !found.is_complete {
        for name in past.users.keys().filter(|name| !is_probe(name)) {
            draft.keep(name);
        }
    }
    let mut plan = draft.plan;
    plan.skipped.sort();
    let known = past.users.keys().chain(&past.removed);
    plan.removed = known.filter(|name| !is_probe(name) && !plan.users.contains_key(*name)).cloned().collect();
    for name in &plan.removed {
        plan.origins.extend(past.origins.get(name).map(|origin| (name.clone(), origin.clone())));
    }
    plan
}

/// What all Secrets say, in the order in which it counts.
fn statements<'a>(found: &'a Found, forms: &Forms<'_>, past: &'a Past) -> Vec<Statement<'a>> {
    let usable = found.secrets.iter().filter(|secret| may_be_used(secret, &found.namespace));
    let mut others: Vec<_> = usable.flat_map(|secret| statements_of(secret, forms, past)).collect();
    others.sort_by_cached_key(|statement| {
        let SourceSecret { namespace, name, created, .. } = &**statement.secret;
        (*namespace != found.namespace, !statement.is_incumbent(past), *created, namespace.as_str(), name.as_str())
    });
    found.extra.iter().flat_map(|secret| statements_of(secret, forms, past)).chain(others).collect()
}

fn statements_of<'a>(secret: &'a Arc<SourceSecret>, forms: &Forms<'_>, past: &'a Past) -> Vec<Statement<'a>> {
    let mut statements: Vec<_> = secret
        .users
        .iter()
        .map(|user| match user {
            Ok(credentials) => match forms.refusal(&credentials.name, &credentials.password) {
                None => Statement { secret, says: Says::Gives(credentials), trouble: None },
                trouble => Statement { secret, says: Says::Keeps(&credentials.name), trouble },
            },
            Err(Unusable { user, reason }) => {
                Statement { secret, says: user.as_ref().map_or(Says::Nothing, Says::Keeps), trouble: Some(reason) }
            }
        })
        .collect();
    // It may be about any of those whom it gave before.
    if statements.iter().any(|statement| matches!(statement.says, Says::Nothing)) {
        let origin = Origin::of(secret);
        let given = past.origins.iter().filter(|(_, known)| **known == origin);
        statements.extend(given.map(|(name, _)| Statement { secret, says: Says::Keeps(name), trouble: None }));
    }
    statements
}

impl Statement<'_> {
    /// Whether the Secret gave this user before.
    fn is_incumbent(&self, past: &Past) -> bool {
        match self.says {
            Says::Gives(Credentials { name, .. }) | Says::Keeps(name) => past.origins.get(name) == Some(&Origin::of(self.secret)),
            Says::Nothing => false,
        }
    }
}

/// A plan in the making.
struct Draft<'a> {
    found: &'a Found,
    reserved: Reserved<'a>,
    forms: &'a Forms<'a>,
    past: &'a Past,
    /// Bytes that the list may still grow by.
    room: usize,
    owners: BTreeMap<&'a UserName, &'a SourceSecret>,
    /// Who keeps what they had unless a Secret gives them.
    unusable: Vec<&'a UserName>,
    plan: Plan,
}

impl<'a> Draft<'a> {
    fn new(found: &'a Found, reserved: Reserved<'a>, forms: &'a Forms<'a>, past: &'a Past) -> Self {
        let used: usize = past.users.iter().map(|(name, password)| size(name, password)).sum();
        let tombstones: usize = past.removed.iter().map(tombstone_size).sum();
        let origins: usize = past.origins.values().map(|origin| origin.length(&found.namespace)).sum();
        let room = CAPACITY.saturating_sub(used + tombstones + origins);
        Self { found, reserved, forms, past, room, owners: BTreeMap::new(), unusable: Vec::new(), plan: Plan::default() }
    }

    fn hear(&mut self, statement: Statement<'a>) {
        let is_incumbent = statement.is_incumbent(self.past);
        let Statement { secret, says, trouble } = statement;
        let refusal = match says {
            Says::Nothing => None,
            Says::Keeps(name) if is_incumbent => {
                self.keep(name);
                None
            }
            Says::Keeps(name) => {
                self.unusable.extend(self.refusal(name, secret).is_none().then_some(name));
                None
            }
            Says::Gives(credentials) => self.refusal(&credentials.name, secret).or_else(|| self.taken(credentials)).or_else(|| {
                self.owners.entry(&credentials.name).or_insert(secret);
                self.take(credentials, secret)
            }),
        };
        let reason = trouble.map(ToOwned::to_owned).or(refusal);
        self.plan.skipped.extend(reason.map(|reason| Skipped { namespace: secret.namespace.clone(), name: secret.name.clone(), reason }));
    }

    /// Why this Secret may not say anything of this user.
    fn refusal(&self, name: &UserName, secret: &SourceSecret) -> Option<String> {
        let own = &self.found.namespace;
        self.reserved.refusal(name, &secret.namespace, own).or_else(|| {
            let Origin { namespace, .. } = self.past.origins.get(name)?;
            let is_another_s = secret.namespace != *own && secret.namespace != *namespace;
            let or_here = if namespace == own { String::new() } else { format!(" or in {own}") };
            is_another_s.then(|| format!("the user {name} is of namespace {namespace}: only a Secret there{or_here} may give it"))
        })
    }

    fn taken(&self, Credentials { name, password, .. }: &Credentials) -> Option<String> {
        let known = self.plan.users.get(name)?;
        (known != password).then(|| match self.owners.get(name) {
            Some(owner) => {
                let SourceSecret { namespace, name: secret, .. } = owner;
                format!("the user {name} comes from Secret {namespace}/{secret} already, with another password: delete one of them")
            }
            None => format!("the user {name} comes from another Secret, which can't be read now: mend that one, or delete it"),
        })
    }

    /// Puts a user into the list, if there is room. Why not, if there is none; then who was there before stays as they were.
    fn take(&mut self, Credentials { name, password, verifier }: &Credentials, secret: &SourceSecret) -> Option<String> {
        if self.plan.users.contains_key(name) {
            return None;
        }
        let origin = Origin::of(secret);
        let known = self.past.users.get(name);
        let before = match known {
            Some(password) => size(name, password),
            None if self.past.removed.contains(name) => tombstone_size(name),
            None => 0,
        };
        let origin_before = self.past.origins.get(name).map_or(0, |origin| origin.length(&self.found.namespace));
        // Which of the two is stored shows itself when they have been compared.
        let may_be_stored = if self.forms.choice(name, password) == Choice::Verifier { form::candidate(verifier, known) } else { None };
        let longest = may_be_stored.map_or(0, |verifier| size(name, verifier)).max(size(name, password));
        let wanted = longest + origin.length(&self.found.namespace);
        let Some(room) = (self.room + before + origin_before).checked_sub(wanted) else {
            self.keep(name);
            return Some(format!("the list has no room for this password of the user {name}: divide its users among several UserLists"));
        };
        self.room = room;
        self.plan.users.insert(name.clone(), password.clone());
        self.plan.roles.insert(name.clone(), verifier.clone());
        self.plan.origins.insert(name.clone(), origin);
        None
    }

    fn keep_unusable(&mut self) {
        for name in std::mem::take(&mut self.unusable) {
            self.keep(name);
        }
    }

    /// A user of whom nothing is known now stays as they were, if they were there, and their namespace may give them still.
    fn keep(&mut self, name: &UserName) {
        let Some(password) = self.past.users.get(name) else { return };
        let may_not = |origin: &Origin| self.reserved.refusal(name, &origin.namespace, &self.found.namespace).is_some();
        if self.past.origins.get(name).is_some_and(may_not) {
            return;
        }
        if !self.plan.users.contains_key(name) {
            self.plan.users.insert(name.clone(), password.clone());
            self.plan.origins.extend(self.past.origins.get(name).map(|origin| (name.clone(), origin.clone())));
        }
    }
}

/// Its entry, or what would be left of it: whoever is in the list can be removed from it, too.
fn size(name: &UserName, password: &Password) -> usize {
    grammar::entry_length(name.as_str(), password.expose_secret()).max(tombstone_size(name))
}

/// Its entry, and its name among those who were removed.
fn tombstone_size(name: &UserName) -> usize {
    grammar::entry_length(name.as_str(), "") + TOMBSTONE_PASSWORD + name.as_str().len() + 1
}

/// Whether the Secret's owner lets the list's namespace use it.
pub(super) fn may_be_used(secret: &SourceSecret, namespace: &str) -> bool {
    secret.namespace == namespace || secret.shared_with.iter().any(|other| other == namespace)
}

impl Reserved<'_> {
    /// Why a Secret of one namespace may not give this user to a list of another, or of the same.
    fn refusal(self, name: &UserName, giving: &str, namespace: &str) -> Option<String> {
        if self.probe == Some(name.as_str()) {
            return Some(format!("the user {name} is the list's probeUser: choose another name there"));
        }
        let what = match () {
            () if giving == namespace => return None,
            () if self.admin == Some(name.as_str()) => "the user of the console",
            () if self.own.iter().any(|own| own == name.as_str()) => "one of the list's reservedUsers",
            () => return None,
        };
        Some(format!("{name} is {what}, which only a Secret in namespace {namespace} may give"))
    }
}

#[cfg(test)]
mod tests;
