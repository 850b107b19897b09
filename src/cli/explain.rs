//! `outrigger explain`: says which rule decided what.

mod access;
mod containers;
mod needs;
mod reference;
mod settings;

use std::process::ExitCode;

use anyhow::Result;

use crate::api::annotations::{self, Annotations, INJECT, NONE, NamespaceDefaults, Origin, Setting, SidecarKind, items};

use super::console::{self, Console, HEADING, printable};
use super::injector::{Conclusion, Injection, Refusal, inject, own_annotations};
use super::input::Input;
use super::manifests::stream::Document;
use super::manifests::{Node, yaml_writer};
use super::surroundings::{Surroundings, SurroundingsArguments};
use super::workloads::{self, Workload};
use super::{FOUND, NOTHING_FOUND};

const EXAMPLES: &str = "\
Examples:
  # Why does this pod get what it gets?
  outrigger explain -f deployment.yaml --namespace-file namespace.yaml

  # Let its ServiceAccount read what the file mirror needs
  outrigger explain -f deployment.yaml --access | kubectl apply -f -

  # Which annotations are there?
  outrigger explain --annotations

Exit codes:
  0  explained
  1  explained, and a workload is refused
  2  the input can't be read";

/// How the table of annotations is written.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum TableFormat {
    /// For a terminal
    Text,
    /// For a page of documentation
    Markdown,
}

/// Explain what each pod gets, and why
///
/// For each pod and pod template: who asks for which sidecars; each setting with its value and who made it; where the
/// sidecars' containers stand and why; what each of its own containers gets; what is skipped or refused; and which objects it needs.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Explain {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    surroundings: SurroundingsArguments,
    /// Write only the RBAC objects that the file mirrors need, as YAML
    #[arg(long)]
    access: bool,
    /// Write the table of all annotations instead
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text", conflicts_with = "filenames")]
    annotations: Option<TableFormat>,
}

impl Explain {
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode> {
        let text = match self.annotations {
            Some(TableFormat::Text) => reference::text(console),
            Some(TableFormat::Markdown) => annotations::reference(),
            None => return self.explain(console),
        };
        console::print(&text)?;
        Ok(NOTHING_FOUND)
    }

    fn explain(&self, console: &Console) -> Result<ExitCode> {
        let documents = self.input.read()?;
        let surroundings = self.surroundings.read(&documents)?;
        let workloads = workloads::find(&documents);
        let stories = workloads.iter().map(|workload| Story::of(workload, &documents, &surroundings)).collect::<Result<Vec<_>>>()?;
        let text = if self.access {
            for story in &stories {
                story.tell_refusal(console);
            }
            let objects: Vec<Node> = stories.iter().flat_map(access::objects).collect();
            yaml_writer::write_all(&objects)
        } else {
            stories.iter().map(|story| story.tell(&documents, console)).collect::<Vec<_>>().join("\n")
        };
        console::print(&text)?;
        surroundings.tell_assumptions(&workloads, console);
        Ok(if stories.iter().any(|story| story.refusal().is_some()) { FOUND } else { NOTHING_FOUND })
    }
}

/// All that is known about one pod when it is explained.
struct Story<'a> {
    workload: &'a Workload,
    surroundings: &'a Surroundings,
    defaults: Option<&'a NamespaceDefaults>,
    /// The pod as it was read.
    pod: &'a Node,
    /// The annotations that hold for it.
    annotations: Annotations<'a>,
    /// The sidecars it asks for.
    sidecars: Vec<SidecarKind>,
    injection: Injection,
}

impl<'a> Story<'a> {
    fn of(workload: &'a Workload, documents: &'a [Document], surroundings: &'a Surroundings) -> Result<Self> {
        let pod = workload.pod(documents)?;
        let defaults = surroundings.defaults_for(workload);
        let annotations = effective_annotations(pod, defaults);
        let sidecars = asked_sidecars(&annotations);
        let injection = inject(workload, pod, surroundings)?;
        Ok(Self { workload, surroundings, defaults, pod, annotations, sidecars, injection })
    }

