//! What a `UserList`'s author reads in its status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, api::Patch, core::DynamicObject};
use serde_json::{Value, json};

use crate::{
    api::{
        condition::{self, APPLIED, Observation, READY},
        user_list::{PodDigest, PoolerStatus, SkippedSecret, UserListStatus, WorkloadKind},
    },
    runtime::{
        lease::WRITE_DEADLINE,
        request::{self, RequestError},
    },
};

use super::{list::ListId, plan::Skipped};

/// How much of each list is shown, as the kind's schema has it.
const MOST_SKIPPED: usize = 32;
const MOST_POOLERS: usize = 64;
const MOST_PODS: usize = 32;
const LONGEST_MESSAGE: usize = 512;

/// Why a list is ready, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether it is; none if that is unknown.
    pub(super) is_ready: Option<bool>,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self { is_ready: Some(false), reason, message: message.into() }
    }
}

/// What is known of a list.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) verdict: Verdict,
    /// How many users the written list has; none if that is unknown.
    pub(super) users: Option<usize>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) digest: Option<String>,
    pub(super) poolers: Vec<PoolerStatus>,
}

impl Report {
    /// The status that says so. What was so before keeps its time.
    pub(super) fn status(&self, id: &ListId, before: &UserListStatus, now: &Time) -> UserListStatus {
        let generation = Some(id.generation);
        let mut conditions = before.conditions.clone();
        let Verdict { is_ready, reason, message } = self.verdict.clone();
        condition::set(&mut conditions, Observation { type_: READY, holds: is_ready, reason, message, generation }, now);
        condition::set(&mut conditions, Observation { generation, ..self.applied() }, now);
        let skipped = self.skipped.iter().take(MOST_SKIPPED).map(|skipped| SkippedSecret {
            namespace: skipped.namespace.clone(),
            name: skipped.name.clone(),
            reason: cut(&skipped.reason),
        });
        UserListStatus {
            observed_generation: generation,
            conditions,
            users: self.users.and_then(|users| i32::try_from(users).ok()),
            skipped_secrets: i32::try_from(self.skipped.len()).ok(),
            skipped: skipped.collect(),
            // Even while it can't be seen: that there was a list must not be forgotten.
            digest: self.digest.clone().or_else(|| before.digest.clone()),
            poolers: self.poolers.iter().take(MOST_POOLERS).cloned().collect(),
        }
    }

    /// Whether all pods of all poolers use the list.
    pub(super) fn is_applied(&self) -> bool {
        self.applied().holds != Some(false)
    }

    fn applied(&self) -> Observation {
        let behind: Vec<&PoolerStatus> =
            self.poolers.iter().filter(|pooler| pooler.applied_pods < pooler.pods || pooler.message.is_some()).collect();
        let pods: i32 = self.poolers.iter().map(|pooler| pooler.pods).sum();
        let (holds, reason, message) = match (self.digest.is_some(), behind.first()) {
            (false, _) => (None, "NoList", "no list is written yet".to_owned()),
            _ if self.poolers.is_empty() => (None, "NoPoolers", "poolers names none, so nobody is asked".to_owned()),
            (_, None) => (Some(true), "Applied", format!("all pods use the list: {pods}")),
            (_, Some(first)) => {
                let done: i32 = self.poolers.iter().map(|pooler| pooler.applied_pods).sum();
                let message = first.message.as_deref().unwrap_or("it is being told");
                (Some(false), "Pending", format!("{done} of {pods} pods use the list; {:?} {}: {message}", first.kind, first.name))
            }
        };
        Observation { type_: APPLIED, holds, reason, message, generation: None }
    }
}

