//! What is next inside a database: schemas and extensions.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::{
        pattern,
        pg_database::{DriftPolicy, Ensure, Extension, PgSchema, SchemaPrivilege},
        pg_server::Allowance,
    },
    postgres::catalogue::Database,
};

use super::{Action, Change, Claimed, Difference, Plan, Refusal, Wish, change::schema_word, differences::difference, step};

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
    /// Extensions that are installed.
    pub installed: BTreeMap<String, Installed>,
    /// Extensions that the server has.
    pub available: BTreeMap<String, Available>,
}

/// What is next inside a database that is ours.
#[must_use]
pub fn plan_inner(wish: &Wish, consent: &[&Allowance], database: &Database, inner: &Inner) -> Plan {
    let mut found = Vec::new();
    let wanted = |ensure: Ensure| wish.spec.schemas.iter().filter(move |schema| schema.ensure == ensure);
    wanted(Ensure::Present).for_each(|schema| present(wish, schema, database, inner, &mut found));
    for extension in &wish.spec.extensions {
        if let Err(refusal) = self::extension(extension, consent, inner, &mut found) {
            return Plan { steps: Vec::new(), claimed: Claimed::Ours, differences: found, refusal: Some(refusal) };
        }
    }
    for schema in wanted(Ensure::Absent).filter(|schema| inner.schemas.contains_key(&schema.name)) {
        found.push(difference(field("schemas", &schema.name), "absent", "present", Change::DropSchema(schema.name.clone())));
    }
    let corrects = !wish.was_applied || wish.drift == DriftPolicy::Correct;
    let (changes, differences): (Vec<Difference>, Vec<Difference>) =
        found.into_iter().partition(|difference| corrects && difference.change.is_some());
    let steps = changes.into_iter().filter_map(|difference| {
        let why = difference.to_string();
        difference.change.map(|change| step(Action::Change(change), why))
    });
    Plan { steps: steps.collect(), claimed: Claimed::Ours, differences, refusal: None }
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

fn extension(wanted: &Extension, consent: &[&Allowance], inner: &Inner, found: &mut Vec<Difference>) -> Result<(), Refusal> {
    let name = &wanted.name;
    let path = field("extensions", name);
    match (inner.installed.get(name), wanted.ensure) {
        (Some(_), Ensure::Absent) => found.push(difference(path, "absent", "present", Change::DropExtension(name.clone()))),
        (None, Ensure::Absent) => {}
        (None, Ensure::Present) => {
            let available = available(wanted, consent, inner)?;
            // Ours is the first schema of no path, so the extension is told where to go.
            let usual = available.schema.is_none().then(|| "public".to_owned());
            let change =
                Change::CreateExtension { name: name.clone(), version: wanted.version.clone(), schema: wanted.schema.clone().or(usual) };
            found.push(difference(path, "present", "absent", change));
        }
        (Some(installed), Ensure::Present) => {
            if let Some(version) = wanted.version.as_ref().filter(|version| **version != installed.version) {
                available(wanted, consent, inner)?;
                let change = Change::UpdateExtension(name.clone(), version.clone());
                found.push(difference(format!("{path}.version"), version, &installed.version, change));
            }
            if let Some(schema) = wanted.schema.as_ref().filter(|schema| **schema != installed.schema) {
                let change = installed.is_relocatable.then(|| Change::MoveExtension(name.clone(), schema.clone()));
                found.push(difference(format!("{path}.schema"), schema, &installed.schema, change));
            }
        }
    }
    Ok(())
}

/// The extension as the server has it, if it may be installed.
fn available<'a>(wanted: &Extension, consent: &[&Allowance], inner: &'a Inner) -> Result<&'a Available, Refusal> {
    let name = &wanted.name;
    let Some(available) = inner.available.get(name) else {
        let version = wanted.version.as_ref().map(|version| format!(" in version {version}")).unwrap_or_default();
        let message = format!("the server has no extension {name:?}{version}; install its package there, or take it away");
        return Err(Refusal::new("ExtensionUnavailable", message));
    };
    if !available.is_harmless && !consent.iter().any(|allowance| pattern::any_matches(&allowance.extensions, name)) {
        let message = format!(
            "the extension {name:?} needs more rights than an owner has; ask those who administer the cluster to allow it (allow.extensions of the PgServer)"
        );
        return Err(Refusal::new("NotAllowed", message));
    }
    Ok(available)
}
