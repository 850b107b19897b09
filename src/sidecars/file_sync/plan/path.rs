//! Where a file belongs: always below a folder that may be written to, whatever an object asks for.

use std::fmt;

use super::{Kind, ObjectId, digest, hexadecimal};
use crate::api::file_access::{CONFIG_MAP_MODE, SECRET_MODE};

/// What names begin with that are ours alone: our records, and files that are being written.
pub const RESERVED_PREFIX: &str = ".outrigger-";

/// POSIX `NAME_MAX` on Linux, in bytes.
const LONGEST_NAME: usize = 255;
/// POSIX `PATH_MAX` on Linux, in bytes, with the NUL at its end.
const LONGEST_PATH: usize = 4095;
/// What a name keeps of a file's ending when its middle must go.
const LONGEST_ENDING: usize = 16;
/// Digits of the digest that stands for the part of a name that must go.
const DIGEST_DIGITS: usize = 16;
/// A key that ends so has an address for a value.
const LINK_SUFFIX: &str = ".url";

/// A place for a file: one of the folders that may be written to, by its number, and a path below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Which of [`Rules::roots`].
    pub root: usize,
    /// The path below it, with slashes between names; never empty, never leading out.
    pub path: String,
}

/// How names are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The folders that may be written to, absolute and clean. The first is the one that is meant where none is named.
    pub roots: Vec<String>,
    /// Whether an absolute folder annotation names one of them, or a folder below it, rather than a folder below the first.
    pub absolute_folders: bool,
    /// Whether names carry their object's namespace, kind and name.
    pub unique_names: bool,
    /// The endings of keys that are mirrored; all if there are none.
    pub suffixes: Vec<String>,
    /// Whether keys that end in `.url` hold addresses.
    pub fetch_links: bool,
    /// The mode of all files, if it doesn't go by kind.
    pub mode: Option<u32>,
    /// The annotation by which objects name their folder.
    pub folder_annotation: String,
}

/// Why a file has no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The folder leads out of where it begins.
    #[error("the folder {0:?} leads upwards: take out \"..\"")]
    Upwards(String),
    /// The absolute folder is not among those allowed.
    #[error("the folder {0:?} is not allowed: name it in ALLOWED_FOLDERS, or one above it")]
    Outside(String),
    /// A name can't be a file's.
    #[error("{0:?} can't be the name of a file: use 1 to {LONGEST_NAME} bytes that don't begin with {RESERVED_PREFIX:?}")]
    Name(String),
    /// The whole is longer than the kernel takes.
    #[error("the path is {0} bytes long: {LONGEST_PATH} are allowed")]
    TooLong(usize),
}

impl Rules {
    /// Whether a key is mirrored at all.
    #[must_use]
    pub fn is_mirrored(&self, key: &str) -> bool {
        let (name, _) = self.file_name(key);
        self.suffixes.is_empty() || self.suffixes.iter().any(|suffix| name.ends_with(suffix.as_str()))
    }

    /// Whether a key's value is the address of the contents.
    #[must_use]
    pub fn is_link(&self, key: &str) -> bool {
        self.file_name(key).1
    }

    /// The mode of an object's files.
    #[must_use]
    pub fn mode(&self, kind: Kind) -> u32 {
        self.mode.unwrap_or(match kind {
            Kind::ConfigMap => CONFIG_MAP_MODE,
            Kind::Secret => SECRET_MODE,
        })
    }

    /// Where a key's file belongs.
    pub fn target(&self, id: &ObjectId, folder: Option<&str>, key: &str) -> Result<Target, PathError> {
        let (name, _) = self.file_name(key);
        let name = if self.unique_names { unique_name(id, name) } else { name.to_owned() };
        let (root, mut parts) = self.folder(folder.unwrap_or_default())?;
        parts.push(&name);
        self.checked(root, &parts)
    }

    /// The place that a path names in our record. It must be as strict as for objects: others may have written there.
    pub fn recorded(&self, path: &str) -> Result<Target, PathError> {
        let (root, parts) = if path.starts_with('/') { self.allowed(path)? } else { (0, parts_of(path)?) };
        self.checked(root, &parts)
    }

