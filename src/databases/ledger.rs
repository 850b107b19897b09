//! The database of our own on each server: which database is whose, and the locks. All operators of a server use the same one.

use tokio_postgres::{Client, Row, types::Type};

use crate::{
    api::postgres_name::MAINTENANCE_DATABASE,
    postgres::{
        catalogue::Parameter,
        failure::Failure,
        quoting::{Identifier, Literal},
        scram::{Salt, Verifier},
    },
};

use super::plan::{Holder, Record, RoleRecord, Stage};

/// The lowest OID that is not the server's own (`FirstNormalObjectId`).
const FIRST_OID: u32 = 16_384;
/// Held while the tables are made.
const LAYOUT_LOCK: &str = "layout";

// One statement each, so that a server that dies in between leaves a whole or nothing.
const LAYOUT: &str = "CREATE SCHEMA IF NOT EXISTS outrigger; \
    CREATE TABLE IF NOT EXISTS outrigger.claims ( \
        oid oid PRIMARY KEY, database text NOT NULL UNIQUE, cluster text NOT NULL, uid text NOT NULL, \
        namespace text NOT NULL, name text NOT NULL, \
        stage text NOT NULL CHECK (stage IN ('intended', 'held', 'retired')), \
        since timestamptz NOT NULL DEFAULT now(), drop_after timestamptz); \
    ALTER TABLE outrigger.claims ADD COLUMN IF NOT EXISTS is_closed boolean NOT NULL DEFAULT false; \
    CREATE INDEX IF NOT EXISTS claims_of ON outrigger.claims (cluster, uid); \
    CREATE TABLE IF NOT EXISTS outrigger.roles ( \
        role text PRIMARY KEY, cluster text NOT NULL, uid text NOT NULL, namespace text NOT NULL, name text NOT NULL, \
        digest text, since timestamptz NOT NULL DEFAULT now()); \
    ALTER TABLE outrigger.roles ADD COLUMN IF NOT EXISTS salt text, ADD COLUMN IF NOT EXISTS oid oid; \
    UPDATE outrigger.roles SET oid = r.oid FROM pg_roles r WHERE r.rolname = role AND roles.oid IS NULL; \
    COMMENT ON SCHEMA outrigger IS 'Which database is whose. Kept by Outrigger; to give up a database, delete its PgDatabase.'";

/// Whether the layout is the newest: what was added last is there.
const NEWEST: &str = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('outrigger.claims') AND attname = 'is_closed')";

/// Who may own what is ours: we, superusers, and roles of which we were made a member. A superuser has the rights of all roles, so
/// these alone say nothing.
const TRUSTED: &str = "WITH RECURSIVE trusted (oid) AS ( \
    SELECT oid FROM pg_roles WHERE rolname = current_user \
    UNION SELECT m.roleid FROM pg_auth_members m JOIN trusted t ON t.oid = m.member), \
    trusted_or_super (oid) AS (SELECT oid FROM trusted UNION SELECT oid FROM pg_roles WHERE rolsuper)";

/// Whether the maintenance database is there, and whether it is ours to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maintenance {
    Absent,
    Usable,
    /// Its owner is somebody whose rights we don't have, or nobody has given us: who could claim anything.
    Foreign,
}

pub(super) async fn maintenance(client: &Client) -> Result<Maintenance, Failure> {
    let sql = format!(
        "{TRUSTED} SELECT pg_has_role(datdba, 'USAGE') AND datdba IN (SELECT oid FROM trusted_or_super) FROM pg_database WHERE datname = $1"
    );
    Ok(match client.query_typed_opt(&sql, &[(&MAINTENANCE_DATABASE, Type::TEXT)]).await? {
        None => Maintenance::Absent,
        Some(row) if row.try_get(0)? => Maintenance::Usable,
        Some(_) => Maintenance::Foreign,
    })
}

