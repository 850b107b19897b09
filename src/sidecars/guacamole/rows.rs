//! The rows that changes write, gathered table by table, so that one statement writes what would be thousands.

use tokio_postgres::types::{ToSql, Type};

use super::{
    marks::{self, GrantSet},
    model::GranteeKind,
    password::StoredPassword,
    plan::{Change, ConnectionChange, Details, EntityChange, EntityStep, GroupChange, Id, Record},
};

/// One statement and the rows it is for, as a column of values for each of its parameters.
pub(crate) struct Statement<'a> {
    pub(crate) sql: &'static str,
    pub(crate) columns: Vec<Column<'a>>,
}

/// Values of one type.
pub(crate) enum Column<'a> {
    Numbers(Vec<i32>),
    OptionalNumbers(Vec<Option<i32>>),
    Texts(Vec<std::borrow::Cow<'a, str>>),
    OptionalTexts(Vec<Option<&'a str>>),
    Booleans(Vec<bool>),
    Bytes(Vec<Vec<u8>>),
}

impl Column<'_> {
    /// How many rows.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::OptionalNumbers(values) => values.len(),
            Self::Texts(values) => values.len(),
            Self::OptionalTexts(values) => values.len(),
            Self::Booleans(values) => values.len(),
            Self::Bytes(values) => values.len(),
        }
    }

    /// Some of the rows, as an array for the server.
    pub(crate) fn array(&self, from: usize, to: usize) -> (Box<dyn ToSql + Sync + Send + '_>, Type) {
        fn piece<T>(values: &[T], from: usize, to: usize) -> &[T] {
            values.get(from..to.min(values.len())).unwrap_or_default()
        }
        match self {
            Self::Numbers(values) => (Box::new(piece(values, from, to)), Type::INT4_ARRAY),
            Self::OptionalNumbers(values) => (Box::new(piece(values, from, to)), Type::INT4_ARRAY),
            Self::Texts(values) => (Box::new(piece(values, from, to).iter().map(|text| &**text).collect::<Vec<_>>()), Type::TEXT_ARRAY),
            Self::OptionalTexts(values) => (Box::new(piece(values, from, to)), Type::TEXT_ARRAY),
            Self::Booleans(values) => (Box::new(piece(values, from, to)), Type::BOOL_ARRAY),
            Self::Bytes(values) => (Box::new(piece(values, from, to)), Type::BYTEA_ARRAY),
        }
    }
}

/// The numbers of new rows.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// None for those that the database refused: nothing is granted to them.
    pub(crate) entities: Vec<Option<i32>>,
    pub(crate) groups: Vec<i32>,
    pub(crate) connections: Vec<i32>,
    pub(crate) profiles: Vec<i32>,
}

/// The number of a row. Each new one was given a number, so 0, which no row has, is never used.
fn number(id: Id, new: &[i32]) -> i32 {
    match id {
        Id::Known(number) => number,
        Id::New(index) => new.get(index).copied().unwrap_or_default(),
    }
}

impl Numbers {
    /// The number of an entity, if it is there, or will be.
    fn entity(&self, id: Id) -> Option<i32> {
        match id {
            Id::Known(number) => Some(number),
            Id::New(index) => self.entities.get(index).copied().flatten(),
        }
    }

    /// Takes note of an entity that the database refused.
    pub(crate) fn refuse(&mut self, id: Id) {
        if let Id::New(index) = id
            && let Some(number) = self.entities.get_mut(index)
        {
            *number = None;
        }
    }
}

