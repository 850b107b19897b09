//! The work on one object: under the lock of its database, look, decide and act until nothing is left to do; then tell.

use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt, api::Patch};
use tokio::time::Instant;
use tokio_postgres::Client as Sql;

use crate::{
    api::{
        pg_database::{Ensure, PgDatabase, ReclaimPolicy, claim},
        pg_server::{PgServer, Server as Consent},
    },
    postgres::{
        failure::{Failure, Recovery},
        quoting::{Identifier, QuotingError},
        scram::Verifier,
        session::{ConnectError, Session, Target},
    },
    runtime::{
        complaint::with_causes,
        lease::WRITE_DEADLINE,
        request::{self, RequestError},
    },
};

use super::{
    connect, ledger, look,
    plan::{self, Action, Claimed, Difference, Holder, Refusal, RoleRecord, Seen, Step, Wish, may_have_password, plan_inner},
    queue::Outcome,
    reign::{FINALIZER, GIVE_UP, Reign, set_finalizer},
    secret::{self, Asked, Decision, Fresh},
    status::{self, Report},
    worker::READ_DEADLINE,
};

/// Looks in a row. Each does at least one thing that the last one didn't see done.
pub(super) const ROUNDS: usize = 12;
/// For a statement that does little.
pub(super) const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
/// For one that copies or moves files, or waits for a checkpoint.
pub(super) const LONG_STATEMENT_LIMIT: Duration = Duration::from_secs(600);

/// Why a job did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    #[error("the server refuses it")]
    Failed(#[from] Failure),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the API server refuses it")]
    Request(#[from] RequestError),
    #[error("it can't be written as SQL")]
    Quoting(#[from] QuotingError),
    #[error("there are no random bytes")]
    NoRandomBytes,
    #[error("the server did not answer in {0:?}")]
    Silent(Duration),
    #[error("somebody else works on this database")]
    Locked,
    #[error("it did not come to its end in {ROUNDS} rounds")]
    Restless,
    #[error("the object changes all the time")]
    StatusChanged,
    #[error("the number that was drawn for the database is used up")]
    NumberUsedUp,
    #[error("the lease is lost")]
    LeaseLost,
}

impl JobError {
    /// Whether the connection can't be used any more.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Silent(_) => true,
            Self::Failed(failure) => failure.ends_connection(),
            _ => false,
        }
    }

    /// Whether somebody else was quicker, so that another look is all it takes.
    pub(super) fn is_race(&self) -> bool {
        matches!(self, Self::NumberUsedUp) || matches!(self, Self::Failed(failure) if failure.is_race())
    }

    /// Whether somebody uses a database, and has to leave first.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.is_in_use())
    }

    /// Whether there are as many connections as there may be: the server is well, and so is the database.
    fn is_full(&self) -> bool {
        matches!(self, Self::Connect(ConnectError::Failed { source, .. }) if source.code() == Some("53300"))
    }

    /// Whether it says nothing about the object: others are at work, or a server is busy or away.
    fn is_passing(&self) -> bool {
        match self {
            Self::Locked | Self::Silent(_) => true,
            Self::Failed(failure) | Self::Connect(ConnectError::Failed { source: failure, .. }) => failure.recovery() == Recovery::Wait,
            Self::Request(error) => !error.is_lasting(),
            _ => false,
        }
    }

    fn refusal(&self) -> Refusal {
        let reason = match self {
            error if error.is_in_use() => "InUse",
            Self::Connect(ConnectError::Tls { .. } | ConnectError::Failed { source: Failure::Unreachable(_), .. }) | Self::Silent(_) => {
                "ServerUnreachable"
            }
            Self::Failed(failure) | Self::Connect(ConnectError::Failed { source: failure, .. }) => match failure.recovery() {
                _ if failure.code() == Some("42501") => "PermissionDenied",
                Recovery::OtherData | Recovery::Operator => "Refused",
                Recovery::Wait => "ServerBusy",
            },
            Self::Request(error) if error.is_lasting() => "RequestRefused",
            Self::Quoting(_) => "InvalidSpec",
            _ => "Pending",
        };
        Refusal { reason, message: with_causes(self) }
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Failed(_) | Self::Connect(ConnectError::Failed { .. }) | Self::Request(_) if !self.is_passing() => Outcome::NeedsPeople,
            Self::Quoting(_) => Outcome::NeedsPeople,
            _ => Outcome::Waits,
        }
    }
}

/// How the work on an object has ended.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// Whether the connection can still be used.
    pub(super) is_usable: bool,
    /// Whether the credentials are others by now.
    pub(super) is_outdated: bool,
}

