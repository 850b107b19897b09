//! What Guacamole's database holds, as far as a plan needs it.

use std::{collections::HashMap, sync::Arc};

use super::{
    marks::{self, Attributes, GrantSet},
    model::{ConnectionColumns, Digest, GranteeKind, GroupColumns},
    packed::Parameters,
    password::StoredPassword,
};

/// One look at the database. Objects are sorted by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) entities: Vec<Entity>,
    /// Members of user groups with these, by their numbers as entities. Groups that are disabled give nobody anything.
    pub(crate) memberships: Vec<(i32, i32)>,
    /// Names in which the server writes some letters otherwise where their case doesn't count, with what it makes of them. Empty where it
    /// counts everywhere.
    pub(crate) folded: HashMap<String, String>,
    pub(crate) groups: Vec<Group>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) profiles: Vec<Profile>,
}

impl Observed {
    /// A name as it is compared where the case of letters doesn't count.
    pub(crate) fn folded<'a>(&'a self, name: &'a str) -> &'a str {
        self.folded.get(name).map_or(name, String::as_str)
    }

    /// The digests of an owner's connections, by the texts of where they come from.
    pub(crate) fn digests(&self, owner: &str) -> HashMap<&str, &Digest> {
        let mut digests = HashMap::with_capacity(self.connections.len());
        for connection in &self.connections {
            if let Some(origin) = marks::origin_text(&connection.attributes, owner, connection.id) {
                digests.entry(origin).or_insert(&connection.digest);
            }
        }
        digests
    }
}

/// A user or a user group, as permissions know it.
#[derive(Debug)]
pub(crate) struct Entity {
    pub(crate) id: i32,
    pub(crate) kind: GranteeKind,
    pub(crate) name: String,
    /// Whether it has its row as a user or a user group; without it, nobody signs in and nobody is a member.
    pub(crate) has_account: bool,
    /// Read for the users to whom a file gives a password.
    pub(crate) password: Option<StoredPassword>,
}

/// A connection group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: i32,
    pub(crate) parent: Option<i32>,
    pub(crate) name: String,
    pub(crate) columns: GroupColumns,
    pub(crate) attributes: Attributes,
    pub(crate) grants: GrantSet,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: i32,
    pub(crate) parent: Option<i32>,
    pub(crate) name: String,
    pub(crate) protocol: Arc<str>,
    pub(crate) columns: ConnectionColumns,
    /// The digest of its parameters, computed by the database.
    pub(crate) digest: Digest,
    /// Its parameters, read only where the digest is not the file's.
    pub(crate) parameters: Option<Parameters>,
    pub(crate) attributes: Attributes,
    pub(crate) grants: GrantSet,
}

/// A sharing profile of a connection.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) id: i32,
    pub(crate) connection: i32,
    pub(crate) name: String,
    /// These are few and short.
    pub(crate) parameters: Parameters,
    pub(crate) attributes: Attributes,
    pub(crate) grants: GrantSet,
}
