//! What an object's status says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::api::{
    condition::{self, Observation},
    pg_database::{PgDatabase, PgDatabaseStatus, Phase},
    postgres_name,
};

use super::plan::{Claimed, Difference, Refusal};

/// The longest message: as much as the API allows of a condition's is more than anybody reads.
const LONGEST_MESSAGE: usize = 1024;
const MOST_ITEMS: usize = 64;
const LONGEST_ITEM: usize = 512;

/// What a look at an object has come to.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// Whether all is as asked for, or what is in the way.
    pub(super) ready: Result<&'static str, Refusal>,
    /// Whose the database is; none where that was not asked.
    pub(super) claimed: Option<Claimed>,
    /// What differs and was left as it is; none where nobody could look.
    pub(super) differences: Option<Vec<Difference>>,
    /// What keeps it from being dropped.
    pub(super) blockers: Vec<String>,
    /// Its OID.
    pub(super) oid: Option<u32>,
    /// When it is dropped.
    pub(super) drop_after: Option<Time>,
    /// Whether it is to go.
    pub(super) is_going: bool,
}

impl Report {
    /// Something is in the way, and more isn't known.
    pub(super) fn refused(refusal: Refusal, object: &PgDatabase) -> Self {
        let oid = object.status.as_ref().and_then(|status| u32::try_from(status.oid?).ok());
        let is_going = object.metadata.deletion_timestamp.is_some();
        Self { ready: Err(refusal), claimed: None, differences: None, blockers: Vec::new(), oid, drop_after: None, is_going }
    }
}

/// The status that a report asks for.
pub(super) fn status(object: &PgDatabase, report: &Report, now: &Time) -> PgDatabaseStatus {
    let mut status = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    let mut set = |type_, holds, reason, message: &str| {
        let message = shortened(message, LONGEST_MESSAGE);
        condition::set(&mut status.conditions, Observation { type_, holds, reason, message, generation }, now);
    };
    match &report.ready {
        Ok(reason) => set(condition::READY, Some(true), reason, ""),
        Err(refusal) => set(condition::READY, Some(false), refusal.reason, &refusal.message),
    }
    match &report.claimed {
        Some(Claimed::Ours) => set(condition::CLAIMED, Some(true), "Claimed", ""),
        Some(Claimed::Pending) => set(condition::CLAIMED, Some(false), "Pending", ""),
        Some(Claimed::Refused(refusal)) => set(condition::CLAIMED, Some(false), refusal.reason, &refusal.message),
        None => {}
    }
    if let Some(differences) = &report.differences {
        let told: Vec<String> = differences.iter().map(ToString::to_string).collect();
        if told.is_empty() {
            set(condition::DRIFTED, Some(false), "AsAsked", "");
        } else if differences.iter().all(|difference| difference.change.is_none()) {
            set(
                condition::DRIFTED,
                Some(true),
                "Immutable",
                &format!("what a database that exists can't be changed to: {}", told.join("; ")),
            );
        } else {
            set(condition::DRIFTED, Some(true), "Changed", &format!("set driftPolicy: Correct to undo this: {}", told.join("; ")));
        }
        status.drift = bounded(differences.iter().map(|difference| difference.field.clone()));
    }
    status.phase = Some(match &report.ready {
        _ if report.is_going => Phase::Deleting,
        Ok(_) => Phase::Ready,
        Err(refusal) if is_lasting(refusal) => Phase::Failed,
        Err(_) => Phase::Pending,
    });
    let known_oid = status.oid;
    status.blockers = bounded(report.blockers.iter().cloned());
    status.database = Some(shortened(object.database(), postgres_name::MAX_BYTES));
    status.oid = report.oid.map(i64::from);
    status.drop_after.clone_from(&report.drop_after);
    if matches!(report.ready, Ok("AsAsked")) {
        status.applied_generation = generation;
    } else if status.oid != known_oid {
        status.applied_generation = None;
    }
    status.parameters = set_parameters(object, report);
    status.observed_generation = generation;
    status
}

/// The parameters that may have been set for this object: those that it asks for, and until all is as asked for also those before.
fn set_parameters(object: &PgDatabase, report: &Report) -> Vec<String> {
    let before = object.status.as_ref().map(|status| status.parameters.clone()).unwrap_or_default();
    if matches!(report.claimed, Some(Claimed::Refused(_))) {
        return before;
    }
    let asked = &object.spec.parameters;
    let before = before.into_iter().filter(|name| report.ready.is_err() && !asked.contains_key(name));
    before.chain(asked.keys().cloned()).take(MOST_ITEMS).collect()
}

/// Whether only people can help.
fn is_lasting(refusal: &Refusal) -> bool {
    matches!(
        refusal.reason,
        "AlreadyExists" | "ClaimedByAnother" | "NotAllowed" | "OwnerRefused" | "OwnerNotOurs" | "SecretNotOurs" | "InvalidSpec"
    )
}