/// The work on one object.
pub(super) struct Job<'a> {
    pub(super) reign: &'a Reign<'a>,
    pub(super) server: &'a PgServer,
    pub(super) target: &'a Target,
    pub(super) object: &'a PgDatabase,
}

impl Job<'_> {
    /// Does the work and writes the status.
    pub(super) async fn run(&self, session: &mut Session) -> Ended {
        // All that waits for a server is kept on the heap: most of it is never needed at a time.
        let done = session.run(async |sql: &Sql| self.work(sql).boxed().await).await;
        let is_usable = !matches!(&done, Err(error) if error.ends_connection());
        let ended = |outcome| Ended { outcome, is_usable, is_outdated: false };
        let (report, mut outcome) = match done {
            Ok(None) => return ended(Outcome::Settled),
            Ok(Some(report)) => {
                let outcome = outcome_of(&report);
                (report, outcome)
            }
            Err(JobError::LeaseLost) => return ended(Outcome::Waits),
            Err(error) => {
                tracing::debug!(object = %self.object.name_any(), error = with_causes(&error), "a database is not as asked for");
                if let JobError::Connect(error) = &error
                    && self.reign.is_outdated(self.server, self.target, error).boxed().await
                {
                    return Ended { is_outdated: true, ..ended(Outcome::Waits) };
                }
                // What was as asked for can be used all the same: while a server is busy or away, nobody is told otherwise.
                if error.is_passing() && status::applied_to(self.object).is_some() && self.object.metadata.deletion_timestamp.is_none() {
                    return ended(Outcome::Waits);
                }
                (Report::refused(error.refusal(), self.object), error.outcome())
            }
        };
        if let Err(error) = self.reign.write_status(self.object, &report).await {
            tracing::debug!(object = %self.object.name_any(), error = with_causes(&error), "a status can't be written");
            outcome = Outcome::Waits;
        }
        ended(outcome)
    }

    /// Nothing comes back of an object that is gone.
    async fn work(&self, sql: &Sql) -> Result<Option<Report>, JobError> {
        let is_going = self.object.metadata.deletion_timestamp.is_some();
        if is_going && !self.has_finalizer() {
            return Ok(None);
        }
        if is_going && self.object.annotations().contains_key(GIVE_UP) {
            self.release_open(sql, "the annotation says so; the database stays").await?;
            return Ok(None);
        }
        let (name, is_kept) = (self.object.database(), !is_going && self.object.spec.ensure == Ensure::Present);
        // In one round trip: the server looks once it has given the lock, or refused it.
        let first = async { if is_kept { self.look(sql).await } else { Ok(Seen::default()) } };
        let (is_locked, first) = futures::join!(within(READ_DEADLINE, ledger::try_lock(sql, name)), first);
        if !is_locked? {
            return Err(JobError::Locked);
        }
        let done = if is_going {
            self.leave(sql).await
        } else if is_kept {
            match first {
                Ok(first) => self.present(sql, first).boxed().await.map(Some),
                Err(error) => Err(error),
            }
        } else {
            self.absent(sql).await.map(Some)
        };
        if !matches!(&done, Err(error) if error.ends_connection()) {
            within(READ_DEADLINE, ledger::unlock(sql, name)).await?;
        }
        done
    }

    async fn look(&self, sql: &Sql) -> Result<Seen, JobError> {
        within(READ_DEADLINE, look::one(sql, self.object, |holder| self.reign.is_gone(holder))).await
    }

    async fn present(&self, sql: &Sql, mut seen: Seen) -> Result<Report, JobError> {
        let consent = Consent::from(self.server);
        let asked = claim::Claim::from(self.object);
        let entries = match claim::consent(&asked, &consent) {
            Ok(entries) => entries,
            Err(finding) => return Ok(Report::refused(Refusal { reason: "NotAllowed", message: finding.to_string() }, self.object)),
        };
        let mut wish = self.wish();
        wish.consent = entries.into_iter().cloned().collect();
        self.keep_finalizer(wish.reclaim == ReclaimPolicy::Delete).await?;
        // Who is kept out of a database can't make anything inside.
        wish.is_inside_done = wish.spec.allow_connections != Some(false);
        let (mut verifier, mut taken, mut inside) = (None, Vec::new(), None);
        for _ in 0..ROUNDS {
            wish.new_oid = ledger::draw_oid().map_err(|_| JobError::NoRandomBytes)?;
            if let Some(record) = seen.record.as_ref().filter(|_| seen.is_holder_gone) {
                seen.is_holder_gone = self.reign.is_surely_gone(&record.holder).await?;
            }
            if let Some(made) = seen.owner_record.as_ref().filter(|_| seen.is_owner_holder_gone) {
                seen.is_owner_holder_gone = self.reign.is_surely_gone(&made.holder).await?;
            }
            // The Secret is looked at once it is sure that its password will be of use.
            if verifier.is_none() && may_have_password(&wish, &seen) {
                match self.verifier(seen.owner_record.as_ref()).await? {
                    Ok(made) => {
                        wish.digest = Some(secret::digest(made.as_str()));
                        verifier = Some(made);
                    }
                    Err(refusal) => return Ok(Report::refused(refusal, self.object)),
                }
            }
            let plan = plan::plan(&wish, &seen).unless_in_vain(&taken);
            if plan.steps.is_empty() {
                let report = self.finished(&wish, &seen, plan, &mut inside).await?;
                if wish.is_inside_done || report.ready.is_err() {
                    return Ok(report);
                }
                wish.is_inside_done = true;
                continue;
            }
            taken.clear();
            for step in plan.steps {
                log(&wish, &step);
                // A database that is new here gets all that is asked for, whatever was applied to another one before.
                if matches!(step.action, Action::Create(_) | Action::Adopt(_)) {
                    wish.applied_to = None;
                }
                match self.perform(sql, &step.action, &wish, &seen, verifier.as_ref()).await {
                    Err(error) if error.is_race() => {
                        tracing::debug!(error = with_causes(&error), "somebody else was quicker; looking again");
                        taken.clear();
                        break;
                    }
                    Err(error) if error.is_in_use() => return self.in_use(sql, &step, &wish).await,
                    done => done?,
                }
                taken.push(step);
            }
            seen = self.look(sql).await?;
        }
        Err(JobError::Restless)
    }

    /// Somebody is connected to the database that is to be copied or moved.
    async fn in_use(&self, sql: &Sql, step: &Step, wish: &Wish) -> Result<Report, JobError> {
        let template = wish.spec.creation.as_ref().and_then(|creation| creation.template.as_deref()).unwrap_or("template0");
        let used = if matches!(step.action, Action::Create(_)) { template } else { wish.database.as_str() };
        let blockers = within(READ_DEADLINE, look::blockers(sql, used)).await?;
        let message = format!("{} waits until nobody uses the database {used:?}; end what status.blockers names", step.action);
        let refused = Report::refused(Refusal { reason: "InUse", message }, self.object);
        Ok(Report { blockers: blockers.iter().map(|blocker| blocker.text().to_owned()).collect(), ..refused })
    }

    /// What is left: the inside of the database, where that was not looked at before.
    async fn finished(&self, wish: &Wish, seen: &Seen, plan: plan::Plan, inside: &mut Option<Vec<Difference>>) -> Result<Report, JobError> {
        let oid = seen.database.as_ref().map(|database| database.oid).filter(|_| plan.claimed == Claimed::Ours);
        let mut differences = plan.differences;
        let mut ready = match (&plan.claimed, &plan.refusal) {
            (Claimed::Refused(refusal), _) | (_, Some(refusal)) => Err(refusal.clone()),
            _ => Ok("AsAsked"),
        };
        if let (Ok(_), Some(database)) = (&ready, &seen.database)
            && !(wish.spec.schemas.is_empty() && wish.spec.extensions.is_empty())
        {
            if let Some(found) = inside.as_deref() {
                differences.extend(found.iter().cloned());
            } else if database.allow_connections {
                match self.inner(wish, seen).await {
                    Ok(Ok(found)) => differences.extend(inside.insert(found).iter().cloned()),
                    Ok(Err(refusal)) => ready = Err(refusal),
                    // What is known of the inside stands.
                    Err(error) if error.is_full() && wish.applied_to == Some(database.oid) => {
                        return Ok(unseen(plan.claimed, database.oid));
                    }
                    Err(error) => return Err(error),
                }
            } else if wish.applied_to != Some(database.oid) {
                let message = "schemas and extensions can't be made while nobody may connect; set allowConnections: true".to_owned();
                ready = Err(Refusal { reason: "ConnectionsNotAllowed", message });
            }
        }
        let differences = oid.map(|_| differences);
        let (claimed, blockers) = (Some(plan.claimed), Vec::new());
        Ok(Report { ready, claimed, differences, blockers, oid, drop_after: None, is_going: false })
    }

    /// Makes schemas and extensions, over a connection to the database itself.
    async fn inner(&self, wish: &Wish, seen: &Seen) -> Result<Result<Vec<Difference>, Refusal>, JobError> {
        let Some(database) = &seen.database else { return Ok(Ok(Vec::new())) };
        let mut session = Session::open(&connect::within(self.target, &wish.database)).await?;
        session
            .run(async |sql: &Sql| {
                let mut taken = Vec::new();
                for _ in 0..ROUNDS {
                    let inner = within(READ_DEADLINE, look::inner(sql, &wish.spec)).await?;
                    let plan = plan_inner(wish, seen, database, &inner).unless_in_vain(&taken);
                    if plan.steps.is_empty() {
                        return Ok(plan.refusal.map_or(Ok(plan.differences), Err));
                    }
                    taken.clear();
                    for step in plan.steps {
                        log(wish, &step);
                        match self.perform(sql, &step.action, wish, seen, None).await {
                            Err(error) if error.is_race() => {
                                taken.clear();
                                break;
                            }
                            done => done?,
                        }
                        taken.push(step);
                    }
                }
                Err(JobError::Restless)
            })
            .await
    }

    async fn perform(&self, sql: &Sql, action: &Action, wish: &Wish, seen: &Seen, verifier: Option<&Verifier>) -> Result<(), JobError> {
        self.reign.may_write()?;
        self.reign.metrics.changed_the_server();
        let (us, name) = (&wish.us, wish.database.as_str());
        let owner = wish.spec.owner.as_ref().map(|owner| owner.name.as_str()).unwrap_or_default();
        match action {
            Action::CreateOwner => within(STATEMENT_LIMIT, ledger::create_role(sql, Identifier::new(owner)?, owner, us, verifier)).await,
            Action::SetPassword => match verifier {
                Some(verifier) => within(STATEMENT_LIMIT, ledger::set_password(sql, Identifier::new(owner)?, owner, verifier)).await,
                None => Ok(()),
            },
            Action::JoinOwner => {
                // From 16 on a member may be neither heir nor stand-in.
                let options = if seen.server.version_number >= 160_000 { " WITH INHERIT TRUE, SET TRUE" } else { "" };
                let (owner, user) = (Identifier::new(owner)?, Identifier::new(&seen.server.user)?);
                self.execute(sql, &format!("GRANT {owner} TO {user}{options}"), STATEMENT_LIMIT).await
            }
            Action::Intend(oid) => within(STATEMENT_LIMIT, ledger::intend(sql, us, name, *oid)).await,
            Action::Create(oid) => self.create(sql, wish, seen, *oid).await,
            Action::Hold(oid) => within(STATEMENT_LIMIT, ledger::hold(sql, *oid)).await,
            Action::AdoptOwner => match &seen.owner_record {
                Some(made) => within(STATEMENT_LIMIT, ledger::hand_over(sql, owner, &made.holder, us)).await,
                None => Ok(()),
            },
            Action::Adopt(oid) => {
                // The owner first: whoever is cut off in between still has the database to take over.
                if let Some(record) = &seen.record {
                    within(STATEMENT_LIMIT, ledger::hand_over(sql, owner, &record.holder, us)).await?;
                }
                within(STATEMENT_LIMIT, ledger::adopt(sql, us, name, *oid)).await
            }
            Action::Reopen => match &seen.record {
                Some(record) => self.reopen(sql, record.oid, name).await,
                None => Ok(()),
            },
            Action::Forget(oid) => within(STATEMENT_LIMIT, ledger::forget(sql, *oid)).await,
            Action::Change(change) => {
                let limit = if change.takes_long() { LONG_STATEMENT_LIMIT } else { STATEMENT_LIMIT };
                self.execute(sql, &change.sql(name)?, limit).await
            }
        }
    }

    async fn create(&self, sql: &Sql, wish: &Wish, seen: &Seen, oid: u32) -> Result<(), JobError> {
        let begun = Instant::now();
        let created = self.execute(sql, &plan::creation(&wish.database, &wish.spec, oid)?, LONG_STATEMENT_LIMIT).await;
        if matches!(&created, Err(JobError::Failed(failure)) if failure.code() == Some("22023")) && seen.record.is_some() {
            // A server that died in the middle of this leaves a folder of this number, with which nothing can be created any more.
            within(STATEMENT_LIMIT, ledger::forget(sql, oid)).await?;
            return Err(JobError::NumberUsedUp);
        }
        created?;
        self.reign.metrics.created(begun.elapsed().as_secs_f64());
        Ok(())
    }

    pub(super) async fn execute(&self, sql: &Sql, statement: &str, limit: Duration) -> Result<(), JobError> {
        within(limit, async { Ok(sql.batch_execute(statement).await?) }).await
    }

    /// The password in the Secret, which is made or renewed where it has to be: the Secret first, since a password that was set and is
    /// lost can't be read back.
    async fn verifier(&self, record: Option<&RoleRecord>) -> Result<Result<Verifier, Refusal>, JobError> {
        let (Some(wanted), Some(owner)) = (&self.object.spec.connection_secret, &self.object.spec.owner) else {
            return Ok(Err(Refusal { reason: "InvalidSpec", message: "connectionSecret needs an owner".to_owned() }));
        };
        let api: Api<Secret> = Api::namespaced(self.reign.client.clone(), &self.object.namespace().unwrap_or_default());
        let found = request::within(READ_DEADLINE, api.get_opt(&wanted.name)).await?;
        let fresh = Fresh::random().map_err(|_| JobError::NoRandomBytes)?;
        let asked = Asked { object: self.object, server: self.server, secret: wanted, user: &owner.name };
        Ok(match secret::decide(asked, found.as_ref(), record, Timestamp::now(), fresh) {
            Decision::Keep(verifier) => Ok(verifier),
            Decision::Foreign => {
                let message = format!("the Secret {:?} is somebody else's; choose another name, or delete it", wanted.name);
                Err(Refusal { reason: "SecretNotOurs", message })
            }
            Decision::Write(secret, verifier) => {
                self.reign.may_write()?;
                let written = if let Some(found) = &found {
                    let patch = secret::patch(found, &secret);
                    request::within(WRITE_DEADLINE, api.patch(&wanted.name, &request::patching(), &Patch::Merge(patch))).await.map(drop)
                } else {
                    request::within(WRITE_DEADLINE, api.create(&request::creating(), &secret)).await.map(drop)
                };
                written?;
                tracing::info!(secret = wanted.name, new = found.is_none(), "the connection Secret was written");
                Ok(verifier)
            }
        })
    }

    pub(super) fn wish(&self) -> Wish {
        wish(self.object, self.server, self.holder())
    }

    pub(super) fn holder(&self) -> Holder {
        self.reign.holder(self.object)
    }

    fn has_finalizer(&self) -> bool {
        self.object.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
    }

    /// Gives the object the finalizer where its database is to go with it, or takes it away.
    async fn keep_finalizer(&self, is_needed: bool) -> Result<(), JobError> {
        if is_needed == self.has_finalizer() {
            return Ok(());
        }
        self.reign.may_write()?;
        Ok(set_finalizer(&self.reign.client, self.object, is_needed).await?)
    }
}

