//! Decides what is next for one database: pure, from what is asked for and what was seen. The plan of an applied plan is empty.

mod change;
mod creation;
mod differences;
mod inner;
mod owner;
mod removal;
mod retired;
#[cfg(test)]
mod tests;

pub use change::{Change, Place};
pub use creation::creation;
pub use differences::Difference;
pub use inner::{Available, Inner, Installed, Schema, plan_inner};
pub use owner::may_have_password;
pub use removal::{Blocker, Manner, Removal, RemovalStep, plan_removal};
pub use retired::retired_name;

use owner::owner_steps;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use crate::{
    api::{
        pattern,
        pg_database::{AdoptionPolicy, DriftPolicy, PgDatabaseSpec, ReclaimPolicy},
        pg_server::Allowance,
    },
    postgres::{
        catalogue::{Database, Role, Server},
        scram::Salt,
    },
};

/// An object of a cluster: what tells it from all others, and its name for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// The uid of the cluster's namespace kube-system.
    pub cluster: String,
    /// The object's own.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Holder {
    /// Whether both are one object.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (&self.cluster, &self.uid) == (&other.cluster, &other.uid)
    }

    /// How others are told of it.
    #[must_use]
    pub fn described(&self, from: &Self) -> String {
        let cluster = if self.cluster == from.cluster { String::new() } else { format!(" of the cluster {}", self.cluster) };
        format!("PgDatabase {} in namespace {}{cluster}", self.name, self.namespace)
    }
}

/// How far a database has come that somebody claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It is about to be created, with the OID that the claim names.
    Intended,
    /// It is theirs.
    Held,
    /// It is closed and renamed, and waits to be dropped.
    Retired,
}

/// A row of the table of claims: whose a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The database's OID. It was chosen before the database was created, so a database of the same name and another OID is not it.
    pub oid: u32,
    /// The name it was claimed under.
    pub database: String,
    /// Whose it is.
    pub holder: Holder,
    /// How far it has come.
    pub stage: Stage,
    /// The name of the database with this OID, if there is one.
    pub found_as: Option<String>,
    /// Whether it was closed here, to be dropped.
    pub is_closed: bool,
    /// Whether it was written so long ago that whoever did so would have created the database since.
    pub is_old: bool,
}

/// What is known of a role that was created here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRecord {
    /// For whom.
    pub holder: Holder,
    /// Its OID; none if there was none to write down. Another role of the same name is not it.
    pub oid: Option<u32>,
    /// The digest of the verifier that was set.
    pub digest: Option<String>,
    /// Its salt.
    pub salt: Option<Salt>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Who asks.
    pub us: Holder,
    /// The name of the database.
    pub database: String,
    /// What for.
    pub spec: PgDatabaseSpec,
    /// The policies that hold, of the object or of its server.
    pub reclaim: ReclaimPolicy,
    /// Whether a database that exists is taken over.
    pub adoption: AdoptionPolicy,
    /// What is done about changes made by hand.
    pub drift: DriftPolicy,
    /// The OID of the database to which this spec was applied before, so that what differs there was changed by others.
    pub applied_to: Option<u32>,
    /// The parameters that were set for this object before.
    pub parameters_before: Vec<String>,
    /// Whether nothing is left to do inside the database, so that it may be closed.
    pub is_inside_done: bool,
    /// The entries of the server's consent that fit the rest of what is asked for.
    pub consent: Vec<Allowance>,
    /// The digest of the verifier that the owner is to have, if its password is known.
    pub digest: Option<String>,
    /// The OID that the database gets if it has to be created: a random number.
    pub new_oid: u32,
}

impl Wish {
    /// Whether what differs is changed, and not only told.
    fn corrects(&self, database: &Database) -> bool {
        self.drift == DriftPolicy::Correct || self.applied_to != Some(database.oid)
    }
}

/// What was seen of the server and of one database.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The server.
    pub server: Server,
    /// The database of the name that is asked for.
    pub database: Option<Database>,
    /// The claim to that name.
    pub record: Option<Record>,
    /// Whether the object that has the claim is one of this cluster, and is gone.
    pub is_holder_gone: bool,
    /// The roles that are asked for, as far as there are any.
    pub roles: HashMap<String, Role>,
    /// What is known of the owner, if it was created here.
    pub owner_record: Option<RoleRecord>,
    /// Whether the object that the owner was created for is one of this cluster, and is gone.
    pub is_owner_holder_gone: bool,
    /// Who may set the parameters that are asked for: `context` in `pg_settings`.
    pub contexts: BTreeMap<String, String>,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub action: Action,
    /// Why, for logs and Events.
    pub why: String,
}

