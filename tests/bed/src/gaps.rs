//! Parts that could not be obtained: skipped by name, and a failure where nothing may be missing.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;

use anyhow::{Context, Result, bail};

use crate::progress;

/// Names a file that collects the gaps of all test binaries, one a line; `make test` prints it at the end.
pub const GAPS_VARIABLE: &str = "OUTRIGGER_GAPS";

/// Notes that something is skipped and why. Fails under `CI=true`, where nothing may be skipped.
pub fn skip(name: &str, why: &anyhow::Error) -> Result<()> {
    let line = format!("{name}: {why:#}");
    if env::var("CI").is_ok_and(|value| value == "true") {
        bail!("{line} (nothing may be skipped under CI=true)");
    }
    progress::say(&format!("skipped: {line}"));
    if let Some(path) = env::var_os(GAPS_VARIABLE) {
        let mut gaps = OpenOptions::new().create(true).append(true).open(&path).context("cannot open the list of gaps")?;
        writeln!(gaps, "{}", line.replace('\n', " ")).context("cannot write the list of gaps")?;
    }
    Ok(())
}
