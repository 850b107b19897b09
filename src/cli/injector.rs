//! Injection into manifests: the webhook's decision, carried out on files.

use anyhow::Result;

use crate::api::annotations::STATUS;
use crate::injection::{self, Context, Decision, Denial, InjectionError, Outcome, Pod, Record};

use super::change::Change;
use super::console::Console;
use super::manifests::stream::Document;
use super::manifests::{Node, json};
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
    pub(super) fn reasons(self) -> Vec<String> {
        match self {
            Self::Denied(denials) => denials.into_iter().map(|denial| denial.message).collect(),
            other => vec![format!("{:#}", anyhow::Error::from(other))],
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
        let Injection { change, warnings, refusal } = inject(workload, workload.pod(documents)?, surroundings)?;
        warnings.iter().for_each(|warning| console.warning(&format!("{workload}: {warning}")));
        for reason in refusal.into_iter().flat_map(Refusal::reasons) {
            console.error(&format!("{workload}: {reason}"));
            injected.is_refused = true;
        }
        if !change.is_empty() {
            injected.changes.push(change);
        }
    }
    surroundings.tell_assumptions(&workloads, console);
    Ok(injected)
}

/// What injection makes of one pod.
struct Injection {
    change: Change,
    warnings: Vec<String>,
    refusal: Option<Refusal>,
}

fn inject(workload: &Workload, pod: &Node, surroundings: &Surroundings) -> Result<Injection> {
    let mut injection = Injection { change: Change::none(workload, pod), warnings: Vec::new(), refusal: None };
    let mut decision = decide(workload, pod, surroundings);
    if let Ok(Decision { outcome: Outcome::LeftAsIs, .. }) = &decision {
        injection.warnings.push(replaced(pod));
        injection.change.push(undo(pod)?.unwrap_or_default())?;
        decision = decide(workload, injection.change.pod(), surroundings);
    }
    match decision {
        Ok(Decision { outcome: Outcome::Denied(denials), .. }) => injection.refusal = Some(Refusal::Denied(denials)),
        Err(refusal) => injection.refusal = Some(refusal),
        Ok(Decision { outcome, warnings }) => {
            injection.warnings.extend(warnings);
            injection.warnings.extend(leftover(&outcome, pod));
            injection.warnings.extend(hidden_pull_secrets(&outcome, injection.change.pod(), surroundings));
            if let Outcome::Injected { operations, .. } | Outcome::Skipped { operations, .. } = outcome {
                injection.change.push(operations)?;
            }
        }
    }
    if injection.refusal.is_some() {
        injection.change = Change::none(workload, pod);
    }
    Ok(injection)
}

/// Decides about a pod of the input as the webhook would.
pub(super) fn decide(workload: &Workload, pod: &Node, surroundings: &Surroundings) -> Result<Decision, Refusal> {
    if let Some((key, found)) = unquoted_annotation(pod) {
        return Err(Refusal::NotAString { key, found });
    }
    let context = Context { defaults: surroundings.defaults_for(workload), settings: &surroundings.settings, offline: true };
    Ok(injection::inject(&json::write(pod), context)?)
}

/// The operations that undo an earlier injection; none for a pod that was never injected.
pub(super) fn undo(pod: &Node) -> Result<Option<Vec<injection::Operation>>, InjectionError> {
    injection::uninject(&Pod::read(&json::write(pod))?)
}

/// The value of a pod's annotation.
pub(super) fn annotation<'pod>(pod: &'pod Node, name: &str) -> Option<&'pod str> {
    pod.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

/// The record of an earlier injection, if there is one that can be read.
pub(super) fn record(pod: &Node) -> Option<Record> {
    Record::parse(annotation(pod, STATUS)?).ok()
}

/// An annotation that YAML takes for something else than a string, such as `true`.
fn unquoted_annotation(pod: &Node) -> Option<(String, &'static str)> {
    let annotations = pod.get("metadata")?.get("annotations")?.members()?;
    let (key, value) = annotations.iter().find(|(_, value)| value.as_str().is_none())?;
    Some((key.clone(), value.type_name()))
}

fn replaced(pod: &Node) -> String {
    let by = record(pod).map(|record| format!(" by version {}", record.version)).unwrap_or_default();
    format!("was injected{by} under other settings: the sidecars were replaced")
}

/// Sidecars that a manifest keeps although it no longer asks for them: namespace defaults may have, which we can't see.
fn leftover(outcome: &Outcome, pod: &Node) -> Option<String> {
    let has_sidecars = || record(pod).is_some_and(|record| !record.injected.is_empty());
    (matches!(outcome, Outcome::NotAsked) && has_sidecars())
        .then(|| "keeps the sidecars it was injected with, though nothing asks for them; `outrigger uninject` takes them away".to_owned())
}

/// Pull secrets that a template doesn't get: its first one would hide those of its ServiceAccount.
fn hidden_pull_secrets(outcome: &Outcome, pod: &Node, surroundings: &Surroundings) -> Option<String> {
    let secrets = &surroundings.settings.image_pull_secrets;
    let has_own = || pod.get("spec").and_then(|spec| spec.get("imagePullSecrets")?.items()).is_some_and(|secrets| !secrets.is_empty());
    let concerned = matches!(outcome, Outcome::Injected { .. }) && !secrets.is_empty() && !has_own();
    concerned.then(|| {
        format!(
            "the pull secrets {} were not added, which would hide those of the ServiceAccount: add them to the ServiceAccount or to the template",
            secrets.join(", ")
        )
    })
}
