//! What a `PgDatabase` asks for, as far as other objects are concerned, and whether it can have it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Deserialize;

use super::{AdoptionPolicy, Creation, Ensure, LocaleProvider, Owner, PgDatabase, PgDatabaseSpec, PgSchema, ReclaimPolicy, RolePrivileges};
use crate::api::{
    condition,
    finding::{Finding, Verdict},
    inventory::Inventory,
    metadata::Metadata,
    pattern,
    pg_server::{Allowance, Server},
};

/// What one `PgDatabase` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.server`.
    pub server: String,
    /// The name of the database: `spec.name`, or else `metadata.name`.
    pub database: String,
    /// `spec.ensure`.
    pub ensure: Ensure,
    /// `spec.owner`.
    pub owner: Option<Owner>,
    /// `spec.creation`.
    pub creation: Option<Creation>,
    /// `spec.tablespace`.
    pub tablespace: Option<String>,
    /// Roles that are given something, or own a schema.
    pub grantees: Vec<String>,
    /// `spec.adoptionPolicy`.
    pub adoption: Option<AdoptionPolicy>,
    /// `spec.reclaimPolicy`.
    pub reclaim: Option<ReclaimPolicy>,
    /// Whether the database bears this object's mark (condition Claimed).
    pub established: bool,
    /// Whether the object only waits for its finalizers.
    pub deleting: bool,
}

impl Claim {
    /// Reads what is needed from an object, and tolerates fields that aren't known here.
    pub fn from_json(object: &[u8]) -> Result<Self, Finding> {
        let stored: Stored = serde_json::from_slice(object).map_err(|e| Finding::at("", format!("is no PgDatabase: {e}")))?;
        let Stored { metadata, spec, status } = stored;
        Ok(Self {
            deleting: metadata.is_deleting(),
            database: super::database_name(spec.name.as_deref(), &metadata.name).to_owned(),
            namespace: metadata.namespace,
            name: metadata.name,
            server: spec.server,
            ensure: spec.ensure,
            owner: spec.owner,
            creation: spec.creation,
            tablespace: spec.tablespace,
            grantees: grantees(&spec.privileges, &spec.schemas),
            adoption: spec.adoption_policy,
            reclaim: spec.reclaim_policy,
            established: condition::is_true(&status.conditions, condition::CLAIMED),
        })
    }

    /// Whether a database that exists may be taken over, by its own word or its server's.
    #[must_use]
    pub fn adoption(&self, server: &Server) -> AdoptionPolicy {
        self.adoption.unwrap_or(server.defaults.adoption_policy)
    }

    /// What becomes of the database in the end, by its own word or its server's. One that is to be absent is dropped.
    #[must_use]
    pub fn reclaim(&self, server: &Server) -> ReclaimPolicy {
        match self.ensure {
            Ensure::Absent => ReclaimPolicy::Delete,
            Ensure::Present => self.reclaim.unwrap_or(server.defaults.reclaim_policy),
        }
    }

