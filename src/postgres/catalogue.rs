//! What a server says of itself, of databases and of roles: one round trip for all that are asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use super::failure::Failure;

/// A parameter of a statement, with its type: so no round trip is needed to ask for that.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// What a server says of itself and of us.
#[allow(clippy::struct_excessive_bools, reason = "each is a column of its own")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// `server_version_num`, such as 170002.
    pub version_number: i32,
    /// `server_version`, such as `17.2 (Debian 17.2-1)`.
    pub version: String,
    /// Whether it is a replica.
    pub in_recovery: bool,
    /// Whether new transactions are read-only: `default_transaction_read_only` of the server.
    pub is_read_only: bool,
    /// Who we are.
    pub user: String,
    /// Whether we may do everything.
    pub is_superuser: bool,
    /// Whether we may create databases.
    pub can_create_databases: bool,
    /// Whether we may create roles.
    pub can_create_roles: bool,
}

/// A database as the shared catalogue has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Database {
    /// Its OID, which no other database of the server has.
    pub oid: u32,
    /// Its owner.
    pub owner: String,
    /// Its character set.
    pub encoding: String,
    /// `c` for libc, `i` for ICU, `b` for builtin.
    pub provider: String,
    /// `LC_COLLATE`.
    pub collate: String,
    /// `LC_CTYPE`.
    pub ctype: String,
    /// The locale of ICU or of the builtin provider.
    pub locale: Option<String>,
    /// Rules added to those of ICU.
    pub icu_rules: Option<String>,
    /// Its default tablespace.
    pub tablespace: String,
    /// -1 means any number.
    pub connection_limit: i32,
    /// Whether anybody can connect.
    pub allow_connections: bool,
    /// Whether others may copy it.
    pub is_template: bool,
    /// What `ALTER DATABASE SET` has set, of the parameters that were asked for: the beginning of each.
    pub parameters: BTreeMap<String, String>,
    /// What is granted to others than the owner, itself and not by membership; PUBLIC is the empty name.
    pub privileges: BTreeMap<String, BTreeSet<String>>,
}

/// A role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Role {
    /// Its OID, which no other role of the server has.
    pub oid: u32,
    /// Whether it may do everything.
    pub is_superuser: bool,
    /// Whether we may give it something, and act in its place.
    pub is_ours_to_set: bool,
}

/// What a server says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Of itself.
    pub server: Server,
    /// Of the databases that were asked for, by name.
    pub databases: HashMap<String, Database>,
    /// Of the roles that were asked for, by name.
    pub roles: HashMap<String, Role>,
}

const SERVER: &str = "SELECT current_setting('server_version_num')::int4, current_setting('server_version'), pg_is_in_recovery(), \
    current_setting('transaction_read_only')::bool, \
    current_user::text, r.rolsuper, r.rolcreatedb, r.rolcreaterole FROM pg_roles r WHERE r.rolname = current_user";

// An owner may set what they like, of any length: only what is asked for comes back, and no more of it than can be asked for.
// `to_jsonb` hides that columns came and were renamed: daticulocale until 16, datlocale from 17, daticurules from 16.
const DATABASES: &str = "SELECT d.datname::text, d.oid, pg_get_userbyid(d.datdba)::text, pg_encoding_to_char(d.encoding)::text, \
    d.datlocprovider::text, d.datcollate, d.datctype, \
    coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'), to_jsonb(d) ->> 'daticurules', \
    (SELECT t.spcname::text FROM pg_tablespace t WHERE t.oid = d.dattablespace), d.datconnlimit, d.datallowconn, d.datistemplate, \
    ARRAY(SELECT left(setting, 4096) FROM pg_db_role_setting s, unnest(s.setconfig) AS setting \
        WHERE s.setdatabase = d.oid AND s.setrole = 0 AND d.datname::text || '/' || lower(split_part(setting, '=', 1)) = ANY ($2)), \
    ARRAY(SELECT a.privilege_type || ' ' || CASE WHEN a.grantee = 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END \
        FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee <> d.datdba) \
    FROM pg_database d WHERE d.datname = ANY ($1)";

