//! What is next inside a database: schemas and extensions.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::{
        pattern,
        pg_database::{Ensure, Extension, PgSchema, SchemaPrivilege},
        pg_server::Allowance,
    },
    postgres::catalogue::Database,
};

use super::{
    Action, Change, Claimed, Difference, Plan, Refusal, Seen, Step, Wish, change::schema_word, consenting, differences::difference, step,
};

/// A schema that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// Its owner.
    pub owner: String,
    /// What is granted to others than the owner.
    pub privileges: BTreeMap<String, BTreeSet<String>>,
}

/// An extension that is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// Its version.
    pub version: String,
    /// The schema of its objects.
    pub schema: String,
    /// Whether they can be moved to another one.
    pub is_relocatable: bool,
}

/// An extension that can be installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Available {
    /// Whether an owner could install it, too: it is trusted, or needs no rights at all.
    pub is_harmless: bool,
    /// The schema that it insists on.
    pub schema: Option<String>,
}

/// What was seen inside a database of the schemas and extensions that are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inner {
    /// Schemas that are there.
    pub schemas: BTreeMap<String, Schema>,
    /// Those among the owners that are asked for who may do everything.
    pub superusers: BTreeSet<String>,
    /// Extensions that are installed.
    pub installed: BTreeMap<String, Installed>,
    /// Extensions that the server has.
    pub available: BTreeMap<String, Available>,
}

/// What is next inside a database that is ours.
#[must_use]
pub fn plan_inner(wish: &Wish, seen: &Seen, database: &Database, inner: &Inner) -> Plan {
    let mut found = Vec::new();
    let wanted = |ensure: Ensure| wish.spec.schemas.iter().filter(move |schema| schema.ensure == ensure);
    wanted(Ensure::Present).for_each(|schema| present(wish, schema, database, inner, &mut found));
    wish.spec.extensions.iter().for_each(|wanted| extension(wanted, inner, &mut found));
    for schema in wanted(Ensure::Absent).filter(|schema| inner.schemas.contains_key(&schema.name)) {
        found.push(difference(field("schemas", &schema.name), "absent", "present", Change::DropSchema(schema.name.clone())));
    }
    let corrects = wish.corrects(database);
    let (changes, differences): (Vec<Difference>, Vec<Difference>) =
        found.into_iter().partition(|difference| corrects && difference.change.is_some());
    let mut plan = Plan { steps: Vec::new(), claimed: Claimed::Ours, differences, refusal: None };
    match permitted(wish, seen, database, inner, &changes) {
        Err(refusal) => plan.refusal = Some(refusal),
        Ok(()) => plan.steps = steps(changes),
    }
    plan
}

fn steps(changes: Vec<Difference>) -> Vec<Step> {
    let steps = changes.into_iter().filter_map(|difference| {
        let why = difference.to_string();
        difference.change.map(|change| step(Action::Change(change), why))
    });
    steps.collect()
}

fn field(list: &str, name: &str) -> String {
    format!("{list}.{name}")
}

fn present(wish: &Wish, wanted: &PgSchema, database: &Database, inner: &Inner, found: &mut Vec<Difference>) {
    let owner = wanted.owner.as_ref().or_else(|| wish.spec.owner.as_ref().map(|owner| &owner.name));
    let name = field("schemas", &wanted.name);
    let Some(schema) = inner.schemas.get(&wanted.name) else {
        found.push(difference(name, "present", "absent", Change::CreateSchema(wanted.name.clone(), owner.cloned())));
        return;
    };
    // What PostgreSQL itself has put there: `public` belongs to whoever owns the database.
    let is_owners = |owner: &String| schema.owner == "pg_database_owner" && *owner == database.owner;
    if let Some(owner) = owner.filter(|owner| **owner != schema.owner && !is_owners(owner)) {
        found.push(difference(format!("{name}.owner"), owner, &schema.owner, Change::SchemaOwner(wanted.name.clone(), owner.clone())));
    }
    let none = BTreeSet::new();
    for grant in wanted.privileges.iter().filter(|grant| grant.role != schema.owner) {
        let has = schema.privileges.get(&grant.role).unwrap_or(&none);
        for privilege in [SchemaPrivilege::Usage, SchemaPrivilege::Create] {
            let (word, field) = (schema_word(privilege), format!("{name}.privileges.{}", grant.role));
            let (schema, role) = (wanted.name.clone(), grant.role.clone());
            match (grant.privileges.contains(&privilege), has.contains(word)) {
                (true, false) => found.push(difference(field, word, "not granted", Change::GrantOnSchema(schema, role, privilege))),
                (false, true) => found.push(difference(field, "not granted", word, Change::RevokeOnSchema(schema, role, privilege))),
                _ => {}
            }
        }
    }
}

fn extension(wanted: &Extension, inner: &Inner, found: &mut Vec<Difference>) {
    let name = &wanted.name;
    let path = field("extensions", name);
    match (inner.installed.get(name), wanted.ensure) {
        (Some(_), Ensure::Absent) => found.push(difference(path, "absent", "present", Change::DropExtension(name.clone()))),
        (None, Ensure::Absent) => {}
        (None, Ensure::Present) => {
            // Ours is the first schema of no path, so the extension is told where to go.
            let insists = inner.available.get(name).is_some_and(|available| available.schema.is_some());
            let usual = (!insists).then(|| "public".to_owned());
            let change =
                Change::CreateExtension { name: name.clone(), version: wanted.version.clone(), schema: wanted.schema.clone().or(usual) };
            found.push(difference(path, "present", "absent", change));
        }
        (Some(installed), Ensure::Present) => {
            if let Some(version) = wanted.version.as_ref().filter(|version| **version != installed.version) {
                let change = Change::UpdateExtension(name.clone(), version.clone());
                found.push(difference(format!("{path}.version"), version, &installed.version, change));
            }
            if let Some(schema) = wanted.schema.as_ref().filter(|schema| **schema != installed.schema) {
                let change = installed.is_relocatable.then(|| Change::MoveExtension(name.clone(), schema.clone()));
                found.push(difference(format!("{path}.schema"), schema, &installed.schema, change));
            }
        }
    }
}

