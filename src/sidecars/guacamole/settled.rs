//! What a pass leaves to the next one if it had nothing to write. While the database's row versions are the same, it isn't read again; while
//! the files' bytes are, too, there is still nothing to write.

use tokio_postgres::Client;

use super::{known::KnownFiles, model::Digest, observed::Observed, provisioner::Report};
use crate::postgres::failure::Failure;

/// How things were when a pass had nothing to write.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Of the configuration and all connection files, if there is nothing to do for as long as they are the same.
    pub(crate) files: Option<Digest>,
    pub(crate) database: RowVersions,
    pub(crate) known: Known,
    /// What there was to look at, which then is so still.
    pub(crate) report: Report,
}

/// What is known while the database's row versions are the same.
#[derive(Debug)]
pub(crate) struct Known {
    /// What the database holds.
    pub(crate) observed: Observed,
    /// What files said.
    pub(crate) files: KnownFiles,
}

/// For each table how many rows it has, and the sum of their versions' hashes, which may be longer than any integer.
pub(crate) type RowVersions = Vec<(i64, String)>;

/// The tables that a plan depends on.
const TABLES: [&str; 15] = [
    "entity",
    "user",
    "user_group",
    "user_group_member",
    "connection_group",
    "connection",
    "sharing_profile",
    "connection_parameter",
    "sharing_profile_parameter",
    "connection_attribute",
    "connection_group_attribute",
    "sharing_profile_attribute",
    "connection_permission",
    "connection_group_permission",
    "sharing_profile_permission",
];

/// Reads the versions of all rows. Every write gives a row the number of its transaction (`xmin`, PostgreSQL manual, "System Columns"),
/// so whatever is inserted, changed or deleted changes a count or, but for chances of one in billions, a sum. A database that was set back
/// gives numbers out anew: what is remembered must not outlive the session that has the turn.
pub(crate) async fn row_versions(client: &Client) -> Result<RowVersions, Failure> {
    // An `xid` has no arithmetic of its own, and is hashed faster than it is turned into text.
    let select =
        |table: &str| format!("SELECT count(*), coalesce(sum(hash_record_extended(ROW(xmin), 0)), 0)::text FROM guacamole_{table}");
    let statement = TABLES.map(select).join(" UNION ALL ");
    let rows = client.query_typed(&statement, &[]).await?;
    let versions = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    versions.collect::<Result<_, tokio_postgres::Error>>().map_err(Failure::from)
}
