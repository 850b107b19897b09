//! Writes a plan: some hundred changes at a time, by one statement a table, and all in one transaction. What the database refuses is found by
//! halving, with a savepoint before each try, and reported; the rest is written.

use std::ops::Range;

use futures::future::try_join_all;
use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use super::{
    model::Finding,
    plan::{Change, Plan},
    rows::{Column, Numbers, Rows, Statement},
};
use crate::postgres::failure::{Failure, Recovery};

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Applied<'p, 'a> {
    /// The changes that the database took.
    pub(crate) written: Vec<&'p Change<'a>>,
    /// The changes that it refused.
    pub(crate) findings: Vec<Finding>,
}

/// What to do when the database refuses something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Fail if it may be because somebody else was quicker: then another look finds something else to do.
    First,
    /// Leave out what is refused.
    Last,
}

/// Writes a plan in the transaction that is open. `most_rows` is how many rows one statement may have.
pub(crate) async fn apply<'p, 'a>(
    client: &Client,
    plan: &'p Plan<'a>,
    owner: &str,
    most_rows: usize,
    attempt: Attempt,
) -> Result<Applied<'p, 'a>, Failure> {
    let mut numbers = reserve_numbers(client, plan).await?;
    let mut applied = Applied::default();
    // The next range to try is the last one.
    let mut untried = pieces(&plan.changes);
    untried.reverse();
    while let Some(range) = untried.pop() {
        let changes = plan.changes.get(range.clone()).unwrap_or_default();
        match try_to_write(client, changes, &numbers, owner, most_rows).await {
            Ok(()) => applied.written.extend(changes),
            Err(failure) if failure.recovery() != Recovery::OtherData => return Err(failure),
            Err(failure) if attempt == Attempt::First && failure.is_conflict() => return Err(failure),
            Err(failure) => match divide(changes) {
                Some(count) => {
                    let middle = range.start + count;
                    untried.extend([middle..range.end, range.start..middle]);
                }
                None => changes.iter().for_each(|change| {
                    applied.findings.push(Finding::error(subject(change), format!("the database refuses it: {failure}")));
                    if let Change::Entity(change) = change {
                        numbers.refuse(change.id);
                    }
                }),
            },
        }
    }
    Ok(applied)
}

/// How many changes are turned into rows at a time, which takes memory.
const MOST_CHANGES: usize = 500;

/// Changes in pieces that are not too large.
fn pieces(changes: &[Change<'_>]) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while start < changes.len() {
        let end = (start + MOST_CHANGES..changes.len()).find(|end| can_be_parted(changes, *end)).unwrap_or(changes.len());
        pieces.push(start..end);
        start = end;
    }
    pieces
}

/// How many of some changes are the first half, if they can be divided.
fn divide(changes: &[Change<'_>]) -> Option<usize> {
    let half = changes.len() / 2;
    (1..=half).rev().chain(half + 1..changes.len()).find(|middle| can_be_parted(changes, *middle)).filter(|_| changes.len() > 1)
}

/// Whether changes can be written in two pieces with this one the first of the second. Connections that change places are written together.
fn can_be_parted(changes: &[Change<'_>], middle: usize) -> bool {
    let vacates = |index: usize| matches!(changes.get(index), Some(Change::Connection(change)) if change.vacates);
    !(vacates(middle - 1) && vacates(middle))
}

/// Writes some changes, or none of them.
async fn try_to_write(client: &Client, changes: &[Change<'_>], numbers: &Numbers, owner: &str, most_rows: usize) -> Result<(), Failure> {
    client.batch_execute("SAVEPOINT attempt").await?;
    let rows = Rows::of(changes, numbers, owner).map_err(|_| Failure::Unreachable("there are no random bytes to be had".to_owned()))?;
    match write(client, &rows.statements(), most_rows).await {
        Ok(()) => Ok(client.batch_execute("RELEASE attempt").await?),
        Err(failure) => {
            if failure.recovery() == Recovery::OtherData {
                client.batch_execute("ROLLBACK TO attempt; RELEASE attempt").await?;
            }
            Err(failure)
        }
    }
}

/// How many statements are under way at once. The server carries them out one after the other, and none after one that fails.
const PIPELINE: usize = 16;

async fn write(client: &Client, statements: &[Statement<'_>], most_rows: usize) -> Result<(), Failure> {
    let pieces = statements.iter().flat_map(|statement| {
        let rows = statement.columns.first().map_or(0, Column::len);
        (0..rows).step_by(most_rows.max(1)).map(move |from| (statement, from, from + most_rows.max(1)))
    });
    let pieces: Vec<_> = pieces.collect();
    let execute = async |(statement, from, to): (&Statement<'_>, usize, usize)| {
        let arrays: Vec<(Box<dyn ToSql + Sync + Send + '_>, Type)> =
            statement.columns.iter().map(|column| column.array(from, to)).collect();
        let arguments: Vec<(&(dyn ToSql + Sync), Type)> =
            arrays.iter().map(|(array, kind)| (&**array as &(dyn ToSql + Sync), kind.clone())).collect();
        client.execute_typed(statement.sql, &arguments).await
    };
    for pieces in pieces.chunks(PIPELINE) {
        try_join_all(pieces.iter().copied().map(&execute)).await?;
    }
    Ok(())
}

/// Takes numbers for all new rows, so that rows of other tables can name them before they are there.
async fn reserve_numbers(client: &Client, plan: &Plan<'_>) -> Result<Numbers, Failure> {
    let reserve = async |table: &str, column: &str, count: usize| {
        if count == 0 {
            return Ok(Vec::new());
        }
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        // OFFSET keeps the sequence from being looked up for each number.
        let statement = "SELECT nextval(sequence)::int4
                         FROM (SELECT pg_get_serial_sequence($1, $2)::regclass AS sequence OFFSET 0) found, generate_series(1, $3)";
        let rows = client.query_typed(statement, &[(&table, Type::TEXT), (&column, Type::TEXT), (&count, Type::INT4)]).await?;
        rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i32>, _>>().map_err(Failure::from)
    };
    let new = plan.new;
    Ok(Numbers {
        entities: reserve("guacamole_entity", "entity_id", new.entities).await?.into_iter().map(Some).collect(),
        groups: reserve("guacamole_connection_group", "connection_group_id", new.groups).await?,
        connections: reserve("guacamole_connection", "connection_id", new.connections).await?,
        profiles: reserve("guacamole_sharing_profile", "sharing_profile_id", new.profiles).await?,
    })
}

fn subject(change: &Change<'_>) -> String {
    match change {
        Change::Entity(change) => change.grantee.to_string(),
        Change::Group(change) => format!("connection group {}", change.path),
        Change::RemoveConnection(connection) => format!("connection {:?}", connection.name),
        Change::Connection(change) => change.desired.subject(),
        Change::RemoveGroup(group) => format!("connection group {:?}", group.name),
    }
}
