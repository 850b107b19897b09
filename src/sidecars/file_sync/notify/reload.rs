//! `PgBouncer`'s RELOAD: users that were added to its mirrored list may sign in from then on, and those whose password changed with the new one.
//! It does not lock out those whose line was taken out: for that, the line stays with a random verifier, or `PgBouncer` is restarted.

use std::time::Duration;

use super::{NotifyError, credential};
use crate::{
    postgres::{
        pgbouncer::{self, CONSOLE},
        session::Target,
    },
    sidecars::file_sync::settings::PgBouncer,
};

/// Tells `PgBouncer` that its files changed, within `limit`.
///
/// # Errors
/// It can't be reached, or refuses.
pub(super) async fn reload(pgbouncer: &PgBouncer, limit: Duration) -> Result<(), NotifyError> {
    let console = Target {
        host: pgbouncer.host.clone(),
        port: pgbouncer.port,
        database: CONSOLE.to_owned(),
        user: pgbouncer.user.clone(),
        password: credential::read(pgbouncer.password.as_ref())?,
        tls: pgbouncer.tls.clone(),
        options: None,
    };
    Ok(pgbouncer::reload(&console, limit).await?)
}
