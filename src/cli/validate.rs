//! `outrigger validate`: says what the cluster would refuse, and what is likely a mistake.

mod annotations;
mod kinds;
mod report;

use std::process::ExitCode;

use anyhow::Result;

use super::console::{self, Console};
use super::input::Input;
use super::manifests::workload;
use super::manifests::{Node, json};
use super::surroundings::SurroundingsArguments;
use super::workloads;
use super::{FOUND, NOTHING_FOUND};

use report::{Report, Severity};

const EXAMPLES: &str = "\
Examples:
  # Before a commit
  outrigger validate -f manifests/ -R

  # For another program
  outrigger validate -f manifests/ -R -o json

Exit codes:
  0  fine, or warnings alone
  1  errors: the cluster would refuse something
  2  the input can't be read";

/// How findings are written.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// A line for each finding: its file, line, severity, object and field, and what is wrong
    Text,
    /// A JSON array of findings
    Json,
}

/// Check annotations and objects without a cluster
///
/// Checks the annotations of pods, templates and namespaces, and the objects of outrigger.dev: each by itself and all
/// together, as two claims to one database or a server's consent. What the files only refer to may exist in the cluster, so its
/// absence is a warning.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Validate {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    surroundings: SurroundingsArguments,
    /// How to write the findings
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

impl Validate {
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode> {
        let documents = self.input.read()?;
        let surroundings = self.surroundings.read(&documents)?;
        let mut reports = annotations::check(&documents, &surroundings)?;
        reports.extend(kinds::check(&documents, surroundings.default_namespace())?);
        reports.extend(documents.iter().filter(|document| !workload::is_object(&document.root)).map(Report::no_object));
        reports.sort_by_key(Report::place);

        let text = match self.output {
            Format::Text => reports.iter().map(|report| report.line(console)).collect(),
            Format::Json => json::write_pretty(&Node::Sequence(reports.iter().map(Report::to_node).collect::<Result<_>>()?)),
        };
        console::print(&text)?;
        surroundings.tell_assumptions(&workloads::find(&documents), console);
        let errors = reports.iter().filter(|report| report.severity == Severity::Error).count();
        console.note(&format!("{} documents, {errors} errors, {} warnings", documents.len(), reports.len() - errors));
        Ok(if errors == 0 { NOTHING_FOUND } else { FOUND })
    }
}
