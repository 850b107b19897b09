//! One layer of an image: a tar that depends on its files alone. Sorted, owned by root and dated 1970, it is the same bytes wherever and
//! whenever it is written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use tar::{Archive, Builder, EntryType, Header};

/// The files of a layer, by path without a leading slash.
#[derive(Default)]
pub(crate) struct Layer {
    entries: BTreeMap<PathBuf, Entry>,
}

struct Entry {
    mode: u32,
    content: Content,
}

enum Content {
    Directory,
    Link(PathBuf),
    Bytes(Vec<u8>),
    /// A file here, which may be too large to keep in memory.
    File(PathBuf),
}

impl Layer {
    /// Adds a file with this content.
    pub(crate) fn add_bytes(&mut self, path: impl Into<PathBuf>, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.entries.insert(path.into(), Entry { mode, content: Content::Bytes(bytes.into()) });
    }

    /// Adds a file made of one here.
    pub(crate) fn add_file(&mut self, path: impl Into<PathBuf>, mode: u32, source: &Path) {
        self.entries.insert(path.into(), Entry { mode, content: Content::File(source.to_owned()) });
    }

    /// Adds the files of a tar, but for those that are not wanted.
    pub(crate) fn add_archive(&mut self, archive: impl Read, is_wanted: impl Fn(&Path) -> bool) -> Result<()> {
        for entry in Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path: PathBuf = entry.path()?.components().filter(|part| matches!(part, Component::Normal(_))).collect();
            if path.as_os_str().is_empty() || !is_wanted(&path) {
                continue;
            }
            let content = match entry.header().entry_type() {
                EntryType::Directory => Content::Directory,
                EntryType::Symlink => Content::Link(entry.link_name()?.context("a symbolic link leads nowhere")?.into_owned()),
                EntryType::Regular => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    Content::Bytes(bytes)
                }
                other => bail!("{} is neither a file, a folder nor a symbolic link but {other:?}", path.display()),
            };
            let mode = entry.header().mode()? & 0o7777;
            self.entries.insert(path, Entry { mode, content });
        }
        Ok(())
    }

    /// The contents of all files that are kept in memory and whose path fits, in the order of their paths.
    pub(crate) fn contents(&self, fits: impl Fn(&Path) -> bool) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter(move |(path, _)| fits(path)).filter_map(|(_, entry)| match &entry.content {
            Content::Bytes(bytes) => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// Writes the tar.
    pub(crate) fn write(&self, destination: &Path) -> Result<()> {
        let mut archive = Builder::new(File::create(destination)?);
        for (path, entry) in &self.entries {
            match &entry.content {
                Content::Directory => {
                    let mut header = header(EntryType::Directory, entry.mode, 0);
                    // A folder's name ends with a slash.
                    archive.append_data(&mut header, path.join(""), std::io::empty())?;
                }
                Content::Link(target) => archive.append_link(&mut header(EntryType::Symlink, entry.mode, 0), path, target)?,
                Content::Bytes(bytes) => append_bytes(&mut archive, path, entry.mode, bytes)?,
                Content::File(source) => append_file(&mut archive, path, entry.mode, source)?,
            }
        }
        Ok(archive.into_inner()?.sync_all()?)
    }
}

/// Appends a file with this content.
pub(crate) fn append_bytes(archive: &mut Builder<impl Write>, path: impl AsRef<Path>, mode: u32, bytes: &[u8]) -> Result<()> {
    Ok(archive.append_data(&mut header(EntryType::Regular, mode, bytes.len().try_into()?), path, bytes)?)
}

/// Appends a file made of one here.
pub(crate) fn append_file(archive: &mut Builder<impl Write>, path: impl AsRef<Path>, mode: u32, source: &Path) -> Result<()> {
    let file = File::open(source).with_context(|| format!("cannot read {}", source.display()))?;
    let size = file.metadata()?.len();
    Ok(archive.append_data(&mut header(EntryType::Regular, mode, size), path, file)?)
}

/// A header without owner, time or device of this machine.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn archive(paths: &[&str]) -> Vec<u8> {
        let mut archive = Builder::new(Vec::new());
        for (second, path) in (1..).zip(paths) {
            let mut header = header(EntryType::Regular, 0o644, 1);
            header.set_mtime(second);
            header.set_uid(1000);
            archive.append_data(&mut header, path, &b"x"[..]).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn neither_order_nor_owner_nor_time_changes_a_layer() {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str, paths: &[&str]| {
            let mut layer = Layer::default();
            layer.add_archive(archive(paths).as_slice(), |_| true).unwrap();
            layer.write(&folder.path().join(name)).unwrap();
            fs::read(folder.path().join(name)).unwrap()
        };
        assert_eq!(written("one", &["./b", "./a"]), written("other", &["a", "b"]));
    }

    #[test]
    fn what_is_not_wanted_stays_out() {
        let mut layer = Layer::default();
        layer.add_archive(archive(&["keep", "drop"]).as_slice(), |path| path != Path::new("drop")).unwrap();
        assert_eq!(layer.entries.keys().collect::<Vec<_>>(), [Path::new("keep")]);
    }
}