/// Something in the maintenance database by which somebody else could claim anything, or have done what they like with our rights; told
/// from the inside, since it may have been made between two looks.
pub(super) async fn stranger(client: &Client) -> Result<Option<String>, Failure> {
    let sql = format!(
        "{TRUSTED}, \
         ours AS (SELECT c.oid, c.relname, c.relowner FROM pg_class c WHERE c.relnamespace = to_regnamespace('outrigger')) \
         SELECT format('the database belongs to %s', pg_get_userbyid(datdba)) \
            FROM pg_database WHERE datname = current_database() AND datdba NOT IN (SELECT oid FROM trusted_or_super) \
         UNION ALL SELECT format('its schema %I belongs to %s', nspname, pg_get_userbyid(nspowner)) \
            FROM pg_namespace WHERE nspname = 'outrigger' AND nspowner NOT IN (SELECT oid FROM trusted_or_super) \
         UNION ALL SELECT format('its relation %I belongs to %s', relname, pg_get_userbyid(relowner)) \
            FROM ours WHERE relowner NOT IN (SELECT oid FROM trusted_or_super) \
         UNION ALL SELECT format('its table %I has the trigger %I', relname, tgname) \
            FROM ours JOIN pg_trigger t ON t.tgrelid = ours.oid WHERE NOT t.tgisinternal \
         UNION ALL SELECT format('its table %I has the rule %I', relname, rulename) FROM ours JOIN pg_rewrite r ON r.ev_class = ours.oid LIMIT 1"
    );
    client.query_typed_opt(&sql, &[]).await?.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// Creates the maintenance database. Two who do so at once are told of each other by the server.
pub(super) fn creation() -> String {
    format!("CREATE DATABASE {MAINTENANCE_DATABASE} TEMPLATE template0 STRATEGY WAL_LOG ENCODING 'UTF8' LOCALE 'C'")
}

/// Makes what is missing in the maintenance database.
pub(super) async fn lay_out(client: &Client) -> Result<(), Failure> {
    if client.query_typed_one(NEWEST, &[]).await?.try_get(0)? {
        return Ok(());
    }
    // Within one transaction: of two who do so, one waits for the other.
    let key = lock_key(LAYOUT_LOCK);
    let revoke = format!("REVOKE ALL ON DATABASE {MAINTENANCE_DATABASE} FROM PUBLIC");
    transaction(client, &format!("SELECT pg_advisory_xact_lock({key}); {LAYOUT}; {revoke}")).await
}

/// Takes the lock of a database, if nobody has it. It lives as long as the connection, so as any statement that runs under it.
pub(super) async fn try_lock(client: &Client, database: &str) -> Result<bool, Failure> {
    let row = client.query_typed_one("SELECT pg_try_advisory_lock($1)", &[(&lock_key(database), Type::INT8)]).await?;
    Ok(row.try_get(0)?)
}

pub(super) async fn unlock(client: &Client, database: &str) -> Result<(), Failure> {
    client.query_typed("SELECT pg_advisory_unlock($1)", &[(&lock_key(database), Type::INT8)]).await?;
    Ok(())
}

/// Locks have numbers for names. Two databases with one number would only wait for each other.
fn lock_key(name: &str) -> i64 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("outrigger {name}").as_bytes());
    digest.as_ref().first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

// Nothing takes an hour between a claim and its database.
const COLUMNS: &str = "SELECT c.oid, c.database, c.cluster, c.uid, c.namespace, c.name, c.stage, d.datname::text, c.is_closed, \
    c.since < now() - interval '1 hour' FROM outrigger.claims c LEFT JOIN pg_database d ON d.oid = c.oid";

/// The claims to databases of these names.
pub(super) async fn claims(client: &Client, databases: &[&str]) -> Result<Vec<Record>, Failure> {
    let sql = format!("{COLUMNS} WHERE c.database = ANY ($1)");
    client.query_typed(&sql, &[(&databases, Type::TEXT_ARRAY)]).await?.iter().map(read_record).collect()
}

/// The claims of one object.
pub(super) async fn claims_of(client: &Client, holder: &Holder) -> Result<Vec<Record>, Failure> {
    let sql = format!("{COLUMNS} WHERE c.cluster = $1 AND c.uid = $2 ORDER BY c.since DESC");
    let rows = client.query_typed(&sql, &[(&holder.cluster, Type::TEXT), (&holder.uid, Type::TEXT)]).await?;
    rows.iter().map(read_record).collect()
}

