//! The files on disk: written whole or not at all, never outside the folders that are allowed, never over what is not ours.
//!
//! Each path is resolved from an open folder that is allowed, by a kernel that follows no symbolic link and leads nowhere above it
//! (openat2(2), `RESOLVE_BENEATH`). Contents go to a file of another name that has its mode before it has any content; then it takes the
//! place of the old one. A reader sees the old contents or the new ones.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat},
    io::Errno,
};

use super::{
    lock::{self, LockError},
    plan::{Digest, Hasher, Present, RESERVED_PREFIX, Rules, Target, digest, hexadecimal},
    record::{self, Entry, Record},
    settings::Files,
};
use crate::runtime::complaint::with_causes;

const FOLDER_FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const CONFINED: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// Folders can be listed by all who may see the volume; what is secret is in files.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);
/// The same where the volume is for a group: the next to write there may be another user of it.
const SHARED_FOLDER_MODE: Mode = Mode::from_raw_mode(0o2775);
/// Of a file until it has its own mode.
const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// Why the files are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A folder that may be written to can't be opened or made.
    #[error("the folder {path} can't be used: mount a volume there that user {user} may write to")]
    Root {
        /// The folder.
        path: String,
        /// Who we are.
        user: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another sidecar keeps the folder.
    #[error("the folder {path} is kept by another outrigger file-sync ({holder}): give each a FOLDER of its own, or end that one first")]
    Held {
        /// The folder.
        path: String,
        /// The other.
        holder: String,
    },
    /// The folder can't be locked.
    #[error("the lock {name} in the folder can't be used: user {user} must be allowed to read and write it, as its owner or by an fsGroup", name = lock::NAME)]
    Lock {
        /// Who we are.
        user: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that is not ours is there.
    #[error("{0} is there already and is not ours: remove it, or let it be taken over with EXISTING_FILES=adopt")]
    Foreign(String),
    /// What is ours can't be written down.
    #[error("the record {name} in the folder can't be kept: whoever runs this must be allowed to read and write it, as its owner or by an fsGroup", name = record::NAME)]
    Record(#[source] io::Error),
    /// It can't be done.
    #[error("{path} can't be {done}")]
    File {
        /// The file.
        path: String,
        /// What was to be done with it.
        done: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The folders that may be written to, and the files in them that are ours.
#[derive(Debug)]
pub(super) struct Folder {
    rules: Rules,
    options: Files,
    roots: Vec<OwnedFd>,
    files: BTreeMap<Target, Known>,
    record: Record,
    lines: File,
    /// Whether the record on the disk lacks something, because its disk was full or failed.
    record_is_behind: bool,
    /// Whether lines of the record may not have reached the disk yet.
    has_unsynced_lines: bool,
    /// That nobody else keeps the folder, for as long as this is open.
    _lock: File,
}

/// A file of ours, and how it looked when we last knew what it holds.
#[derive(Debug)]
struct Known {
    present: Present,
    stamp: Stamp,
}

impl Known {
    /// A file of ours that is not there.
    const MISSING: Self = Self {
        present: Present { digest: [0; 32], link: None, mode: 0 },
        stamp: Stamp { inode: 0, size: 0, modified: (0, 0), changed: (0, 0) },
    };
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Folder {
    /// Opens the folders, and finds what earlier runs left that is ours.
    ///
    /// # Errors
    /// A folder or its record can't be used, or another sidecar keeps it.
    pub(super) fn open(rules: Rules, options: Files) -> Result<Self, FolderError> {
        let roots = rules.roots.iter().map(|path| open_root(path)).collect::<Result<Vec<_>, _>>()?;
        let lock = lock(&roots, &rules)?;
        let (record, lines) = open_record(&roots)?;
        let mut folder = Self {
            rules,
            options,
            roots,
            files: BTreeMap::new(),
            record,
            lines,
            record_is_behind: false,
            has_unsynced_lines: false,
            _lock: lock,
        };
        folder.find_ours();
        folder.rewrite_record()?;
        Ok(folder)
    }

    /// A file of ours as it stands.
    #[must_use]
    pub(super) fn present(&self, target: &Target) -> Option<Present> {
        self.files.get(target).map(|known| known.present)
    }

    /// The places of all files of ours.
    #[must_use]
    pub(super) fn targets(&self) -> Vec<Target> {
        self.files.keys().cloned().collect()
    }

    /// How many files are ours.
    #[must_use]
    pub(super) fn count(&self) -> usize {
        self.files.len()
    }

    /// Whether something that is not ours stands in a place of ours.
    #[must_use]
    pub(super) fn is_blocked(&self, target: &Target) -> bool {
        let (folder, name) = target.split();
        !self.files.contains_key(target) && self.parent(target.root, folder).is_ok_and(|parent| self.is_taken(&parent, name))
    }

    /// Makes a file hold `bytes`, whole at once. `link` is the address they came from, if they did.
    pub(super) fn write(&mut self, target: &Target, bytes: &[u8], mode: u32, link: Option<Digest>) -> Result<(), FolderError> {
        let digest = digest(bytes);
        let is_ours = self.files.contains_key(target);
        let parent = self.make_parent(target)?;
        let (_, name) = target.split();
        if !is_ours && self.is_taken(&parent, name) {
            return Err(FolderError::Foreign(self.rules.record(target)));
        }
        if !is_ours {
            self.announce(target, digest)?;
        }
        let no_replace = !is_ours && !self.options.adopt;
        let written = write_whole(&parent, name, bytes, mode, self.options.fsync, no_replace);
        let stat = written.map_err(|errno| match errno {
            Errno::EXIST => FolderError::Foreign(self.rules.record(target)),
            errno => self.failed(target, "written", errno),
        })?;
        self.files.insert(target.clone(), Known { present: Present { digest, link, mode }, stamp: Stamp::of(&stat) });
        if !is_ours {
            self.note_what_happened(&Entry::Made(self.rules.record(target)));
        }
        Ok(())
    }

    /// What an address answers is what the file holds already.
    pub(super) fn confirm_link(&mut self, target: &Target, link: Digest) {
        if let Some(known) = self.files.get_mut(target) {
            known.present.link = Some(link);
        }
    }

    /// Gives a file of ours its mode. One that another user made in an earlier run is made anew.
    pub(super) fn set_mode(&mut self, target: &Target, mode: u32) -> Result<(), FolderError> {
        let failed = |errno| self.failed(target, "given its mode", errno);
        let (folder, name) = target.split();
        let parent = self.parent(target.root, folder).map_err(failed)?;
        let file = open_confined(&parent, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK).map_err(failed)?;
        match rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)) {
            Err(Errno::PERM | Errno::ACCESS) => return self.make_anew(target, File::from(file), mode),
            done => done.map_err(failed)?,
        }
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        if let Some(known) = self.files.get_mut(target) {
            known.present.mode = mode;
            known.stamp = Stamp::of(&stat);
        }
        Ok(())
    }

    fn make_anew(&mut self, target: &Target, mut file: File, mode: u32) -> Result<(), FolderError> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| FolderError::File { path: self.rules.record(target), done: "read", source })?;
        let link = self.present(target).and_then(|present| present.link);
        self.write(target, &bytes, mode, link)
    }

    /// Removes a file of ours, and the folders made for it once they are empty.
    pub(super) fn remove(&mut self, target: &Target) -> Result<(), FolderError> {
        let (folder, name) = target.split();
        let removed = self.parent(target.root, folder).and_then(|parent| rustix::fs::unlinkat(parent, name, AtFlags::empty()));
        match removed {
            // Somebody was quicker, or put something else in its place that is not ours.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::XDEV) => {}
            Err(errno) => return Err(self.failed(target, "removed", errno)),
        }
        self.files.remove(target);
        self.note_what_happened(&Entry::Gone(self.rules.record(target)));
        self.remove_empty_folders(target);
        Ok(())
    }

    /// Looks at all files of ours. Returns those that somebody changed or removed, which are known as they are now.
    pub(super) fn changed_by_others(&mut self) -> Vec<Target> {
        let mut changed = Vec::new();
        for target in self.targets() {
            let now = self.stat(&target).map(|stat| Stamp::of(&stat));
            if now.is_some() && now == self.files.get(&target).map(|known| known.stamp) {
                continue;
            }
            let before = self.files.remove(&target).map(|known| known.present);
            let found = self.inspect(&target);
            let is_same = before.is_some_and(|before| found.as_ref().is_some_and(|found| same_file(before, found.present)));
            // One that is not there stays ours to write again, with contents that nobody wants.
            let mut found = found.unwrap_or(Known::MISSING);
            if is_same {
                found.present = before.unwrap_or(found.present);
            }
            self.files.insert(target.clone(), found);
            if !is_same {
                changed.push(target);
            }
        }
        changed
    }

    /// Who owns a file, and its mode.
    #[must_use]
    pub(super) fn owner(&self, target: &Target) -> Option<(u32, u32, u32)> {
        self.stat(target).map(|stat| (stat.st_uid, stat.st_gid, stat.st_mode & 0o777))
    }

    /// Keeps of the record what is true, and removes what a crash left behind.
    fn find_ours(&mut self) {
        let recorded: Vec<(String, Option<Digest>)> = self.record.files.iter().map(|(path, making)| (path.clone(), *making)).collect();
        for (path, making) in recorded {
            let found = self.rules.recorded(&path).ok().and_then(|target| {
                self.remove_unfinished(&target);
                self.inspect(&target).map(|known| (target, known))
            });
            match found {
                Some((target, known)) if making.is_none_or(|making| making == known.present.digest) => {
                    self.files.insert(target, known);
                    self.record.files.insert(path, None);
                }
                // It is gone, was never made, or somebody else made it.
                _ => {
                    self.record.files.remove(&path);
                }
            }
        }
    }

    /// A file that was being written when we ended.
    fn remove_unfinished(&self, target: &Target) {
        let (folder, name) = target.split();
        if let Ok(parent) = self.parent(target.root, folder) {
            // It is hardly ever there.
            let _ = rustix::fs::unlinkat(parent, unfinished(name), AtFlags::empty());
        }
    }

    /// A regular file with its digest; `None` if there is none.
    fn inspect(&self, target: &Target) -> Option<Known> {
        let (folder, name) = target.split();
        let parent = self.parent(target.root, folder).ok()?;
        // Not to block on a pipe that somebody put there.
        let file = open_confined(&parent, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK).ok();
        let Some(file) = file else { return self.unreadable(target) };
        let stat = rustix::fs::fstat(&file).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let digest = digest_of(File::from(file)).ok()?;
        Some(Known { present: Present { digest, link: None, mode: stat.st_mode & 0o7777 }, stamp: Stamp::of(&stat) })
    }

    /// A regular file that we may not read, such as another user's: it holds what nobody wants, and can be replaced.
    fn unreadable(&self, target: &Target) -> Option<Known> {
        let stat = self.stat(target).filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)?;
        Some(Known { present: Present { digest: Digest::default(), link: None, mode: stat.st_mode & 0o7777 }, stamp: Stamp::of(&stat) })
    }

    fn stat(&self, target: &Target) -> Option<Stat> {
        let (folder, name) = target.split();
        let parent = self.parent(target.root, folder).ok()?;
        rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Whether a name is taken by something we may not replace.
    fn is_taken(&self, parent: &OwnedFd, name: &str) -> bool {
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => !(self.options.adopt && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
            Err(_) => false,
        }
    }

    fn parent(&self, root: usize, folder: &str) -> Result<OwnedFd, Errno> {
        let root = self.roots.get(root).ok_or(Errno::NOENT)?;
        if folder.is_empty() { rustix::io::fcntl_dupfd_cloexec(root, 0) } else { open_confined(root, folder, FOLDER_FLAGS) }
    }

    /// The folder of a file, made if it is not there.
    fn make_parent(&mut self, target: &Target) -> Result<OwnedFd, FolderError> {
        let (folder, _) = target.split();
        if let Ok(parent) = self.parent(target.root, folder) {
            return Ok(parent);
        }
        let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
        for path in ends.filter_map(|end| folder.get(..end)) {
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            match self.parent(target.root, above).and_then(|above| make_folder(&above, name)) {
                Ok(()) => {
                    let path = self.rules.record(&Target { root: target.root, path: path.to_owned() });
                    self.note_what_happened(&Entry::Folder(path));
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(self.failed(target, "given a folder", errno)),
            }
        }
        self.parent(target.root, folder).map_err(|errno| self.failed(target, "given a folder", errno))
    }

    fn remove_empty_folders(&mut self, target: &Target) {
        let mut folder = target.split().0;
        while !folder.is_empty() {
            let path = self.rules.record(&Target { root: target.root, path: folder.to_owned() });
            let (above, name) = folder.rsplit_once('/').unwrap_or(("", folder));
            let is_ours = self.record.folders.contains(&path);
            let remove = || self.parent(target.root, above).and_then(|above| rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR));
            if !is_ours || remove().is_err() {
                return;
            }
            self.record.forget_folder(&path);
            folder = above;
        }
    }

    /// Sees to it that the record outlives a loss of power. A file that did not outlive it is then known as ours, and written again.
    ///
    /// # Errors
    /// The record can't be written.
    pub(super) fn sync_record(&mut self) -> Result<(), FolderError> {
        if self.record_is_behind {
            return self.rewrite_record();
        }
        let synced = if self.has_unsynced_lines { self.lines.sync_data() } else { Ok(()) };
        (self.record_is_behind, self.has_unsynced_lines) = (synced.is_err(), false);
        synced.map_err(FolderError::Record)
    }

    /// Whether there is something for [`Self::sync_record`] to do.
    #[must_use]
    pub(super) const fn has_unsynced_record(&self) -> bool {
        self.record_is_behind || self.has_unsynced_lines
    }

    /// Says in the record that a file is about to be made: without that it could not be told from others' after a crash.
    fn announce(&mut self, target: &Target, digest: Digest) -> Result<(), FolderError> {
        let path = self.rules.record(target);
        let announced = self.note(&Entry::Making { path: path.clone(), sha256: digest });
        if announced.is_err() {
            self.record.files.remove(&path);
        }
        announced
    }

    /// What has happened can't be undone by a record that can't be written: that is made up for with the next line, or at the next sync.
    fn note_what_happened(&mut self, entry: &Entry) {
        if let Err(error) = self.note(entry) {
            tracing::error!(error = with_causes(&error), "files of ours would be foreign after a crash now; trying again");
        }
    }

    /// Adds a line to the record, before or after what it tells.
    fn note(&mut self, entry: &Entry) -> Result<(), FolderError> {
        self.record.add(entry);
        // What follows half a line would be lost with it.
        if self.record_is_behind || self.record.is_long() {
            return self.rewrite_record();
        }
        let sync = |lines: &File| if self.options.fsync { lines.sync_data() } else { Ok(()) };
        let written = self.lines.write_all(record::line(entry).as_bytes()).and_then(|()| sync(&self.lines));
        self.record_is_behind = written.is_err();
        self.has_unsynced_lines = !self.options.fsync;
        written.map_err(FolderError::Record)
    }

    /// Writes the record in as few lines as it takes, and opens it for more. It is on the disk before it takes the place of the old one.
    fn rewrite_record(&mut self) -> Result<(), FolderError> {
        self.record_is_behind = true;
        let root = self.roots.first().ok_or_else(|| FolderError::Record(Errno::NOENT.into()))?;
        let written = write_whole(root, record::NAME, self.record.compact().as_bytes(), record::MODE, true, false);
        let opened = written.and_then(|_| open_confined(root, record::NAME, OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW));
        self.lines = opened.map(File::from).map_err(|errno| FolderError::Record(errno.into()))?;
        (self.record_is_behind, self.has_unsynced_lines) = (false, false);
        Ok(())
    }

    fn failed(&self, target: &Target, done: &'static str, errno: Errno) -> FolderError {
        FolderError::File { path: self.rules.record(target), done, source: errno.into() }
    }
}

impl Stamp {
    #[allow(clippy::unnecessary_cast, reason = "the types differ between architectures")]
    fn of(stat: &Stat) -> Self {
        let (modified, changed) = ((stat.st_mtime as i64, stat.st_mtime_nsec as u64), (stat.st_ctime as i64, stat.st_ctime_nsec as u64));
        Self { inode: stat.st_ino as u64, size: stat.st_size as i64, modified, changed }
    }
}

fn same_file(before: Present, now: Present) -> bool {
    before.digest == now.digest && before.mode == now.mode
}

fn make_folder(above: &OwnedFd, name: &str) -> Result<(), Errno> {
    rustix::fs::mkdirat(above, name, FOLDER_MODE)?;
    let is_shared = Mode::from_raw_mode(rustix::fs::fstat(above)?.st_mode).contains(Mode::WGRP);
    if is_shared {
        // The umask does not count here.
        rustix::fs::fchmod(open_confined(above, name, OFlags::RDONLY | OFlags::DIRECTORY)?, SHARED_FOLDER_MODE)?;
    }
    Ok(())
}

fn open_root(path: &str) -> Result<OwnedFd, FolderError> {
    let opened = fs::create_dir_all(path).and_then(|()| Ok(rustix::fs::open(path, FOLDER_FLAGS, Mode::empty())?));
    let user = rustix::process::geteuid().as_raw();
    opened.map_err(|source| FolderError::Root { path: path.to_owned(), user, source })
}

/// The first folder has the record, so it is the one to lock.
fn lock(roots: &[OwnedFd], rules: &Rules) -> Result<File, FolderError> {
    let user = rustix::process::geteuid().as_raw();
    let root = roots.first().ok_or_else(|| FolderError::Lock { user, source: Errno::NOENT.into() })?;
    lock::take(root).map_err(|error| match error {
        LockError::Held(holder) => FolderError::Held { path: rules.roots.first().cloned().unwrap_or_default(), holder },
        LockError::Unusable(source) => FolderError::Lock { user, source },
    })
}

fn open_confined(folder: &impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(folder, path, flags | OFlags::CLOEXEC, Mode::empty(), CONFINED)
}

/// Writes a file under another name and lets it take its place.
fn write_whole(parent: &OwnedFd, name: &str, bytes: &[u8], mode: u32, fsync: bool, no_replace: bool) -> Result<Stat, Errno> {
    let unfinished = unfinished(name);
    let written = write_unfinished(parent, &unfinished, bytes, mode, fsync).and_then(|()| rename(parent, &unfinished, name, no_replace));
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
    file.write_all(bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if fsync {
        rustix::fs::fsync(&file)?;
    }
    Ok(())
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

fn sync_folder(parent: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::fsync(open_confined(parent, ".", OFlags::RDONLY | OFlags::DIRECTORY)?)
}

/// What a file is called while it is being written.
fn unfinished(name: &str) -> String {
    let digest = hexadecimal(&digest(name.as_bytes()));
    format!("{RESERVED_PREFIX}{}", digest.get(..16).unwrap_or_default())
}

fn digest_of(mut file: File) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = [0; 16 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.add(buffer.get(..length).unwrap_or_default()),
        }
    }
}

/// The record as it was left, open for more lines.
fn open_record(roots: &[OwnedFd]) -> Result<(Record, File), FolderError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = roots.first().ok_or_else(|| FolderError::Record(Errno::NOENT.into()))?;
    let opened = rustix::fs::openat2(root, record::NAME, flags, Mode::from_raw_mode(record::MODE), CONFINED);
    let mut file = File::from(opened.map_err(|errno| FolderError::Record(errno.into()))?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(FolderError::Record)?;
    Ok((Record::parse(&String::from_utf8_lossy(&bytes)), file))
}
