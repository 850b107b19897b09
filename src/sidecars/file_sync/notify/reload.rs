//! `PgBouncer`'s RELOAD: users that were added to its mirrored list may sign in from then on, and those whose password changed with the new one.
//!
//! It does not lock out those whose line was taken out: for that, their line stays with a password that nobody knows, and the sessions that
//! they have are ended.

use std::{collections::BTreeSet, time::Duration};

use super::{NotifyError, credential};
use crate::{
    postgres::{
        pgbouncer::{self, CONSOLE, Console, ConsoleError},
        session::Target,
    },
    sidecars::file_sync::settings::PgBouncer,
};

/// Tells `PgBouncer` that its files changed, and ends the sessions of removed users, within `limit`. How many of them this version can't end.
///
/// # Errors
/// It can't be reached, or refuses.
pub(super) async fn reload(pgbouncer: &PgBouncer, limit: Duration, removed: &BTreeSet<String>) -> Result<usize, NotifyError> {
    let target = target(pgbouncer)?;
    let told = async {
        let mut console = Console::open(&target).await?;
        console.reload().await?;
        end(&mut console, removed).await
    };
    Ok(pgbouncer::within(&target, limit, told).await?)
}

/// Ends the sessions of users, within `limit`. How many this version can't end.
///
/// # Errors
/// It can't be reached, or refuses.
pub(super) async fn end_sessions(pgbouncer: &PgBouncer, limit: Duration, users: &BTreeSet<String>) -> Result<usize, NotifyError> {
    let target = target(pgbouncer)?;
    Ok(pgbouncer::within(&target, limit, async { end(&mut Console::open(&target).await?, users).await }).await?)
}

async fn end(console: &mut Console, users: &BTreeSet<String>) -> Result<usize, ConsoleError> {
    if users.is_empty() {
        return Ok(0);
    }
    let sessions = console.end_sessions(|user| users.contains(user)).await?;
    if sessions.ended > 0 {
        tracing::info!(sessions = sessions.ended, "sessions of removed users were ended");
    }
    Ok(sessions.remaining)
}

fn target(pgbouncer: &PgBouncer) -> Result<Target, NotifyError> {
    Ok(Target {
        host: pgbouncer.host.clone(),
        port: pgbouncer.port,
        database: CONSOLE.to_owned(),
        user: pgbouncer.user.clone(),
        password: credential::read(pgbouncer.password.as_ref())?,
        tls: pgbouncer.tls.clone(),
        options: None,
    })
}
