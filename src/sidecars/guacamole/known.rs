//! Files that were read before. While the database is as it was then, a file of the same bytes says the same, and isn't read again: most
//! changes are in one file of many.

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};

use super::{document::Document, model::Digest};

/// What files said, by their names and bytes.
#[derive(Debug, Default)]
pub(crate) struct KnownFiles(HashMap<Arc<str>, (Digest, Document)>);

impl KnownFiles {
    /// What a file says, if it says the same as before.
    pub(crate) fn take(&mut self, file: &str, bytes: &Digest) -> Option<Document> {
        self.0.remove(file).filter(|(before, _)| before == bytes).map(|(_, document)| document)
    }

    /// Remembers what a file says, if the database has all the parameters in it and there is no password: those aren't for keeping.
    pub(crate) fn note(&mut self, file: &str, bytes: Digest, document: &Document) {
        if document.users.is_empty() && document.connections.iter().all(|connection| connection.parameters.is_none()) {
            self.0.insert(file.into(), (bytes, document.clone()));
        }
    }
}

/// The digest by which a file is known again.
pub(crate) fn digest_of(text: &str) -> Digest {
    digest(&SHA256, text.as_bytes()).as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::document::Reading, *};

    const CONNECTION: &str = "name: n\nprotocol: ssh\nparameters: {hostname: h}\n";

    fn read(file: &str, text: &str, is_kept: bool, before: KnownFiles) -> (Document, KnownFiles) {
        let is_kept = move |_: &_, _: &_| is_kept;
        let mut reading = Reading::after(&is_kept, before);
        (reading.file(file, text), reading.into_known())
    }

    fn knows(known: &mut KnownFiles, file: &str, text: &str) -> bool {
        known.take(file, &digest_of(text)).is_some()
    }

    #[test]
    fn a_file_is_known_again_by_its_bytes() {
        let (first, known) = read("f", CONNECTION, false, KnownFiles::default());
        let (again, mut known) = read("f", CONNECTION, false, known);
        assert!(Arc::ptr_eq(&first.connections[0], &again.connections[0]), "it was read again");
        assert!(!knows(&mut known, "other", CONNECTION) && knows(&mut known, "f", CONNECTION));

        let (_, known) = read("f", CONNECTION, false, KnownFiles::default());
        let (changed, mut known) = read("f", &CONNECTION.replace("name: n", "name: m"), false, known);
        assert_eq!(changed.connections[0].name, "m");
        assert!(!knows(&mut known, "f", CONNECTION), "what it said before is forgotten");
    }

    #[test]
    fn what_is_not_in_the_database_and_passwords_are_not_kept() {
        for (text, is_kept) in [(CONNECTION, true), ("users: [{name: u, password: p}]", false)] {
            let (_, mut known) = read("f", text, is_kept, KnownFiles::default());
            assert!(!knows(&mut known, "f", text), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_known_too() {
        let (first, known) = read("f", "- name: n\n", false, KnownFiles::default());
        let (again, _) = read("f", "- name: n\n", false, known);
        assert!(!first.findings.is_empty() && first.findings == again.findings);
    }
}
