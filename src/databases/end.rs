//! The end of a database: what becomes of it when its object is to be without it, or is deleted.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tokio_postgres::{Client as Sql, types::Type};

use crate::{
    api::{
        duration,
        pg_database::{DropOptions, ReclaimPolicy, claim},
        pg_server::Server as Consent,
    },
    events::note::Reason,
    postgres::{catalogue, quoting::Identifier},
    runtime::{complaint::with_causes, lease::Claim},
};

use super::{
    job::{Job, JobError, LONG_STATEMENT_LIMIT, ROUNDS, STATEMENT_LIMIT, within},
    ledger, look,
    plan::{Blocker, Change, Claimed, Holder, Manner, Refusal, Removal, RemovalStep, Stage, plan_removal, unfit},
    reign::set_finalizer,
    status::Report,
    worker::READ_DEADLINE,
};

/// How a removal stands.
enum Gone {
    Done {
        drop_after: Option<Time>,
    },
    Blocked(Vec<Blocker>),
    /// Nothing can be dropped on this server at the time.
    Refused(Refusal),
}

impl Job<'_> {
    /// An object that is to be without its database.
    pub(super) async fn absent(&self, sql: &Sql) -> Result<Report, JobError> {
        if let Err(refusal) = self.may_drop() {
            self.open_again(sql).await;
            return Ok(Report::refused(refusal, self.object));
        }
        let removal = self.remove(sql).await?;
        let report = match removal {
            Gone::Done { drop_after } => Report {
                ready: Ok("Absent"),
                // Others may have the name.
                claimed: Some(Claimed::Pending),
                differences: Some(Vec::new()),
                blockers: Vec::new(),
                oid: None,
                drop_after,
                is_going: false,
            },
            Gone::Blocked(blockers) => self.blocked(&blockers),
            Gone::Refused(refusal) => Report::refused(refusal, self.object),
        };
        Ok(report)
    }

    /// An object that is going, and keeps its finalizer until its database is gone, too.
    pub(super) async fn leave(&self, sql: &Sql) -> Result<Option<Report>, JobError> {
        if self.wish().reclaim == ReclaimPolicy::Retain {
            self.release_open(sql, "the database stays, as its policy says").await?;
            return Ok(None);
        }
        // An author writes the finalizer, and the policy of an object that is going, without anybody's asking.
        if let Err(refusal) = self.may_drop() {
            self.release_open(sql, &format!("the database stays: {}", refusal.message)).await?;
            return Ok(None);
        }
        match self.remove(sql).await {
            Ok(Gone::Done { .. }) => self.release("the database is gone").await?,
            Err(JobError::LeaseLost) => return Err(JobError::LeaseLost),
            _ if self.reign.is_overdue(self.object, SystemTime::now()) => {
                self.release_open(sql, "the database could not be dropped in time, and stays").await?;
            }
            Ok(Gone::Blocked(blockers)) => return Ok(Some(self.blocked(&blockers))),
            Ok(Gone::Refused(refusal)) => return Ok(Some(Report::refused(refusal, self.object))),
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Whether the server's consent goes as far as to drop the database.
    fn may_drop(&self) -> Result<(), Refusal> {
        let (asked, consent) = (claim::Claim::from(self.object), Consent::from(self.server));
        claim::consent(&asked, &consent).map(drop).map_err(|finding| Refusal { reason: "NotAllowed", message: finding.to_string() })
    }

    fn blocked(&self, blockers: &[Blocker]) -> Report {
        let message =
            "the database can't be dropped while it is in use; end what status.blockers names, or set drop.force: true to end sessions";
        let refusal = Refusal { reason: "InUse", message: message.to_owned() };
        Report { blockers: blockers.iter().map(|blocker| blocker.text().to_owned()).collect(), ..Report::refused(refusal, self.object) }
    }

    async fn remove(&self, sql: &Sql) -> Result<Gone, JobError> {
        let us = self.holder();
        let options = self.object.spec.drop.clone().unwrap_or_default();
        let grace = grace(&options);
        let manner = Manner { force: options.force, with_grace: grace > Duration::ZERO };
        for _ in 0..ROUNDS {
            let records = within(READ_DEADLINE, ledger::claims_of(sql, &us)).await?;
            let record = records.iter().find(|record| record.stage != Stage::Retired).or_else(|| records.first());
            let found_as = record.and_then(|record| record.found_as.clone()).unwrap_or_default();
            let (seen, blockers) = within(READ_DEADLINE, async {
                let names = [found_as.as_str()];
                futures::try_join!(catalogue::read(sql, &names, &[], &[]), look::blockers(sql, &found_as))
            })
            .await?;
            // What a replica knows may be old, so that even who has nothing there waits.
            if let Some(refusal) = unfit(&seen.server).filter(|_| seen.server.in_recovery || record.is_some()) {
                return Ok(Gone::Refused(refusal));
            }
            match plan_removal(&us, record, seen.databases.get(&found_as), &blockers, manner) {
                Removal::Done => {
                    drop_roles(sql, &us, self.reign.claim).await?;
                    let drop_after = record.and_then(|_| Timestamp::now().checked_add(grace).ok()).map(Time);
                    let known = self.object.status.as_ref().and_then(|status| status.drop_after.clone());
                    return Ok(Gone::Done { drop_after: record.and_then(|_| known.or(drop_after)) });
                }
                Removal::Blocked(blockers) => return Ok(Gone::Blocked(blockers)),
                Removal::Steps(steps) => {
                    for step in steps {
                        let Some(record) = record else { break };
                        tracing::info!(namespace = us.namespace, object = us.name, database = found_as, "{step}");
                        match self.take_away(sql, &step, record.oid, &found_as, manner, grace).await {
                            Err(error) if step == RemovalStep::EndSessions && record.is_closed && !error.ends_connection() => {
                                // Somebody is there who can't be sent away, and until they go the database is to be of use.
                                self.reopen(sql, record.oid, &found_as).await?;
                                return Err(error);
                            }
                            Err(error) if error.is_race() || error.is_in_use() => {
                                // Somebody has come in between.
                                return Ok(Gone::Blocked(within(READ_DEADLINE, look::blockers(sql, &found_as)).await?));
                            }
                            done => done?,
                        }
                    }
                }
            }
        }
        Err(JobError::Restless)
    }

    async fn take_away(
        &self,
        sql: &Sql,
        step: &RemovalStep,
        oid: u32,
        found_as: &str,
        manner: Manner,
        grace: Duration,
    ) -> Result<(), JobError> {
        self.reign.may_write()?;
        self.reign.metrics.changed_the_server();
        let change = |change: Change| change.sql(found_as);
        match step {
            RemovalStep::ClearTemplate => self.execute(sql, &change(Change::IsTemplate(false))?, STATEMENT_LIMIT).await,
            RemovalStep::Close => {
                within(STATEMENT_LIMIT, ledger::mark_closed(sql, oid, true)).await?;
                self.execute(sql, &change(Change::AllowConnections(false))?, STATEMENT_LIMIT).await
            }
            RemovalStep::Reopen => self.reopen(sql, oid, found_as).await,
            RemovalStep::EndSessions => {
                let sessions =
                    "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
                within(STATEMENT_LIMIT, async { Ok(sql.query_typed(sessions, &[(&found_as, Type::TEXT)]).await?) }).await.map(drop)
            }
            RemovalStep::Rename(to) => {
                let statement = format!("ALTER DATABASE {} RENAME TO {}", Identifier::new(found_as)?, Identifier::new(to)?);
                self.execute(sql, &statement, STATEMENT_LIMIT).await
            }
            RemovalStep::Retire(name) => within(STATEMENT_LIMIT, ledger::retire(sql, oid, name, grace.as_secs_f64())).await,
            RemovalStep::Drop => {
                let force = if manner.force { " WITH (FORCE)" } else { "" };
                self.execute(sql, &format!("DROP DATABASE {}{force}", Identifier::new(found_as)?), LONG_STATEMENT_LIMIT).await
            }
            RemovalStep::Forget => within(STATEMENT_LIMIT, ledger::forget(sql, oid)).await,
        }
    }

    /// Lets connections in again that were kept out for a drop.
    pub(super) async fn reopen(&self, sql: &Sql, oid: u32, database: &str) -> Result<(), JobError> {
        self.execute(sql, &Change::AllowConnections(true).sql(database)?, STATEMENT_LIMIT).await?;
        within(STATEMENT_LIMIT, ledger::mark_closed(sql, oid, false)).await
    }

    /// Lets the object go, and leaves its database open.
    pub(super) async fn release_open(&self, sql: &Sql, why: &str) -> Result<(), JobError> {
        self.open_again(sql).await;
        self.release(why).await
    }

    /// Lets connections in again that were kept out for a drop that doesn't come. Nobody waits for it where that can't be had.
    async fn open_again(&self, sql: &Sql) {
        if let Err(error) = self.try_to_open(sql).await {
            tracing::warn!(
                namespace = self.object.namespace(),
                object = self.object.name_any(),
                error = with_causes(&error),
                "the database may be closed to connections: it can't be opened"
            );
        }
    }

    async fn try_to_open(&self, sql: &Sql) -> Result<(), JobError> {
        self.reign.may_write()?;
        let records = within(READ_DEADLINE, ledger::claims_of(sql, &self.holder())).await?;
        for record in records.iter().filter(|record| record.is_closed && record.stage == Stage::Held) {
            // Of another name, it may be another database.
            if record.found_as.as_ref() == Some(&record.database) {
                self.reopen(sql, record.oid, &record.database).await?;
            }
        }
        Ok(())
    }

    /// Lets the object go.
    async fn release(&self, why: &str) -> Result<(), JobError> {
        self.reign.may_write()?;
        set_finalizer(&self.reign.client, self.object, false).await?;
        tracing::info!(namespace = self.object.namespace(), object = self.object.name_any(), why, "the object is let go");
        self.reign.tell(self.object, Reason::DatabaseReleased, why);
        Ok(())
    }
}

fn grace(options: &DropOptions) -> Duration {
    options.grace_period.as_deref().and_then(|text| duration::parse(text).ok()).unwrap_or_default()
}

/// Drops the roles that were made for an object. One that owns something elsewhere stays.
pub(super) async fn drop_roles(sql: &Sql, holder: &Holder, claim: &Claim) -> Result<(), JobError> {
    for role in within(READ_DEADLINE, ledger::roles_of(sql, holder)).await? {
        if !claim.is_current() {
            return Err(JobError::LeaseLost);
        }
        match within(STATEMENT_LIMIT, ledger::drop_role(sql, Identifier::new(&role)?, &role)).await {
            Err(JobError::Failed(failure)) if !failure.ends_connection() => {
                tracing::warn!(role, error = with_causes(&failure), "the role stays: it can't be dropped");
            }
            done => done?,
        }
    }
    Ok(())
}
