//! What is there: reads of a server's shared catalogue, and inside a database.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, types::Type};

use crate::{
    api::pg_database::{PgDatabase, PgDatabaseSpec},
    postgres::{
        catalogue::{self, Parameter, Server},
        failure::Failure,
    },
};

use super::{
    ledger,
    plan::{Available, Blocker, Holder, Inner, Installed, Schema, Seen},
};

/// Blockers that are named; more say nothing new.
const BLOCKERS: i64 = 16;

/// What is there of one database that is asked for.
pub(super) async fn one(client: &Client, object: &PgDatabase, is_gone: impl Fn(&Holder) -> bool) -> Result<Seen, Failure> {
    Ok(many(client, &[object], is_gone).await?.1.pop().unwrap_or_default())
}

/// The server, and what is there of all these, in their order, in one round trip.
pub(super) async fn many(
    client: &Client,
    objects: &[&PgDatabase],
    is_gone: impl Fn(&Holder) -> bool,
) -> Result<(Server, Vec<Seen>), Failure> {
    let names: Vec<&str> = objects.iter().map(|object| object.database()).collect();
    let specs = || objects.iter().map(|object| &object.spec);
    let owners = distinct(specs().filter_map(|spec| spec.owner.as_ref()).map(|owner| owner.name.as_str()));
    let parameters: Vec<String> = objects.iter().flat_map(|object| parameters(object)).map(|name| name.to_ascii_lowercase()).collect();
    let parameters = distinct(parameters.iter().map(String::as_str));
    let settings: Vec<String> = objects.iter().flat_map(|object| settings(object)).collect();
    let (catalogue, claims, roles, contexts) = futures::try_join!(
        catalogue::read(client, &names, &settings, &owners),
        ledger::claims(client, &names),
        ledger::roles(client, &owners),
        contexts(client, &parameters),
    )?;
    let claims: BTreeMap<String, _> = claims.into_iter().map(|claim| (claim.database.clone(), claim)).collect();
    let roles: BTreeMap<String, _> = roles.into_iter().collect();
    let databases = catalogue.databases;
    let seen = objects.iter().map(|object| {
        let record = claims.get(object.database()).cloned();
        let owner = object.spec.owner.as_ref().map(|owner| &owner.name);
        Seen {
            server: catalogue.server.clone(),
            database: databases.get(object.database()).cloned(),
            is_holder_gone: record.as_ref().is_some_and(|record| is_gone(&record.holder)),
            record,
            is_owner_holder_gone: owner.and_then(|owner| roles.get(owner)).is_some_and(|made| is_gone(&made.holder)),
            roles: owner.and_then(|owner| Some((owner.clone(), catalogue.roles.get(owner)?.clone()))).into_iter().collect(),
            owner_record: owner.and_then(|owner| roles.get(owner).cloned()),
            contexts: contexts.clone(),
        }
    });
    let seen = seen.collect();
    Ok((catalogue.server, seen))
}

/// The parameters that are asked for, or were before.
fn parameters(object: &PgDatabase) -> impl Iterator<Item = &String> {
    let before = object.status.iter().flat_map(|status| &status.parameters);
    object.spec.parameters.keys().chain(before)
}