    /// The namespace the pod goes to.
    fn namespace(&self) -> &str {
        self.surroundings.namespace_of(self.workload)
    }

    /// Who wrote a setting, in words.
    fn author(&self, setting: &Setting<'_>) -> String {
        match setting.origin {
            Origin::Pod => "the pod".to_owned(),
            Origin::Namespace => format!("namespace {}", self.namespace()),
        }
    }

    fn tell(&self, documents: &[Document], console: &Console) -> String {
        let heading = |text: &str| console.styled(HEADING, text);
        let mut text = format!("{} in namespace {}\n", heading(&printable(&self.workload.to_string())), printable(self.namespace()));
        text.push_str(&printable(&format!("  {}\n  {}\n", self.asked_by(), self.outcome())));
        text.extend(self.injection.warnings.iter().map(|warning| printable(&format!("  warning: {warning}\n"))));
        let chapters = [
            ("Settings", settings::tell(self)),
            ("Sidecars", containers::tell_sidecars(self)),
            ("The pod's own containers", containers::tell_own(self)),
            ("Needs", needs::tell(self, documents)),
            ("Access for file-sync, which --access writes alone", access::tell(self)),
        ];
        let told = chapters.into_iter().filter(|(_, chapter)| !chapter.is_empty());
        text.extend(told.map(|(title, chapter)| format!("  {}\n{}", heading(title), printable(&chapter))));
        text
    }

    fn asked_by(&self) -> String {
        match self.annotations.setting(&INJECT) {
            None => format!("nobody asks: neither the pod nor its namespace has {}", INJECT.name),
            Some(setting) if setting.value == NONE => format!("{} opts out with {}: {NONE}", self.author(setting), INJECT.name),
            Some(setting) => format!("{} asks with {}: {}", self.author(setting), INJECT.name, setting.value),
        }
    }

    fn outcome(&self) -> String {
        let names = self.sidecars.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
        match &self.injection.conclusion {
            Conclusion::NotAsked => "gets nothing".to_owned(),
            Conclusion::Skipped(reason) => format!("gets nothing: {}", reason.sentence()),
            Conclusion::Equipped if self.injection.change.is_empty() => format!("has {names} already"),
            Conclusion::Equipped => format!("gets {names}"),
            Conclusion::Refused(refusal) => {
                let reasons: Vec<String> = refusal.reasons().into_iter().map(|reason| format!("\n    {reason}")).collect();
                format!("is refused:{}", reasons.concat())
            }
        }
    }

    const fn refusal(&self) -> Option<&Refusal> {
        match &self.injection.conclusion {
            Conclusion::Refused(refusal) => Some(refusal),
            Conclusion::NotAsked | Conclusion::Skipped(_) | Conclusion::Equipped => None,
        }
    }

    /// Says why there is nothing to write for a refused pod.
    fn tell_refusal(&self, console: &Console) {
        for reason in self.refusal().map(Refusal::reasons).unwrap_or_default() {
            console.error(&format!("{}: {reason}", self.workload));
        }
    }

    /// Whether the pod has its sidecars in the end.
    const fn is_equipped(&self) -> bool {
        matches!(self.injection.conclusion, Conclusion::Equipped)
    }
}

/// The annotations that hold for a pod: its own before its namespace's.
fn effective_annotations<'a>(pod: &'a Node, defaults: Option<&'a NamespaceDefaults>) -> Annotations<'a> {
    let mut effective = Annotations::default();
    let own = own_annotations(pod).map(|(key, value)| (key, value, Origin::Pod));
    let inherited = defaults.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str(), Origin::Namespace));
    for (key, value, origin) in own.chain(inherited) {
        // Injection itself warns of unknown keys.
        effective.add(key, value.into(), origin);
    }
    effective
}

fn asked_sidecars(annotations: &Annotations<'_>) -> Vec<SidecarKind> {
    let asked = annotations.written(&INJECT).unwrap_or_default();
    SidecarKind::ALL.into_iter().filter(|kind| items(asked).any(|item| item == kind.as_str())).collect()
}
