//! Reads Guacamole's database: each table once, and parameters as digests, so that an unchanged database moves few bytes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{TryStreamExt, future::try_join_all};
use tokio_postgres::{
    Client, Error, Row,
    types::{ToSql, Type},
};

use super::{
    desired::Desired,
    document::Password,
    marks::{Attributes, GrantSet},
    model::{CaseSensitivity, ConnectionColumns, Digest, GranteeKind, GroupColumns, Permission, Shared},
    observed::{Connection, Entity, Group, Observed, Profile},
    packed::Parameters,
    password::StoredPassword,
};
use crate::postgres::failure::Failure;

const ENTITIES: &str = "
    SELECT entity_id, type::text, name, u.user_id IS NOT NULL OR g.user_group_id IS NOT NULL
    FROM guacamole_entity LEFT JOIN guacamole_user u USING (entity_id) LEFT JOIN guacamole_user_group g USING (entity_id)
    ORDER BY entity_id";

const FOLDED_NAMES: &str = "SELECT name, lower(name) FROM unnest($1) AS name WHERE lower(name) <> name";

const PASSWORDS: &str = "
    SELECT entity_id, password_hash, password_salt FROM guacamole_user WHERE entity_id = ANY ($1)";

const MEMBERSHIPS: &str = "
    SELECT member_entity_id, entity_id FROM guacamole_user_group_member JOIN guacamole_user_group USING (user_group_id) WHERE NOT disabled";

const GROUPS: &str = "
    SELECT connection_group_id, parent_id, connection_group_name, type = 'BALANCING', max_connections, max_connections_per_user,
           enable_session_affinity
    FROM guacamole_connection_group ORDER BY connection_group_id";

/// The digest is that of `Parameters::digest`.
const CONNECTIONS: &str = r#"
    SELECT connection_id, parent_id, connection_name, protocol, max_connections, max_connections_per_user, connection_weight, failover_only,
           proxy_port, proxy_hostname, proxy_encryption_method::text, coalesce(digest, sha256(''))
    FROM guacamole_connection LEFT JOIN (
        SELECT connection_id, sha256(convert_to(string_agg(
                   octet_length(parameter_name) || ':' || parameter_name || octet_length(parameter_value) || ':' || parameter_value,
                   '' ORDER BY parameter_name COLLATE "C"
               ), 'UTF8')) AS digest
        FROM guacamole_connection_parameter GROUP BY connection_id
    ) digests USING (connection_id) ORDER BY connection_id"#;

const PARAMETERS: &str = "
    SELECT connection_id, parameter_name, parameter_value FROM guacamole_connection_parameter WHERE connection_id = ANY ($1)";

const PROFILES: &str = "
    SELECT sharing_profile_id, primary_connection_id, sharing_profile_name FROM guacamole_sharing_profile ORDER BY sharing_profile_id";

const PROFILE_PARAMETERS: &str = "SELECT sharing_profile_id, parameter_name, parameter_value FROM guacamole_sharing_profile_parameter";

const CONNECTION_ATTRIBUTES: &str = "SELECT connection_id, attribute_name, attribute_value FROM guacamole_connection_attribute";
const GROUP_ATTRIBUTES: &str = "SELECT connection_group_id, attribute_name, attribute_value FROM guacamole_connection_group_attribute";
const PROFILE_ATTRIBUTES: &str = "SELECT sharing_profile_id, attribute_name, attribute_value FROM guacamole_sharing_profile_attribute";

const CONNECTION_GRANTS: &str = "SELECT connection_id, entity_id, permission::text FROM guacamole_connection_permission";
const GROUP_GRANTS: &str = "SELECT connection_group_id, entity_id, permission::text FROM guacamole_connection_group_permission";
const PROFILE_GRANTS: &str = "SELECT sharing_profile_id, entity_id, permission::text FROM guacamole_sharing_profile_permission";

/// Reads all that a plan needs, but for passwords, and for parameters that turn out to be different.
pub(crate) async fn observe(client: &Client) -> Result<Observed, Failure> {
    let mut protocols = Shared::default();
    // All are sent at once; the server answers one after the other.
    let (entities, memberships, groups, connections, profiles, profile_parameters, attributes, grants) = tokio::try_join!(
        rows(client, ENTITIES, &[], entity),
        rows(client, MEMBERSHIPS, &[], |row| Ok((row.try_get(0)?, row.try_get(1)?))),
        rows(client, GROUPS, &[], group),
        rows(client, CONNECTIONS, &[], |row| connection(row, &mut protocols)),
        rows(client, PROFILES, &[], profile),
        parameters(client, PROFILE_PARAMETERS, &[]),
        try_join_all([CONNECTION_ATTRIBUTES, GROUP_ATTRIBUTES, PROFILE_ATTRIBUTES].map(|table| attributes(client, table))),
        try_join_all([CONNECTION_GRANTS, GROUP_GRANTS, PROFILE_GRANTS].map(|table| grants(client, table))),
    )?;
    let mut observed =
        Observed { entities: entities.into_iter().flatten().collect(), memberships, folded: HashMap::new(), groups, connections, profiles };
    observed.distribute(profile_parameters, attributes, grants);
    Ok(observed)
}