/// Gathers rows. The fields stand in the order in which their statements run.
pub(crate) struct Rows<'a, 'n> {
    numbers: &'n Numbers,
    owner: &'n str,
    new_entities: Vec<(i32, &'a str, GranteeKind)>,
    new_accounts: Vec<(i32, GranteeKind, StoredPassword)>,
    passwords: Vec<(i32, StoredPassword)>,
    new_groups: Vec<(i32, &'a GroupChange<'a>)>,
    changed_groups: Vec<(i32, &'a GroupChange<'a>)>,
    removed_connections: Vec<i32>,
    vacating: Vec<i32>,
    changed_connections: Vec<(i32, &'a ConnectionChange<'a>)>,
    new_connections: Vec<(i32, &'a ConnectionChange<'a>)>,
    removed_profiles: Vec<i32>,
    new_profiles: Vec<(i32, &'a str, i32)>,
    of_groups: Properties<'a>,
    of_connections: Properties<'a>,
    of_profiles: Properties<'a>,
    removed_groups: Vec<i32>,
}

/// Rows in the tables around an object's own.
#[derive(Default)]
struct Properties<'a> {
    removed_parameters: Vec<(i32, &'a str)>,
    parameters: Vec<(i32, &'a str, &'a str)>,
    removed_attributes: Vec<(i32, &'a str)>,
    attributes: Vec<(i32, std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)>,
    revoked: Vec<(i32, i32, &'static str)>,
    granted: Vec<(i32, i32, &'static str)>,
}

impl<'a, 'n> Rows<'a, 'n> {
    /// The rows of these changes.
    ///
    /// # Errors
    /// There are no random bytes for a salt.
    pub(crate) fn of(
        changes: impl IntoIterator<Item = &'a Change<'a>>,
        numbers: &'n Numbers,
        owner: &'n str,
    ) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut rows = Self {
            numbers,
            owner,
            new_entities: Vec::new(),
            new_accounts: Vec::new(),
            passwords: Vec::new(),
            new_groups: Vec::new(),
            changed_groups: Vec::new(),
            removed_connections: Vec::new(),
            vacating: Vec::new(),
            changed_connections: Vec::new(),
            new_connections: Vec::new(),
            removed_profiles: Vec::new(),
            new_profiles: Vec::new(),
            of_groups: Properties::default(),
            of_connections: Properties::default(),
            of_profiles: Properties::default(),
            removed_groups: Vec::new(),
        };
        for change in changes {
            match change {
                Change::Entity(change) => rows.entity(change)?,
                Change::Group(change) => rows.group(change),
                Change::RemoveConnection(connection) => rows.removed_connections.push(connection.id),
                Change::Connection(change) => rows.connection(change),
                Change::RemoveGroup(group) => rows.removed_groups.push(group.id),
            }
        }
        Ok(rows)
    }

    fn entity(&mut self, change: &'a EntityChange<'a>) -> Result<(), aws_lc_rs::error::Unspecified> {
        let Some(id) = self.numbers.entity(change.id) else { return Ok(()) };
        let password = || change.password.map_or_else(StoredPassword::that_nothing_fits, StoredPassword::of);
        if change.step == EntityStep::Create {
            self.new_entities.push((id, &change.grantee.name, change.grantee.kind));
        }
        match change.step {
            EntityStep::Create | EntityStep::AddAccount => self.new_accounts.push((id, change.grantee.kind, password()?)),
            EntityStep::SetPassword => self.passwords.push((id, password()?)),
        }
        Ok(())
    }

    fn group(&mut self, change: &'a GroupChange<'a>) {
        let id = number(change.id, &self.numbers.groups);
        match change.id {
            Id::New(_) => self.new_groups.push((id, change)),
            Id::Known(_) if change.columns.is_some() => self.changed_groups.push((id, change)),
            Id::Known(_) => {}
        }
        self.of_groups.add(id, &change.details, self.numbers, self.owner);
    }

    fn connection(&mut self, change: &'a ConnectionChange<'a>) {
        let id = number(change.id, &self.numbers.connections);
        match change.id {
            Id::New(_) => self.new_connections.push((id, change)),
            Id::Known(_) if change.writes_row => self.changed_connections.push((id, change)),
            Id::Known(_) => {}
        }
        if change.vacates {
            self.vacating.push(id);
        }
        self.of_connections.add(id, &change.details, self.numbers, self.owner);
        if change.writes_mark {
            let mark = marks::connection_mark(self.owner, id, &change.desired.origin);
            self.of_connections.attributes.push((id, marks::OWNER.into(), mark.into()));
        }
        self.removed_profiles.extend(change.removed_profiles.iter().map(|profile| profile.id));
        for profile in &change.profiles {
            let profile_id = number(profile.id, &self.numbers.profiles);
            if matches!(profile.id, Id::New(_)) {
                self.new_profiles.push((profile_id, profile.name, id));
            }
            self.of_profiles.add(profile_id, &profile.details, self.numbers, self.owner);
        }
    }

    /// The statements, in an order in which nothing refers to what comes later. Those without rows are left out.
    pub(crate) fn statements(self) -> Vec<Statement<'a>> {
        let mut statements = self.entity_statements();
        statements.extend(self.group_statements());
        statements.push(numbers(REMOVE_CONNECTIONS, self.removed_connections));
        statements.push(numbers(VACATE_CONNECTIONS, self.vacating));
        statements.push(connections(UPDATE_CONNECTIONS, &self.changed_connections, &self.numbers.groups));
        statements.push(connections(INSERT_CONNECTIONS, &self.new_connections, &self.numbers.groups));
        statements.push(numbers(REMOVE_PROFILES, self.removed_profiles));
        statements.push(Statement {
            sql: INSERT_PROFILES,
            columns: vec![
                Column::Numbers(self.new_profiles.iter().map(|(id, _, _)| *id).collect()),
                Column::Texts(self.new_profiles.iter().map(|(_, name, _)| (*name).into()).collect()),
                Column::Numbers(self.new_profiles.iter().map(|(_, _, connection)| *connection).collect()),
            ],
        });
        statements.extend(self.of_groups.statements(&GROUP_TABLES));
        statements.extend(self.of_connections.statements(&CONNECTION_TABLES));
        statements.extend(self.of_profiles.statements(&PROFILE_TABLES));
        // Once they are locked, nobody puts something in, and the next statement sees what was put in before. Then one by one, the inner
        // ones first, those that are empty.
        statements.push(numbers(LOCK_GROUPS, self.removed_groups.clone()));
        statements.extend(self.removed_groups.into_iter().map(|group| numbers(REMOVE_GROUP, vec![group])));
        statements.retain(|statement| statement.columns.first().is_some_and(|column| column.len() > 0));
        statements
    }

    fn entity_statements(&self) -> Vec<Statement<'a>> {
        let of_kind = |kind: GranteeKind| self.new_accounts.iter().filter(move |(_, known, _)| *known == kind);
        let ids = |kind: GranteeKind| of_kind(kind).map(|(id, _, _)| *id).collect::<Vec<_>>();
        let stored = |passwords: Vec<&StoredPassword>| {
            let hashes = passwords.iter().map(|password| password.hash.clone()).collect();
            let salts = passwords.iter().map(|password| password.salt.clone().unwrap_or_default()).collect();
            [Column::Bytes(hashes), Column::Bytes(salts)]
        };
        let with_passwords = |sql, ids: Vec<i32>, passwords: Vec<&StoredPassword>| {
            let [hashes, salts] = stored(passwords);
            Statement { sql, columns: vec![Column::Numbers(ids), hashes, salts] }
        };
        let marked = |sql, ids: Vec<i32>| {
            let marks = vec![marks::owner_mark(self.owner).into(); ids.len()];
            Statement { sql, columns: vec![Column::Numbers(ids), Column::Texts(marks)] }
        };
        vec![
            Statement {
                sql: INSERT_ENTITIES,
                columns: vec![
                    Column::Numbers(self.new_entities.iter().map(|(id, _, _)| *id).collect()),
                    Column::Texts(self.new_entities.iter().map(|(_, name, _)| (*name).into()).collect()),
                    Column::Texts(self.new_entities.iter().map(|(_, _, kind)| kind.as_str().into()).collect()),
                ],
            },
            with_passwords(INSERT_USERS, ids(GranteeKind::User), of_kind(GranteeKind::User).map(|(_, _, password)| password).collect()),
            numbers(GRANT_USERS_THEMSELVES, ids(GranteeKind::User)),
            marked(MARK_USERS, ids(GranteeKind::User)),
            numbers(INSERT_USER_GROUPS, ids(GranteeKind::UserGroup)),
            marked(MARK_USER_GROUPS, ids(GranteeKind::UserGroup)),
            with_passwords(
                SET_PASSWORDS,
                self.passwords.iter().map(|(id, _)| *id).collect(),
                self.passwords.iter().map(|(_, password)| password).collect(),
            ),
        ]
    }

    fn group_statements(&self) -> Vec<Statement<'a>> {
        let columns = |groups: &[(i32, &'a GroupChange<'a>)]| {
            let set: Vec<_> = groups.iter().filter_map(|(_, change)| change.columns.as_ref()).collect();
            vec![
                Column::Texts(set.iter().map(|columns| columns.type_name().into()).collect()),
                Column::OptionalNumbers(set.iter().map(|columns| columns.max_connections).collect()),
                Column::OptionalNumbers(set.iter().map(|columns| columns.max_connections_per_user).collect()),
                Column::Booleans(set.iter().map(|columns| columns.session_affinity).collect()),
            ]
        };
        let ids = |groups: &[(i32, &GroupChange<'_>)]| Column::Numbers(groups.iter().map(|(id, _)| *id).collect());
        let parents = self.new_groups.iter().map(|(_, change)| change.parent.map(|parent| number(parent, &self.numbers.groups)));
        let names = self.new_groups.iter().map(|(_, change)| change.path.name().unwrap_or_default().into());
        let mut new = vec![ids(&self.new_groups), Column::OptionalNumbers(parents.collect()), Column::Texts(names.collect())];
        new.extend(columns(&self.new_groups));
        let mut changed = vec![ids(&self.changed_groups)];
        changed.extend(columns(&self.changed_groups));
        vec![Statement { sql: INSERT_GROUPS, columns: new }, Statement { sql: UPDATE_GROUPS, columns: changed }]
    }
}

fn numbers<'a>(sql: &'static str, ids: Vec<i32>) -> Statement<'a> {
    Statement { sql, columns: vec![Column::Numbers(ids)] }
}

fn connections<'a>(sql: &'static str, changes: &[(i32, &'a ConnectionChange<'a>)], groups: &[i32]) -> Statement<'a> {
    let all = || changes.iter().map(|(_, change)| change.desired);
    let columns = vec![
        Column::Numbers(changes.iter().map(|(id, _)| *id).collect()),
        Column::Texts(all().map(|connection| connection.name.as_str().into()).collect()),
        Column::OptionalNumbers(changes.iter().map(|(_, change)| change.parent.map(|parent| number(parent, groups))).collect()),
        Column::Texts(all().map(|connection| (&*connection.protocol).into()).collect()),
        Column::OptionalNumbers(all().map(|connection| connection.columns.max_connections).collect()),
        Column::OptionalNumbers(all().map(|connection| connection.columns.max_connections_per_user).collect()),
        Column::OptionalNumbers(all().map(|connection| connection.columns.weight).collect()),
        Column::Booleans(all().map(|connection| connection.columns.failover_only).collect()),
        Column::OptionalNumbers(all().map(|connection| connection.columns.proxy_port).collect()),
        Column::OptionalTexts(all().map(|connection| connection.columns.proxy_hostname.as_deref()).collect()),
        Column::OptionalTexts(all().map(|connection| connection.columns.proxy_encryption.as_deref()).collect()),
    ];
    Statement { sql, columns }
}