    /// How a place is written in our record: the same after the order of the folders was changed.
    #[must_use]
    pub fn record(&self, target: &Target) -> String {
        match self.roots.get(target.root) {
            Some(root) if target.root > 0 => format!("{}/{}", root.trim_end_matches('/'), target.path),
            _ => target.path.clone(),
        }
    }

    fn file_name<'a>(&self, key: &'a str) -> (&'a str, bool) {
        match key.strip_suffix(LINK_SUFFIX) {
            Some(name) if self.fetch_links && !name.is_empty() => (name, true),
            _ => (key, false),
        }
    }

    fn folder<'a>(&self, folder: &'a str) -> Result<(usize, Vec<&'a str>), PathError> {
        if folder.starts_with('/') && self.absolute_folders { self.allowed(folder) } else { Ok((0, parts_of(folder)?)) }
    }

    /// The innermost allowed folder that an absolute one lies in, and the way from there.
    fn allowed<'a>(&self, folder: &'a str) -> Result<(usize, Vec<&'a str>), PathError> {
        let parts = parts_of(folder)?;
        let roots = self.roots.iter().enumerate().filter_map(|(number, root)| {
            let above: Vec<&str> = root.split('/').filter(|part| !part.is_empty()).collect();
            let is_inside = parts.len() >= above.len() && parts.iter().zip(&above).all(|(part, above)| part == above);
            is_inside.then(|| (above.len(), number, parts.iter().skip(above.len()).copied().collect()))
        });
        let innermost = roots.max_by_key(|(depth, number, _)| (*depth, usize::MAX - number));
        innermost.map(|(_, number, below)| (number, below)).ok_or_else(|| PathError::Outside(folder.to_owned()))
    }

    fn checked(&self, root: usize, parts: &[&str]) -> Result<Target, PathError> {
        if let Some(bad) = parts.iter().find(|part| !is_name(part)) {
            return Err(PathError::Name((*bad).to_owned()));
        }
        let path = parts.join("/");
        let length = self.roots.get(root).map_or(0, String::len) + 1 + path.len();
        if path.is_empty() {
            return Err(PathError::Name(path));
        }
        if length > LONGEST_PATH { Err(PathError::TooLong(length)) } else { Ok(Target { root, path }) }
    }
}

impl Target {
    /// The folder it is in, empty for the root itself, and its name there.
    #[must_use]
    pub fn split(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or(("", &self.path))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.path)
    }
}

fn parts_of(path: &str) -> Result<Vec<&str>, PathError> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") { Err(PathError::Upwards(path.to_owned())) } else { Ok(parts) }
}

fn is_name(name: &str) -> bool {
    let fits = (1..=LONGEST_NAME).contains(&name.len());
    // Names are told in lists of one a line.
    fits && !name.contains(|character: char| character == '/' || character.is_control())
        && name != "."
        && !name.starts_with("..")
        && !name.starts_with(RESERVED_PREFIX)
}

/// The name kiwigrid/k8s-sidecar gives a file. One that is too long keeps its beginning and its ending, with a digest of the whole between.
fn unique_name(id: &ObjectId, name: &str) -> String {
    let whole = format!("namespace_{}.{}_{}.{name}", id.namespace, id.kind.as_str(), id.name);
    if whole.len() <= LONGEST_NAME {
        return whole;
    }
    let digest = hexadecimal(&digest(whole.as_bytes()));
    let ending = name.rfind('.').and_then(|dot| name.get(dot..)).filter(|ending| ending.len() <= LONGEST_ENDING).unwrap_or_default();
    let tail = format!(".{}{ending}", digest.get(..DIGEST_DIGITS).unwrap_or_default());
    // What namespaces, names and keys are made of is one byte each; what isn't is cut between characters.
    let mut kept = LONGEST_NAME - tail.len();
    while !whole.is_char_boundary(kept) {
        kept -= 1;
    }
    format!("{}{tail}", whole.get(..kept).unwrap_or_default())
}