fn bounded(items: impl Iterator<Item = String>) -> Vec<String> {
    items.take(MOST_ITEMS).map(|item| shortened(&item, LONGEST_ITEM)).collect()
}

fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let kept = text.get(..text.floor_char_boundary(most - '…'.len_utf8())).unwrap_or_default();
    format!("{kept}…")
}

/// What is to be written so that the stored status becomes this one; nothing if it is so. What is no longer there is taken away.
pub(super) fn patch(stored: Option<&impl serde::Serialize>, wanted: &impl serde::Serialize) -> Option<Value> {
    let stored = stored.and_then(|stored| serde_json::to_value(stored).ok()).unwrap_or(Value::Null);
    let mut wanted = serde_json::to_value(wanted).ok()?;
    if stored == wanted {
        return None;
    }
    if let (Some(stored), Some(wanted)) = (stored.as_object(), wanted.as_object_mut()) {
        for key in stored.keys() {
            wanted.entry(key.clone()).or_insert(Value::Null);
        }
    }
    Some(json!({ "status": wanted }))
}

/// The reason of a condition as it is stored.
pub(super) fn reason<'a>(object: &'a PgDatabase, type_: &str) -> Option<&'a str> {
    let conditions = &object.status.as_ref()?.conditions;
    conditions.iter().find(|condition| condition.type_ == type_).map(|condition| condition.reason.as_str())
}

/// The OID of the database to which this spec was applied as a whole, whatever has been in the way since.
pub(super) fn applied_to(object: &PgDatabase) -> Option<u32> {
    let status = object.status.as_ref()?;
    let is_this = status.applied_generation.is_some() && status.applied_generation == object.metadata.generation;
    is_this.then(|| u32::try_from(status.oid?).ok()).flatten()
}

/// The object's key.
pub(super) fn key(object: &PgDatabase) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn object(generation: i64) -> PgDatabase {
        serde_json::from_value(json!({
            "apiVersion": "outrigger.dev/v1alpha1", "kind": "PgDatabase", "metadata": {"name": "shop", "generation": generation},
            "spec": {"server": "main", "name": "shop"},
        }))
        .unwrap()
    }

    fn report(ready: Result<&'static str, Refusal>, oid: Option<u32>) -> Report {
        Report { ready, claimed: None, differences: None, blockers: Vec::new(), oid, drop_after: None, is_going: false }
    }

    fn refused() -> Result<&'static str, Refusal> {
        Err(Refusal { reason: "ServerBusy", message: String::new() })
    }

    /// Applies reports one after the other.
    fn after(mut object: PgDatabase, reports: &[Report]) -> PgDatabase {
        for report in reports {
            object.status = Some(status(&object, report, &Time(Timestamp::UNIX_EPOCH)));
        }
        object
    }

    #[test]
    fn a_parameter_that_was_set_is_remembered_until_it_is_reset() {
        let asks = |names: &[&str]| {
            let mut object = object(1);
            object.spec.parameters = names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
            object
        };
        let known = |object: &PgDatabase| object.status.as_ref().unwrap().parameters.clone();
        let mut object = after(asks(&["a"]), &[report(refused(), Some(7))]);
        assert_eq!(known(&object), ["a"]);
        object.spec = asks(&["b"]).spec;
        let object = after(object, &[report(refused(), Some(7))]);
        assert_eq!(known(&object), ["a", "b"]);
        assert_eq!(known(&after(object, &[report(Ok("AsAsked"), Some(7))])), ["b"]);
        let another = Claimed::Refused(Refusal { reason: "AlreadyExists", message: String::new() });
        let refused = Report { claimed: Some(another), ..report(refused(), None) };
        assert!(known(&after(asks(&["a"]), &[refused])).is_empty(), "what is not ours was not set by us");
    }

    #[test]
    fn what_was_applied_stays_applied_through_passing_errors() {
        let applied = after(object(1), &[report(Ok("AsAsked"), Some(7))]);
        assert_eq!(applied_to(&applied), Some(7));
        let mut disturbed = after(applied.clone(), &[report(refused(), Some(7))]);
        assert_eq!(applied_to(&disturbed), Some(7));
        disturbed.metadata.generation = Some(2);
        assert_eq!(applied_to(&disturbed), None, "the spec has changed");
        assert_eq!(applied_to(&after(disturbed, &[report(refused(), Some(7))])), None);
        let renewed = after(applied, &[report(refused(), Some(8))]);
        assert_eq!(applied_to(&renewed), None, "it is another database");
        assert_eq!(applied_to(&after(object(1), &[report(refused(), Some(7))])), None);
        assert_eq!(applied_to(&after(object(1), &[report(Ok("Absent"), None)])), None);
    }
}