/// What can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Creates the owner and writes down for whom.
    CreateOwner,
    /// Writes down that the owner is ours, since the object that it was created for is gone.
    AdoptOwner,
    /// Sets the owner's password.
    SetPassword,
    /// Makes us a member of the owner, so that we may give it something.
    JoinOwner,
    /// Writes down that the database is about to be created with this OID.
    Intend(u32),
    /// Creates the database with the OID that was written down.
    Create(u32),
    /// Writes down that the database with this OID is ours.
    Hold(u32),
    /// Writes down that a database that exists is ours, and its owner, if both were somebody's.
    Adopt(u32),
    /// Lets connections in again that were kept out for a drop which didn't come.
    Reopen,
    /// Takes away a claim whose database or object is gone.
    Forget(u32),
    /// Changes the database.
    Change(Change),
}

/// Whose the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Ours.
    Ours,
    /// Not yet ours; nothing stands in the way.
    Pending,
    /// It can't be ours.
    Refused(Refusal),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateOwner => "creating the owner",
            Self::AdoptOwner => "taking over the owner",
            Self::SetPassword => "setting the owner's password",
            Self::JoinOwner => "becoming a member of the owner",
            Self::Intend(_) => "about to create the database",
            Self::Create(_) => "creating the database",
            Self::Hold(_) => "the database was created",
            Self::Adopt(_) => "taking over the database",
            Self::Reopen => "letting connections in again",
            Self::Forget(_) => "forgetting a claim",
            Self::Change(_) => "changing the database",
        })
    }
}

/// Why something can't be done, in words for the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One CamelCase word.
    pub reason: &'static str,
    /// A sentence with the way out.
    pub message: String,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, message: String) -> Self {
        Self { reason, message }
    }
}

/// What is next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is to be done now, in this order. Afterwards one looks again.
    pub steps: Vec<Step>,
    /// Whose the database is.
    pub claimed: Claimed,
    /// What differs and is left as it is.
    pub differences: Vec<Difference>,
    /// Why the rest can't be done.
    pub refusal: Option<Refusal>,
}

impl Plan {
    fn of(claimed: Claimed, steps: Vec<Step>) -> Self {
        Self { steps, claimed, differences: Vec::new(), refusal: None }
    }

    /// Nothing more is done if these are the steps that were taken before: the server took them and did nothing. It does so, with a warning
    /// at most, where we may not grant or revoke something.
    #[must_use]
    pub fn unless_in_vain(self, taken: &[Step]) -> Self {
        if self.steps.is_empty() || self.steps != taken {
            return self;
        }
        let in_vain: Vec<&str> = self.steps.iter().map(|step| step.why.as_str()).collect();
        let message = format!("the server took this and did nothing, for want of rights: {}", in_vain.join("; "));
        Self { steps: Vec::new(), refusal: Some(Refusal::new("PermissionDenied", message)), ..self }
    }

    fn refused(refusal: Refusal) -> Self {
        Self::of(Claimed::Refused(refusal), Vec::new())
    }

    fn stuck(claimed: Claimed, refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), ..Self::of(claimed, Vec::new()) }
    }
}

fn step(action: Action, why: impl Into<String>) -> Step {
    Step { action, why: why.into() }
}

/// What is next for a database that is to be there.
#[must_use]
pub fn plan(wish: &Wish, seen: &Seen) -> Plan {
    if let Some(refusal) = unfit(&seen.server).or_else(|| consenting(wish, seen).err()) {
        return Plan::stuck(pending_or_ours(wish, seen), refusal);
    }
    match standing(wish, seen) {
        Ok(Standing::Absent) => {
            let intend = step(Action::Intend(wish.new_oid), "there is no such database");
            prepared(wish, seen, [vec![intend], creation_steps(wish.new_oid)].concat())
        }
        Ok(Standing::Intended(oid)) => prepared(wish, seen, creation_steps(oid)),
        Ok(Standing::Created(oid)) => Plan::of(Claimed::Pending, vec![hold(oid)]),
        Ok(Standing::Adoptable(oid)) => {
            Plan::of(Claimed::Pending, vec![step(Action::Adopt(oid), "the database exists, and the policy is to take it over")])
        }
        Ok(Standing::Stale(oid)) => Plan::of(Claimed::Pending, vec![step(Action::Forget(oid), "what was claimed is gone")]),
        Ok(Standing::Ours(database)) => kept(wish, seen, database),
        Err(refusal) => Plan::refused(refusal),
    }
}