/// How far a pooler is.
pub(super) fn pooler(
    kind: WorkloadKind,
    name: &str,
    applied: usize,
    message: Option<&str>,
    pods: Vec<(String, Option<String>)>,
) -> PoolerStatus {
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    PoolerStatus {
        kind,
        name: name.to_owned(),
        pods: count(pods.len()),
        applied_pods: count(applied),
        message: message.map(cut),
        digests: pods.into_iter().take(MOST_PODS).map(|(pod, digest)| PodDigest { pod, digest }).collect(),
    }
}

fn cut(text: &str) -> String {
    let mut text = text.to_owned();
    if text.len() > LONGEST_MESSAGE {
        text.truncate(text.floor_char_boundary(LONGEST_MESSAGE - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// Writes a status over another one.
pub(super) async fn write(
    api: &Api<DynamicObject>,
    id: &ListId,
    before: &UserListStatus,
    status: &UserListStatus,
) -> Result<(), RequestError> {
    let mut fields = json!(status);
    if let (Value::Object(fields), Value::Object(before)) = (&mut fields, json!(before)) {
        for (field, _) in before {
            fields.entry(field).or_insert(Value::Null);
        }
    }
    // Of this very object: one that was made anew under its name is another matter.
    let patch = json!({"metadata": {"uid": id.uid}, "status": fields});
    request::within(WRITE_DEADLINE, api.patch_status(&id.name, &request::patching(), &Patch::Merge(patch))).await.map(drop)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn report(poolers: Vec<PoolerStatus>) -> Report {
        let verdict = Verdict { is_ready: Some(true), reason: "Written", message: "1 user".to_owned() };
        Report { verdict, users: Some(1), skipped: Vec::new(), digest: Some("d".to_owned()), poolers }
    }

    fn of(pods: usize, applied: usize, message: Option<&str>) -> PoolerStatus {
        let digests = (0..pods).map(|pod| (format!("pod-{pod}"), None)).collect();
        pooler(WorkloadKind::Deployment, "pooler", applied, message, digests)
    }

    fn second(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn an_unchanged_world_has_an_unchanged_status() {
        let id = ListId { namespace: "n".to_owned(), name: "l".to_owned(), uid: "u".to_owned(), generation: 3 };
        let first = report(vec![of(2, 2, None)]).status(&id, &UserListStatus::default(), &second(1));
        assert_eq!(report(vec![of(2, 2, None)]).status(&id, &first, &second(2)), first);
        assert_eq!(first.observed_generation, Some(3));
    }

    #[test]
    fn applied_is_true_when_every_pod_uses_the_list_and_nothing_holds_any_up() {
        for (poolers, expected) in [
            (vec![], None),
            (vec![of(2, 2, None)], Some(true)),
            (vec![of(0, 0, None)], Some(true)),
            (vec![of(2, 1, None)], Some(false)),
            (vec![of(2, 2, None), of(1, 0, Some("pod pod-0: not ready"))], Some(false)),
            (vec![of(0, 0, Some("Deployment pooler does not exist"))], Some(false)),
        ] {
            assert_eq!(report(poolers.clone()).applied().holds, expected, "{poolers:?}");
        }
    }

    #[test]
    fn that_there_was_a_list_is_not_forgotten_while_it_can_not_be_seen() {
        let id = ListId { namespace: "n".to_owned(), name: "l".to_owned(), uid: "u".to_owned(), generation: 3 };
        let before = report(Vec::new()).status(&id, &UserListStatus::default(), &second(1));
        let unseen = Report { digest: None, ..report(Vec::new()) };
        assert_eq!(unseen.status(&id, &before, &second(2)).digest.as_deref(), Some("d"));
        assert_eq!(unseen.applied().reason, "NoList");
    }

    #[test]
    fn what_the_schema_bounds_is_cut() {
        let long = pooler(WorkloadKind::Deployment, "p", 0, Some(&"ü".repeat(1000)), vec![(String::new(), None); 100]);
        assert!(long.message.unwrap().len() <= LONGEST_MESSAGE);
        assert_eq!((long.pods, long.digests.len()), (100, MOST_PODS));
    }
}
