//! What keeps the databases of one server: one look at its catalogue in each interval, and a job for each object that changed or differs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt, api::Patch};
use tokio::time::Instant;
use tokio_postgres::Client as Sql;

use crate::{
    api::{
        condition::{self, Observation},
        pg_database::PgDatabase,
        pg_server::{PgServer, PgServerStatus},
        postgres_name::MAINTENANCE_DATABASE,
    },
    postgres::{
        catalogue::{self, Server},
        failure::Failure,
        quoting::Identifier,
        session::{ConnectError, Session, Target},
    },
    runtime::{
        backoff::{Backoff, jittered},
        complaint::{Complaint, with_causes},
        lease::WRITE_DEADLINE,
        request,
    },
};

use super::{
    connect::{self, CredentialsError},
    end::drop_roles,
    job::{self, Job, JobError, LONG_STATEMENT_LIMIT, within},
    lanes::{self, Lane, Lanes},
    ledger::{self, Maintenance, Retired},
    look,
    metrics::Expected,
    plan::{Refusal, plan},
    queue::{Key, Mark, Outcome, Queue},
    reign::{self, Reign},
    status::{self, Report},
};

/// For an answer that takes no work.
pub(super) const READ_DEADLINE: Duration = Duration::from_secs(15);
/// Objects that are looked at as a whole in one interval, inside their database and in their Secret, though nothing of them has changed.
const WHOLE_LOOKS: usize = 50;
/// Databases that are dropped in one look, which waits for them; what else is due is due in the next.
const DROPS: usize = 4;
/// A server that is away is asked again after about this, and no later than after the other.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// As many roles as a status may name.
const MOST_ROLES: usize = 256;

/// Why a server can't be worked on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServerError {
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the server refuses it")]
    Job(#[from] JobError),
    #[error(
        "the database {MAINTENANCE_DATABASE} on this server belongs to somebody whose rights the credentials were not given; GRANT its owner to them, or rename it"
    )]
    Foreign,
    #[error(
        "the database {MAINTENANCE_DATABASE} on this server isn't ours alone: {0}; GRANT an owner to the credentials, drop a trigger or a rule, or rename the database"
    )]
    Stranger(String),
    #[error("the credentials may not create the database {MAINTENANCE_DATABASE}: ALTER ROLE … CREATEDB")]
    NoCreateDb,
    #[error("the server is a replica, where nothing can be created")]
    InRecovery,
}

impl From<Failure> for ServerError {
    fn from(failure: Failure) -> Self {
        Self::Job(failure.into())
    }
}

/// What keeps the databases of one server.
pub(super) struct Worker<'a> {
    pub(super) reign: &'a Reign<'a>,
    /// The `PgServer`'s name.
    pub(super) name: String,
}

/// What a look at a server has found.
struct Looked {
    /// Objects that differ from what is asked for, or have not been looked at as a whole for long.
    differing: Vec<Key>,
    server: Server,
    /// The names of its roles, if there are few enough.
    roles: Option<Vec<String>>,
}

/// What has come to its end.
enum Done {
    Looked(Option<Session>, Result<Looked, JobError>),
    Worked(Key, Outcome, Option<Session>),
    /// No connection could be had, for a job or for a look.
    Stranded(Option<Key>, ConnectError),
    /// Nor will there be: the credentials are others by now.
    Outdated,
}

