//! Reads Guacamole's database: each table once, and parameters as digests, so that an unchanged database moves few bytes.

use std::collections::{HashMap, HashSet};

use futures::{TryStreamExt, future::try_join_all};
use tokio_postgres::{
    Client, Error, Row,
    types::{ToSql, Type},
};

use super::{
    desired::Desired,
    document::Password,
    marks::{Attributes, GrantSet},
    model::{ConnectionColumns, Digest, GranteeKind, GroupColumns, Parameters, Permission},
    observed::{Connection, Entity, Group, Observed, Profile},
    password::StoredPassword,
};
use crate::postgres::failure::Failure;

const ENTITIES: &str = "
    SELECT entity_id, type::text, name, u.user_id IS NOT NULL OR g.user_group_id IS NOT NULL
    FROM guacamole_entity LEFT JOIN guacamole_user u USING (entity_id) LEFT JOIN guacamole_user_group g USING (entity_id)
    ORDER BY entity_id";

const PASSWORDS: &str = "
    SELECT entity_id, password_hash, password_salt FROM guacamole_user WHERE entity_id = ANY ($1)";

const GROUPS: &str = "
    SELECT connection_group_id, parent_id, connection_group_name, type = 'BALANCING', max_connections, max_connections_per_user,
           enable_session_affinity
    FROM guacamole_connection_group ORDER BY connection_group_id";

/// The digest is that of `model::digest`.
const CONNECTIONS: &str = r#"
    SELECT connection_id, parent_id, connection_name, protocol, max_connections, max_connections_per_user, connection_weight, failover_only,
           proxy_port, proxy_hostname, proxy_encryption_method::text, coalesce(digest, sha256(''))
    FROM guacamole_connection LEFT JOIN (
        SELECT connection_id, sha256(convert_to(string_agg(
                   parameter_name || ':' || octet_length(parameter_value) || ':' || parameter_value, '' ORDER BY parameter_name COLLATE "C"
               ), 'UTF8')) AS digest
        FROM guacamole_connection_parameter GROUP BY connection_id
    ) digests USING (connection_id)"#;

const PARAMETERS: &str = r#"
    SELECT connection_id, parameter_name, parameter_value FROM guacamole_connection_parameter WHERE connection_id = ANY ($1)
    ORDER BY parameter_name COLLATE "C""#;

const PROFILES: &str = "
    SELECT sharing_profile_id, primary_connection_id, sharing_profile_name FROM guacamole_sharing_profile ORDER BY sharing_profile_id";

const PROFILE_PARAMETERS: &str = r#"
    SELECT sharing_profile_id, parameter_name, parameter_value FROM guacamole_sharing_profile_parameter ORDER BY parameter_name COLLATE "C""#;

const CONNECTION_ATTRIBUTES: &str = "SELECT connection_id, attribute_name, attribute_value FROM guacamole_connection_attribute";
const GROUP_ATTRIBUTES: &str = "SELECT connection_group_id, attribute_name, attribute_value FROM guacamole_connection_group_attribute";
const PROFILE_ATTRIBUTES: &str = "SELECT sharing_profile_id, attribute_name, attribute_value FROM guacamole_sharing_profile_attribute";

const CONNECTION_GRANTS: &str = "SELECT connection_id, entity_id, permission::text FROM guacamole_connection_permission";
const GROUP_GRANTS: &str = "SELECT connection_group_id, entity_id, permission::text FROM guacamole_connection_group_permission";
const PROFILE_GRANTS: &str = "SELECT sharing_profile_id, entity_id, permission::text FROM guacamole_sharing_profile_permission";

/// Reads all that a plan needs, but for parameters that turn out to be different.
pub(crate) async fn observe(client: &Client, desired: &Desired) -> Result<Observed, Failure> {
    // All are sent at once; the server answers one after the other.
    let (entities, groups, connections, profiles) = tokio::try_join!(
        rows(client, ENTITIES, &[], entity),
        rows(client, GROUPS, &[], group),
        rows(client, CONNECTIONS, &[], connection),
        rows(client, PROFILES, &[], profile),
    )?;
    let entities: Vec<Entity> = entities.into_iter().flatten().collect();
    let (passwords, profile_parameters, attributes, grants) = tokio::try_join!(
        passwords(client, desired, &entities),
        parameters(client, PROFILE_PARAMETERS, &[]),
        try_join_all([CONNECTION_ATTRIBUTES, GROUP_ATTRIBUTES, PROFILE_ATTRIBUTES].map(|table| attributes(client, table))),
        try_join_all([CONNECTION_GRANTS, GROUP_GRANTS, PROFILE_GRANTS].map(|table| grants(client, table))),
    )?;
    let mut observed = Observed { entities, groups, connections, profiles };
    observed.distribute(passwords, profile_parameters, attributes, grants);
    Ok(observed)
}

