//! `PgBouncer`'s admin console: a database of its own, which understands nothing but plain commands (PgBouncer manual, "Admin console").

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::{
    failure::Failure,
    session::{ConnectError, Session, Target},
};

/// The database's name.
pub const CONSOLE: &str = "pgbouncer";
/// The command by which `PgBouncer` reads its configuration and its `auth_file` anew. Clients stay connected.
const RELOAD: &str = "RELOAD";
/// What `PgBouncer` says when the client that is to be ended has left.
const CLIENT_NOT_FOUND: &str = "client not found";

/// Why the console did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// There is no connection to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It refuses.
    #[error("{console} refuses {command}")]
    Refused {
        /// Which console, and who we are there.
        console: String,
        /// What it was told.
        command: String,
        /// Why.
        #[source]
        source: Failure,
    },
    /// It says nothing.
    #[error("{console} has not answered within {limit:?}")]
    Silent {
        /// Which console, and who we are there.
        console: String,
        /// How long it had.
        limit: Duration,
    },
}

/// A connection to the console. The caller sets the deadline, see [`within`].
pub struct Console {
    session: Session,
    name: String,
}

/// A client of `PgBouncer`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ConnectedClient {
    /// What tells it from others, where the version has a command that asks for it (from 1.24).
    id: Option<u64>,
    /// Who it has signed in as.
    user: String,
}

/// What became of sessions that were to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// How many were ended.
    pub ended: usize,
    /// How many go on: `PgBouncer` can end a single session from 1.24.
    pub remaining: usize,
}

impl Console {
    /// Connects to a console, which is the database [`CONSOLE`].
    pub async fn open(target: &Target) -> Result<Self, ConsoleError> {
        Ok(Self { session: Session::open(target).await?, name: target.to_string() })
    }

    /// Lets `PgBouncer` read its files anew.
    ///
    /// That it agrees is no proof that its files can be read: up to 1.24 it says so of files that are missing, too, and every version says
    /// so of a list of users with a line that it can't read. Its own log tells.
    pub async fn reload(&mut self) -> Result<(), ConsoleError> {
        self.run(RELOAD).await.map(drop)
    }

    /// Ends the sessions of some users at once. Other users notice nothing.
    pub async fn end_sessions(&mut self, is_to_go: impl Fn(&str) -> bool) -> Result<Ended, ConsoleError> {
        let mut sessions = Ended::default();
        for client in self.clients().await?.into_iter().filter(|client| is_to_go(&client.user)) {
            match client.id {
                Some(id) => {
                    self.kill_client(id).await?;
                    sessions.ended += 1;
                }
                None => sessions.remaining += 1,
            }
        }
        Ok(sessions)
    }

    /// Who is connected.
    async fn clients(&mut self) -> Result<Vec<ConnectedClient>, ConsoleError> {
        let rows = self.run("SHOW CLIENTS").await?;
        let column = |row: &SimpleQueryRow, name: &str| row.try_get(name).ok().flatten().map(ToOwned::to_owned);
        Ok(rows
            .iter()
            .filter_map(|row| Some(ConnectedClient { id: column(row, "id").and_then(|id| id.parse().ok()), user: column(row, "user")? }))
            .collect())
    }

    /// Ends a client's connection at once (from 1.24). One that has left meanwhile is over, too.
    pub async fn kill_client(&mut self, id: u64) -> Result<(), ConsoleError> {
        match self.run(&format!("KILL_CLIENT {id}")).await {
            Err(ConsoleError::Refused { source: Failure::Refused { message, .. }, .. }) if message == CLIENT_NOT_FOUND => Ok(()),
            done => done.map(drop),
        }
    }

    async fn run(&mut self, command: &str) -> Result<Vec<SimpleQueryRow>, ConsoleError> {
        let done = self.session.run(async |client| client.simple_query(command).await.map_err(Failure::from)).await;
        let messages = done.map_err(|source| ConsoleError::Refused { console: self.name.clone(), command: command.to_owned(), source })?;
        let row = |message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None };
        Ok(messages.into_iter().filter_map(row).collect())
    }
}

/// What is done at a console, if it ends in time.
pub async fn within<T>(target: &Target, limit: Duration, work: impl Future<Output = Result<T, ConsoleError>>) -> Result<T, ConsoleError> {
    // A connection's own state is large, and its waiters hold it in theirs.
    timeout(limit, Box::pin(work)).await.map_err(|_| ConsoleError::Silent { console: target.to_string(), limit })?
}

/// Whether `PgBouncer` takes a user's password, within `limit`.
///
/// It asks for the password first, whatever the database, and then says that there is none of that name. So no server needs to be asked if
/// the database is one that it does not know; where it hands all names on (`*`), the server refuses the role or the database.
///
/// # Errors
/// It can't be reached, or says something else.
pub async fn takes_password(target: &Target, limit: Duration) -> Result<bool, ConsoleError> {
    match within(target, limit, Console::open(target)).await {
        Ok(_) => Ok(true),
        Err(ConsoleError::Connect(ConnectError::Failed { source: Failure::Refused { code, message, .. }, target })) => {
            judged(&code, &message)
                .ok_or(ConsoleError::Connect(ConnectError::Failed { target, source: Failure::Refused { code, message, constraint: None } }))
        }
        Err(error) => Err(error),
    }
}

/// What a refusal says of the password, if it says anything.
fn judged(code: &str, message: &str) -> Option<bool> {
    match message {
        // Its own words; the server's name the user, too.
        "SASL authentication failed" | "password authentication failed" => Some(false),
        _ if message.starts_with("no such database") => Some(true),
        // The server's words about the role, its password or the database, which PgBouncer repeats under a code of its own.
        _ => {
            let subjects = ["role \"", "database \"", "password authentication failed for user", "no pg_hba.conf entry"];
            let is_servers = matches!(code, "28000" | "28P01" | "3D000") || subjects.iter().any(|subject| message.starts_with(subject));
            is_servers.then_some(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_what_comes_after_the_password() {
        for (code, message, expected) in [
            ("08P01", "SASL authentication failed", Some(false)),
            ("28P01", "SASL authentication failed", Some(false)),
            ("28P01", "password authentication failed", Some(false)),
            ("08P01", "no such database: probe", Some(true)),
            ("28P01", "password authentication failed for user \"probe\"", Some(true)),
            ("28000", "role \"probe\" does not exist", Some(true)),
            ("08P01", "role \"probe\" does not exist", Some(true)),
            ("08P01", "password authentication failed for user \"probe\"", Some(true)),
            ("3D000", "database \"probe\" does not exist", Some(true)),
            ("08P01", "not allowed", None),
            ("08P01", "no more connections allowed (max_client_conn)", None),
            ("57P01", "the database system is shutting down", None),
        ] {
            assert_eq!(judged(code, message), expected, "{code} {message}");
        }
    }
}