fn settings(object: &PgDatabase) -> impl Iterator<Item = String> {
    parameters(object).map(|parameter| catalogue::setting(object.database(), parameter))
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

async fn contexts(client: &Client, parameters: &[&str]) -> Result<BTreeMap<String, String>, Failure> {
    if parameters.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = "SELECT lower(name), context FROM pg_settings WHERE lower(name) = ANY ($1)";
    let rows = client.query_typed(sql, &[(&parameters, Type::TEXT_ARRAY)]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// What keeps a database from being dropped or renamed.
pub(super) async fn blockers(client: &Client, database: &str) -> Result<Vec<Blocker>, Failure> {
    let sql = "(SELECT true, format('session %s of %s (%s)', pid, coalesce(usename, 'somebody'), coalesce(nullif(application_name, ''), backend_type)) \
            FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() ORDER BY pid LIMIT $2) \
        UNION ALL (SELECT false, format('replication slot %s', slot_name) FROM pg_replication_slots WHERE database = $1 LIMIT $2) \
        UNION ALL (SELECT false, format('prepared transaction %s', gid) FROM pg_prepared_xacts WHERE database = $1 LIMIT $2) \
        UNION ALL (SELECT false, format('subscription %s', subname) FROM pg_subscription \
            WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = $1) LIMIT $2)";
    let rows = client.query_typed(sql, &[(&database, Type::TEXT), (&BLOCKERS, Type::INT8)]).await?;
    let read = |row: &tokio_postgres::Row| {
        let text = row.try_get(1)?;
        Ok(if row.try_get(0)? { Blocker::Session(text) } else { Blocker::Firm(text) })
    };
    rows.iter().map(read).collect()
}

/// What is there inside the database that the client is connected to.
pub(super) async fn inner(client: &Client, spec: &PgDatabaseSpec) -> Result<Inner, Failure> {
    let schemas: Vec<&str> = spec.schemas.iter().map(|schema| schema.name.as_str()).collect();
    let owners: Vec<&str> = spec.schemas.iter().filter_map(|schema| schema.owner.as_deref()).collect();
    let extensions: Vec<&str> = spec.extensions.iter().map(|extension| extension.name.as_str()).collect();
    let versions: Vec<&str> = spec.extensions.iter().map(|extension| extension.version.as_deref().unwrap_or_default()).collect();
    let schemas_sql = "SELECT n.nspname::text, pg_get_userbyid(n.nspowner)::text, \
        ARRAY(SELECT a.privilege_type || ' ' || CASE WHEN a.grantee = 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END \
            FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a WHERE a.grantee <> n.nspowner) \
        FROM pg_namespace n WHERE n.nspname = ANY ($1)";
    let installed_sql = "SELECT e.extname::text, e.extversion, n.nspname::text, e.extrelocatable \
        FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = ANY ($1)";
    let superusers_sql = "SELECT rolname::text FROM pg_roles WHERE rolsuper AND rolname = ANY ($1)";
    // All control files are read for this, so only where an extension is asked for.
    let available_sql = "SELECT v.name::text, v.trusted OR NOT v.superuser, v.schema::text \
        FROM unnest($1::text[], $2::text[]) AS wanted (name, version) \
        JOIN pg_available_extension_versions v ON v.name = wanted.name \
        JOIN pg_available_extensions a ON a.name = v.name \
        WHERE v.version = coalesce(nullif(wanted.version, ''), a.default_version)";
    let available = async {
        if extensions.is_empty() {
            return Ok(Vec::new());
        }
        client.query_typed(available_sql, &[(&extensions, Type::TEXT_ARRAY), (&versions, Type::TEXT_ARRAY)]).await
    };
    let (in_schemas, in_extensions, in_owners): ([Parameter<'_>; 1], [Parameter<'_>; 1], [Parameter<'_>; 1]) =
        ([(&schemas, Type::TEXT_ARRAY)], [(&extensions, Type::TEXT_ARRAY)], [(&owners, Type::TEXT_ARRAY)]);
    let (schemas, installed, superusers, available) = futures::try_join!(
        client.query_typed(schemas_sql, &in_schemas),
        client.query_typed(installed_sql, &in_extensions),
        client.query_typed(superusers_sql, &in_owners),
        available,
    )?;
    let mut inner = Inner::default();
    for row in &superusers {
        inner.superusers.insert(row.try_get(0)?);
    }
    for row in &schemas {
        let grants: Vec<String> = row.try_get(2)?;
        let mut schema = Schema { owner: row.try_get(1)?, ..Schema::default() };
        for (privilege, grantee) in grants.iter().filter_map(|grant| grant.split_once(' ')) {
            schema.privileges.entry(grantee.to_owned()).or_default().insert(privilege.to_owned());
        }
        inner.schemas.insert(row.try_get(0)?, schema);
    }
    for row in &installed {
        let installed = Installed { version: row.try_get(1)?, schema: row.try_get(2)?, is_relocatable: row.try_get(3)? };
        inner.installed.insert(row.try_get(0)?, installed);
    }
    for row in &available {
        inner.available.insert(row.try_get(0)?, Available { is_harmless: row.try_get(1)?, schema: row.try_get(2)? });
    }
    Ok(inner)
}
