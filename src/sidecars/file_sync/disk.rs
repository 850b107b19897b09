//! The few things that are done to the disk, each whole or not at all, and none by a way that leads out of a folder.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
};

use super::plan::{Digest, Hasher, RESERVED_PREFIX, digest, hexadecimal};

/// To work in a folder without listing it.
pub(super) const FOLDER_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Resolves paths below a folder alone.
pub(super) const CONFINED: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// Folders can be listed by all who may see the volume; what is secret is in files.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);
/// The same where the volume is for a group: the next to write there may be another user of it.
const SHARED_FOLDER_MODE: Mode = Mode::from_raw_mode(0o2775);
/// Of a file until it has its own mode.
const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// Makes a folder, with the mode that its volume asks for.
pub(super) fn make_folder(above: &OwnedFd, name: &str) -> Result<(), Errno> {
    rustix::fs::mkdirat(above, name, FOLDER_MODE)?;
    let is_shared = Mode::from_raw_mode(rustix::fs::fstat(above)?.st_mode).contains(Mode::WGRP);
    if is_shared {
        // The umask does not count here.
        rustix::fs::fchmod(open_confined(above, name, OFlags::RDONLY | OFlags::DIRECTORY)?, SHARED_FOLDER_MODE)?;
    }
    Ok(())
}

/// Opens what is below a folder, by a way without symbolic links.
pub(super) fn open_confined(folder: &impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(folder, path, flags | OFlags::CLOEXEC, Mode::empty(), CONFINED)
}

/// Writes a file under another name and lets it take its place.
pub(super) fn write_whole(parent: &OwnedFd, name: &str, bytes: &[u8], mode: u32, fsync: bool, no_replace: bool) -> Result<Stat, Errno> {
    let unfinished = unfinished(name);
    let written = write_unfinished(parent, &unfinished, bytes, mode, fsync).and_then(|()| {
        make_later(parent, &unfinished, name);
        rename(parent, &unfinished, name, no_replace)
    });
    if written.is_err() {
        // What can't be removed is removed at the next attempt.
        let _ = rustix::fs::unlinkat(parent, &unfinished, AtFlags::empty());
    }
    written?;
    if fsync {
        sync_folder(parent)?;
    }
    // Renaming changed it once more.
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn write_unfinished(parent: &OwnedFd, name: &str, bytes: &[u8], mode: u32, fsync: bool) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(parent, name, flags, PRIVATE) {
        // An earlier run ended in the middle of it.
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            rustix::fs::openat(parent, name, flags, PRIVATE)?
        }
        opened => opened?,
    };
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    let mut file = File::from(file);
    file.write_all(bytes).map_err(|error| errno_of(&error))?;
    if fsync {
        rustix::fs::fsync(&file)?;
    }
    Ok(())
}

/// Lets a file be from a later second than the one whose place it takes. A file system may soon use an inode again, so of several files of one
/// size and one second the last may look like the first to who compares no more than that, as `PgBouncer` does at a RELOAD.
#[allow(clippy::unnecessary_cast, reason = "the types differ between architectures")]
fn make_later(parent: &OwnedFd, unfinished: &str, name: &str) {
    let second = |name| rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| stat.st_mtime as i64);
    let (Ok(before), Ok(now)) = (second(name), second(unfinished)) else { return };
    if now > before {
        return;
    }
    let later = Timespec { tv_sec: before.saturating_add(1), tv_nsec: 0 };
    let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: later };
    // Some file systems keep no such times; the file is what matters.
    let _ = rustix::fs::utimensat(parent, unfinished, &times, AtFlags::SYMLINK_NOFOLLOW);
}

fn rename(parent: &OwnedFd, from: &str, to: &str, no_replace: bool) -> Result<(), Errno> {
    if no_replace {
        match rustix::fs::renameat_with(parent, from, parent, to, RenameFlags::NOREPLACE) {
            // Not all file systems know it; we have looked before.
            Err(Errno::INVAL | Errno::NOSYS) => {}
            renamed => return renamed,
        }
    }
    rustix::fs::renameat(parent, from, parent, to)
}

/// Sees to it that the names in a folder outlive a loss of power.
pub(super) fn sync_folder(parent: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::fsync(open_confined(parent, ".", OFlags::RDONLY | OFlags::DIRECTORY)?)
}

/// The same for a folder and all folders below it.
pub(super) fn sync_folders(folder: &OwnedFd) -> Result<(), Errno> {
    let mut folders = vec![rustix::io::fcntl_dupfd_cloexec(folder, 0)?];
    while let Some(above) = folders.pop() {
        sync_folder(&above)?;
        for (name, _) in names_in(&above)?.into_iter().filter(|(_, kind)| *kind == FileType::Directory) {
            folders.push(open_confined(&above, &name, FOLDER_FLAGS)?);
        }
    }
    Ok(())
}