/// Adds the parameters of these connections.
pub(crate) async fn observe_parameters(client: &Client, observed: &mut Observed, connections: &[i32]) -> Result<(), Failure> {
    if connections.is_empty() {
        return Ok(());
    }
    let mut read = parameters(client, PARAMETERS, &[(&connections, Type::INT4_ARRAY)]).await?;
    let connections: HashSet<i32> = connections.iter().copied().collect();
    for connection in observed.connections.iter_mut().filter(|connection| connections.contains(&connection.id)) {
        connection.parameters = Some(read.remove(&connection.id).unwrap_or_default());
    }
    Ok(())
}

impl Observed {
    fn distribute(&mut self, mut parameters: HashMap<i32, Parameters>, attributes: Vec<Vec<AttributeRow>>, grants: Vec<Vec<GrantRow>>) {
        let (mut attributes, mut grants) = (attributes.into_iter(), grants.into_iter());
        let mut next = || (attributes.next().unwrap_or_default(), grants.next().unwrap_or_default());
        distribute(&mut self.connections, next());
        distribute(&mut self.groups, next());
        distribute(&mut self.profiles, next());
        for profile in &mut self.profiles {
            profile.parameters = parameters.remove(&profile.id).unwrap_or_default();
        }
    }
}

/// What has attributes and grants.
trait Object {
    fn id(&self) -> i32;
    fn properties(&mut self) -> (&mut Attributes, &mut GrantSet);
}

macro_rules! object {
    ($kind:ty) => {
        impl Object for $kind {
            fn id(&self) -> i32 {
                self.id
            }

            fn properties(&mut self) -> (&mut Attributes, &mut GrantSet) {
                (&mut self.attributes, &mut self.grants)
            }
        }
    };
}

object!(Connection);
object!(Group);
object!(Profile);

/// The number of an object, and an attribute of it.
type AttributeRow = (i32, (Arc<str>, String));
/// The number of an object, and a grant on it.
type GrantRow = (i32, Option<(i32, Permission)>);

/// Hands rows to the objects they belong to, which are sorted.
fn distribute<T: Object>(objects: &mut [T], (attributes, grants): (Vec<AttributeRow>, Vec<GrantRow>)) {
    fn find<T: Object>(objects: &mut [T], id: i32) -> Option<(&mut Attributes, &mut GrantSet)> {
        let place = objects.binary_search_by_key(&id, Object::id).ok()?;
        objects.get_mut(place).map(Object::properties)
    }
    for (id, attribute) in attributes {
        if let Some((attributes, _)) = find(objects, id) {
            attributes.reserve_exact(1);
            attributes.push(attribute);
        }
    }
    for (id, grant) in grants {
        if let Some((_, grants)) = find(objects, id) {
            grants.extend(grant);
        }
    }
}

/// A parameter of a statement, with its type: statements have no names, so they also pass through poolers.
type Argument<'a> = (&'a (dyn ToSql + Sync), Type);