impl<'a> Properties<'a> {
    fn add(&mut self, id: i32, details: &'a Details<'a>, numbers: &Numbers, owner: &str) {
        if let Some(change) = details.parameters {
            self.removed_parameters.extend(change.removed().map(|name| (id, name)));
            self.parameters.extend(change.set().map(|(name, value)| (id, name, value)));
        }
        self.removed_attributes.extend(details.removed_attributes.iter().map(|name| (id, *name)));
        self.attributes.extend(details.attributes.iter().map(|(name, value)| (id, (&**name).into(), (&**value).into())));
        self.revoked.extend(details.revoked.iter().map(|(entity, permission)| (id, *entity, permission.as_str())));
        let granted = details.granted.iter().filter_map(|(entity, permission)| Some((id, numbers.entity(*entity)?, permission.as_str())));
        self.granted.extend(granted);
        if let Some(record) = &details.record {
            self.record(id, record, numbers, owner);
        }
    }

    fn record(&mut self, id: i32, record: &Record<'a>, numbers: &Numbers, owner: &str) {
        let grants = record.grants.iter().filter_map(|(entity, permission)| Some((numbers.entity(*entity)?, *permission)));
        let grants: GrantSet = grants.collect();
        let attributes = marks::record(owner, &grants);
        let is_over = |name: &&&str| !attributes.iter().any(|(written, _)| **written == ***name);
        self.removed_attributes.extend(record.names.iter().filter(is_over).map(|name| (id, *name)));
        self.attributes.extend(attributes.into_iter().map(|(name, value)| (id, name.to_string().into(), value.into())));
    }