/// What is known of roles of these names.
pub(super) async fn roles(client: &Client, roles: &[&str]) -> Result<Vec<(String, RoleRecord)>, Failure> {
    if roles.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT role, cluster, uid, namespace, name, digest, salt, oid FROM outrigger.roles WHERE role = ANY ($1)";
    let rows = client.query_typed(sql, &[(&roles, Type::TEXT_ARRAY)]).await?;
    let read = |row: &Row| {
        let salt = row.try_get::<_, Option<&str>>(6)?.and_then(Salt::from_text);
        Ok((row.try_get(0)?, RoleRecord { holder: read_holder(row, 1)?, oid: row.try_get(7)?, digest: row.try_get(5)?, salt }))
    };
    rows.iter().map(read).collect()
}

/// A database that waits to be dropped.
#[derive(Debug, Clone)]
pub(super) struct Retired {
    pub(super) oid: u32,
    /// Whose it was.
    pub(super) holder: Holder,
    /// The name it waits under.
    pub(super) name: String,
    /// The name of the database with this OID now.
    pub(super) found_as: Option<String>,
    pub(super) is_due: bool,
}

/// The databases of a cluster that wait to be dropped.
pub(super) async fn retired(client: &Client, cluster: &str) -> Result<Vec<Retired>, Failure> {
    let sql = "SELECT c.oid, c.database, d.datname::text, coalesce(c.drop_after <= now(), false), c.cluster, c.uid, c.namespace, c.name \
        FROM outrigger.claims c LEFT JOIN pg_database d ON d.oid = c.oid WHERE c.cluster = $1 AND c.stage = 'retired' LIMIT 1000";
    let rows = client.query_typed(sql, &[(&cluster, Type::TEXT)]).await?;
    let read = |row: &Row| {
        let holder = read_holder(row, 4)?;
        Ok(Retired { oid: row.try_get(0)?, holder, name: row.try_get(1)?, found_as: row.try_get(2)?, is_due: row.try_get(3)? })
    };
    rows.iter().map(read).collect()
}

/// A number for a database, which says that it is the one that was intended.
pub(super) fn draw_oid() -> Result<u32, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes).max(FIRST_OID))
}

/// The end of a statement that doesn't wait for the disk. `CREATE DATABASE` does, and what was written before it is on the disk with
/// it; what is written after it and lost follows from what is found.
const LAZILY: &str = "FROM set_config('synchronous_commit', 'off', true)";

/// Writes down that a database is about to be created. If somebody was quicker, it is a unique index that says so.
pub(super) async fn intend(client: &Client, holder: &Holder, database: &str, oid: u32) -> Result<(), Failure> {
    let sql = format!(
        "INSERT INTO outrigger.claims (oid, database, cluster, uid, namespace, name, stage) SELECT $1, $2, $3, $4, $5, $6, 'intended' {LAZILY}"
    );
    client.execute_typed(&sql, &parameters(&oid, &database, holder)).await?;
    Ok(())
}

/// Writes down that a database exists and is the holder's, whoever's it was.
pub(super) async fn adopt(client: &Client, holder: &Holder, database: &str, oid: u32) -> Result<(), Failure> {
    // It may have been claimed under the name that it waited under to be dropped.
    let before = "DELETE FROM outrigger.claims WHERE oid = $1 AND database <> $2";
    client.execute_typed(before, &[(&oid, Type::OID), (&database, Type::TEXT)]).await?;
    let sql = "INSERT INTO outrigger.claims AS c (oid, database, cluster, uid, namespace, name, stage) \
        VALUES ($1, $2, $3, $4, $5, $6, 'held') ON CONFLICT (database) DO UPDATE SET is_closed = c.is_closed AND c.oid = excluded.oid, oid = excluded.oid, cluster = excluded.cluster, \
        uid = excluded.uid, namespace = excluded.namespace, name = excluded.name, stage = 'held', since = now()";
    client.execute_typed(sql, &parameters(&oid, &database, holder)).await?;
    Ok(())
}

