//! What `inject` and `uninject` write.

use anyhow::Result;

use super::change::Change;
use super::console;
use super::manifests::stream::Document;
use super::manifests::{json, yaml_writer};

/// How changed manifests are written.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Format {
    /// All documents of the input as YAML, without comments
    Yaml,
    /// All documents of the input as JSON, one after another
    Json,
    /// One JSON object for each changed workload, on a line of its own: its file, document, kind, name and namespace, and a patch
    /// (RFC 6902) of that document
    Patch,
}

/// The flag that chooses.
#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// How to write the result
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Format,
}

impl Output {
    /// Writes the documents with the changes made, or the changes alone.
    pub(super) fn write(&self, mut documents: Vec<Document>, changes: Vec<Change>) -> Result<()> {
        if let Format::Patch = self.output {
            let patches = changes.iter().map(Change::to_patch).collect::<Result<Vec<_>>>()?;
            console::print(&patches.iter().map(|patch| json::write(patch) + "\n").collect::<String>())?;
            return Ok(());
        }
        changes.into_iter().try_for_each(|change| change.apply(&mut documents))?;
        let roots = documents.iter().map(|document| &document.root);
        let text = match self.output {
            Format::Json => roots.map(json::write_pretty).collect(),
            Format::Yaml | Format::Patch => yaml_writer::write_all(roots),
        };
        console::print(&text)?;
        Ok(())
    }
}