    fn statements(self, tables: &Tables) -> Vec<Statement<'a>> {
        let names = |rows: Vec<(i32, &'a str)>| {
            let (ids, names) = rows.into_iter().map(|(id, name)| (id, name.into())).unzip();
            vec![Column::Numbers(ids), Column::Texts(names)]
        };
        let grants = |rows: Vec<(i32, i32, &'static str)>| {
            vec![
                Column::Numbers(rows.iter().map(|(id, _, _)| *id).collect()),
                Column::Numbers(rows.iter().map(|(_, entity, _)| *entity).collect()),
                Column::Texts(rows.iter().map(|(_, _, permission)| (*permission).into()).collect()),
            ]
        };
        let parameters = vec![
            Column::Numbers(self.parameters.iter().map(|(id, _, _)| *id).collect()),
            Column::Texts(self.parameters.iter().map(|(_, name, _)| (*name).into()).collect()),
            Column::Texts(self.parameters.iter().map(|(_, _, value)| (*value).into()).collect()),
        ];
        let (mut ids, mut attribute_names, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (id, name, value) in self.attributes {
            ids.push(id);
            attribute_names.push(name);
            values.push(value);
        }
        vec![
            Statement { sql: tables.remove_parameters, columns: names(self.removed_parameters) },
            Statement { sql: tables.set_parameters, columns: parameters },
            Statement { sql: tables.remove_attributes, columns: names(self.removed_attributes) },
            Statement {
                sql: tables.set_attributes,
                columns: vec![Column::Numbers(ids), Column::Texts(attribute_names), Column::Texts(values)],
            },
            Statement { sql: tables.revoke, columns: grants(self.revoked) },
            Statement { sql: tables.grant, columns: grants(self.granted) },
        ]
    }
}

