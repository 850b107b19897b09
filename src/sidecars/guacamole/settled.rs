//! Whether anything has changed since files and database were last found alike. If not, neither has to be read in full: an idle pass costs
//! a look at the files' bytes and at the database's row versions.

use tokio_postgres::Client;

use super::{model::Digest, provisioner::Report};
use crate::postgres::failure::Failure;

/// How things were when a pass had nothing to write.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    /// Of the configuration and all connection files.
    pub(crate) files: Digest,
    pub(crate) database: RowVersions,
    /// What there was to look at, which then is so still.
    pub(crate) report: Report,
}

/// For each table how many rows it has, and sums of their versions.
pub(crate) type RowVersions = Vec<(i64, i64, i64)>;

/// The tables that a plan depends on.
const TABLES: [&str; 14] = [
    "entity",
    "user",
    "user_group",
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
/// so whatever is inserted, changed or deleted changes a count or, but for chances of one in billions, a sum.
pub(crate) async fn row_versions(client: &Client) -> Result<RowVersions, Failure> {
    let select = |table: &str| {
        format!(
            "SELECT count(*), coalesce(sum(version), 0)::int8, coalesce(sum(hashint8(version)), 0)::int8
             FROM (SELECT xmin::text::int8 AS version FROM guacamole_{table}) rows"
        )
    };
    let statement = TABLES.map(select).join(" UNION ALL ");
    let rows = client.query_typed(&statement, &[]).await?;
    let versions = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
    versions.collect::<Result<_, tokio_postgres::Error>>().map_err(Failure::from)
}
