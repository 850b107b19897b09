//! `PgBouncer`'s admin console: a database of its own, which understands nothing but plain commands (PgBouncer manual, "Admin console").

use std::time::Duration;

use tokio::time::timeout;

use super::{
    failure::Failure,
    session::{ConnectError, Session, Target},
};

/// The database's name.
pub const CONSOLE: &str = "pgbouncer";
/// The command by which `PgBouncer` reads its configuration and its `auth_file` anew. Clients stay connected.
const RELOAD: &str = "RELOAD";

/// Why the console did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// There is no connection to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It refuses.
    #[error("{console} refuses {RELOAD}")]
    Refused {
        /// Which console, and who we are there.
        console: String,
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

/// Lets `PgBouncer` read its files anew, within `limit`. `console` is its database [`CONSOLE`].
///
/// That it agrees is no proof that its files can be read: up to 1.24 it says so of files that are missing, too, and every version says so
/// of a list of users with a line that it can't read. Its own log tells.
pub async fn reload(console: &Target, limit: Duration) -> Result<(), ConsoleError> {
    let reloaded = async {
        let mut session = Session::open(console).await?;
        let reloaded = session.run(async |client| client.batch_execute(RELOAD).await.map_err(Failure::from)).await;
        reloaded.map_err(|source| ConsoleError::Refused { console: console.to_string(), source })
    };
    timeout(limit, reloaded).await.map_err(|_| ConsoleError::Silent { console: console.to_string(), limit })?
}