const INSERT_ENTITIES: &str = "
    INSERT INTO guacamole_entity (entity_id, name, type)
    SELECT id, name, type::guacamole_entity_type FROM unnest($1, $2, $3) AS new (id, name, type)";

const INSERT_USERS: &str = "
    INSERT INTO guacamole_user (entity_id, password_hash, password_salt, password_date)
    SELECT id, hash, salt, CURRENT_TIMESTAMP FROM unnest($1, $2, $3) AS new (id, hash, salt)";

/// As Guacamole itself does for each new user.
const GRANT_USERS_THEMSELVES: &str = "
    INSERT INTO guacamole_user_permission (entity_id, affected_user_id, permission)
    SELECT entity_id, user_id, 'READ' FROM guacamole_user WHERE entity_id = ANY ($1) ON CONFLICT DO NOTHING";

const MARK_USERS: &str = "
    INSERT INTO guacamole_user_attribute (user_id, attribute_name, attribute_value)
    SELECT user_id, 'outrigger-owner', mark FROM unnest($1, $2) AS new (entity_id, mark) JOIN guacamole_user USING (entity_id)";

const INSERT_USER_GROUPS: &str = "INSERT INTO guacamole_user_group (entity_id) SELECT * FROM unnest($1)";

const MARK_USER_GROUPS: &str = "
    INSERT INTO guacamole_user_group_attribute (user_group_id, attribute_name, attribute_value)
    SELECT user_group_id, 'outrigger-owner', mark FROM unnest($1, $2) AS new (entity_id, mark) JOIN guacamole_user_group USING (entity_id)";

const SET_PASSWORDS: &str = "
    UPDATE guacamole_user SET password_hash = hash, password_salt = salt, password_date = CURRENT_TIMESTAMP
    FROM unnest($1, $2, $3) AS new (id, hash, salt) WHERE entity_id = id";

const INSERT_GROUPS: &str = "
    INSERT INTO guacamole_connection_group (connection_group_id, parent_id, connection_group_name, type, max_connections,
                                            max_connections_per_user, enable_session_affinity)
    SELECT id, parent, name, type::guacamole_connection_group_type, most, most_per_user, affinity
    FROM unnest($1, $2, $3, $4, $5, $6, $7) AS new (id, parent, name, type, most, most_per_user, affinity)";

const UPDATE_GROUPS: &str = "
    UPDATE guacamole_connection_group
    SET type = new.type::guacamole_connection_group_type, max_connections = most, max_connections_per_user = most_per_user,
        enable_session_affinity = affinity
    FROM unnest($1, $2, $3, $4, $5) AS new (id, type, most, most_per_user, affinity) WHERE connection_group_id = id";

/// In the order of numbers, as everybody should who locks several.
const LOCK_GROUPS: &str = "
    SELECT FROM guacamole_connection_group WHERE connection_group_id = ANY ($1) ORDER BY connection_group_id FOR UPDATE";