/// Creates a database that was written down. Whoever is cut off in between finds the database by its OID.
fn creation_steps(oid: u32) -> Vec<Step> {
    vec![step(Action::Create(oid), "there is no such database"), hold(oid)]
}

fn hold(oid: u32) -> Step {
    step(Action::Hold(oid), "the database was created for this object")
}

/// Where the database stands, seen from the object that asks.
enum Standing<'a> {
    Absent,
    Intended(u32),
    Created(u32),
    Adoptable(u32),
    Stale(u32),
    Ours(&'a Database),
}

fn standing<'a>(wish: &Wish, seen: &'a Seen) -> Result<Standing<'a>, Refusal> {
    let name = &wish.database;
    let Some(record) = &seen.record else {
        return match &seen.database {
            None => Ok(Standing::Absent),
            Some(database) => {
                adoptable(wish, database, AdoptionPolicy::IfUnclaimed, &format!("a database {name:?} exists that nobody has claimed"))
            }
        };
    };
    let holder = record.holder.described(&wish.us);
    if !record.holder.is(&wish.us) {
        return match &seen.database {
            None if seen.is_holder_gone => Ok(Standing::Stale(record.oid)),
            Some(database) if seen.is_holder_gone => adoptable(
                wish,
                database,
                AdoptionPolicy::IfUnclaimed,
                &format!("the database {name:?} was claimed by {holder}, which is gone"),
            ),
            Some(database) => adoptable(wish, database, AdoptionPolicy::Force, &format!("the database {name:?} belongs to {holder}")),
            // Where its database is gone, too, nobody loses anything; one that is about to be created is a matter of minutes.
            None if wish.adoption == AdoptionPolicy::Force
                && (record.stage == Stage::Held && record.found_as.is_none() || record.stage == Stage::Intended && record.is_old) =>
            {
                Ok(Standing::Stale(record.oid))
            }
            None => Err(Refusal::new("ClaimedByAnother", format!("the name {name:?} belongs to {holder}; choose another name"))),
        };
    }
    match (&seen.database, record.stage) {
        (Some(database), Stage::Held) if database.oid == record.oid => Ok(Standing::Ours(database)),
        (Some(database), Stage::Intended) if database.oid == record.oid => Ok(Standing::Created(record.oid)),
        (Some(database), _) => adoptable(
            wish,
            database,
            AdoptionPolicy::IfUnclaimed,
            &format!("somebody else has created the database {name:?} since it was claimed for this object"),
        ),
        // Unless somebody's database has the number that was drawn.
        (None, Stage::Intended) if record.found_as.is_none() => Ok(Standing::Intended(record.oid)),
        (None, _) => Ok(Standing::Stale(record.oid)),
    }
}

fn adoptable<'a>(wish: &Wish, database: &Database, needed: AdoptionPolicy, what: &str) -> Result<Standing<'a>, Refusal> {
    if wish.adoption >= needed {
        return Ok(Standing::Adoptable(database.oid));
    }
    let (reason, way_out) = match needed {
        AdoptionPolicy::Force => ("ClaimedByAnother", "choose another name"),
        _ => ("AlreadyExists", "choose another name, or set adoptionPolicy: IfUnclaimed to take it over"),
    };
    Err(Refusal::new(reason, format!("{what}; {way_out}")))
}

fn pending_or_ours(wish: &Wish, seen: &Seen) -> Claimed {
    match standing(wish, seen) {
        Ok(Standing::Ours(_)) => Claimed::Ours,
        Ok(_) => Claimed::Pending,
        Err(refusal) => Claimed::Refused(refusal),
    }
}

