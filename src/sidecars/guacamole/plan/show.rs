//! A plan in words, for people. Values that may be secrets are masked.

use std::fmt::{self, Display, Write};

use super::{Change, ConnectionChange, Details, EntityStep, GroupChange, Id, Plan};
use crate::sidecars::guacamole::{
    model::{GroupColumns, Permission},
    parameters::may_be_shown,
};

/// What stands in the place of a value that nobody may see.
const MASK: &str = "(hidden)";

impl Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| self.change(f, change))?;
        if self.changes.iter().any(is_revocation) {
            writeln!(f, "note: sessions that are open stay open; what is revoked counts from the next connection on")?;
        }
        if let Some(refusal) = &self.refusal {
            writeln!(f, "refused: {refusal}")?;
        }
        Ok(())
    }
}

fn is_revocation(change: &Change<'_>) -> bool {
    match change {
        Change::RemoveConnection(_) => true,
        Change::Connection(change) => !change.details.revoked.is_empty(),
        Change::Entity(_) | Change::Group(_) | Change::RemoveGroup(_) => false,
    }
}

impl Plan<'_> {
    fn change(&self, f: &mut fmt::Formatter<'_>, change: &Change<'_>) -> fmt::Result {
        match change {
            Change::Entity(change) => match change.step {
                EntityStep::Create => writeln!(f, "+ {}", change.grantee),
                EntityStep::AddAccount => writeln!(f, "~ {}\n    its missing row is added", change.grantee),
                EntityStep::SetPassword => writeln!(f, "~ {}\n    password: {MASK} -> {MASK}", change.grantee),
            },
            Change::Group(change) => {
                writeln!(f, "{} connection group {}", sign(change.id), change.path)?;
                group_columns(f, change)?;
                self.details(f, &change.details, "")
            }
            Change::RemoveConnection(connection) => writeln!(f, "- connection {:?} ({})", connection.name, connection.protocol),
            Change::Connection(change) => self.connection(f, change),
            Change::RemoveGroup(group) => writeln!(f, "- connection group {:?}", group.name),
        }
    }

    fn connection(&self, f: &mut fmt::Formatter<'_>, change: &ConnectionChange<'_>) -> fmt::Result {
        let desired = change.desired;
        writeln!(f, "{} connection {:?} ({}), from {}", sign(change.id), desired.name, desired.protocol, desired.origin)?;
        if let Some(before) = change.before {
            let mut line =
                |what: &str, old: &str, new: &str| if old == new { Ok(()) } else { writeln!(f, "    {what}: {old:?} -> {new:?}") };
            line("name", &before.name, &desired.name)?;
            line("protocol", &before.protocol, &desired.protocol)?;
            if before.parent.map(Id::Known) != change.parent {
                writeln!(f, "    moved to another group")?;
            }
            if before.columns != desired.columns {
                writeln!(f, "    limits, weight or proxy changed")?;
            }
        }
        self.details(f, &change.details, &desired.protocol)?;
        for profile in &change.profiles {
            writeln!(f, "    {} sharing profile {:?}", sign(profile.id), profile.name)?;
        }
        change.removed_profiles.iter().try_for_each(|profile| writeln!(f, "    - sharing profile {:?}", profile.name))
    }

    fn details(&self, f: &mut fmt::Formatter<'_>, details: &Details<'_>, protocol: &str) -> fmt::Result {
        if let Some(change) = details.parameters {
            for (name, value) in change.set() {
                let shown = |value: &str| if may_be_shown(protocol, name) { format!("{value:?}") } else { MASK.to_owned() };
                let old = change.before(name).map(|old| format!("{} -> ", shown(old))).unwrap_or_default();
                writeln!(f, "    {name}: {old}{}", shown(value))?;
            }
            change.removed().try_for_each(|name| writeln!(f, "    {name}: removed"))?;
        }
        for (name, value) in details.attributes.iter().filter(|(name, _)| !name.starts_with(super::super::marks::PREFIX)) {
            writeln!(f, "    attribute {name}: {value:?}")?;
        }
        details.granted.iter().try_for_each(|(entity, permission)| self.grant(f, "granted to", *entity, *permission))?;
        details.revoked.iter().try_for_each(|(entity, permission)| self.grant(f, "revoked from", Id::Known(*entity), *permission))
    }

    fn grant(&self, f: &mut fmt::Formatter<'_>, verb: &str, entity: Id, permission: Permission) -> fmt::Result {
        write!(f, "    {} {verb} ", permission.as_str())?;
        match self.grantees.get(&entity) {
            Some(grantee) => writeln!(f, "{grantee}"),
            None => writeln!(f, "somebody unknown"),
        }
    }
}

/// The columns that are to be different.
fn group_columns(f: &mut fmt::Formatter<'_>, change: &GroupChange<'_>) -> fmt::Result {
    let Some(new) = &change.columns else { return Ok(()) };
    let default = GroupColumns::default();
    let (old, is_new) = (change.before.unwrap_or(&default), change.before.is_none());
    let number = |number: Option<i32>| number.map_or_else(|| "default".to_owned(), |number| number.to_string());
    for (name, old, new) in [
        ("type", old.type_name().to_owned(), new.type_name().to_owned()),
        ("max-connections", number(old.max_connections), number(new.max_connections)),
        ("max-connections-per-user", number(old.max_connections_per_user), number(new.max_connections_per_user)),
        ("enable-session-affinity", old.session_affinity.to_string(), new.session_affinity.to_string()),
    ] {
        match (old == new, is_new) {
            (true, _) => {}
            (false, true) => writeln!(f, "    {name}: {new}")?,
            (false, false) => writeln!(f, "    {name}: {old} -> {new}")?,
        }
    }
    Ok(())
}

const fn sign(id: Id) -> char {
    match id {
        Id::New(_) => '+',
        Id::Known(_) => '~',
    }
}

/// How many of what was written there are of each kind, for logs.
pub(crate) fn summary(written: &[&Change<'_>]) -> String {
    let count = |is_one: fn(&Change<'_>) -> bool| written.iter().filter(|change| is_one(change)).count();
    let created = |change: &Change<'_>| matches!(change, Change::Connection(change) if change.before.is_none());
    let changed = |change: &Change<'_>| matches!(change, Change::Connection(change) if change.before.is_some());
    let mut text = String::new();
    for (number, what) in [
        (count(created), "connections created"),
        (count(changed), "changed"),
        (count(|change| matches!(change, Change::RemoveConnection(_))), "removed"),
        (count(|change| matches!(change, Change::Group(_) | Change::RemoveGroup(_))), "groups changed"),
        (count(|change| matches!(change, Change::Entity(_))), "users changed"),
    ] {
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{number} {what}");
    }
    text
}