const REMOVE_GROUP: &str = "
    DELETE FROM guacamole_connection_group removed WHERE connection_group_id = ANY ($1)
    AND NOT EXISTS (SELECT FROM guacamole_connection WHERE parent_id = removed.connection_group_id)
    AND NOT EXISTS (SELECT FROM guacamole_connection_group inner_group WHERE inner_group.parent_id = removed.connection_group_id)";

const REMOVE_CONNECTIONS: &str = "DELETE FROM guacamole_connection WHERE connection_id = ANY ($1)";

/// A name that nobody else has, until the row gets the one it is to have.
const VACATE_CONNECTIONS: &str =
    "UPDATE guacamole_connection SET connection_name = 'outrigger-' || connection_id WHERE connection_id = ANY ($1)";

const UPDATE_CONNECTIONS: &str = "
    UPDATE guacamole_connection
    SET connection_name = name, parent_id = parent, protocol = new.protocol, max_connections = most, max_connections_per_user = most_per_user,
        connection_weight = weight, failover_only = failover, proxy_port = port, proxy_hostname = host,
        proxy_encryption_method = encryption::guacamole_proxy_encryption_method
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         AS new (id, name, parent, protocol, most, most_per_user, weight, failover, port, host, encryption)
    WHERE connection_id = id";

const INSERT_CONNECTIONS: &str = "
    INSERT INTO guacamole_connection (connection_id, connection_name, parent_id, protocol, max_connections, max_connections_per_user,
                                      connection_weight, failover_only, proxy_port, proxy_hostname, proxy_encryption_method)
    SELECT id, name, parent, protocol, most, most_per_user, weight, failover, port, host, encryption::guacamole_proxy_encryption_method
    FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         AS new (id, name, parent, protocol, most, most_per_user, weight, failover, port, host, encryption)";

const REMOVE_PROFILES: &str = "DELETE FROM guacamole_sharing_profile WHERE sharing_profile_id = ANY ($1)";

const INSERT_PROFILES: &str = "
    INSERT INTO guacamole_sharing_profile (sharing_profile_id, sharing_profile_name, primary_connection_id)
    SELECT * FROM unnest($1, $2, $3)";

/// What is written around an object of one kind: the statements differ in the names of their tables.
struct Tables {
    remove_parameters: &'static str,
    set_parameters: &'static str,
    remove_attributes: &'static str,
    set_attributes: &'static str,
    revoke: &'static str,
    grant: &'static str,
}

/// Writes the statements for the tables around one.
macro_rules! tables {
    ($name:literal, $id:literal) => {
        Tables {
            remove_parameters: concat!(
                "DELETE FROM guacamole_", $name, "_parameter USING unnest($1, $2) AS old (id, name) WHERE ", $id, " = id AND parameter_name = name"
            ),
            set_parameters: concat!(
                "INSERT INTO guacamole_", $name, "_parameter (", $id, ", parameter_name, parameter_value) SELECT * FROM unnest($1, $2, $3) ",
                "ON CONFLICT (", $id, ", parameter_name) DO UPDATE SET parameter_value = excluded.parameter_value"
            ),
            remove_attributes: concat!(
                "DELETE FROM guacamole_", $name, "_attribute USING unnest($1, $2) AS old (id, name) WHERE ", $id, " = id AND attribute_name = name"
            ),
            set_attributes: concat!(
                "INSERT INTO guacamole_", $name, "_attribute (", $id, ", attribute_name, attribute_value) SELECT * FROM unnest($1, $2, $3) ",
                "ON CONFLICT (", $id, ", attribute_name) DO UPDATE SET attribute_value = excluded.attribute_value"
            ),
            revoke: concat!(
                "DELETE FROM guacamole_", $name, "_permission USING unnest($1, $2, $3) AS old (id, entity, name) WHERE ", $id,
                " = id AND entity_id = entity AND permission = name::guacamole_object_permission_type"
            ),
            grant: concat!(
                "INSERT INTO guacamole_", $name, "_permission (", $id, ", entity_id, permission) ",
                "SELECT id, entity, name::guacamole_object_permission_type FROM unnest($1, $2, $3) AS new (id, entity, name) ON CONFLICT DO NOTHING"
            ),
        }
    };
}

const CONNECTION_TABLES: Tables = tables!("connection", "connection_id");
/// Groups have no parameters, so those two statements never have rows.
const GROUP_TABLES: Tables = tables!("connection_group", "connection_group_id");
const PROFILE_TABLES: Tables = tables!("sharing_profile", "sharing_profile_id");
