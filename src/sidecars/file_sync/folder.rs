//! The files on disk: written whole or not at all, never outside the folders that are allowed, never over what is not ours.
//!
//! Each path is resolved from an open folder that is allowed, by a kernel that follows no symbolic link and leads nowhere above it
//! (openat2(2), `RESOLVE_BENEATH`). Contents go to a file of another name that has its mode before it has any content; then it takes the
//! place of the old one. A reader sees the old contents or the new ones.

#[cfg(test)]
mod tests;
mod together;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    disk::{self, CONFINED, FOLDER_FLAGS, digest_of, make_folder, open_confined, unfinished, write_whole},
    lock::{self, LockError},
    plan::{Digest, Present, Rules, Target, digest},
    record::{self, Entry, Record},
    set::{self, FileSet},
    settings::{Files, Publish},
};
use crate::runtime::complaint::with_causes;

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
    /// Something that is not ours is where all files are to be published together.
    #[error("{name} in the folder {path} is not ours: give the files a FOLDER of their own, or set PUBLISH=each", name = set::DATA)]
    ForeignSet {
        /// The folder.
        path: String,
    },
    /// The files can't be published together, or be taken apart again.
    #[error("the files in {path} can't be {done}")]
    Set {
        /// The folder.
        path: String,
        /// What was to be done with them.
        done: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
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
    /// Where the files stand that are published together; without it, each stands by itself where its readers look.
    set: Option<FileSet>,
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
        stamp: Stamp { inode: 0, mode: 0, size: 0, modified: (0, 0), changed: (0, 0) },
    };

    fn is_missing(&self) -> bool {
        self.stamp == Self::MISSING.stamp
    }
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    mode: u32,
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
            set: None,
            record,
            lines,
            record_is_behind: false,
            has_unsynced_lines: false,
            _lock: lock,
        };
        folder.find_ours();
        folder.rewrite_record()?;
        if folder.options.publish == Publish::Together {
            folder.put_together()?;
        } else {
            folder.take_apart()?;
        }
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
        let (folder, _) = target.split();
        match &self.set {
            Some(set) => set.is_taken(&target.path, self.options.adopt),
            None => !self.files.contains_key(target) && self.parent(target.root, folder).is_ok_and(|parent| self.is_taken(&parent, target)),
        }
    }

    /// Makes a file hold `bytes`, whole at once. `link` is the address they came from, if they did.
    pub(super) fn write(&mut self, target: &Target, bytes: &[u8], mode: u32, link: Option<Digest>) -> Result<(), FolderError> {
        let digest = digest(bytes);
        let is_ours = self.files.contains_key(target);
        if self.is_blocked(target) {
            return Err(FolderError::Foreign(self.rules.record(target)));
        }
        self.stage().map_err(|errno| self.failed(target, "written", errno))?;
        let parent = self.make_parent(target)?;
        let (_, name) = target.split();
        // Together, all below the folder that bears the time is ours.
        let is_announced = self.set.is_none() && !is_ours;
        if is_announced {
            self.announce(target, digest)?;
        }
        let no_replace = is_announced && !self.options.adopt && !self.is_left_of_set(target);
        let written = write_whole(&parent, name, bytes, mode, self.options.fsync, no_replace);
        let stat = written.map_err(|errno| match errno {
            Errno::EXIST => FolderError::Foreign(self.rules.record(target)),
            errno => self.failed(target, "written", errno),
        })?;
        self.files.insert(target.clone(), Known { present: Present { digest, link, mode }, stamp: self.stamp(&stat) });
        if is_announced {
            self.note_what_happened(&Entry::Made(self.rules.record(target)));
        }
        Ok(())
    }

    /// The file holds what this address answers, or what none does any more.
    pub(super) fn note_link(&mut self, target: &Target, link: Option<Digest>) {
        if let Some(known) = self.files.get_mut(target) {
            known.present.link = link;
        }
    }

    /// Gives a file of ours its mode. One that another user made in an earlier run is made anew.
    pub(super) fn set_mode(&mut self, target: &Target, mode: u32) -> Result<(), FolderError> {
        let failed = |errno| self.failed(target, "given its mode", errno);
        let (folder, name) = target.split();
        let parent = self.parent(target.root, folder).map_err(failed)?;
        let file = open_confined(&parent, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK).map_err(failed)?;
        if self.set.is_some() {
            // The same file may be in the folder that readers see.
            return self.make_anew(target, File::from(file), mode);
        }
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
        self.stage().map_err(|errno| self.failed(target, "removed", errno))?;
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
        let unlinked = self.find_unlinked();
        for target in self.targets() {
            if unlinked.contains(&target) {
                // To its readers it is not there.
                let known = self.files.insert(target.clone(), Known::MISSING);
                changed.extend(known.filter(|known| !known.is_missing()).map(|_| target));
                continue;
            }
            let now = self.stat(&target).map(|stat| self.stamp(&stat));
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
        Some(Known { present: Present { digest, link: None, mode: stat.st_mode & 0o7777 }, stamp: self.stamp(&stat) })
    }

    /// A regular file that we may not read, such as another user's: it holds what nobody wants, and can be replaced.
    fn unreadable(&self, target: &Target) -> Option<Known> {
        let stat = self.stat(target).filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)?;
        Some(Known { present: Present { digest: Digest::default(), link: None, mode: stat.st_mode & 0o7777 }, stamp: self.stamp(&stat) })
    }

    fn stat(&self, target: &Target) -> Option<Stat> {
        let (folder, name) = target.split();
        let parent = self.parent(target.root, folder).ok()?;
        rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    /// Whether a name is taken by something we may not replace.
    fn is_taken(&self, parent: &OwnedFd, target: &Target) -> bool {
        let (_, name) = target.split();
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) if self.is_left_of_set(target) => false,
            Ok(stat) => !(self.options.adopt && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
            Err(_) => false,
        }
    }

    /// Whether a link of ours stands there from when files were published together.
    fn is_left_of_set(&self, target: &Target) -> bool {
        let root = self.roots.first().filter(|_| target.root == 0 && target.split().0.is_empty());
        root.is_some_and(|root| set::is_link_of_ours(root, &target.path) && set::is_data_ours(root))
    }

    /// The folder in which the files of a root stand.
    fn base(&self, root: usize) -> Result<&OwnedFd, Errno> {
        match &self.set {
            Some(set) if root == 0 => Ok(set.folder()),
            _ => self.roots.get(root).ok_or(Errno::NOENT),
        }
    }

    fn parent(&self, root: usize, folder: &str) -> Result<OwnedFd, Errno> {
        let base = self.base(root)?;
        if folder.is_empty() { rustix::io::fcntl_dupfd_cloexec(base, 0) } else { open_confined(base, folder, FOLDER_FLAGS) }
    }

    /// How a file looks. One that is published together has links, and is the same with one more or less (inode(7), `ctime`).
    fn stamp(&self, stat: &Stat) -> Stamp {
        let stamp = Stamp::of(stat);
        if self.set.is_some() { Stamp { changed: (0, 0), ..stamp } } else { stamp }
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
            let is_ours = self.set.is_some() || self.record.folders.contains(&path);
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
        if self.set.is_some() {
            // What stands there is ours by its place.
            return;
        }
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
        Self { inode: stat.st_ino as u64, mode: stat.st_mode as u32, size: stat.st_size as i64, modified, changed }
    }
}

fn same_file(before: Present, now: Present) -> bool {
    before.digest == now.digest && before.mode == now.mode
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