/// Adds the parameters of these connections.
pub(crate) async fn observe_parameters(client: &Client, observed: &mut Observed, connections: &[i32]) -> Result<(), Failure> {
    if connections.is_empty() {
        return Ok(());
    }
    let mut read = parameters(client, PARAMETERS, &[(&connections, Type::INT4_ARRAY)]).await?;
    for connection in observed.connections.iter_mut().filter(|connection| connections.contains(&connection.id)) {
        connection.parameters = Some(read.remove(&connection.id).unwrap_or_default());
    }
    Ok(())
}

impl Observed {
    fn distribute(
        &mut self,
        mut passwords: HashMap<i32, StoredPassword>,
        mut profile_parameters: HashMap<i32, Parameters>,
        attributes: Vec<HashMap<i32, Attributes>>,
        grants: Vec<HashMap<i32, GrantSet>>,
    ) {
        let (mut attributes, mut grants) = (attributes.into_iter(), grants.into_iter());
        let mut next = || (attributes.next().unwrap_or_default(), grants.next().unwrap_or_default());
        let (mut attributes, mut grants) = next();
        for connection in &mut self.connections {
            connection.attributes = attributes.remove(&connection.id).unwrap_or_default();
            connection.grants = grants.remove(&connection.id).unwrap_or_default();
        }
        (attributes, grants) = next();
        for group in &mut self.groups {
            group.attributes = attributes.remove(&group.id).unwrap_or_default();
            group.grants = grants.remove(&group.id).unwrap_or_default();
        }
        (attributes, grants) = next();
        for profile in &mut self.profiles {
            profile.attributes = attributes.remove(&profile.id).unwrap_or_default();
            profile.grants = grants.remove(&profile.id).unwrap_or_default();
            profile.parameters = profile_parameters.remove(&profile.id).unwrap_or_default();
        }
        for entity in self.entities.iter_mut().filter(|entity| entity.kind == GranteeKind::User) {
            entity.password = passwords.remove(&entity.id);
        }
    }
}

/// A parameter of a statement, with its type: statements have no names, so they also pass through poolers.
type Argument<'a> = (&'a (dyn ToSql + Sync), Type);

async fn rows<T>(
    client: &Client,
    statement: &str,
    arguments: &[Argument<'_>],
    read: impl Fn(&Row) -> Result<T, Error>,
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

fn connection(row: &Row) -> Result<Connection, Error> {
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
        protocol: row.try_get(3)?,
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
        parameters: Parameters::new(),
        attributes: Attributes::new(),
        grants: GrantSet::new(),
    })
}

/// The passwords of the users to whom a file gives one, by names as the plan compares them at most: the server may compare otherwise.
async fn passwords(client: &Client, desired: &Desired, entities: &[Entity]) -> Result<HashMap<i32, StoredPassword>, Failure> {
    let given = desired.users.values().filter(|user| matches!(user.password, Password::Given(_)));
    let names: HashSet<String> = given.map(|user| user.name.to_lowercase()).collect();
    let is_given = |entity: &&Entity| entity.kind == GranteeKind::User && names.contains(&entity.name.to_lowercase());
    let ids: Vec<i32> = entities.iter().filter(is_given).map(|entity| entity.id).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let read = |row: &Row| Ok((row.try_get(0)?, StoredPassword { hash: row.try_get(1)?, salt: row.try_get(2)? }));
    Ok(rows(client, PASSWORDS, &[(&ids, Type::INT4_ARRAY)], read).await?.into_iter().collect())
}

async fn parameters(client: &Client, statement: &str, arguments: &[Argument<'_>]) -> Result<HashMap<i32, Parameters>, Failure> {
    let read = |row: &Row| Ok((row.try_get::<_, i32>(0)?, (row.try_get::<_, String>(1)?, row.try_get::<_, String>(2)?)));
    let mut parameters: HashMap<i32, Parameters> = HashMap::new();
    for (id, (name, value)) in rows(client, statement, arguments, read).await? {
        parameters.entry(id).or_default().push((name.into(), value.into()));
    }
    Ok(parameters)
}

async fn attributes(client: &Client, statement: &str) -> Result<HashMap<i32, Attributes>, Failure> {
    let read = |row: &Row| Ok((row.try_get::<_, i32>(0)?, (row.try_get(1)?, row.try_get(2)?)));
    let mut attributes: HashMap<i32, Attributes> = HashMap::new();
    for (id, attribute) in rows(client, statement, &[], read).await? {
        attributes.entry(id).or_default().push(attribute);
    }
    Ok(attributes)
}

async fn grants(client: &Client, statement: &str) -> Result<HashMap<i32, GrantSet>, Failure> {
    let read = |row: &Row| Ok((row.try_get::<_, i32>(0)?, row.try_get::<_, i32>(1)?, Permission::read(row.try_get(2)?)));
    let mut grants: HashMap<i32, GrantSet> = HashMap::new();
    for (id, entity, permission) in rows(client, statement, &[], read).await? {
        grants.entry(id).or_default().extend(permission.map(|permission| (entity, permission)));
    }
    Ok(grants)
}