impl Worker<'_> {
    /// Works until the `PgServer` is gone.
    pub(super) async fn run(&self) {
        let (mut backoff, mut complaint) = (Backoff::new(FIRST_PAUSE, LONGEST_PAUSE), Complaint::default());
        let expected = self.reign.metrics.expect_looks(&self.name, self.reign.databases.interval);
        while let Some(server) = self.server() {
            let mut changes = self.reign.databases.servers.changes();
            let error = match self.enter(&server).await {
                Ok(target) => {
                    complaint.settle();
                    backoff.reset();
                    match self.work(&server, &target, &expected).await {
                        // The PgServer or its credentials have changed, or it is gone.
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if complaint.is_new(&error) {
                tracing::warn!(server = self.name, error = with_causes(&error), "the server can't be worked on; trying again");
            }
            let _counted = self.reign.metrics.unreachable();
            self.tell_unreachable(&server, &error).await;
            let pause = tokio::time::sleep(backoff.pause());
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = changes.next() => if self.server().is_none_or(|now| now.spec != server.spec) { break },
                }
            }
        }
    }

    fn server(&self) -> Option<Arc<PgServer>> {
        let known = self.reign.databases.servers.load();
        (*known).as_ref()?.get(&(String::new(), self.name.clone())).filter(|server| server.metadata.deletion_timestamp.is_none()).cloned()
    }

    fn objects(&self) -> HashMap<Key, Arc<PgDatabase>> {
        let known = self.reign.databases.objects.load();
        let ours = known.iter().flatten().filter(|(_, object)| object.spec.server == self.name);
        ours.map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    fn object(&self, key: &Key) -> Option<Arc<PgDatabase>> {
        let known = self.reign.databases.objects.load();
        (*known).as_ref()?.get(key).filter(|object| object.spec.server == self.name).cloned()
    }

    /// Makes sure of the maintenance database, and tells how to connect to it.
    async fn enter(&self, server: &PgServer) -> Result<Target, ServerError> {
        let first = connect::target(&self.reign.client, &self.reign.databases.namespace, server).await?;
        let maintenance = Target { database: MAINTENANCE_DATABASE.to_owned(), ..first.clone() };
        let mut session = Session::open(&first).await?;
        session
            .run(async |sql: &Sql| {
                match within(READ_DEADLINE, ledger::maintenance(sql)).await? {
                    Maintenance::Usable => return Ok(()),
                    Maintenance::Foreign => return Err(ServerError::Foreign),
                    Maintenance::Absent => {}
                }
                let seen = within(READ_DEADLINE, catalogue::read(sql, &[], &[], &[])).await?;
                if seen.server.in_recovery {
                    return Err(ServerError::InRecovery);
                }
                if !(seen.server.can_create_databases || seen.server.is_superuser) {
                    return Err(ServerError::NoCreateDb);
                }
                self.reign.may_write()?;
                match within(Duration::from_secs(120), async { Ok(sql.batch_execute(&ledger::creation()).await?) }).await {
                    // Another operator was quicker.
                    Err(JobError::Failed(failure)) if failure.is_race() => Ok(()),
                    created => Ok(created?),
                }
            })
            .await?;
        let mut session = Session::open(&maintenance).await?;
        session
            .run(async |sql: &Sql| {
                let seen = within(READ_DEADLINE, catalogue::read(sql, &[], &[], &[])).await?;
                if let Some(stranger) = within(READ_DEADLINE, ledger::stranger(sql)).await? {
                    return Err(ServerError::Stranger(stranger));
                }
                self.reign.may_write()?;
                if !seen.server.in_recovery {
                    within(READ_DEADLINE, ledger::lay_out(sql)).await?;
                }
                Ok::<_, ServerError>(())
            })
            .await?;
        Ok(maintenance)
    }

    /// Works until the `PgServer` or its credentials change, or the server is away.
    async fn work(&self, server: &PgServer, target: &Target, expected: &Expected) -> Result<(), ServerError> {
        let databases = self.reign.databases;
        let (mut objects_changed, mut servers_changed) = (databases.objects.changes(), databases.servers.changes());
        let (mut queue, mut lanes, mut complaint) = (Queue::default(), Lanes::new(), Complaint::default());
        let mut running: FuturesUnordered<BoxFuture<'_, Done>> = FuturesUnordered::new();
        let (mut next_look, mut is_looking) = (Instant::now(), false);
        self.refresh(&mut queue);
        loop {
            let now = Instant::now();
            if next_look <= now
                && !is_looking
                && let Some(lane) = lanes.take(now)
            {
                is_looking = true;
                // Until it is done, nobody waits for the next one.
                next_look = now + databases.interval;
                running.push(self.look(server, target, lane, queue.oldest(WHOLE_LOOKS, databases.interval, now)).boxed());
            }
            while lanes.is_free(now)
                && let Some(key) = queue.take(now)
                && let Some(lane) = lanes.take(now)
            {
                running.push(self.job(server, target, key, lane).boxed());
            }
            let wake = queue.next().unwrap_or(next_look).min(next_look);
            tokio::select! {
                done = running.next(), if !running.is_empty() => match done {
                    Some(Done::Worked(key, outcome, session)) => {
                        queue.done(&key, outcome, Instant::now());
                        lanes.give_back(session);
                    }
                    Some(Done::Looked(session, looked)) => {
                        is_looking = false;
                        // The name of a replica may lead to the primary by now, where a new connection would go.
                        let is_replica = matches!(&looked, Ok(looked) if looked.server.in_recovery);
                        lanes.give_back(session.filter(|_| !is_replica));
                        match looked {
                            Ok(looked) => {
                                complaint.settle();
                                expected.looked();
                                self.tell_reachable(server, &looked.server, looked.roles).await;
                                looked.differing.iter().for_each(|key| queue.wake(key, Instant::now()));
                                next_look = Instant::now() + jittered(databases.interval);
                            }
                            // What ended one connection need not have ended the others.
                            Err(error) if error.ends_connection() && lanes.is_any_open() => next_look = Instant::now() + lanes::PAUSE,
                            Err(error) => return Err(error.into()),
                        }
                    }
                    Some(Done::Stranded(key, error)) => {
                        if !lanes.refused(Instant::now()) {
                            return Err(error.into());
                        }
                        if complaint.is_new(&error) {
                            tracing::warn!(server = self.name, error = with_causes(&error), "going on with fewer connections");
                        }
                        if let Some(key) = key {
                            queue.put_back(&key, Instant::now());
                        } else {
                            (is_looking, next_look) = (false, Instant::now() + lanes::PAUSE);
                        }
                    }
                    Some(Done::Outdated) => {
                        tracing::info!(server = self.name, "the credentials are others by now; connecting anew");
                        return Ok(());
                    }
                    None => {}
                },
                () = objects_changed.next() => self.refresh(&mut queue),
                () = servers_changed.next() => {
                    if self.server().is_none_or(|now| now.spec != server.spec) {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep_until(wake), if running.is_empty() || wake > now => {}
            }
        }
    }

    fn refresh(&self, queue: &mut Queue) {
        let known = self.reign.databases.objects.load();
        let ours = known.iter().flatten().filter(|(_, object)| object.spec.server == self.name);
        queue.refresh(ours.map(|(key, object)| (key.clone(), mark(object))), Instant::now());
    }

    async fn job(&self, server: &PgServer, target: &Target, key: Key, lane: Lane<Session>) -> Done {
        let mut session = match opened(lane, target).await {
            Ok(session) => session,
            Err(error) => return self.stranded(server, target, Some(key), error).boxed().await,
        };
        // It may have gone meanwhile.
        let Some(object) = self.object(&key) else { return Done::Worked(key, Outcome::Settled, Some(session)) };
        let job = Job { reign: self.reign, server, target, object: &object };
        let ended = job.run(&mut session).await;
        if ended.is_outdated {
            return Done::Outdated;
        }
        self.reign.metrics.worked(match ended.outcome {
            Outcome::Settled => "settled",
            Outcome::Waits => "waits",
            Outcome::NeedsPeople => "needs_people",
        });
        Done::Worked(key, ended.outcome, ended.is_usable.then_some(session))
    }

    async fn stranded(&self, server: &PgServer, target: &Target, key: Option<Key>, error: ConnectError) -> Done {
        if self.reign.is_outdated(server, target, &error).await { Done::Outdated } else { Done::Stranded(key, error) }
    }

    /// One look at the shared catalogue for all objects that wait for nothing: which of them differ from what is asked for, or have
    /// not been looked at as a whole for long.
    async fn look(&self, server: &PgServer, target: &Target, lane: Lane<Session>, whole: Vec<Key>) -> Done {
        let mut session = match opened(lane, target).await {
            Ok(session) => session,
            Err(error) => return self.stranded(server, target, None, error).boxed().await,
        };
        self.reign.metrics.looked();
        let objects: Vec<(Key, Arc<PgDatabase>)> = self.objects().into_iter().collect();
        let looked = session
            .run(async |sql: &Sql| {
                let asked: Vec<&PgDatabase> = objects.iter().map(|(_, object)| &**object).collect();
                let ((seen, all), roles, retired) = within(READ_DEADLINE, async {
                    futures::try_join!(
                        look::many(sql, &asked, |holder| self.reign.is_gone(holder)).boxed(),
                        catalogue::role_names(sql, MOST_ROLES),
                        ledger::retired(sql, &self.reign.cluster),
                    )
                })
                .await?;
                self.sweep(sql, &seen, retired).await?;
                let differing = objects.iter().zip(all).filter(|((_, object), seen)| self.differs(server, object, seen));
                let differing = differing.map(|((key, _), _)| key.clone()).chain(whole).collect();
                Ok(Looked { differing, server: seen, roles })
            })
            .await;
        let is_usable = !matches!(&looked, Err(error) if JobError::ends_connection(error));
        Done::Looked(is_usable.then_some(session), looked)
    }

    fn differs(&self, server: &PgServer, object: &PgDatabase, seen: &super::plan::Seen) -> bool {
        if object.metadata.deletion_timestamp.is_some() || status::applied_to(object).is_none() {
            return false;
        }
        let consent = crate::api::pg_server::Server::from(server);
        let asked = crate::api::pg_database::claim::Claim::from(object);
        let mut wish = job::wish(object, server, self.reign.holder(object));
        wish.consent = crate::api::pg_database::claim::consent(&asked, &consent).unwrap_or_default().into_iter().cloned().collect();
        let next = plan(&wish, seen);
        let drift = object.status.as_ref().map(|status| status.drift.as_slice()).unwrap_or_default();
        // What is inside isn't seen here; of that, what is known stands.
        let is_outer = |field: &&String| !(field.starts_with("schemas.") || field.starts_with("extensions."));
        let known: Vec<&String> = drift.iter().filter(is_outer).collect();
        let found: Vec<&String> = next.differences.iter().map(|difference| &difference.field).collect();
        !next.steps.is_empty() || next.refusal.is_some() || next.claimed != super::plan::Claimed::Ours || known != found
    }

    /// Drops what has waited long enough, and forgets what somebody has dropped or brought back.
    async fn sweep(&self, sql: &Sql, seen: &Server, retired: Vec<Retired>) -> Result<(), JobError> {
        if seen.in_recovery || seen.is_read_only {
            return Ok(());
        }
        let mut drops = 0;
        for retired in retired {
            self.reign.may_write()?;
            let is_as_retired = retired.found_as.as_ref() == Some(&retired.name);
            let swept = if !is_as_retired {
                // Gone, or brought back under another name: no longer ours to drop.
                within(READ_DEADLINE, ledger::forget_retired(sql, &retired)).await
            } else if retired.is_due && drops < DROPS {
                drops += 1;
                self.drop_retired(sql, &retired).await
            } else {
                continue;
            };
            match swept {
                Err(error) if error.ends_connection() || matches!(error, JobError::LeaseLost) => return Err(error),
                // Something holds on to it: the next look tries again.
                Err(error) => tracing::warn!(database = retired.name, error = with_causes(&error), "the database can't be dropped yet"),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn drop_retired(&self, sql: &Sql, retired: &Retired) -> Result<(), JobError> {
        let statement = format!("DROP DATABASE {} WITH (FORCE)", Identifier::new(&retired.name)?);
        match within(LONG_STATEMENT_LIMIT, async { Ok(sql.batch_execute(&statement).await?) }).await {
            // Somebody else was quicker.
            Err(JobError::Failed(failure)) if failure.code() == Some("3D000") => {}
            dropped => dropped?,
        }
        self.reign.metrics.changed_the_server();
        tracing::info!(server = self.name, database = retired.name, "the database was dropped after its grace period");
        within(READ_DEADLINE, ledger::forget_retired(sql, retired)).await?;
        drop_roles(sql, &retired.holder, self.reign.claim).await
    }

    async fn tell_reachable(&self, server: &PgServer, seen: &Server, roles: Option<Vec<String>>) {
        let databases = self.objects().values().filter(|object| object.status.as_ref().is_some_and(|status| status.oid.is_some())).count();
        let refusal = if seen.in_recovery {
            Some(("ServerInRecovery", "the server is a replica; let spec.host name the primary"))
        } else if seen.is_read_only {
            Some(("ServerReadOnly", "the server takes no writes (default_transaction_read_only)"))
        } else {
            None
        };
        let ready = refusal.map_or((true, "Ready", ""), |(reason, message)| (false, reason, message));
        let known = PgServerStatus {
            version: Some(seen.version.chars().take(64).collect()),
            in_recovery: Some(seen.in_recovery),
            databases: i32::try_from(databases).ok(),
            roles,
            ..PgServerStatus::default()
        };
        self.write_server_status(server, (true, "Reachable", ""), ready, Some(known)).await;
    }

    async fn tell_unreachable(&self, server: &PgServer, error: &ServerError) {
        let message = with_causes(error);
        let (reachable, reason) = match error {
            ServerError::Credentials(_) => (false, "NoCredentials"),
            ServerError::Connect(ConnectError::Failed { source: Failure::Refused { code, .. }, .. }) if code.starts_with("28") => {
                (false, "LoginRefused")
            }
            ServerError::Connect(_) | ServerError::Job(JobError::Silent(_) | JobError::Failed(Failure::Unreachable(_))) => {
                (false, "Unreachable")
            }
            ServerError::Foreign | ServerError::Stranger(_) | ServerError::NoCreateDb => (true, "PermissionDenied"),
            ServerError::InRecovery => (true, "ServerInRecovery"),
            ServerError::Job(JobError::LeaseLost) => return,
            ServerError::Job(_) => (true, "Refused"),
        };
        let reach = if reachable { (true, "Reachable", "") } else { (false, reason, message.as_str()) };
        self.write_server_status(server, reach, (false, reason, &message), None).await;
        for object in self.objects().values() {
            if self.reign.let_go(object, "the server can't be reached").await
                || status::applied_to(object).is_some() && object.metadata.deletion_timestamp.is_none()
            {
                continue;
            }
            let message = format!("the server {} can't be worked on: kubectl describe pgserver {}", self.name, self.name);
            let report = Report::refused(Refusal { reason: "ServerUnreachable", message }, object);
            if let Err(error) = self.reign.write_status(object, &report).await {
                tracing::debug!(object = object.name_any(), error = with_causes(&error), "a status can't be written");
            }
        }
    }

    async fn write_server_status(
        &self,
        server: &PgServer,
        reachable: (bool, &'static str, &str),
        ready: (bool, &'static str, &str),
        known: Option<PgServerStatus>,
    ) {
        // As it is stored now: what was seen when this began may have changed since.
        let Some(current) = self.server() else { return };
        let stored = current.status.clone().unwrap_or_default();
        let mut wanted = PgServerStatus { conditions: stored.conditions.clone(), ..known.unwrap_or_else(|| stored.clone()) };
        let generation = server.metadata.generation;
        wanted.observed_generation = generation;
        let now = Time(Timestamp::now());
        for (type_, (holds, reason, message)) in [(condition::REACHABLE, reachable), (condition::READY, ready)] {
            let message = message.chars().take(1024).collect();
            condition::set(&mut wanted.conditions, Observation { type_, holds: Some(holds), reason, message, generation }, &now);
        }
        let Some(patch) = status::patch(current.status.as_ref(), &wanted).filter(|_| self.reign.may_write().is_ok()) else { return };
        let api: Api<PgServer> = Api::all(self.reign.client.clone());
        if let Err(error) = request::within(WRITE_DEADLINE, api.patch_status(&self.name, &request::patching(), &Patch::Merge(patch))).await
        {
            tracing::debug!(server = self.name, error = with_causes(&error), "the status of the server can't be written");
        }
    }
}

/// What of an object makes it worth another look when it changes.
fn mark(object: &PgDatabase) -> Mark {
    let spec = &object.spec;
    Mark {
        uid: object.uid().unwrap_or_default(),
        generation: object.metadata.generation,
        is_going: object.metadata.deletion_timestamp.is_some(),
        is_given_up: object.annotations().contains_key(reign::GIVE_UP),
        has_more: spec.connection_secret.is_some() || !(spec.schemas.is_empty() && spec.extensions.is_empty()),
    }
}

async fn opened(lane: Lane<Session>, target: &Target) -> Result<Session, ConnectError> {
    match lane {
        Lane::Open(session) => Ok(session),
        Lane::Closed => Session::open(target).await,
    }
}
