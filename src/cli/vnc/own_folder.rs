//! Where a desktop without a pod keeps its cookie and its sockets.

use std::{
    env,
    fs::{self, DirBuilder, File},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::sidecars::vnc::x_server::display::Display;

/// The folder of a desktop that has no pod. It goes when this is dropped; what a killed process has left is used again, so that what
/// it has left running is known by its cookie.
pub(super) struct OwnFolder {
    pub(super) display: Display,
    pub(super) path: PathBuf,
    _lock: File,
}

impl OwnFolder {
    /// For this display, or for one that is free.
    pub(super) fn create(wanted: Option<Display>) -> Result<Self> {
        let base = runtime_folder()?;
        if let Some(display) = wanted {
            return Self::of(&base, display)?
                .with_context(|| format!("another outrigger vnc has the display {display}: choose another one"));
        }
        for display in Display::all() {
            let is_known = base.join(folder_name(display)).exists();
            if (is_known || !display.seems_taken())
                && let Some(folder) = Self::of(&base, display)?
            {
                return Ok(folder);
            }
        }
        bail!("all displays are taken: name one with --display")
    }

    /// The folder of a display, unless another process has it.
    fn of(base: &Path, display: Display) -> Result<Option<Self>> {
        let path = base.join(folder_name(display));
        private_folder(&path)?;
        let lock = File::open(&path).with_context(|| format!("{} can't be opened", path.display()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            // Whoever had it may have removed it since we opened it.
            Ok(()) if is_at(&lock, &path) => Ok(Some(Self { display, path, _lock: lock })),
            Ok(()) | Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} can't be locked", path.display())),
        }
    }
}

/// The right to a pod's folder: the sockets in it are of one desktop.
pub(super) fn lock_of_pod(folder: &Path) -> Result<Option<File>> {
    // Whatever is wrong with it is said by who needs it.
    let _ = private_folder(folder);
    let Ok(lock) = File::open(folder) else { return Ok(None) };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            bail!("another outrigger vnc has VNC_FOLDER {}: give this one a folder and a DISPLAY of its own", folder.display())
        }
        // Where folders can't be locked, nobody locks any.
        _ => Ok(Some(lock)),
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a folder is left behind");
        }
    }
}

/// Whether an open folder is still the one at a path.
fn is_at(folder: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    folder.metadata().is_ok_and(|open| fs::symlink_metadata(path).is_ok_and(|there| identity(open) == identity(there)))
}

fn folder_name(display: Display) -> String {
    format!("desktop-{}", display.number())
}

/// Where this user's programs keep sockets, or a folder among the temporary files. The path is absolute, whatever was given: the desktop's
/// programs may look from elsewhere.
fn runtime_folder() -> Result<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    // "XDG Base Directory Specification": a relative path is invalid, and is to be ignored.
    let given = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = given.map_or_else(|| env::temp_dir().join(format!("outrigger-desktops-{own}")), |folder| folder.join("outrigger"));
    ensure!(folder.to_str().is_some(), "the path {} is no text in UTF-8: set XDG_RUNTIME_DIR to another folder", folder.display());
    private_folder(&folder)?;
    let owner = fs::symlink_metadata(&folder)?;
    ensure!(
        owner.is_dir() && owner.uid() == own,
        "{} belongs to somebody else: set XDG_RUNTIME_DIR to a folder of your own",
        folder.display()
    );
    fs::canonicalize(&folder).with_context(|| format!("{} can't be found again", folder.display()))
}

fn private_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("{} can't be made", path.display()))
}
