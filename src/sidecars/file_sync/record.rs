//! The record of what is ours in the folder, so that the next start knows: a list of lines to which each change is added before it is
//! made.
//!
//! A line that was cut off by a crash is the last one and names a file that was not made yet, so it is left out. A file that was about to be
//! made counts as ours only once it is made, or if it holds what was to be written: else somebody else was quicker.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::plan::Digest;

/// The record's name in the folder.
pub(super) const NAME: &str = ".outrigger-files";
/// The record's mode: the next to keep it may be another user of the same group.
pub(super) const MODE: u32 = 0o660;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Entry {
    /// A file is about to be made where there is none.
    Making {
        /// Where.
        path: String,
        /// What it will hold.
        #[serde(with = "hex")]
        sha256: Digest,
    },
    /// A file of ours is there.
    Made(String),
    /// It is there no more.
    Gone(String),
    /// A folder was made for files of ours.
    Folder(String),
}

/// What a record says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Files that are ours, or will be once they hold this.
    pub files: BTreeMap<String, Option<Digest>>,
    /// Folders that we made.
    pub folders: BTreeSet<String>,
    /// Lines written so far.
    pub lines: usize,
}

impl Record {
    /// Reads a record. What can't be read is left out.
    #[must_use]
    pub(super) fn parse(text: &str) -> Self {
        let mut record = Self::default();
        for entry in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            record.add(&entry);
        }
        record
    }

    /// Adds what a line says.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.lines += 1;
        match entry {
            Entry::Making { path, sha256 } => self.files.insert(path.clone(), Some(*sha256)).is_some(),
            Entry::Made(path) => self.files.insert(path.clone(), None).is_some(),
            Entry::Gone(path) => self.files.remove(path).is_some(),
            Entry::Folder(path) => self.folders.insert(path.clone()),
        };
    }

    /// A folder was removed. The record says so when it is next written anew.
    pub(super) fn forget_folder(&mut self, path: &str) {
        self.folders.remove(path);
    }

    /// Whether most lines are of the past.
    #[must_use]
    pub(super) fn is_long(&self) -> bool {
        self.lines > 4 * (self.files.len() + self.folders.len()) + 100
    }

    /// The record in as few lines as it takes.
    #[must_use]
    pub(super) fn compact(&mut self) -> String {
        let folders = self.folders.iter().map(|path| Entry::Folder(path.clone()));
        let files = self.files.iter().map(|(path, making)| match making {
            Some(sha256) => Entry::Making { path: path.clone(), sha256: *sha256 },
            None => Entry::Made(path.clone()),
        });
        let text = folders.chain(files).map(|entry| line(&entry)).collect();
        self.lines = self.files.len() + self.folders.len();
        text
    }
}

/// An entry as a line of its own.
#[must_use]
pub(super) fn line(entry: &Entry) -> String {
    // Nothing in an entry can fail to be written; an empty line says nothing.
    serde_json::to_string(entry).unwrap_or_default() + "\n"
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Digest;

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}", super::super::plan::hexadecimal(digest)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        let byte = |at: usize| text.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let mut digest = Digest::default();
        for (at, slot) in digest.iter_mut().enumerate() {
            *slot = byte(at).ok_or_else(|| D::Error::custom("not a SHA-256"))?;
        }
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_a_line_that_was_cut_off_is_not() {
        let entries = [
            Entry::Folder("dashboards".to_owned()),
            Entry::Making { path: "dashboards/a".to_owned(), sha256: [7; 32] },
            Entry::Made("dashboards/a".to_owned()),
            Entry::Making { path: "b".to_owned(), sha256: [0xab; 32] },
            Entry::Made("c".to_owned()),
            Entry::Gone("c".to_owned()),
        ];
        let text: String = entries.iter().map(line).collect();
        let mut record = Record::parse(&text);
        assert_eq!(record.files, BTreeMap::from([("dashboards/a".to_owned(), None), ("b".to_owned(), Some([0xab; 32]))]));
        assert_eq!((record.lines, record.folders.len()), (6, 1));
        let compact = record.compact();
        assert_eq!(record.lines, 3);
        assert_eq!(Record::parse(&compact), record);
        for length in 0..compact.len() {
            let cut = Record::parse(&compact[..length]);
            assert!(cut.files.iter().all(|(path, making)| record.files.get(path) == Some(making)), "{length}");
        }
    }

    #[test]
    fn a_record_is_written_anew_when_most_of_it_is_of_the_past() {
        let mut record = Record::default();
        for _ in 0..100 {
            record.add(&Entry::Made("a".to_owned()));
            assert!(!record.is_long(), "{}", record.lines);
        }
        (0..10).for_each(|_| record.add(&Entry::Made("a".to_owned())));
        assert!(record.is_long());
    }
}
