//! `outrigger diff`: what injection would change.

use std::process::ExitCode;

use anyhow::{Result, bail};
use similar::{ChangeTag, TextDiff};

use super::console::{self, ADDED, Console, HEADING, PLACE, REMOVED};
use super::injector::{Injected, inject_all};
use super::input::Input;
use super::manifests::stream::Document;
use super::manifests::{Node, yaml_writer};
use super::surroundings::SurroundingsArguments;
use super::workloads::named;
use super::{FOUND, NOTHING_FOUND};

/// Lines shown around each change, as `diff -u` does.
const CONTEXT_LINES: usize = 3;

const EXAMPLES: &str = "\
Examples:
  # What would be added
  outrigger diff -f deployment.yaml

  # In colour through a pager
  outrigger diff -f manifests/ -R --color always | less -R

Exit codes, as of kubectl diff:
  0  nothing would change
  1  something would change
  2  the input can't be read, or a workload is refused";

/// Show what injection would change
///
/// Compares the YAML of each document before and after, in the unified format. Comments and the layout of the input play no part.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Diff {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    surroundings: SurroundingsArguments,
}

impl Diff {
    pub(super) fn run(&self, console: &Console) -> Result<ExitCode> {
        let before = self.input.read()?;
        let surroundings = self.surroundings.read(&before)?;
        let Injected { changes, is_refused } = inject_all(&before, &surroundings, console)?;
        if is_refused {
            bail!("nothing is compared, because a workload is refused");
        }
        let mut after = before.clone();
        changes.into_iter().try_for_each(|change| change.apply(&mut after))?;
        let differences: String = before.iter().zip(&after).map(|(before, after)| difference(before, after, console)).collect();
        console::print(&differences)?;
        Ok(if differences.is_empty() { NOTHING_FOUND } else { FOUND })
    }
}

/// The unified difference of a document before and after; empty if there is none.
fn difference(before: &Document, after: &Document, console: &Console) -> String {
    if before.root == after.root {
        return String::new();
    }
    let title = format!("{} {}", before.origin, object_name(&before.root));
    let (before, after) = (yaml_writer::write(&before.root), yaml_writer::write(&after.root));
    let compared = TextDiff::from_lines(&before, &after);
    let mut lines = vec![console.styled(HEADING, &format!("--- {title}")), console.styled(HEADING, &format!("+++ {title}, injected"))];
    for hunk in compared.unified_diff().context_radius(CONTEXT_LINES).iter_hunks() {
        lines.push(console.styled(PLACE, &hunk.header().to_string()));
        lines.extend(hunk.iter_changes().map(|change| line(change.tag(), change.value(), console)));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn line(tag: ChangeTag, value: &str, console: &Console) -> String {
    let line = value.trim_end_matches('\n');
    match tag {
        ChangeTag::Equal => format!(" {line}"),
        ChangeTag::Delete => console.styled(REMOVED, &format!("-{line}")),
        ChangeTag::Insert => console.styled(ADDED, &format!("+{line}")),
    }
}

fn object_name(root: &Node) -> String {
    let name = root.get("metadata").and_then(|metadata| metadata.get("name")?.as_str());
    named(root.get("kind").and_then(Node::as_str).unwrap_or_default(), name)
}
