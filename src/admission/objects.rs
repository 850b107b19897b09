//! The webhooks of our own kinds: what needs other objects to be judged. Everything else the CRDs' own rules say.

use serde_json::value::RawValue;

use crate::{
    api::{
        finding::{Finding, Verdict as Findings},
        inventory::Inventory,
        pg_database::claim,
        session::usage,
    },
    cluster::snapshot::Snapshot,
};

use super::{
    denial,
    metrics::Verdict,
    review::{self, Answer, Refusal, Request, ReviewError},
    subject::Subject,
};

/// What judges our own kinds.
#[derive(Debug)]
pub struct Objects {
    /// What is known of them.
    pub inventory: Snapshot<Inventory>,
}

/// The kinds that are judged across objects.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    PgDatabase,
    Session,
}

impl Objects {
    /// Answers a review of an object.
    pub(crate) fn answer(&self, kind: Kind, text: &str) -> Result<(Vec<u8>, Verdict), ReviewError> {
        let request: Request<'_, &RawValue> = review::read(text)?;
        let (answer, verdict) = self.decide(kind, &request);
        if let Some(refusal) = &answer.refusal {
            denial::log(&Subject::read(text), refusal);
        }
        Ok((answer.to_bytes(&request.uid)?, verdict))
    }

    fn decide(&self, kind: Kind, request: &Request<'_, &RawValue>) -> (Answer, Verdict) {
        let Some(object) = request.object.filter(|_| request.is_for_the_object_itself()) else {
            return (Answer::default(), Verdict { outcome: "ignored", reason: "no_object" });
        };
        let bytes = |object: &RawValue| object.get().as_bytes().to_owned();
        let stored = request.old_object.map(bytes);
        let inventory = self.inventory.load();
        let findings = match kind {
            Kind::PgDatabase => claim::review(object.get().as_bytes(), stored.as_deref(), &inventory),
            Kind::Session => usage::review(object.get().as_bytes(), stored.as_deref(), &inventory),
        };
        answer(&findings)
    }
}

fn answer(findings: &Findings) -> (Answer, Verdict) {
    let mut answer = Answer { warnings: findings.warnings.iter().map(Finding::to_string).collect(), ..Answer::default() };
    if findings.is_allowed() {
        return (answer, Verdict { outcome: "allowed", reason: "" });
    }
    let message = findings.denials.iter().map(Finding::to_string).collect::<Vec<_>>().join("; ");
    answer.audit.insert("denied", message.clone());
    answer.refusal = Some(Refusal::forbidden(message));
    (answer, Verdict { outcome: "denied", reason: "" })
}
