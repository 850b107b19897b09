//! Which users a list has, decided from what was found: pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    grammar::{UserName, Users},
    source::{Credentials, RoleVerifier, SourceSecret, Unusable},
};

pub(super) mod contents;
pub(super) mod form;
pub(super) mod pooler;

use form::Forms;

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
}

/// The users that a list is to have.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) users: Users,
    /// What is known of the roles of those who come from a Secret now.
    pub(super) roles: BTreeMap<UserName, RoleVerifier>,
    /// Those who are gone since the list was last written, or were before.
    pub(super) removed: BTreeSet<UserName>,
    pub(super) skipped: Vec<Skipped>,
}

/// A Secret, or one user of it, that was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Skipped {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) reason: String,
}

/// Decides who is in the list.
///
/// Of several Secrets for one user the first counts: that with the extra users, then those of the list's own namespace, then the oldest,
/// then by namespace and name. So nobody takes over a user who is there already.
///
/// Whose Secret can't be used keeps the password that the list has already, and so does everybody who may only be unseen.
pub(super) fn plan(found: &Found, reserved: Reserved<'_>, forms: &Forms<'_>, before: &Users, removed_before: &BTreeSet<UserName>) -> Plan {
    let mut draft = Draft::default();
    for secret in ranked(found) {
        for user in &secret.users {
            if let Err(reason) = draft.add(user, secret, (found, reserved, forms)) {
                draft.plan.skipped.push(Skipped { namespace: secret.namespace.clone(), name: secret.name.clone(), reason });
            }
        }
    }
    let Draft { mut plan, unusable, .. } = draft;
    plan.skipped.sort();
    let is_probe = |name: &UserName| reserved.probe == Some(name.as_str());
    for (name, password) in before.iter().filter(|(name, _)| !is_probe(name)) {
        if !found.is_complete || unusable.contains(name) {
            plan.users.entry(name.clone()).or_insert_with(|| password.clone());
        }
    }
    let known = before.keys().chain(removed_before);
    plan.removed = known.filter(|name| !is_probe(name) && !plan.users.contains_key(*name)).cloned().collect();
    plan
}

/// The Secrets in the order in which they count.
fn ranked(found: &Found) -> Vec<&Arc<SourceSecret>> {
    let mut secrets: Vec<_> = found.secrets.iter().filter(|secret| may_be_used(secret, &found.namespace)).collect();
    secrets.sort_by_key(|secret| (secret.namespace != found.namespace, secret.created, &secret.namespace, &secret.name));
    found.extra.iter().chain(secrets).collect()
}

/// Whether the Secret's owner lets the list's namespace use it.
pub(super) fn may_be_used(secret: &SourceSecret, namespace: &str) -> bool {
    secret.namespace == namespace || secret.shared_with.iter().any(|other| other == namespace)
}

/// A plan in the making.
#[derive(Default)]
struct Draft {
    plan: Plan,
    /// Whose Secret each user comes from.
    owners: BTreeMap<UserName, Arc<SourceSecret>>,
    /// Who has a Secret that can't be used.
    unusable: BTreeSet<UserName>,
}

impl Draft {
    /// Adds a user, or says why not.
    fn add(
        &mut self,
        user: &Result<Credentials, Unusable>,
        secret: &Arc<SourceSecret>,
        (found, reserved, forms): (&Found, Reserved<'_>, &Forms<'_>),
    ) -> Result<(), String> {
        let Credentials { name, password, verifier } = user.as_ref().map_err(|error| {
            self.unusable.extend(error.user.clone());
            error.reason.clone()
        })?;
        if let Some(refusal) = reserved.refusal(name, secret, &found.namespace) {
            return Err(refusal);
        }
        if let Some(owner) = self.owners.get(name) {
            let is_same = self.plan.users.get(name) == Some(password);
            let (namespace, other) = (&owner.namespace, &owner.name);
            let refusal =
                || format!("the user {name} comes from Secret {namespace}/{other} already, with another password: delete one of them");
            return if is_same { Ok(()) } else { Err(refusal()) };
        }
        if let Some(refusal) = forms.refusal(name, password) {
            self.unusable.insert(name.clone());
            return Err(refusal.to_owned());
        }
        self.plan.users.insert(name.clone(), password.clone());
        self.plan.roles.insert(name.clone(), verifier.clone());
        self.owners.insert(name.clone(), secret.clone());
        Ok(())
    }
}

impl Reserved<'_> {
    fn refusal(self, name: &UserName, secret: &SourceSecret, namespace: &str) -> Option<String> {
        if self.probe == Some(name.as_str()) {
            return Some(format!("the user {name} is the list's probeUser: choose another name there"));
        }
        let is_foreign_admin = self.admin == Some(name.as_str()) && secret.namespace != namespace;
        is_foreign_admin.then(|| format!("{name} is the user of the console, which only a Secret in namespace {namespace} may give"))
    }
}

#[cfg(test)]
mod tests;
