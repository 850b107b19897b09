//! The lock of the folder. Two sidecars that share one would each remove the files of the other, so the second is refused.
//!
//! The lock (flock(2)) is of a file that is never replaced, and goes with the process that holds it, however that ends.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, ResolveFlags, flock, ftruncate, openat2},
    io::Errno,
    system::uname,
};

/// The file's name in the folder.
pub(super) const NAME: &str = ".outrigger-lock";
/// The next to keep the folder may be another user of the same group.
const SHARED: Mode = Mode::from_raw_mode(0o660);

/// Why a folder can't be locked.
#[derive(Debug)]
pub(super) enum LockError {
    /// By another process, which is named.
    Held(String),
    /// The file can't be used.
    Unusable(io::Error),
}

/// Locks a folder for as long as the returned file is open.
///
/// # Errors
/// Somebody else holds the lock, or the file can't be used.
pub(super) fn take(folder: &OwnedFd) -> Result<File, LockError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let unusable = |errno: Errno| LockError::Unusable(errno.into());
    let opened = openat2(folder, NAME, flags, SHARED, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS);
    let mut file = File::from(opened.map_err(unusable)?);
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(LockError::Held(holder(&mut file))),
        Err(errno) => {
            // Not all file systems have locks.
            tracing::warn!(error = %errno, "the folder can't be locked: nothing else may mirror into it");
        }
    }
    sign(&mut file).map_err(LockError::Unusable)?;
    Ok(file)
}

/// Who holds the lock, in the words in which it signed.
fn holder(file: &mut File) -> String {
    let mut signature = String::new();
    match file.read_to_string(&mut signature) {
        Ok(length) if length > 0 => signature.trim_end().to_owned(),
        _ => "which has not said where it runs".to_owned(),
    }
}

fn sign(file: &mut File) -> io::Result<()> {
    // Its mode is its maker's to set, beyond what the umask allowed.
    let _ = rustix::fs::fchmod(&*file, SHARED);
    ftruncate(&*file, 0)?;
    let host = uname();
    file.write_all(format!("process {} at {}\n", std::process::id(), host.nodename().to_string_lossy()).as_bytes())
}
