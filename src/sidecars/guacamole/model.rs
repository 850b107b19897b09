//! The words in which files, database and plan speak of the same things.

use std::{collections::HashSet, fmt, hash::Hash, sync::Arc};

/// A connection group's place in the tree: names from the root down. The root itself has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupPath(Arc<[Arc<str>]>);

impl GroupPath {
    /// Reads a path as Guacamole's import does: it may begin with `/`, `ROOT` or neither; empty names are left out.
    pub(crate) fn read(text: &str) -> Self {
        let mut names = text.split('/').map(str::trim).filter(|name| !name.is_empty()).peekable();
        names.next_if(|first| *first == ROOT);
        Self(names.map(Arc::from).collect())
    }

    /// Its names, from the root down.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// The group's own name; none for the root.
    pub(crate) fn name(&self) -> Option<&str> {
        self.0.last().map(|name| &**name)
    }

    /// A group in this one.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self(self.0.iter().cloned().chain([Arc::from(name)]).collect())
    }

    /// The group itself and those it lies in, but not the root: from the top down.
    pub(crate) fn with_ancestors(&self) -> impl Iterator<Item = Self> {
        (1..=self.0.len()).filter_map(|length| self.0.get(..length)).map(|names| Self(names.into()))
    }
}

/// What Guacamole calls the root.
const ROOT: &str = "ROOT";

impl fmt::Display for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ROOT)?;
        self.0.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

/// Where a file wants a connection to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Parent {
    /// In a group, which is made if it isn't there.
    Path(GroupPath),
    /// In the group with this number in the database.
    Identifier(i32),
}

/// Who may be granted something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Grantee {
    pub(crate) kind: GranteeKind,
    pub(crate) name: Arc<str>,
}

/// The kinds of entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum GranteeKind {
    User,
    UserGroup,
}

impl GranteeKind {
    /// Its name in the database.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::UserGroup => "USER_GROUP",
        }
    }

    /// The kind of this name.
    pub(crate) fn read(text: &str) -> Option<Self> {
        [Self::User, Self::UserGroup].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for Grantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            GranteeKind::User => "user",
            GranteeKind::UserGroup => "user group",
        };
        write!(f, "{kind} {:?}", self.name)
    }
}

/// Whether names that differ only in the case of letters are different names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CaseSensitivity {
    pub(crate) users: bool,
    pub(crate) user_groups: bool,
}

/// What may be granted on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Permission {
    /// See it, and connect.
    Read,
    /// Change it, and read its parameters.
    Update,
    /// Remove it.
    Delete,
    /// Grant permissions on it.
    Administer,
}

impl Permission {
    pub(crate) const ALL: [Self; 4] = [Self::Read, Self::Update, Self::Delete, Self::Administer];

    /// Its name in the database.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Administer => "ADMINISTER",
        }
    }

    /// The permission of this name, however its letters are written.
    pub(crate) fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

/// Who may do what: sorted, and nothing twice. Many connections share one list.
pub(crate) type Grants = Arc<[(Grantee, Permission)]>;

/// A SHA-256 digest.
pub(crate) type Digest = [u8; 32];

/// What a connection has in columns of its own. None is the server's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConnectionColumns {
    pub(crate) max_connections: Option<i32>,
    pub(crate) max_connections_per_user: Option<i32>,
    pub(crate) weight: Option<i32>,
    pub(crate) failover_only: bool,
    pub(crate) proxy_port: Option<i32>,
    pub(crate) proxy_hostname: Option<String>,
    /// `NONE` or `SSL`.
    pub(crate) proxy_encryption: Option<String>,
}

/// What a connection group has in columns of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupColumns {
    /// Whether it gives out connections of its own, instead of only holding some.
    pub(crate) is_balancing: bool,
    pub(crate) max_connections: Option<i32>,
    pub(crate) max_connections_per_user: Option<i32>,
    pub(crate) session_affinity: bool,
}