    /// Whether both come from one object.
    fn is_same_object(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

impl From<&PgDatabase> for Claim {
    fn from(object: &PgDatabase) -> Self {
        let PgDatabaseSpec { server, ensure, owner, creation, tablespace, privileges, schemas, adoption_policy, reclaim_policy, .. } =
            object.spec.clone();
        let conditions = object.status.as_ref().map_or(&[][..], |status| &status.conditions);
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            server,
            database: object.database().to_owned(),
            ensure,
            owner,
            creation,
            tablespace,
            grantees: grantees(&privileges, &schemas),
            adoption: adoption_policy,
            reclaim: reclaim_policy,
            established: condition::is_true(conditions, condition::CLAIMED),
            deleting: object.metadata.deletion_timestamp.is_some(),
        }
    }
}

#[derive(Deserialize)]
struct Stored {
    metadata: Metadata,
    spec: StoredSpec,
    #[serde(default)]
    status: StoredStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSpec {
    server: String,
    name: Option<String>,
    #[serde(default)]
    ensure: Ensure,
    owner: Option<Owner>,
    creation: Option<Creation>,
    tablespace: Option<String>,
    #[serde(default)]
    privileges: Vec<RolePrivileges>,
    #[serde(default)]
    schemas: Vec<PgSchema>,
    adoption_policy: Option<AdoptionPolicy>,
    reclaim_policy: Option<ReclaimPolicy>,
}

/// All roles that are named, but for the owner.
fn grantees(privileges: &[RolePrivileges], schemas: &[PgSchema]) -> Vec<String> {
    let in_schemas = schemas.iter().flat_map(|schema| schema.owner.iter().chain(schema.privileges.iter().map(|grant| &grant.role)));
    privileges.iter().map(|grant| &grant.role).chain(in_schemas).cloned().collect()
}

#[derive(Default, Deserialize)]
struct StoredStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
}

/// Judges an object as it is written, from its JSON: [`validate`], less what its stored version would be refused for as well.
#[must_use]
pub fn review(object: &[u8], stored: Option<&[u8]>, known: &Inventory) -> Verdict {
    Verdict::of_change(object, stored, Claim::from_json, |claim| validate(claim, known))
}

/// Judges a claim by what is known of other objects. The webhook asks when an object is written ([`review`]), the controller
/// before it acts: a webhook that was down, or two objects written at once, change nothing in the end.
#[must_use]
pub fn validate(claim: &Claim, known: &Inventory) -> Verdict {
    let mut verdict = Verdict::default();
    // An object that is going must be able to lose its finalizers, whatever it asked for.
    if claim.deleting {
        return verdict;
    }
    check_rivals(claim, known, &mut verdict);
    match known.server(&claim.server) {
        Some(server) => check_server(claim, server, &mut verdict),
        None => verdict.warn(Finding::of(
            "spec.server",
            &claim.server,
            "no PgServer of this name is known; the database waits until there is one (kubectl get pgservers)",
        )),
    }
    check_template(claim, known, &mut verdict);
    verdict
}

/// Two objects for one database would undo each other's work, and deleting one would drop the other's data.
fn check_rivals(claim: &Claim, known: &Inventory, verdict: &mut Verdict) {
    let takes_over = known.server(&claim.server).is_some_and(|server| claim.adoption(server) == AdoptionPolicy::Force);
    // Who is without its database, and wants to be, doesn't ask for it.
    let is_rival =
        |rival: &&Claim| !rival.is_same_object(claim) && !rival.deleting && (rival.established || rival.ensure == Ensure::Present);
    for rival in known.claims(&claim.server, &claim.database).iter().filter(is_rival) {
        let field = "spec.name";
        let holder = format!("PgDatabase {} in namespace {}", rival.name, rival.namespace);
        if rival.established && takes_over {
            let message =
                format!("this database on server {} belongs to {holder}, and is taken from it (adoptionPolicy: Force)", claim.server);
            verdict.warn(Finding::of(field, &claim.database, message));
        } else if rival.established {
            let message = format!("this database on server {} belongs to {holder}; choose another name", claim.server);
            verdict.deny(Finding::of(field, &claim.database, message));
        } else if !claim.established {
            let message = format!("{holder} asks for this database on server {} as well; only the first will get it", claim.server);
            verdict.warn(Finding::of(field, &claim.database, message));
        }
    }
}

fn check_server(claim: &Claim, server: &Server, verdict: &mut Verdict) {
    check_consent(claim, server, verdict);
    check_owner(claim, server, verdict);
    check_version(claim, server, verdict);
}

fn check_consent(claim: &Claim, server: &Server, verdict: &mut Verdict) {
    if let Err(finding) = consent(claim, server) {
        verdict.deny(finding);
    }
}

/// The patterns of an entry for one part of what is asked for.
type Patterns = fn(&Allowance) -> &[String];

/// The entries of the server's consent that fit all that is asked for, as far as the server itself need not be asked.
///
/// # Errors
/// No entry does. The finding names the first part that none allows.
pub fn consent<'a>(claim: &'a Claim, server: &'a Server) -> Result<Vec<&'a Allowance>, Finding> {
    let Claim { namespace, database, .. } = claim;
    let administrators = format!("ask those who administer the cluster to allow it in PgServer {}", server.name);
    let refused = |field: &str, value: &str, problem: String| Err(Finding::of(field, value, format!("{problem}; {administrators}")));
    let mut entries: Vec<&Allowance> = server.allowances(namespace).collect();
    if entries.is_empty() {
        return refused("spec.server", &claim.server, format!("this server allows no databases of namespace {namespace}"));
    }
    entries.retain(|entry| pattern::any_matches(&entry.databases, database));
    if entries.is_empty() {
        return refused("spec.name", database, format!("namespace {namespace} may not have a database of this name"));
    }
    let template = claim.creation.as_ref().and_then(|creation| creation.template.as_ref());
    let template = template.filter(|template| !["template0", "template1"].contains(&template.as_str()));
    let owner = claim.owner.as_ref().map(|owner| &owner.name);
    let grantees = claim.grantees.iter().filter(|grantee| Some(*grantee) != owner);
    let parts = (owner
        .into_iter()
        .map(|owner| ("spec.owner.name", owner, "have a database owned by this role", (|entry| &entry.owners) as Patterns)))
    .chain(template.map(|template| ("spec.creation.template", template, "copy this database", (|entry| &entry.templates) as Patterns)))
    .chain(claim.tablespace.iter().map(|name| ("spec.tablespace", name, "use this tablespace", (|entry| &entry.tablespaces) as Patterns)))
    .chain(grantees.map(|role| ("spec.privileges", role, "give anything to this role", (|entry| &entry.grantees) as Patterns)));
    for (field, value, what, patterns) in parts {
        entries.retain(|entry| pattern::any_matches(patterns(entry), value));
        if entries.is_empty() {
            return refused(field, value, format!("namespace {namespace} may not {what}"));
        }
    }
    let most = entries.iter().map(|entry| entry.adoption).max().unwrap_or_default();
    let (adoption, reclaim) = (claim.adoption(server), claim.reclaim(server));
    if adoption > most {
        let message = format!("namespace {namespace} may go as far as {most:?}; write that, or {administrators}");
        return Err(Finding::of("spec.adoptionPolicy", format!("{adoption:?}"), message));
    }
    entries.retain(|entry| adoption <= entry.adoption && reclaim <= entry.reclaim);
    if entries.is_empty() {
        let problem = format!("namespace {namespace} may not have its database dropped");
        return match claim.ensure {
            Ensure::Absent => refused("spec.ensure", "Absent", problem),
            Ensure::Present => refused("spec.reclaimPolicy", "Delete", format!("{problem}; write Retain")),
        };
    }
    Ok(entries)
}

/// The list of roles may be older than the role: its absence is a warning.
fn check_owner(claim: &Claim, server: &Server, verdict: &mut Verdict) {
    let (Some(owner), Some(roles)) = (&claim.owner, &server.roles) else { return };
    if !owner.create && !roles.contains(&owner.name) {
        let message = format!("no such role is known on server {}; create it, or set owner.create: true", server.name);
        verdict.warn(Finding::of("spec.owner.name", &owner.name, message));
    }
}

/// The server may have been upgraded since its version was read: what it can't do is a warning.
fn check_version(claim: &Claim, server: &Server, verdict: &mut Verdict) {
    let (Some(creation), Some(version)) = (&claim.creation, server.major_version) else { return };
    let needs = [
        ("spec.creation.localeProvider", creation.locale_provider == Some(LocaleProvider::Builtin), 17),
        ("spec.creation.icuRules", creation.icu_rules.is_some(), 16),
        ("spec.creation.builtinLocale", creation.builtin_locale.as_deref() == Some("PG_UNICODE_FAST"), 18),
    ];
    for (field, _, needed) in needs.into_iter().filter(|(_, used, needed)| *used && version < *needed) {
        let message = format!("needs PostgreSQL {needed}, and server {} has {version}; take it away, or upgrade the server", server.name);
        verdict.warn(Finding::at(field, message));
    }
}

/// Templates that every server has, or that another object makes.
fn check_template(claim: &Claim, known: &Inventory, verdict: &mut Verdict) {
    let Some(template) = claim.creation.as_ref().and_then(|creation| creation.template.as_deref()) else { return };
    let is_known = template == "template0" || template == "template1" || !known.claims(&claim.server, template).is_empty();
    if !is_known {
        let message = format!("no PgDatabase makes this template on server {}; it must exist there", claim.server);
        verdict.warn(Finding::of("spec.creation.template", template, message));
    }
}

#[cfg(test)]
mod tests;
