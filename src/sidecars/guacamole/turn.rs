//! Whose turn it is. Of several provisioners with one owner, whose files may differ for a while, one writes and the others stand by:
//! otherwise each would undo what the other has just done.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::timeout;
use tokio_postgres::types::Type;

use super::provisioner::PassError;
use crate::postgres::{
    failure::Failure,
    session::{Session, Target},
};

/// The server notices within a minute that a process is gone whose machine has died, and gives the turn to another.
const NOTICE_DEATH: &str = "SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3";
/// Longer than the server takes to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// For how long the turn is waited for.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(30);
/// What PostgreSQL says when that is over.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Who has the turn. A key of eight bytes is shown in two halves (PostgreSQL manual, "`pg_locks`").
const HOLDER: &str = "
    SELECT format('process %s of the server, %s as %s%s, since %s', pid, coalesce(nullif(application_name, ''), 'a program without a name'),
                  usename, ' from ' || host(client_addr), date_trunc('second', backend_start))
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid = (($1 >> 32) & 4294967295)::oid AND objid = ($1 & 4294967295)::oid AND objsubid = 1";

/// A session with the database that has the turn for as long as it lives, or waits for it.
#[derive(Default)]
pub(crate) struct Turn {
    session: Option<(String, Session)>,
    has_it: bool,
}

/// Who has the turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Another process.
    Another,
    /// This process, since before it was asked for, and by the same session.
    Kept,
    /// This process, from now on.
    New,
}

impl Turn {
    /// Gets the turn in a database, or says who has it, if that doesn't change for a while.
    pub(crate) async fn wait(&mut self, target: &Target, owner: &str) -> Result<(), PassError> {
        if self.take(target, owner).await? != Holder::Another {
            return Ok(());
        }
        let key = key(owner);
        let Some((_, session)) = &mut self.session else { return Ok(()) };
        let waiting = session.run(async |client| {
            client.batch_execute(&format!("SET lock_timeout = {}", WAIT_LIMIT.as_millis())).await?;
            let locked = client.query_typed("SELECT pg_advisory_lock($1)", &[(&key, Type::INT8)]).await;
            match locked.map_err(Failure::from) {
                Ok(_) => Ok(None),
                Err(failure) if failure.code() == Some(LOCK_NOT_AVAILABLE) => {
                    let holder = client.query_typed(HOLDER, &[(&key, Type::INT8)]).await?;
                    let holder = holder.first().map(|row| row.try_get(0)).transpose()?;
                    Ok(Some(holder.unwrap_or_else(|| "somebody whom the server doesn't name".to_owned())))
                }
                Err(failure) => Err(failure),
            }
        });
        match timeout(WAIT_LIMIT + ANSWER_LIMIT, waiting).await {
            Ok(Ok(None)) => {
                self.has_it = true;
                Ok(())
            }
            Ok(Ok(Some(holder))) => Err(PassError::Taken { owner: owner.to_owned(), database: target.to_string(), holder }),
            Ok(Err(failure)) => Err(failure.into()),
            Err(_) => Err(Failure::Unreachable(format!("there was no answer in {:?}", WAIT_LIMIT + ANSWER_LIMIT)).into()),
        }
    }

    /// Asks for the turn in a database.
    pub(crate) async fn take(&mut self, target: &Target, owner: &str) -> Result<Holder, PassError> {
        let place = target.to_string();
        let kept = self.session.take().filter(|(known, _)| *known == place);
        if let Some((_, mut session)) = kept
            && let Ok(has_it) = ask(&mut session, owner, self.has_it).await
        {
            self.session = Some((place, session));
            let had_it = std::mem::replace(&mut self.has_it, has_it);
            return Ok(if had_it { Holder::Kept } else { Holder::who_asked(has_it) });
        }
        let mut session = Session::open(target).await?;
        self.has_it = ask(&mut session, owner, false).await?;
        self.session = Some((place, session));
        Ok(Holder::who_asked(self.has_it))
    }
}

impl Holder {
    const fn who_asked(has_it: bool) -> Self {
        if has_it { Self::New } else { Self::Another }
    }
}

/// Asks for the turn, or, who has it, whether the session still lives.
async fn ask(session: &mut Session, owner: &str, has_it: bool) -> Result<bool, Failure> {
    let key = key(owner);
    let asked = session.run(async |client| {
        if has_it {
            client.batch_execute("").await?;
            return Ok(true);
        }
        client.batch_execute(NOTICE_DEATH).await?;
        let row = client.query_typed_one("SELECT pg_try_advisory_lock($1)", &[(&key, Type::INT8)]).await?;
        Ok(row.try_get(0)?)
    });
    match timeout(ANSWER_LIMIT, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Unreachable(format!("there was no answer in {ANSWER_LIMIT:?}"))),
    }
}

/// The number of an owner's lock.
fn key(owner: &str) -> i64 {
    let digest = digest(&SHA256, format!("outrigger guacamole-provisioner {owner}").as_bytes());
    digest.as_ref().first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}