// To be owner in its place takes both its name, for what is to be its own, and its rights, for what is.
const ROLES: &str = "SELECT r.rolname::text, r.oid, r.rolsuper, \
    pg_has_role(r.oid, CASE WHEN current_setting('server_version_num')::int4 >= 160000 THEN 'SET' ELSE 'MEMBER' END) \
    AND pg_has_role(r.oid, 'USAGE') \
    FROM pg_roles r WHERE r.rolname = ANY ($1)";

/// How a parameter of a database is asked for.
#[must_use]
pub fn setting(database: &str, parameter: &str) -> String {
    format!("{database}/{}", parameter.to_ascii_lowercase())
}

/// Asks for the databases and the roles of these names, and for these [`setting`]s of the databases.
pub async fn read(client: &Client, databases: &[&str], settings: &[String], roles: &[&str]) -> Result<Catalogue, Failure> {
    let (in_databases, in_roles): ([Parameter<'_>; 2], [Parameter<'_>; 1]) =
        ([(&databases, Type::TEXT_ARRAY), (&settings, Type::TEXT_ARRAY)], [(&roles, Type::TEXT_ARRAY)]);
    // Nobody is asked about nothing.
    let rows = async |sql: &str, names: &[&str], parameters: &[Parameter<'_>]| {
        if names.is_empty() { Ok(Vec::new()) } else { client.query_typed(sql, parameters).await }
    };
    let (server, databases, roles) =
        futures::try_join!(client.query_typed_one(SERVER, &[]), rows(DATABASES, databases, &in_databases), rows(ROLES, roles, &in_roles),)?;
    Ok(Catalogue {
        server: read_server(&server)?,
        databases: databases.iter().map(read_database).collect::<Result<_, _>>()?,
        roles: roles.iter().map(read_role).collect::<Result<_, _>>()?,
    })
}

/// The names of roles that can own databases; none where there are more than `most`.
pub async fn role_names(client: &Client, most: usize) -> Result<Option<Vec<String>>, Failure> {
    let limit = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
    let sql = "SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1 LIMIT $1";
    let rows = client.query_typed(sql, &[(&limit, Type::INT8)]).await?;
    let names = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
    Ok((names.len() <= most).then_some(names))
}

fn read_server(row: &Row) -> Result<Server, Failure> {
    Ok(Server {
        version_number: row.try_get(0)?,
        version: row.try_get(1)?,
        in_recovery: row.try_get(2)?,
        is_read_only: row.try_get(3)?,
        user: row.try_get(4)?,
        is_superuser: row.try_get(5)?,
        can_create_databases: row.try_get(6)?,
        can_create_roles: row.try_get(7)?,
    })
}

fn read_database(row: &Row) -> Result<(String, Database), Failure> {
    let settings: Vec<String> = row.try_get(13)?;
    let grants: Vec<String> = row.try_get(14)?;
    let mut privileges = BTreeMap::<String, BTreeSet<String>>::new();
    for (privilege, grantee) in grants.iter().filter_map(|grant| grant.split_once(' ')) {
        privileges.entry(grantee.to_owned()).or_default().insert(privilege.to_owned());
    }
    let parameters = settings.iter().filter_map(|setting| setting.split_once('='));
    let database = Database {
        oid: row.try_get(1)?,
        owner: row.try_get(2)?,
        encoding: row.try_get(3)?,
        provider: row.try_get(4)?,
        collate: row.try_get(5)?,
        ctype: row.try_get(6)?,
        locale: row.try_get(7)?,
        icu_rules: row.try_get(8)?,
        tablespace: row.try_get(9)?,
        connection_limit: row.try_get(10)?,
        allow_connections: row.try_get(11)?,
        is_template: row.try_get(12)?,
        parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        privileges,
    };
    Ok((row.try_get(0)?, database))
}

fn read_role(row: &Row) -> Result<(String, Role), Failure> {
    Ok((row.try_get(0)?, Role { oid: row.try_get(1)?, is_superuser: row.try_get(2)?, is_ours_to_set: row.try_get(3)? }))
}