/// What an entry says of a group's columns. What it doesn't say is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupSettings {
    pub(crate) is_balancing: Option<bool>,
    pub(crate) max_connections: Option<i32>,
    pub(crate) max_connections_per_user: Option<i32>,
    pub(crate) session_affinity: Option<bool>,
}

impl GroupSettings {
    /// Columns that are as the entry says, and as these where it says nothing.
    pub(crate) fn over(&self, columns: &GroupColumns) -> GroupColumns {
        GroupColumns {
            is_balancing: self.is_balancing.unwrap_or(columns.is_balancing),
            max_connections: self.max_connections.or(columns.max_connections),
            max_connections_per_user: self.max_connections_per_user.or(columns.max_connections_per_user),
            session_affinity: self.session_affinity.unwrap_or(columns.session_affinity),
        }
    }
}

impl GroupColumns {
    /// Its type's name in the database.
    pub(crate) const fn type_name(&self) -> &'static str {
        if self.is_balancing { "BALANCING" } else { "ORGANIZATIONAL" }
    }
}

/// Which entry of which file something comes from. It stays the same when the entry's name or place changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin {
    /// The file, relative to the folder of connections.
    pub(crate) file: Arc<str>,
    /// The entry in it; empty where a file has only one.
    pub(crate) key: Box<str>,
}

impl Origin {
    /// Reads what [`fmt::Display`] writes.
    pub(crate) fn read(text: &str) -> Self {
        let (file, key) = text.split_once('#').unwrap_or((text, ""));
        let is_plain = !file.contains('%');
        let file = if is_plain { file.into() } else { file.replace("%23", "#").replace("%25", "%").into() };
        Self { file, key: key.into() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first `#` ends the file's name.
        let file = self.file.replace('%', "%25").replace('#', "%23");
        if self.key.is_empty() { f.write_str(&file) } else { write!(f, "{file}#{}", self.key) }
    }
}

/// Values that thousands of objects have in common, each of them kept once.
pub(crate) struct Shared<T>(HashSet<T>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Clone + Eq + Hash> Shared<T> {
    /// The value that is kept of all that equal this one.
    pub(crate) fn share(&mut self, value: T) -> T {
        if let Some(known) = self.0.get(&value) {
            return known.clone();
        }
        self.0.insert(value.clone());
        value
    }
}

/// Something an author should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Whether it keeps what it is about from being written.
    pub severity: Severity,
    /// What it is about: a file, and what is in it.
    pub subject: String,
    /// What is wrong, and the way out. It holds no value of a parameter.
    pub message: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is not written; what was written before stays.
    Error,
    /// It is written, and may not do what was meant.
    Warning,
}

impl Finding {
    pub(crate) fn error(subject: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self { severity: Severity::Error, subject: subject.to_string(), message: message.to_string() }
    }

    pub(crate) fn warning(subject: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self { severity: Severity::Warning, subject: subject.to_string(), message: message.to_string() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_guacamoles_import_reads_them() {
        for text in ["ROOT/A/B c", "/ROOT/A/B c/", "A//B c", "/A/B c"] {
            assert_eq!(GroupPath::read(text).to_string(), "ROOT/A/B c", "{text}");
        }
        for text in ["", "/", "ROOT", "ROOT/"] {
            assert_eq!(GroupPath::read(text), GroupPath::default(), "{text}");
        }
        let path = GroupPath::read("A/B");
        assert_eq!(path.with_ancestors().map(|path| path.to_string()).collect::<Vec<_>>(), ["ROOT/A", "ROOT/A/B"]);
        assert_eq!(GroupPath::read("A").child("B"), path);
    }

    #[test]
    fn an_origin_survives_being_written() {
        for (file, key) in [("office/connection.yaml", ""), ("all.yaml", "ROOT/A#1/B"), ("a#1.yaml", ""), ("50%23#.yaml", "#%")] {
            let origin = Origin { file: file.into(), key: key.into() };
            assert_eq!(Origin::read(&origin.to_string()), origin);
        }
    }
}
