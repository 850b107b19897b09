//! The cache folder: what was obtained once stays there, outside the source tree.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::supervise;

/// `$XDG_CACHE_HOME/outrigger`, else `~/.cache/outrigger` (XDG Base Directory Specification).
pub fn folder() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|path| Path::new(path).is_absolute()) {
        Some(path) => PathBuf::from(path),
        None => std::env::home_dir()
            .context("there is no home directory: set XDG_CACHE_HOME to a folder for downloads and builds")?
            .join(".cache"),
    };
    existing(cache.join("outrigger"))
}

/// A folder of the cache, made if it is missing.
pub(crate) fn subfolder(relative: impl AsRef<Path>) -> Result<PathBuf> {
    existing(folder()?.join(relative))
}

/// Waits until no other process obtains `what`: test binaries run side by side and must not build the same thing twice.
pub(crate) fn lock(what: &str) -> Result<File> {
    supervise::lock(&subfolder(Path::new("lock").join(what))?)
}

/// A folder for work in progress, on the same file system as the cache; the caller removes it.
pub(crate) fn workshop(name: &str) -> Result<PathBuf> {
    let folder = folder()?.join("work").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    existing(folder)
}

/// Puts a finished program in its place at once, so that nobody ever sees half of it.
pub(crate) fn install(finished: &Path, place: &Path) -> Result<()> {
    fs::set_permissions(finished, fs::Permissions::from_mode(0o755))?;
    if let Some(parent) = place.parent() {
        existing(parent.to_owned())?;
    }
    fs::rename(finished, place).with_context(|| format!("cannot install {}", place.display()))
}

fn existing(folder: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