fn parameters<'a>(oid: &'a u32, database: &'a &'a str, holder: &'a Holder) -> [Parameter<'a>; 6] {
    [
        (oid, Type::OID),
        (database, Type::TEXT),
        (&holder.cluster, Type::TEXT),
        (&holder.uid, Type::TEXT),
        (&holder.namespace, Type::TEXT),
        (&holder.name, Type::TEXT),
    ]
}

/// Writes down that the database with this OID is there.
pub(super) async fn hold(client: &Client, oid: u32) -> Result<(), Failure> {
    let sql = format!("UPDATE outrigger.claims SET stage = 'held' {LAZILY} WHERE oid = $1");
    client.execute_typed(&sql, &[(&oid, Type::OID)]).await?;
    Ok(())
}

/// Writes down whether the database is closed by us, who may have to open it again.
pub(super) async fn mark_closed(client: &Client, oid: u32, is_closed: bool) -> Result<(), Failure> {
    let sql = "UPDATE outrigger.claims SET is_closed = $2 WHERE oid = $1";
    client.execute_typed(sql, &[(&oid, Type::OID), (&is_closed, Type::BOOL)]).await?;
    Ok(())
}

/// Writes down that the database waits, under another name, to be dropped after so many seconds.
pub(super) async fn retire(client: &Client, oid: u32, retired: &str, seconds: f64) -> Result<(), Failure> {
    let sql = "UPDATE outrigger.claims SET stage = 'retired', database = $2, drop_after = now() + make_interval(secs => $3) WHERE oid = $1";
    client.execute_typed(sql, &[(&oid, Type::OID), (&retired, Type::TEXT), (&seconds, Type::FLOAT8)]).await?;
    Ok(())
}

/// Takes away a claim.
pub(super) async fn forget(client: &Client, oid: u32) -> Result<(), Failure> {
    client.execute_typed("DELETE FROM outrigger.claims WHERE oid = $1", &[(&oid, Type::OID)]).await?;
    Ok(())
}

/// Takes away the claim of a database that waited to be dropped. Whoever has taken it over since keeps theirs.
pub(super) async fn forget_retired(client: &Client, retired: &Retired) -> Result<(), Failure> {
    let sql = "DELETE FROM outrigger.claims WHERE oid = $1 AND stage = 'retired' AND database = $2";
    client.execute_typed(sql, &[(&retired.oid, Type::OID), (&retired.name, Type::TEXT)]).await?;
    Ok(())
}

/// Creates a role and writes down for whom, in one transaction. The verifier is no password, and all there is in the server's log.
pub(super) async fn create_role(
    client: &Client,
    role: Identifier<'_>,
    name: &str,
    holder: &Holder,
    verifier: Option<&Verifier>,
) -> Result<(), Failure> {
    let password = verifier.map(|verifier| format!(" PASSWORD '{}'", verifier.as_str())).unwrap_or_default();
    let (digest, salt) = verifier.map_or_else(|| ("NULL".to_owned(), "NULL".to_owned()), kept_of);
    let values = [name, &holder.cluster, &holder.uid, &holder.namespace, &holder.name].map(literal).join(", ");
    // A row of a role that somebody has dropped is no longer true.
    let sql = format!(
        "CREATE ROLE {role} LOGIN{password}; DELETE FROM outrigger.roles WHERE role = {0}; \
         INSERT INTO outrigger.roles (role, cluster, uid, namespace, name, digest, salt, oid) \
         SELECT {values}, {digest}, {salt}, oid FROM pg_roles WHERE rolname = {0}",
        literal(name)
    );
    transaction(client, &sql).await
}

/// Whether the role of this name is still the one that was created here. A superuser is nobody's.
async fn is_ours(client: &Client, name: &str) -> Result<bool, Failure> {
    let sql = "SELECT EXISTS (SELECT FROM outrigger.roles o JOIN pg_roles r ON r.oid = o.oid AND r.rolname = o.role \
        WHERE o.role = $1 AND NOT r.rolsuper)";
    Ok(client.query_typed_one(sql, &[(&name, Type::TEXT)]).await?.try_get(0)?)
}

