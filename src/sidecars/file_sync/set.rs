//! All files at once, in the way of the kubelet's own volumes: they stand in a folder that bears the time, `..data` is a link to it, and each
//! name that readers know is a link into `..data`. What changes is written to the next such folder; then `..data` changes over to it in one
//! step (rename(2)). Whoever reads through `..data` sees all files of one time, and never those of another.
//!
//! Nothing is written down about it: our folders and links say themselves whose they are, and any state that a crash leaves is completed at
//! the next start.

use std::{collections::BTreeSet, os::fd::OwnedFd};

use jiff::Timestamp;
use rustix::{
    fs::{AtFlags, FileType},
    io::Errno,
};

use super::{
    disk::{self, FOLDER_FLAGS, link_target, link_whole, open_confined},
    plan::RESERVED_PREFIX,
};

/// The link to the folder in which the files stand.
pub(super) const DATA: &str = "..data";
/// What the names of such folders begin with. No key of an object does, nor a folder that one names.
const PREFIX: &str = "..outrigger-";

/// The files, together.
#[derive(Debug)]
pub(super) struct FileSet {
    root: OwnedFd,
    /// The folder that is written to, which readers see only if it is the published one.
    name: String,
    folder: OwnedFd,
    published: Option<String>,
}

/// What `..data` is.
enum Data {
    /// Nothing.
    Absent,
    /// A link to a folder of ours.
    Ours(String),
    /// A link to such a folder that is not there.
    Dangling,
    /// Somebody else's.
    Foreign,
}

fn data(root: &OwnedFd) -> Data {
    let is_absent = rustix::fs::statat(root, DATA, AtFlags::SYMLINK_NOFOLLOW).is_err_and(|errno| errno == Errno::NOENT);
    match link_target(root, DATA).filter(|name| name.starts_with(PREFIX) && !name.contains('/')) {
        Some(name) if open_confined(root, &name, FOLDER_FLAGS).is_ok() => Data::Ours(name),
        Some(_) => Data::Dangling,
        None if is_absent => Data::Absent,
        None => Data::Foreign,
    }
}

/// The folder that an earlier run has published, if one has.
fn published(root: &OwnedFd) -> Result<Option<String>, Errno> {
    match data(root) {
        Data::Foreign => Err(Errno::EXIST),
        Data::Ours(name) => Ok(Some(name)),
        Data::Absent | Data::Dangling => relink(root),
    }
}

impl FileSet {
    /// The files that an earlier run has published, or an empty folder for those to come.
    ///
    /// # Errors
    /// `..data` is somebody else's (`EEXIST`), or no folder can be made.
    pub(super) fn open(root: &OwnedFd) -> Result<Self, Errno> {
        let published = published(root)?;
        prune(root, |name| published.as_ref().is_none_or(|published| published != name));
        let name = published.clone().map_or_else(|| make(root), Ok)?;
        let folder = open_confined(root, &name, FOLDER_FLAGS)?;
        Ok(Self { root: rustix::io::fcntl_dupfd_cloexec(root, 0)?, name, folder, published })
    }

    /// Those of an earlier run that published them so, if there are any.
    #[must_use]
    pub(super) fn find(root: &OwnedFd) -> Option<Self> {
        published(root).ok().flatten()?;
        Self::open(root).ok()
    }

    /// The folder that is written to.
    #[must_use]
    pub(super) const fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// Whether there is something that readers don't see yet.
    #[must_use]
    pub(super) fn is_staged(&self) -> bool {
        self.published.as_ref() != Some(&self.name)
    }

