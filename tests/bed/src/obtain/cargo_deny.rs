//! cargo-deny, which checks licences, bans and sources of the dependency graph.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::Result;

use super::cache;
use super::command::{find, is_program, output};
use crate::progress;
use crate::versions;

/// The pinned cargo-deny from `PATH` or the cache, else built into the cache from its sources.
pub fn cargo_deny() -> Result<PathBuf> {
    let version = versions::CARGO_DENY;
    if let Some(found) = find("cargo-deny")
        && output(Command::new(&found).arg("--version")).is_ok_and(|printed| super::tells_version(&printed, version))
    {
        return Ok(found);
    }
    let root = cache::folder()?.join(format!("cargo-deny/{version}"));
    let program = root.join("bin/cargo-deny");
    let _one_at_a_time = cache::lock("cargo-deny")?;
    if !is_program(&program) {
        progress::say(&format!("building cargo-deny {version} from its sources (about 4 min, once) ..."));
        let workshop = cache::workshop("cargo-deny")?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut install = Command::new(cargo);
        // A target folder of its own: the one in use is locked by whoever runs us.
        install.env("CARGO_TARGET_DIR", &workshop).current_dir(&workshop);
        output(install.args(["install", "--locked", "--quiet", "cargo-deny", "--version", version, "--root"]).arg(&root))?;
        fs::remove_dir_all(&workshop)?;
        progress::say(&format!("obtained cargo-deny {version}: {}", program.display()));
    }
    Ok(program)
}