/// Whether all these changes may be made. An owner could not make all of them, and the credentials may have more rights than an owner:
/// what goes further needs consent, of one entry for all of it.
fn permitted(wish: &Wish, seen: &Seen, database: &Database, inner: &Inner, changes: &[Difference]) -> Result<(), Refusal> {
    let mut entries = consenting(wish, seen)?;
    for wanted in &wish.spec.extensions {
        let is_changed = changes.iter().filter_map(|difference| difference.change.as_ref()).any(|change| is_about(change, &wanted.name));
        if is_changed {
            check_extension(wanted, inner, &mut entries)?;
        } else if !is_harmless(&wanted.name, inner) {
            // What is there already was allowed by an entry, or somebody else has installed it.
            let fitting: Vec<_> = entries.iter().copied().filter(|entry| pattern::any_matches(&entry.extensions, &wanted.name)).collect();
            entries = if fitting.is_empty() { entries } else { fitting };
        }
    }
    for schema in changes.iter().filter_map(|difference| schema_of(difference.change.as_ref()?)) {
        check_schema(wish, seen, database, schema, inner, &mut entries)?;
        let owner = wish.spec.schemas.iter().find(|wanted| wanted.name == schema).and_then(|wanted| wanted.owner.as_ref());
        if let Some(owner) = owner.filter(|owner| inner.superusers.contains(*owner)) {
            let message =
                format!("the role {owner:?} is a superuser, which owns nothing here; choose another owner for the schema {schema:?}");
            return Err(Refusal::new("OwnerRefused", message));
        }
    }
    Ok(())
}

fn is_about(change: &Change, extension: &str) -> bool {
    match change {
        Change::CreateExtension { name, .. }
        | Change::UpdateExtension(name, _)
        | Change::MoveExtension(name, _)
        | Change::DropExtension(name) => name == extension,
        _ => false,
    }
}

/// The schema that is made or changed.
fn schema_of(change: &Change) -> Option<&str> {
    match change {
        Change::CreateSchema(schema, _)
        | Change::SchemaOwner(schema, _)
        | Change::DropSchema(schema)
        | Change::GrantOnSchema(schema, ..)
        | Change::RevokeOnSchema(schema, ..) => Some(schema),
        _ => None,
    }
}

/// Whether an owner could do the same: the extension is trusted.
fn is_harmless(extension: &str, inner: &Inner) -> bool {
    inner.available.get(extension).is_some_and(|available| available.is_harmless)
}

fn check_extension(wanted: &Extension, inner: &Inner, entries: &mut Vec<&Allowance>) -> Result<(), Refusal> {
    let name = &wanted.name;
    if wanted.ensure == Ensure::Present && !inner.available.contains_key(name) {
        let version = wanted.version.as_ref().map(|version| format!(" in version {version}")).unwrap_or_default();
        let message = format!("the server has no extension {name:?}{version}; install its package there, or take it away");
        return Err(Refusal::new("ExtensionUnavailable", message));
    }
    if is_harmless(name, inner) {
        return Ok(());
    }
    entries.retain(|entry| pattern::any_matches(&entry.extensions, name));
    if entries.is_empty() {
        let message = format!(
            "the extension {name:?} needs more rights than an owner has; ask those who administer the cluster to allow it (allow.extensions of the PgServer)"
        );
        return Err(Refusal::new("NotAllowed", message));
    }
    Ok(())
}

/// A schema that is there already is changed if its owner is the database's, the one that is wanted and no superuser, or a role that the
/// consent names: `*` names nobody.
fn check_schema(
    wish: &Wish,
    seen: &Seen,
    database: &Database,
    name: &str,
    inner: &Inner,
    entries: &mut Vec<&Allowance>,
) -> Result<(), Refusal> {
    let Some(schema) = inner.schemas.get(name) else { return Ok(()) };
    let owner = schema.owner.as_str();
    let wanted = wish.spec.schemas.iter().find(|schema| schema.name == name).and_then(|schema| schema.owner.as_deref());
    let is_wanted = wanted.or_else(|| wish.spec.owner.as_ref().map(|owner| owner.name.as_str())) == Some(owner);
    let is_ours = [database.owner.as_str(), "pg_database_owner"].contains(&owner)
        // Whoever writes a name has no rights of that role by it, so least of all a superuser's.
        || is_wanted && !inner.superusers.contains(owner)
        // A superuser may be who administers the server, and have made it as such.
        || owner == seen.server.user && !seen.server.is_superuser;
    if is_ours {
        return Ok(());
    }
    let names = |entry: &Allowance| entry.grantees.iter().any(|grantee| grantee != "*" && pattern::matches(grantee, owner));
    entries.retain(|entry| names(entry));
    if entries.is_empty() {
        let message = format!(
            "the schema {name:?} belongs to {owner:?}; choose another name, or ask those who administer the cluster to name that role (allow.grantees of the PgServer)"
        );
        return Err(Refusal::new("NotAllowed", message));
    }
    Ok(())
}