async fn rows<T>(
    client: &Client,
    statement: &str,
    arguments: &[Argument<'_>],
    mut read: impl FnMut(&Row) -> Result<T, Error>,
) -> Result<Vec<T>, Failure> {
    let stream = client.query_typed_raw(statement, arguments.iter().map(|(value, kind)| (*value, kind.clone()))).await?;
    let mut stream = std::pin::pin!(stream);
    let mut values = Vec::new();
    while let Some(row) = stream.try_next().await? {
        values.push(read(&row)?);
    }
    Ok(values)
}

/// None for kinds of entity that we don't know.
fn entity(row: &Row) -> Result<Option<Entity>, Error> {
    let Some(kind) = GranteeKind::read(row.try_get(1)?) else { return Ok(None) };
    Ok(Some(Entity { id: row.try_get(0)?, kind, name: row.try_get(2)?, has_account: row.try_get(3)?, password: None }))
}

fn group(row: &Row) -> Result<Group, Error> {
    let columns = GroupColumns {
        is_balancing: row.try_get(3)?,
        max_connections: row.try_get(4)?,
        max_connections_per_user: row.try_get(5)?,
        session_affinity: row.try_get(6)?,
    };
    let (attributes, grants) = (Attributes::new(), GrantSet::new());
    Ok(Group { id: row.try_get(0)?, parent: row.try_get(1)?, name: row.try_get(2)?, columns, attributes, grants })
}

fn connection(row: &Row, protocols: &mut Shared<Arc<str>>) -> Result<Connection, Error> {
    let columns = ConnectionColumns {
        max_connections: row.try_get(4)?,
        max_connections_per_user: row.try_get(5)?,
        weight: row.try_get(6)?,
        failover_only: row.try_get(7)?,
        proxy_port: row.try_get(8)?,
        proxy_hostname: row.try_get(9)?,
        proxy_encryption: row.try_get(10)?,
    };
    let digest: Digest = row.try_get::<_, &[u8]>(11)?.try_into().unwrap_or_default();
    Ok(Connection {
        id: row.try_get(0)?,
        parent: row.try_get(1)?,
        name: row.try_get(2)?,
        protocol: protocols.share(row.try_get::<_, &str>(3)?.into()),
        columns,
        digest,
        parameters: None,
        attributes: Attributes::new(),
        grants: GrantSet::new(),
    })
}

fn profile(row: &Row) -> Result<Profile, Error> {
    Ok(Profile {
        id: row.try_get(0)?,
        connection: row.try_get(1)?,
        name: row.try_get(2)?,
        parameters: Parameters::default(),
        attributes: Attributes::new(),
        grants: GrantSet::new(),
    })
}

/// Has the server say which names are one to it where the case of letters doesn't count: Guacamole asks it, too, and what it does depends
/// on the database's locale.
pub(crate) async fn observe_case(
    client: &Client,
    case: CaseSensitivity,
    desired: &Desired,
    observed: &mut Observed,
) -> Result<(), Failure> {
    observed.folded.clear();
    if case.users && case.user_groups {
        return Ok(());
    }
    let known = observed.entities.iter().map(|entity| entity.name.as_str());
    let names: HashSet<&str> = known.chain(desired.names()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let read = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
    observed.folded = rows(client, FOLDED_NAMES, &[(&names, Type::TEXT_ARRAY)], read).await?.into_iter().collect();
    Ok(())
}

/// Reads the passwords of the users to whom a file gives one.
pub(crate) async fn observe_passwords(client: &Client, desired: &Desired, observed: &mut Observed) -> Result<(), Failure> {
    let given = desired.users.values().filter(|user| matches!(user.password, Password::Given(_)));
    let names: HashSet<&str> = given.map(|user| observed.folded(&user.name)).collect();
    let is_given = |entity: &&Entity| entity.kind == GranteeKind::User && names.contains(observed.folded(&entity.name));
    let ids: Vec<i32> = observed.entities.iter().filter(is_given).map(|entity| entity.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let read = |row: &Row| Ok((row.try_get(0)?, StoredPassword { hash: row.try_get(1)?, salt: row.try_get(2)? }));
    let mut passwords: HashMap<i32, StoredPassword> =
        rows(client, PASSWORDS, &[(&ids, Type::INT4_ARRAY)], read).await?.into_iter().collect();
    for entity in &mut observed.entities {
        entity.password = passwords.remove(&entity.id);
    }
    Ok(())
}

async fn parameters(client: &Client, statement: &str, arguments: &[Argument<'_>]) -> Result<HashMap<i32, Parameters>, Failure> {
    let read = |row: &Row| Ok((row.try_get::<_, i32>(0)?, (row.try_get::<_, String>(1)?, row.try_get::<_, String>(2)?)));
    let mut parameters: HashMap<i32, Vec<_>> = HashMap::new();
    for (id, (name, value)) in rows(client, statement, arguments, read).await? {
        parameters.entry(id).or_default().push((name, value.into()));
    }
    Ok(parameters.into_iter().map(|(id, parameters)| (id, Parameters::pack(parameters))).collect())
}

async fn attributes(client: &Client, statement: &str) -> Result<Vec<AttributeRow>, Failure> {
    let mut names = Shared::default();
    let read = |row: &Row| Ok((row.try_get(0)?, (names.share(row.try_get::<_, &str>(1)?.into()), row.try_get(2)?)));
    rows(client, statement, &[], read).await
}

async fn grants(client: &Client, statement: &str) -> Result<Vec<GrantRow>, Failure> {
    let read = |row: &Row| {
        let entity = row.try_get(1)?;
        Ok((row.try_get(0)?, Permission::read(row.try_get(2)?).map(|permission| (entity, permission))))
    };
    rows(client, statement, &[], read).await
}