/// What keeps a server from creating or dropping anything.
#[must_use]
pub fn unfit(server: &Server) -> Option<Refusal> {
    if server.in_recovery {
        let message = "the server is a replica, where nothing can be created or dropped; let spec.host of the PgServer name the primary";
        return Some(Refusal::new("ServerInRecovery", message.to_owned()));
    }
    server.is_read_only.then(|| {
        let message = "the server takes no writes (default_transaction_read_only); this is tried again";
        Refusal::new("ServerReadOnly", message.to_owned())
    })
}

/// Parameters that would make every session another's.
const NEVER_SET: [&str; 2] = ["role", "session_authorization"];

/// The entries of the server's consent that fit the parameters, too: one entry must fit all. Without parameters that an owner could not
/// set there need not be any.
fn consenting<'a>(wish: &'a Wish, seen: &Seen) -> Result<Vec<&'a Allowance>, Refusal> {
    let mut entries: Vec<&Allowance> = wish.consent.iter().collect();
    for name in wish.spec.parameters.keys() {
        let lower = name.to_ascii_lowercase();
        let is_everybodys = is_everybodys(seen, name);
        if !is_everybodys {
            entries.retain(|entry| pattern::any_matches(&entry.parameters, name));
        }
        if NEVER_SET.contains(&lower.as_str()) || !is_everybodys && entries.is_empty() {
            let message = format!(
                "an owner can't set the parameter {name}; take it away, or ask those who administer the cluster to allow it (allow.parameters of the PgServer)"
            );
            return Err(Refusal::new("NotAllowed", message));
        }
    }
    Ok(entries)
}

/// Whether every user may set a parameter, so an owner may, too.
fn is_everybodys(seen: &Seen, parameter: &str) -> bool {
    seen.contexts.get(&parameter.to_ascii_lowercase()).is_some_and(|context| context == "user")
}

/// Whether a parameter of the database may be given up: who could not have it set can't have it reset.
fn may_reset(wish: &Wish, seen: &Seen, parameter: &str) -> bool {
    let is_allowed = || {
        let entries = consenting(wish, seen).unwrap_or_default();
        entries.iter().any(|entry| pattern::any_matches(&entry.parameters, parameter))
    };
    !NEVER_SET.contains(&parameter.to_ascii_lowercase().as_str()) && (is_everybodys(seen, parameter) || is_allowed())
}

/// The steps, once the owner is there.
fn prepared(wish: &Wish, seen: &Seen, steps: Vec<Step>) -> Plan {
    match owner_steps(wish, seen) {
        Err(refusal) => Plan::stuck(Claimed::Pending, refusal),
        Ok(first) if !first.is_empty() => Plan::of(Claimed::Pending, first),
        Ok(_) if !(seen.server.can_create_databases || seen.server.is_superuser) => {
            let message = format!("the role {} may not create databases: ALTER ROLE … CREATEDB", seen.server.user);
            Plan::stuck(Claimed::Pending, Refusal::new("PermissionDenied", message))
        }
        Ok(_) => Plan::of(Claimed::Pending, steps),
    }
}

/// What is next for a database that is ours.
fn kept(wish: &Wish, seen: &Seen, database: &Database) -> Plan {
    match owner_steps(wish, seen) {
        Err(refusal) => return Plan::stuck(Claimed::Ours, refusal),
        Ok(steps) if !steps.is_empty() => return Plan::of(Claimed::Ours, steps),
        Ok(_) => {}
    }
    let is_closed = seen.record.as_ref().is_some_and(|record| record.is_closed) && !database.allow_connections;
    if is_closed && wish.spec.allow_connections != Some(false) {
        return Plan::of(Claimed::Ours, vec![step(Action::Reopen, "it was closed here to be dropped, and stays")]);
    }
    let mut found = differences::of(wish, seen, database);
    if !wish.is_inside_done {
        found.retain(|difference| difference.change != Some(Change::AllowConnections(false)));
    }
    let corrects = wish.corrects(database);
    let (changes, differences): (Vec<_>, Vec<_>) = found.into_iter().partition(|difference| corrects && difference.change.is_some());
    let steps = changes.into_iter().filter_map(|difference| {
        let why = difference.to_string();
        difference.change.map(|change| step(Action::Change(change), why))
    });
    Plan { steps: steps.collect(), claimed: Claimed::Ours, differences, refusal: None }
}
