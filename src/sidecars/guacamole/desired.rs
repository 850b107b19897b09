//! What all files together want, with what contradicts itself taken out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{
    document::{Connection, Document, Group, User},
    model::{Finding, GroupPath, Origin, Parent, Severity},
};

/// What the database should hold.
#[derive(Debug, Default)]
pub(crate) struct Desired {
    pub(crate) connections: Vec<Arc<Connection>>,
    pub(crate) groups: BTreeMap<GroupPath, Group>,
    pub(crate) users: BTreeMap<Arc<str>, User>,
    /// Files in which something can't be used: nothing that came from them is removed.
    pub(crate) kept_files: BTreeSet<Arc<str>>,
    /// The origins of entries whose place another file's entry has: they make room for it.
    pub(crate) outdone: BTreeSet<Origin>,
    /// Folders in which there is nothing, not even what is hidden: a volume may not be mounted there. The one of all connections has no name.
    pub(crate) empty_folders: BTreeSet<String>,
    /// Whether a whole folder could not be read: nothing at all is removed.
    pub(crate) is_incomplete: bool,
    pub(crate) findings: Vec<Finding>,
}

impl Desired {
    /// Adds a file. Of two entries that can't both be, the one of the file that comes first stays.
    pub(crate) fn add(&mut self, file: &str, document: Document) {
        if document.findings.iter().any(|finding| finding.severity == Severity::Error) {
            self.keep(file);
        }
        self.findings.extend(document.findings);
        self.connections.extend(document.connections);
        for group in document.groups {
            match self.groups.get(&group.path) {
                None => drop(self.groups.insert(group.path.clone(), group)),
                Some(first) => {
                    let message = format!("the connection group {} is set up by {} already: remove one of the two", group.path, first.file);
                    self.refuse(file, Finding::error(file, message));
                }
            }
        }
        for user in document.users {
            match self.users.get(&user.name) {
                None => drop(self.users.insert(user.name.clone(), user)),
                Some(first) => {
                    let message = format!("the user {:?} stands in {} already: remove one of the two", user.name, first.file);
                    self.refuse(file, Finding::error(file, message));
                }
            }
        }
    }

    /// A file that can't be read at all.
    pub(crate) fn add_unreadable(&mut self, file: &str, why: &str) {
        self.refuse(file, Finding::error(file, why));
    }

    /// Takes out connections that stand for a second time where another one stands, or come with its identity.
    pub(crate) fn settle(&mut self) {
        let connections = std::mem::take(&mut self.connections);
        let mut places: HashMap<(&Parent, &str), &Origin> = HashMap::with_capacity(connections.len());
        let mut origins: HashSet<&Origin> = HashSet::with_capacity(connections.len());
        let mut is_refused = vec![false; connections.len()];
        for (connection, is_refused) in connections.iter().zip(&mut is_refused) {
            let place = (&connection.parent, connection.name.as_str());
            let message = if let Some(first) = places.get(&place) {
                self.outdone.insert(connection.origin.clone());
                format!("{first} has a connection of this name in the same group: rename one of the two")
            } else if !origins.insert(&connection.origin) {
                format!("the file has the id {:?} twice: give each connection one of its own", connection.origin.key)
            } else {
                places.insert(place, &connection.origin);
                continue;
            };
            *is_refused = true;
            self.refuse(&connection.origin.file, Finding::error(connection.subject(), message));
        }
        self.connections = connections;
        let mut is_refused = is_refused.into_iter();
        self.connections.retain(|_| !is_refused.next().unwrap_or_default());
    }

    /// The names of all users and user groups.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let of_connections = self.connections.iter().flat_map(|connection| {
            let of_profiles = connection.profiles.iter().map(|profile| &profile.grants);
            of_profiles.chain([&connection.grants])
        });
        let grants = self.groups.values().map(|group| &group.grants).chain(of_connections);
        let grantees = grants.flat_map(|grants| grants.iter()).map(|(grantee, _)| &*grantee.name);
        grantees.chain(self.users.keys().map(|name| &**name))
    }

    /// Whether all files were found and understood. Where they were not, nobody can tell whether something is wanted of which it isn't known
    /// from which file it came, as grants on groups.
    pub(crate) fn is_all_known(&self) -> bool {
        self.kept_files.is_empty() && self.empty_folders.is_empty() && !self.is_incomplete
    }

    /// Whether what comes from here may be wanted, although no entry that could be read says so.
    pub(crate) fn may_want(&self, origin: &Origin) -> bool {
        self.is_incomplete || self.kept_files.contains(&origin.file)
    }

    /// The folder of a file in which there is nothing now, if that is so.
    pub(crate) fn empty_folder<'o>(&self, origin: &'o Origin) -> Option<&'o str> {
        let (folder, _) = origin.file.rsplit_once('/')?;
        self.empty_folders.contains(folder).then_some(folder)
    }

    fn refuse(&mut self, file: &str, finding: Finding) {
        self.keep(file);
        self.findings.push(finding);
    }

    fn keep(&mut self, file: &str) {
        self.kept_files.insert(file.into());
    }
}

#[cfg(test)]
impl Desired {
    /// What these files want, by their names and texts.
    pub(crate) fn of_files(files: &[(&str, &str)]) -> Self {
        let (mut desired, mut reading) = (Self::default(), super::document::Reading::whole());
        for (file, text) in files {
            desired.add(file, reading.file(file, text));
        }
        desired.settle();
        desired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_with_one_place_the_first_stays_and_the_other_is_named() {
        let text = |host: &str| format!("name: n\nprotocol: ssh\nparameters: {{hostname: {host}}}\ngroup: A");
        let desired = Desired::of_files(&[("a/connection.yaml", &text("one")), ("b/connection.yaml", &text("two"))]);
        assert_eq!(desired.connections.len(), 1);
        assert_eq!(desired.connections[0].origin.to_string(), "a/connection.yaml");
        assert_eq!(
            desired.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "b/connection.yaml: connection \"n\": a/connection.yaml has a connection of this name in the same group: rename one of the two"
            ]
        );
        assert_eq!(desired.kept_files, BTreeSet::from(["b/connection.yaml".into()]));
    }

    #[test]
    fn a_name_may_stand_in_several_groups() {
        let desired = Desired::of_files(&[(
            "f",
            "- {name: n, protocol: ssh, parameters: {hostname: h}, group: A}\n- {name: n, protocol: ssh, parameters: {hostname: h}}\n",
        )]);
        assert_eq!((desired.connections.len(), desired.findings.len()), (2, 0));
    }

    #[test]
    fn one_identity_is_for_one_connection() {
        let item = |name: &str| format!("- {{name: {name}, id: i, protocol: ssh, parameters: {{hostname: h}}}}\n");
        let desired = Desired::of_files(&[("f", &(item("a") + &item("b")))]);
        assert_eq!(desired.connections.len(), 1);
        assert!(desired.findings[0].message.contains("the file has the id \"i\" twice"));
    }

    #[test]
    fn users_and_groups_are_set_up_once() {
        let text = "connectionGroups: [{group: A}]\nusers: [{name: u}]";
        let desired = Desired::of_files(&[("a", text), ("b", text)]);
        assert_eq!((desired.groups.len(), desired.users.len(), desired.findings.len()), (1, 1, 2));
    }
}