/// What an object asks for, with its server's policies where it has none.
pub(super) fn wish(object: &PgDatabase, server: &PgServer, us: Holder) -> Wish {
    let defaults = &server.spec.defaults;
    let spec = object.spec.clone();
    Wish {
        us,
        database: object.database().to_owned(),
        reclaim: spec.reclaim_policy.unwrap_or(defaults.reclaim_policy),
        adoption: spec.adoption_policy.unwrap_or(defaults.adoption_policy),
        drift: spec.drift_policy.unwrap_or(defaults.drift_policy),
        applied_to: status::applied_to(object),
        parameters_before: object.status.as_ref().map(|status| status.parameters.clone()).unwrap_or_default(),
        is_inside_done: true,
        consent: Vec::new(),
        digest: None,
        new_oid: 0,
        spec,
    }
}

/// Says what is done, and why, before it is.
fn log(wish: &Wish, step: &Step) {
    let (Holder { namespace, name: object, .. }, database) = (&wish.us, &wish.database);
    tracing::info!(namespace, object, database, why = step.why, "{}", step.action);
}

/// All is as asked for, as far as it can be seen from the outside.
fn unseen(claimed: Claimed, oid: u32) -> Report {
    let (claimed, blockers) = (Some(claimed), Vec::new());
    Report { ready: Ok("AsAsked"), claimed, differences: None, blockers, oid: Some(oid), drop_after: None, is_going: false }
}

fn outcome_of(report: &Report) -> Outcome {
    match &report.ready {
        Ok(_) => Outcome::Settled,
        Err(refusal) if ["InUse", "ServerReadOnly", "ServerInRecovery"].contains(&refusal.reason) => Outcome::Waits,
        Err(_) => Outcome::NeedsPeople,
    }
}

/// The answer, if it comes in time. Without one the connection is given up: nobody knows what becomes of the statement.
pub(super) async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, Failure>>) -> Result<T, JobError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(JobError::Silent(limit)),
    }
}