/// Sets the password of a role of ours by its verifier. One that somebody has made in its place is left alone, which the next look tells.
pub(super) async fn set_password(client: &Client, role: Identifier<'_>, name: &str, verifier: &Verifier) -> Result<(), Failure> {
    if !is_ours(client, name).await? {
        return Ok(());
    }
    let (digest, salt) = kept_of(verifier);
    let sql = format!(
        "ALTER ROLE {role} LOGIN PASSWORD '{}'; UPDATE outrigger.roles SET digest = {digest}, salt = {salt} WHERE role = {}",
        verifier.as_str(),
        literal(name)
    );
    transaction(client, &sql).await
}

/// Writes down that a role that was created for one object is another's, who doesn't know its password yet.
pub(super) async fn hand_over(client: &Client, role: &str, from: &Holder, to: &Holder) -> Result<(), Failure> {
    let sql = "UPDATE outrigger.roles SET cluster = $4, uid = $5, namespace = $6, name = $7, digest = NULL, salt = NULL \
        WHERE role = $1 AND cluster = $2 AND uid = $3";
    let parameters: [Parameter<'_>; 7] = [
        (&role, Type::TEXT),
        (&from.cluster, Type::TEXT),
        (&from.uid, Type::TEXT),
        (&to.cluster, Type::TEXT),
        (&to.uid, Type::TEXT),
        (&to.namespace, Type::TEXT),
        (&to.name, Type::TEXT),
    ];
    client.execute_typed(sql, &parameters).await?;
    Ok(())
}

/// What is kept of a verifier, to make it again from the password and to know it. To try a guess with both is as much work as with
/// the verifier itself.
fn kept_of(verifier: &Verifier) -> (String, String) {
    (literal(&super::secret::digest(verifier.as_str())), literal(&verifier.salt().to_string()))
}

/// Drops a role of ours that owns nothing any more. Of one that somebody has dropped, or made in its place, it only forgets that it was
/// ours, and a superuser is left as it is.
pub(super) async fn drop_role(client: &Client, role: Identifier<'_>, name: &str) -> Result<(), Failure> {
    if is_ours(client, name).await? {
        let sql = format!("DROP ROLE IF EXISTS {role}; DELETE FROM outrigger.roles WHERE role = {}", literal(name));
        return transaction(client, &sql).await;
    }
    let sql = "DELETE FROM outrigger.roles o WHERE role = $1 \
        AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = o.oid AND r.rolname = o.role)";
    client.execute_typed(sql, &[(&name, Type::TEXT)]).await?;
    Ok(())
}

/// The roles that were created for an object.
pub(super) async fn roles_of(client: &Client, holder: &Holder) -> Result<Vec<String>, Failure> {
    let sql = "SELECT role FROM outrigger.roles WHERE cluster = $1 AND uid = $2";
    let rows = client.query_typed(sql, &[(&holder.cluster, Type::TEXT), (&holder.uid, Type::TEXT)]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// A transaction of several statements in one message. One that fails is taken back, or the connection would stay in it.
async fn transaction(client: &Client, statements: &str) -> Result<(), Failure> {
    let done = client.batch_execute(&format!("BEGIN; {statements}; COMMIT")).await;
    if done.is_err() {
        client.batch_execute("ROLLBACK").await.ok();
    }
    Ok(done?)
}

/// What comes from objects has been validated, and holds no NUL: the API server takes none.
fn literal(text: &str) -> String {
    Literal::new(text).map_or_else(|_| "NULL".to_owned(), |text| text.to_string())
}

fn read_record(row: &Row) -> Result<Record, Failure> {
    let stage = match row.try_get::<_, String>(6)?.as_str() {
        "intended" => Stage::Intended,
        "held" => Stage::Held,
        _ => Stage::Retired,
    };
    Ok(Record {
        oid: row.try_get(0)?,
        database: row.try_get(1)?,
        holder: read_holder(row, 2)?,
        stage,
        found_as: row.try_get(7)?,
        is_closed: row.try_get(8)?,
        is_old: row.try_get(9)?,
    })
}

fn read_holder(row: &Row, first: usize) -> Result<Holder, Failure> {
    Ok(Holder {
        cluster: row.try_get(first)?,
        uid: row.try_get(first + 1)?,
        namespace: row.try_get(first + 2)?,
        name: row.try_get(first + 3)?,
    })
}
