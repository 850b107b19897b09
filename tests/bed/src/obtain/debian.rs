//! Debian packages, installed when we are root and they are missing.

use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use super::cache;
use super::command::{find, output};
use crate::progress;

/// A program, and the Debian packages that bring it with what it needs.
pub(crate) struct Need {
    pub(crate) program: &'static str,
    pub(crate) packages: &'static [&'static str],
}

/// The package lists are fetched once at most.
static UPDATED: OnceLock<()> = OnceLock::new();

/// Installs what is missing of these programs' packages.
pub(crate) fn install(needs: &[Need]) -> Result<()> {
    let _one_at_a_time = cache::lock("debian")?;
    let missing: Vec<&str> = needs.iter().filter(|need| find(need.program).is_none()).flat_map(|need| need.packages).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!("{names} is missing and only root can install it: sudo apt-get install {names}");
    }
    if find("apt-get").is_none() {
        bail!("{names} is missing and there is no apt-get here: install it with this system's own tool");
    }
    progress::say(&format!("installing the Debian packages {names} ..."));
    if apt_get(&missing).is_err() {
        // Old package lists name files that the archive no longer has.
        update()?;
        apt_get(&missing).with_context(|| format!("cannot install {names}"))?;
    }
    progress::say(&format!("installed {names}"));
    Ok(())
}

fn update() -> Result<()> {
    if UPDATED.set(()).is_ok() {
        output(Command::new("apt-get").args(["update", "--quiet"]))?;
    }
    Ok(())
}

fn apt_get(packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["install", "--yes", "--quiet", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]);
    output(command.args(packages)).map(drop)
}
