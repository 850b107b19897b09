//! Injection into manifests: the webhook's decision, carried out on files.

use anyhow::Result;

use crate::api::annotations::STATUS;
use crate::injection::{self, Context, Decision, Denial, InjectionError, Outcome, Record, SkipReason, Uninjection};
use crate::runtime::complaint::with_causes;

use super::change::Change;
use super::console::Console;
use super::manifests::stream::Document;
use super::manifests::{Node, json};
use super::misplaced;
use super::surroundings::Surroundings;
use super::workloads::{self, Workload};

/// Why a pod can't be injected into.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Something must be changed first.
    #[error("the pod is refused")]
    Denied(Vec<Denial>),
    /// An annotation isn't a string.
    #[error("annotation {key} is {found}; quote its value")]
    NotAString {
        /// The annotation.
        key: String,
        /// What it is.
        found: &'static str,
    },
    /// The pod can't be decided about.
    #[error(transparent)]
    Undecidable(#[from] InjectionError),
}

impl Refusal {
    /// Each reason with its way out.
    pub(super) fn reasons(&self) -> Vec<String> {
        self.denials().into_iter().map(|denial| denial.message).collect()
    }

    /// The reasons as denials: each may name the annotation it is about.
    pub(super) fn denials(&self) -> Vec<Denial> {
        match self {
            Self::Denied(denials) => denials.clone(),
            Self::NotAString { .. } => vec![Denial { key: None, message: self.to_string() }],
            Self::Undecidable(error) => vec![Denial { key: None, message: with_causes(error) }],
        }
    }
}

/// What injection makes of all pods of the input.
#[derive(Debug)]
pub(super) struct Injected {
    /// What changes, by workload. Workloads that stay as they are have no change.
    pub(super) changes: Vec<Change>,
    /// Whether a workload was refused. It has no change, either.
    pub(super) is_refused: bool,
}

/// Injects into all pods of the input. What their authors should know goes to the console.
pub(super) fn inject_all(documents: &[Document], surroundings: &Surroundings, console: &Console) -> Result<Injected> {
    let workloads = workloads::find(documents);
    let mut injected = Injected { changes: Vec::new(), is_refused: false };
    for workload in &workloads {
        let Injection { change, warnings, conclusion } = inject(workload, workload.pod(documents)?, surroundings)?;
        let misplaced = misplaced::request(documents, workload).map(|finding| finding.to_string());
        for warning in warnings.into_iter().chain(misplaced) {
            console.warning(&format!("{workload}: {warning}"));
        }
        if let Conclusion::Refused(refusal) = conclusion {
            for reason in refusal.reasons() {
                console.error(&format!("{workload}: {reason}"));
            }
            injected.is_refused = true;
        } else if !change.is_empty() {
            injected.changes.push(change);
        }
    }
    surroundings.tell_assumptions(&workloads, console);
    Ok(injected)
}

/// What injection makes of one pod.
#[derive(Debug)]
pub(super) struct Injection {
    /// What changes; nothing, for a refused pod.
    pub(super) change: Change,
    /// What its author should know.
    pub(super) warnings: Vec<String>,
    /// How it ends.
    pub(super) conclusion: Conclusion,
}

/// How injection into one pod ends.
#[derive(Debug)]
pub(super) enum Conclusion {
    /// Nobody asks for sidecars.
    NotAsked,
    /// The pod can't have any.
    Skipped(SkipReason),
    /// The pod has its sidecars, from now on or already.
    Equipped,
    /// Something must be changed first.
    Refused(Refusal),
}

