//! Running other programs and finding them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// How much of a failed program's output an error shows.
const SHOWN_LINES: usize = 15;

/// Runs a program to its end and returns what it printed; its complaints become the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        // Some programs complain on standard output.
        let complaint = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
        let complaint = String::from_utf8_lossy(complaint);
        let lines: Vec<&str> = complaint.lines().collect();
        let shown = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default().join("\n");
        bail!("{name} failed ({}): {shown}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed something that is not UTF-8"))
}

/// The program of this name in the folders of `PATH` and those where Debian keeps programs for root.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let for_root = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(for_root).map(|folder| folder.join(name)).find(|candidate| is_program(candidate))
}

pub(crate) fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}
