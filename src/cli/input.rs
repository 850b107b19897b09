//! The manifests a subcommand works on.

use std::io;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::manifests::stream::{self, Document};

/// Which manifests to read.
#[derive(Debug, clap::Args)]
pub(super) struct Input {
    /// File or directory with manifests, or - for standard input; may be repeated
    ///
    /// YAML or JSON, with one document or many. Of a directory, the files ending in .yaml, .yml or .json are read.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    filenames: Vec<PathBuf>,

    /// Also read the folders in directories
    #[arg(short = 'R', long)]
    recursive: bool,
}

impl Input {
    /// Reads all documents. An empty input is an error: most likely, what should have written it failed.
    pub(super) fn read(&self) -> Result<Vec<Document>> {
        if self.filenames.is_empty() {
            bail!("which manifests? Name them with -f FILE, or -f - for standard input");
        }
        let documents = stream::read(&self.filenames, self.recursive, &mut io::stdin().lock())?;
        if documents.is_empty() {
            let names: Vec<_> = self.filenames.iter().map(|name| name.display().to_string()).collect();
            bail!("no manifest in {}: the input is empty", names.join(", "));
        }
        Ok(documents)
    }
}
