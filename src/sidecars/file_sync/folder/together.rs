//! Files that are published together, and the way there and back.

use std::{collections::BTreeSet, fs::File, io::Read, os::fd::OwnedFd};

use rustix::{fs::OFlags, io::Errno};

use super::{Entry, Folder, FolderError, Known, Target, disk, open_confined};
use crate::sidecars::file_sync::set::{self, FileSet};

impl Folder {
    /// Begins what will be published next, unless that was begun.
    pub(super) fn stage(&mut self) -> Result<(), Errno> {
        let Some(set) = &mut self.set else { return Ok(()) };
        let left_behind = set.stage(self.files.keys().map(|target| target.path.as_str()), self.options.fsync)?;
        let left_behind: Vec<Target> = left_behind.into_iter().map(|path| Target { root: 0, path: path.to_owned() }).collect();
        // Somebody took them away.
        self.files.extend(left_behind.into_iter().map(|target| (target, Known::MISSING)));
        Ok(())
    }

    /// Whether there is something that readers don't see yet.
    #[must_use]
    pub(in crate::sidecars::file_sync) fn has_unpublished(&self) -> bool {
        self.set.as_ref().is_some_and(FileSet::is_staged)
    }

    /// Lets readers see all that was written and removed, at once.
    pub(in crate::sidecars::file_sync) fn publish(&mut self) -> Result<(), FolderError> {
        let (files, adopt) = (&self.files, self.options.adopt);
        let Some(set) = &mut self.set else { return Ok(()) };
        let may_replace = |name: &str| adopt && files.contains_key(&Target { root: 0, path: name.to_owned() });
        let published = set.publish(files.keys().map(|target| target.path.as_str()), self.options.fsync, may_replace);
        published.map_err(|errno| self.set_failed("published", errno))
    }

    /// Files that readers have no name for, because somebody put something else there. Names that are only gone are made again, and the
    /// way to all of them.
    pub(super) fn find_unlinked(&mut self) -> BTreeSet<Target> {
        if self.unlinked().is_empty() {
            return BTreeSet::new();
        }
        // What can't be linked is among those returned.
        let _ = self.publish();
        self.unlinked()
    }

    fn unlinked(&self) -> BTreeSet<Target> {
        let Some(set) = self.set.as_ref().filter(|set| !set.is_staged()) else { return BTreeSet::new() };
        self.files.keys().filter(|target| !set.is_linked(&target.path)).cloned().collect()
    }

    /// Finds the files that an earlier run published together, and takes in those of one that didn't.
    pub(super) fn put_together(&mut self) -> Result<(), FolderError> {
        let mut set = FileSet::open(self.root()?).map_err(|errno| match errno {
            Errno::EXIST => FolderError::ForeignSet { path: self.path() },
            errno => self.set_failed("published together", errno),
        })?;
        let apart = self.targets();
        if !apart.is_empty() {
            self.take_in(&mut set, &apart).map_err(|errno| self.set_failed("published together", errno))?;
        }
        let paths = disk::paths_below(set.folder()).map_err(|errno| self.set_failed("found", errno))?;
        self.set = Some(set);
        for target in paths.iter().filter_map(|path| self.rules.recorded(path).ok()) {
            if let Some(known) = self.inspect(&target) {
                self.files.insert(target, known);
            }
        }
        if !self.has_unpublished() {
            // What a crash left undone.
            self.publish()?;
            for target in self.unlinked() {
                self.files.insert(target, Known::MISSING);
            }
        }
        Ok(())
    }

    /// Publishes files together that stand by themselves, and removes them where they stood.
    fn take_in(&mut self, set: &mut FileSet, apart: &[Target]) -> Result<(), Errno> {
        let there = disk::paths_below(set.folder())?;
        set.stage(there.iter().map(String::as_str), self.options.fsync)?;
        for target in apart.iter().filter(|target| !there.contains(&target.path)) {
            // One that can't be taken in is written anew.
            let _ = set.gather(&target.path, self.options.fsync);
        }
        let all = disk::paths_below(set.folder())?;
        let publish = |set: &mut FileSet| {
            let may_replace = |name: &str| apart.iter().any(|target| target.path == name);
            set.publish(all.iter().map(String::as_str), self.options.fsync, may_replace)
        };
        publish(set)?;
        for target in apart {
            if set.is_linked(&target.path) {
                // The link has taken its place.
                self.files.remove(target);
                self.note_what_happened(&Entry::Gone(self.rules.record(target)));
            } else {
                self.remove(target).map_err(|_| Errno::IO)?;
            }
        }
        // Folders have made room for links.
        let publish = |set: &mut FileSet| set.publish(all.iter().map(String::as_str), self.options.fsync, |_| false);
        publish(set)
    }

    /// Lets each file stand by itself that an earlier run published together with others.
    pub(super) fn take_apart(&mut self) -> Result<(), FolderError> {
        if let Some(set) = FileSet::find(self.root()?) {
            let paths = disk::paths_below(set.folder()).map_err(|errno| self.set_failed("found", errno))?;
            let together: Vec<Target> = paths.iter().filter_map(|path| self.rules.recorded(path).ok()).collect();
            // Those that are ours already were taken out before a crash.
            for target in together.iter().filter(|target| !self.files.contains_key(*target)).cloned().collect::<Vec<_>>() {
                self.take_out(set.folder(), &target)?;
            }
        }
        set::dissolve(self.root()?).map_err(|errno| self.set_failed("taken apart", errno))
    }

    fn take_out(&mut self, from: &OwnedFd, target: &Target) -> Result<(), FolderError> {
        let opened = open_confined(from, &target.path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK);
        // One that can't be read is written anew.
        let Ok(opened) = opened else { return Ok(()) };
        let stat = rustix::fs::fstat(&opened).map_err(|errno| self.failed(target, "read", errno))?;
        let mut bytes = Vec::new();
        let read = File::from(opened).read_to_end(&mut bytes);
        read.map_err(|source| FolderError::File { path: self.rules.record(target), done: "read", source })?;
        FileSet::make_room(self.root()?, &target.path).map_err(|errno| self.failed(target, "given a folder", errno))?;
        match self.write(target, &bytes, stat.st_mode & 0o7777, None) {
            // That is told once it is known that somebody wants it.
            Err(FolderError::Foreign(_)) => Ok(()),
            written => written,
        }
    }

    fn root(&self) -> Result<&OwnedFd, FolderError> {
        self.roots.first().ok_or_else(|| FolderError::Record(Errno::NOENT.into()))
    }

    fn path(&self) -> String {
        self.rules.roots.first().cloned().unwrap_or_default()
    }

    fn set_failed(&self, done: &'static str, errno: Errno) -> FolderError {
        FolderError::Set { path: self.path(), done, source: errno.into() }
    }
}