/// What a file is called while it is being written.
pub(super) fn unfinished(name: &str) -> String {
    let digest = hexadecimal(&digest(name.as_bytes()));
    format!("{RESERVED_PREFIX}{}", digest.get(..16).unwrap_or_default())
}

/// What a file holds, by its digest.
pub(super) fn digest_of(mut file: File) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = [0; 16 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.add(buffer.get(..length).unwrap_or_default()),
        }
    }
}

/// Lets a file appear in another folder as well: the same one, or a copy where the file system or its owner forbids that.
pub(super) fn carry(from: &OwnedFd, path: &str, to: &OwnedFd, name: &str, fsync: bool) -> Result<(), Errno> {
    if rustix::fs::linkat(from, path, to, name, AtFlags::empty()).is_ok() {
        return Ok(());
    }
    let file = open_confined(from, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
    let mode = rustix::fs::fstat(&file)?.st_mode & 0o7777;
    let mut bytes = Vec::new();
    File::from(file).read_to_end(&mut bytes).map_err(|error| errno_of(&error))?;
    write_whole(to, name, &bytes, mode, fsync, false).map(drop)
}

/// Makes a symbolic link, or lets it take the place of what is there.
pub(super) fn link_whole(parent: &OwnedFd, name: &str, to: &str, no_replace: bool) -> Result<(), Errno> {
    let unfinished = unfinished(name);
    match rustix::fs::unlinkat(parent, &unfinished, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    rustix::fs::symlinkat(to, parent, &unfinished)?;
    let renamed = rename(parent, &unfinished, name, no_replace);
    if renamed.is_err() {
        // What can't be removed is removed at the next attempt.
        let _ = rustix::fs::unlinkat(parent, &unfinished, AtFlags::empty());
    }
    renamed
}

/// Where a symbolic link leads; none where there is no link.
pub(super) fn link_target(parent: &OwnedFd, name: &str) -> Option<String> {
    rustix::fs::readlinkat(parent, name, Vec::new()).ok()?.into_string().ok()
}

/// What stands in a folder: each name, and what it is.
pub(super) fn names_in(folder: &OwnedFd) -> Result<Vec<(String, FileType)>, Errno> {
    let listed = open_confined(folder, ".", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(listed)? {
        let entry = entry?;
        // Names of ours are all text.
        let Some(name) = entry.file_name().to_str().ok().filter(|name| *name != "." && *name != "..") else { continue };
        let kind = match entry.file_type() {
            // Not all file systems say.
            FileType::Unknown => FileType::from_raw_mode(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode),
            kind => kind,
        };
        names.push((name.to_owned(), kind));
    }
    Ok(names)
}

/// The paths of all that is below a folder and is no folder.
pub(super) fn paths_below(folder: &OwnedFd) -> Result<Vec<String>, Errno> {
    let (mut paths, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(above) = folders.pop() {
        let opened = if above.is_empty() { None } else { Some(open_confined(folder, &above, FOLDER_FLAGS)?) };
        for (name, kind) in names_in(opened.as_ref().unwrap_or(folder))? {
            let path = if above.is_empty() { name } else { format!("{above}/{name}") };
            if kind == FileType::Directory { folders.push(path) } else { paths.push(path) }
        }
    }
    Ok(paths)
}

/// Removes a folder with all that is in it.
pub(super) fn remove_tree(parent: &OwnedFd, name: &str) -> Result<(), Errno> {
    let folder = open_confined(parent, name, FOLDER_FLAGS)?;
    let mut folders = vec![String::new()];
    let mut next = 0;
    while let Some(above) = folders.get(next).cloned() {
        next += 1;
        let opened = if above.is_empty() { None } else { Some(open_confined(&folder, &above, FOLDER_FLAGS)?) };
        let opened = opened.as_ref().unwrap_or(&folder);
        for (name, kind) in names_in(opened)? {
            if kind != FileType::Directory {
                rustix::fs::unlinkat(opened, &name, AtFlags::empty())?;
            } else if above.is_empty() {
                folders.push(name);
            } else {
                folders.push(format!("{above}/{name}"));
            }
        }
    }
    // The innermost came last.
    for path in folders.iter().skip(1).rev() {
        let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
        rustix::fs::unlinkat(open_confined(&folder, above, FOLDER_FLAGS)?, name, AtFlags::REMOVEDIR)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