/// Injects into one pod of the input.
pub(super) fn inject(workload: &Workload, pod: &Node, surroundings: &Surroundings) -> Result<Injection> {
    let mut change = Change::none(workload, pod);
    let mut warnings = Vec::new();
    let mut decision = decide(workload, pod, surroundings);
    if let Ok(Decision { outcome: Outcome::LeftAsIs, .. }) = &decision {
        warnings.push(replaced(pod));
        let undone = undo(pod)?.unwrap_or_default();
        warnings.extend(undone.warnings);
        change.push(&undone.patch)?;
        decision = decide(workload, change.pod(), surroundings);
    }
    let outcome = match decision {
        Ok(decision) => {
            warnings.extend(decision.warnings);
            decision.outcome
        }
        Err(refusal) => return Ok(Injection { change: Change::none(workload, pod), warnings, conclusion: Conclusion::Refused(refusal) }),
    };
    let conclusion = match outcome {
        Outcome::Denied(denials) => {
            change = Change::none(workload, pod);
            Conclusion::Refused(Refusal::Denied(denials))
        }
        Outcome::NotAsked => {
            warnings.extend(leftover(pod));
            Conclusion::NotAsked
        }
        Outcome::Skipped { reason, patch } => {
            change.push(&patch)?;
            Conclusion::Skipped(reason)
        }
        Outcome::Injected { patch, .. } => {
            warnings.extend(hidden_pull_secrets(pod, surroundings));
            change.push(&patch)?;
            Conclusion::Equipped
        }
        Outcome::Unchanged | Outcome::LeftAsIs => Conclusion::Equipped,
    };
    Ok(Injection { change, warnings, conclusion })
}

/// Decides about a pod of the input as the webhook would.
fn decide(workload: &Workload, pod: &Node, surroundings: &Surroundings) -> Result<Decision, Refusal> {
    if let Some((key, found)) = unquoted_annotation(pod) {
        return Err(Refusal::NotAString { key, found });
    }
    let context = Context { defaults: surroundings.defaults_for(workload), settings: &surroundings.settings, offline: true };
    Ok(injection::inject(&json::write(pod), context)?)
}

/// How to undo an earlier injection; none for a pod that was never injected.
pub(super) fn undo(pod: &Node) -> Result<Option<Uninjection>, InjectionError> {
    injection::uninject(&json::write(pod))
}

/// The annotations of an object that are strings.
pub(super) fn own_annotations(object: &Node) -> impl Iterator<Item = (&str, &str)> {
    let annotations = object.get("metadata").and_then(|metadata| metadata.get("annotations")?.members());
    annotations.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

/// The record of an earlier injection. None if there is none; injection refuses one that can't be read.
pub(super) fn record(pod: &Node) -> Option<Record<'_>> {
    let (_, text) = own_annotations(pod).find(|(key, _)| *key == STATUS)?;
    Record::parse(text).ok()
}

/// An annotation that YAML takes for something else than a string, such as `true`.
fn unquoted_annotation(pod: &Node) -> Option<(String, &'static str)> {
    let annotations = pod.get("metadata")?.get("annotations")?.members()?;
    let (key, value) = annotations.iter().find(|(_, value)| value.as_str().is_none())?;
    Some((key.clone(), value.type_name()))
}

fn replaced(pod: &Node) -> String {
    let by = record(pod).map(|record| format!(" by version {}", &*record.version)).unwrap_or_default();
    format!("was injected{by} under other settings: the sidecars were replaced")
}

/// Sidecars that a manifest keeps although it no longer asks for them: namespace defaults may have, which we can't see.
fn leftover(pod: &Node) -> Option<String> {
    let has_sidecars = record(pod).is_some_and(|record| !record.injected.is_empty());
    has_sidecars
        .then(|| "keeps the sidecars it was injected with, though nothing asks for them; `outrigger uninject` takes them away".to_owned())
}

/// Pull secrets that a template doesn't get: its first one would hide those of its ServiceAccount.
fn hidden_pull_secrets(pod: &Node, surroundings: &Surroundings) -> Option<String> {
    let secrets = &surroundings.settings.image_pull_secrets;
    let own = pod.get("spec").and_then(|spec| spec.get("imagePullSecrets")?.items());
    let hidden = !secrets.is_empty() && own.is_none_or(<[Node]>::is_empty);
    hidden.then(|| {
        let secrets = secrets.join(", ");
        format!("pull secrets not added, as they would hide the ServiceAccount's: add {secrets} to the ServiceAccount or the template")
    })
}
