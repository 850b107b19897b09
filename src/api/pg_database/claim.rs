//! What a `PgDatabase` asks for, as far as other objects are concerned, and whether it can have it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Deserialize;

use super::{AdoptionPolicy, Creation, LocaleProvider, Owner, PgDatabase, PgDatabaseSpec};
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
    /// `spec.name`.
    pub database: String,
    /// `spec.owner`.
    pub owner: Option<Owner>,
    /// `spec.creation`.
    pub creation: Option<Creation>,
    /// `spec.adoptionPolicy`.
    pub adoption: Option<AdoptionPolicy>,
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
            namespace: metadata.namespace,
            name: metadata.name,
            server: spec.server,
            database: spec.name,
            owner: spec.owner,
            creation: spec.creation,
            adoption: spec.adoption_policy,
            established: condition::is_true(&status.conditions, condition::CLAIMED),
        })
    }

    /// Whether both come from one object.
    fn is_same_object(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

impl From<&PgDatabase> for Claim {
    fn from(object: &PgDatabase) -> Self {
        let PgDatabaseSpec { server, name, owner, creation, adoption_policy, .. } = object.spec.clone();
        let conditions = object.status.as_ref().map_or(&[][..], |status| &status.conditions);
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            server,
            database: name,
            owner,
            creation,
            adoption: adoption_policy,
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
    name: String,
    owner: Option<Owner>,
    creation: Option<Creation>,
    adoption_policy: Option<AdoptionPolicy>,
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
    let rivals = known.claims(&claim.server, &claim.database).iter();
    for rival in rivals.filter(|rival| !rival.is_same_object(claim) && !rival.deleting) {
        let field = "spec.name";
        let holder = format!("PgDatabase {} in namespace {}", rival.name, rival.namespace);
        if rival.established {
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

/// One entry of the server's consent must fit all that is asked for. The finding names the first part that no entry allows.
fn check_consent(claim: &Claim, server: &Server, verdict: &mut Verdict) {
    let administrators = format!("ask those who administer the cluster to allow it in PgServer {}", server.name);
    let allowances: Vec<&Allowance> = server.allowances(&claim.namespace).collect();
    if allowances.is_empty() {
        let message = format!("this server allows no databases of namespace {}; {administrators}", claim.namespace);
        verdict.deny(Finding::of("spec.server", &claim.server, message));
        return;
    }
    let allowances: Vec<&Allowance> =
        allowances.into_iter().filter(|allowance| pattern::any_matches(&allowance.databases, &claim.database)).collect();
    if allowances.is_empty() {
        let message = format!("namespace {} may not have a database of this name; {administrators}", claim.namespace);
        verdict.deny(Finding::of("spec.name", &claim.database, message));
        return;
    }
    let owner = claim.owner.as_ref().map(|owner| owner.name.as_str());
    let allowances: Vec<&Allowance> =
        allowances.into_iter().filter(|allowance| owner.is_none_or(|owner| pattern::any_matches(&allowance.owners, owner))).collect();
    if let (true, Some(owner)) = (allowances.is_empty(), owner) {
        let message = format!("namespace {} may not have a database owned by this role; {administrators}", claim.namespace);
        verdict.deny(Finding::of("spec.owner.name", owner, message));
        return;
    }
    let most = allowances.iter().map(|allowance| allowance.adoption).max().unwrap_or_default();
    if let Some(adoption) = claim.adoption.filter(|adoption| *adoption > most) {
        let message = format!("namespace {} may go as far as {most:?}; write that, or {administrators}", claim.namespace);
        verdict.deny(Finding::of("spec.adoptionPolicy", format!("{adoption:?}"), message));
    }
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