    /// Begins the next folder, with the same files, unless it was begun. Returns those that are not there, or not ours to carry over.
    ///
    /// # Errors
    /// There is no room, for example. Then nothing was begun.
    pub(super) fn stage<'a>(&mut self, files: impl Iterator<Item = &'a str>, fsync: bool) -> Result<Vec<&'a str>, Errno> {
        if self.is_staged() {
            return Ok(Vec::new());
        }
        let name = make(&self.root)?;
        let folder = open_confined(&self.root, &name, FOLDER_FLAGS)?;
        let mut left_behind = Vec::new();
        for path in files {
            match carry(&self.folder, &folder, path, fsync) {
                Ok(()) => {}
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::ACCESS | Errno::PERM) => left_behind.push(path),
                Err(errno) => {
                    // What can't be removed now is removed at the next start.
                    let _ = disk::remove_tree(&self.root, &name);
                    return Err(errno);
                }
            }
        }
        (self.name, self.folder) = (name, folder);
        Ok(left_behind)
    }

    /// Takes in a file that stands in the folder above at the same path.
    pub(super) fn gather(&self, path: &str, fsync: bool) -> Result<(), Errno> {
        carry(&self.root, &self.folder, path, fsync)
    }

    /// Whether the first part of a path is taken by something that can't be replaced by a link of ours.
    #[must_use]
    pub(super) fn is_taken(&self, path: &str, adopt: bool) -> bool {
        let name = top(path);
        match rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) if is_link_of_ours(&self.root, name) => false,
            Ok(stat) => !(adopt && name == path && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile),
            Err(_) => false,
        }
    }

    /// Lets readers see what was staged, all at once. `may_replace` says of a name whether what stands there may go.
    pub(super) fn publish<'a>(
        &mut self,
        paths: impl Iterator<Item = &'a str>,
        fsync: bool,
        may_replace: impl Fn(&str) -> bool,
    ) -> Result<(), Errno> {
        if !self.is_reachable() {
            if fsync {
                disk::sync_folders(&self.folder)?;
                disk::sync_folder(&self.root)?;
            }
            link_whole(&self.root, DATA, &self.name, false)?;
            self.published = Some(self.name.clone());
        }
        self.link(paths, may_replace)?;
        if fsync {
            disk::sync_folder(&self.root)?;
        }
        self.prune();
        Ok(())
    }

    /// Gives readers a name for each file, and takes those away that lead nowhere.
    fn link<'a>(&self, paths: impl Iterator<Item = &'a str>, may_replace: impl Fn(&str) -> bool) -> Result<(), Errno> {
        let wanted: BTreeSet<&str> = paths.map(top).collect();
        for name in &wanted {
            if !is_link_of_ours(&self.root, name) {
                match link_whole(&self.root, name, &way_to(name), !may_replace(name)) {
                    // Somebody was quicker. That is found, and told, when the files are next looked at.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        remove_links(&self.root, |name| !wanted.contains(name))
    }

    /// Whether readers have a name for a file, and a way to where it stands.
    #[must_use]
    pub(super) fn is_linked(&self, path: &str) -> bool {
        self.is_reachable() && is_link_of_ours(&self.root, top(path))
    }

    /// Whether `..data` leads to the folder that is written to. Somebody may have taken it away, or put something else there.
    #[must_use]
    pub(super) fn is_reachable(&self) -> bool {
        link_target(&self.root, DATA).as_ref() == Some(&self.name)
    }

    /// Takes away our link in the place of a path that is to hold the file itself.
    pub(super) fn make_room(root: &OwnedFd, path: &str) -> Result<(), Errno> {
        // A file takes the place of a link in one step; a folder can't.
        if top(path) != path && is_link_of_ours(root, top(path)) {
            rustix::fs::unlinkat(root, top(path), AtFlags::empty())?;
        }
        Ok(())
    }

    /// Removes what nobody sees any more.
    fn prune(&self) {
        prune(&self.root, |name| name != self.name);
    }
}

/// Whether `..data` leads to a folder of ours, or did. The kubelet, and copies of its volumes, have links of the same names that are not ours.
#[must_use]
pub(super) fn is_data_ours(root: &OwnedFd) -> bool {
    matches!(data(root), Data::Ours(_) | Data::Dangling)
}

/// Lets `..data` lead again to what an earlier run published, if somebody took it away. Only where a single folder is left, with all of its names,
/// is it known that nothing is missing in it.
fn relink(root: &OwnedFd) -> Result<Option<String>, Errno> {
    let folders = disk::names_in(root)?.into_iter().filter(|(name, kind)| *kind == FileType::Directory && name.starts_with(PREFIX));
    let names: Vec<String> = folders.map(|(name, _)| name).collect();
    let [name] = names.as_slice() else { return Ok(None) };
    let tops = disk::names_in(&open_confined(root, name, FOLDER_FLAGS)?)?;
    if tops.is_empty() || !tops.iter().all(|(top, _)| is_link_of_ours(root, top)) {
        return Ok(None);
    }
    link_whole(root, DATA, name, false)?;
    Ok(Some(name.clone()))
}

/// Removes all that is ours and was only needed to publish files together.
pub(super) fn dissolve(root: &OwnedFd) -> Result<(), Errno> {
    if is_data_ours(root) {
        remove_links(root, |_| true)?;
        rustix::fs::unlinkat(root, DATA, AtFlags::empty())?;
    }
    prune(root, |_| true);
    Ok(())
}

/// Takes away links that readers had.
fn remove_links(root: &OwnedFd, which: impl Fn(&str) -> bool) -> Result<(), Errno> {
    for (name, kind) in disk::names_in(root)? {
        if kind == FileType::Symlink && which(&name) && is_link_of_ours(root, &name) {
            rustix::fs::unlinkat(root, &name, AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Removes folders of ours, and what a crash has left. What can't be removed is removed the next time.
fn prune(root: &OwnedFd, which: impl Fn(&str) -> bool) {
    for (name, kind) in disk::names_in(root).unwrap_or_default() {
        if kind == FileType::Directory && name.starts_with(PREFIX) && which(&name) {
            let _ = disk::remove_tree(root, &name);
        } else if kind == FileType::Symlink && name.starts_with(RESERVED_PREFIX) {
            // It was to take another's place when we ended.
            let _ = rustix::fs::unlinkat(root, &name, AtFlags::empty());
        }
    }
}

/// Makes a folder that bears the time.
fn make(root: &OwnedFd) -> Result<String, Errno> {
    let name = format!("{PREFIX}{}", Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S.%9f"));
    disk::make_folder(root, &name)?;
    Ok(name)
}

/// The part of a path that readers have a link for.
fn top(path: &str) -> &str {
    path.split_once('/').map_or(path, |(top, _)| top)
}

/// Where such a link leads.
fn way_to(top: &str) -> String {
    format!("{DATA}/{top}")
}

/// Whether a name is such a link.
pub(super) fn is_link_of_ours(root: &OwnedFd, name: &str) -> bool {
    link_target(root, name).is_some_and(|target| target == way_to(name))
}

/// Lets a file appear at the same path below another folder.
fn carry(from: &OwnedFd, to: &OwnedFd, path: &str, fsync: bool) -> Result<(), Errno> {
    let (mut folder, mut above) = (None, from);
    let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
    let opened;
    if !folders.is_empty() {
        opened = open_confined(from, folders, FOLDER_FLAGS)?;
        above = &opened;
        folder = Some(make_folders(to, folders)?);
    }
    disk::carry(above, name, folder.as_ref().unwrap_or(to), name, fsync)
}

fn make_folders(below: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let mut above = rustix::io::fcntl_dupfd_cloexec(below, 0)?;
    for name in path.split('/') {
        match disk::make_folder(&above, name) {
            Ok(()) | Err(Errno::EXIST) => above = open_confined(&above, name, FOLDER_FLAGS)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(above)
}
