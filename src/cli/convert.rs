//! `outrigger convert`: files of other provisioners and operators, as ours.

use std::{
    io::{Read, stdin},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::sidecars::guacamole::{
    Severity,
    convert::{self, Converted, Value},
};

mod pg_kopf;

use super::{
    FOUND, NOTHING_FOUND,
    console::{self, Console},
    manifests::{Node, yaml_writer},
};

/// Print connection files of other provisioners, or databases of my.local, as ours.
///
/// Reads a folder of files with a connection each, or a file that Guacamole's own batch import takes; what is printed holds all secrets
/// that are read. Of a file with manifests of `my.local/v1`, one object is printed for each server, and one for each database.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger convert connections/ > connections.yaml    # one file with a connection in each folder
  outrigger convert import.csv > connections.yaml
  cat import.json | outrigger convert - > connections.yaml
  outrigger convert pgdatabases.yaml > databases.yaml  # of my.local/v1")]
pub(super) struct Convert {
    /// Folder or file, or - for standard input.
    source: PathBuf,

    /// What the file is; without it, its name says so. JSON is YAML.
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Yaml,
    Json,
    Csv,
}

impl Convert {
    pub(super) fn run(self, console: &Console) -> Result<ExitCode> {
        if self.source.is_dir() {
            return print(&convert::folder(&self.source), console);
        }
        let (name, text) = self.read()?;
        if let Some(converted) = pg_kopf::convert(&name, &text) {
            converted.warnings.iter().for_each(|warning| console.warning(warning));
            converted.errors.iter().for_each(|error| console.error(error));
            console::print(&yaml_writer::write_all(&converted.objects))?;
            return Ok(if converted.errors.is_empty() { NOTHING_FOUND } else { FOUND });
        }
        let is_csv =
            self.format.map_or_else(|| self.source.extension().is_some_and(|extension| extension == "csv"), |format| format == Format::Csv);
        if is_csv {
            let converted = convert::csv(&name, &text).with_context(|| format!("{name} can't be converted"))?;
            print(&converted, console)
        } else {
            print(&convert::text(&name, &text), console)
        }
    }

    /// The name of the source for messages, and its text.
    fn read(&self) -> Result<(String, String)> {
        let name = self.source.display().to_string();
        let text = if self.source == Path::new("-") {
            let mut text = String::new();
            stdin().lock().read_to_string(&mut text).context("standard input can't be read")?;
            text
        } else {
            std::fs::read_to_string(&self.source).with_context(|| format!("{name} can't be read"))?
        };
        if text.trim().is_empty() {
            bail!("{name} is empty");
        }
        Ok((name, text))
    }
}

fn print(converted: &Converted, console: &Console) -> Result<ExitCode> {
    for finding in &converted.findings {
        match finding.severity {
            Severity::Error => console.error(&finding.to_string()),
            Severity::Warning => console.warning(&finding.to_string()),
        }
    }
    console::print(&yaml_writer::write(&node(&converted.file)))?;
    Ok(if converted.findings.iter().any(|finding| finding.severity == Severity::Error) { FOUND } else { NOTHING_FOUND })
}

fn node(value: &Value) -> Node {
    match value {
        Value::Null => Node::Null,
        Value::Text(text) => Node::String(text.clone()),
        Value::List(items) => Node::Sequence(items.iter().map(node).collect()),
        Value::Map(members) => Node::Mapping(members.iter().map(|(name, value)| (name.clone(), node(value))).collect()),
    }
}
