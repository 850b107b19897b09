//! The provisioner at work: a pass, and when the next one comes.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::registry::Registry;
use secrecy::SecretString;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;

use super::{
    apply::{self, Attempt},
    desired::Desired,
    document::{self, Password, Reading},
    folder,
    folder::ConfigurationError,
    generated,
    known::KnownFiles,
    metrics::Metrics,
    model::{Digest, Finding, Origin, Severity},
    observe,
    observed::Observed,
    packed::Parameters,
    plan::{self, Policy, Removals},
    properties::{DatabaseSettings, Properties, PropertyError},
    settled::{self, Known, Settled},
    turn::{Holder, Turn, WAIT_LIMIT},
    unwanted::Unwanted,
    watch::Watch,
};
use crate::{
    postgres::{
        failure::Failure,
        session::{ConnectError, Session, Target},
    },
    runtime::{
        backoff::{Backoff, jittered},
        blocking,
        complaint::{Complaint, with_causes},
        pulse::Pulse,
        readiness::Gate,
        shutdown::Shutdown,
    },
};

/// Pauses after a pass that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longer than a pass takes that gets anywhere.
pub(crate) const PASS_LIMIT: Duration = Duration::from_secs(120);
/// Longer than it takes to read all files.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// How often the loop says that it lives.
pub(crate) const BEAT: Duration = Duration::from_secs(10);

/// How often one that stands by asks for its turn.
const STAND_BY: Duration = Duration::from_secs(5);
/// What it says meanwhile. It is ready: a new pod must be, before an old one gives up its turn.
const STANDS_BY: &str = "another provisioner of this owner is at work; this one stands by";

/// Begins a transaction that others who write wait for: the number stands for Guacamole's tables in all provisioners of ours. The lock
/// comes first; each statement then sees what was committed before it, which holds at this level of isolation only, whatever is the role's.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = '60s'; \
                     SELECT pg_advisory_xact_lock(7305808869229538676)";
/// Begins a transaction in which nothing can be written, and in which all statements see one moment.
const BEGIN_TO_LOOK: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '60s'";

/// How the provisioner works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of connection files.
    pub connections: PathBuf,
    /// The folder of `guacamole.properties`.
    pub configuration: PathBuf,
    /// The database, where it is not as the properties say.
    pub database: DatabaseSettings,
    /// A file with the role's password, instead of the properties'.
    pub password_file: Option<PathBuf>,
    /// Where generated passwords are kept, a file for each user.
    pub passwords: Option<PathBuf>,
    /// How long to wait before the database is first tried.
    pub startup_delay: Duration,
    /// Time between passes if no file changes.
    pub interval: Duration,
    /// Most rows of one statement.
    pub batch_size: usize,
    /// In whose name connections are marked.
    pub owner: String,
    /// Whether connections of ours go when no file wants them any more.
    pub prune: bool,
    /// For how long no file must have wanted a connection until it goes.
    pub prune_delay: Duration,
    /// How many percent of our connections may be removed within an hour.
    pub prune_limit: u8,
    /// Whether connections that somebody else made become ours where a file wants one.
    pub adopt: bool,
    /// Whether users and user groups are made that a file names and the database lacks.
    pub create_users: bool,
}

/// Why a pass came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A folder doesn't answer, as that of a share that hangs.
    #[error("files and configuration can't be read: there was no answer in {READ_LIMIT:?}")]
    NoAnswer,
    /// The configuration can't be read.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The configuration can't be used.
    #[error(transparent)]
    Property(#[from] PropertyError),
    /// The database can't be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Another provisioner of the same owner is at work.
    #[error(
        "another provisioner of the owner {owner} has been at work in {database} for {WAIT_LIMIT:?}: {holder}; \
         wait for it or end it, or give one of the two another OWNER"
    )]
    Taken {
        /// The owner.
        owner: String,
        /// The database.
        database: String,
        /// What the server says of it.
        holder: String,
    },
    /// The database has no tables of Guacamole's yet.
    #[error("{database} has no tables of Guacamole's yet: they are waited for")]
    NoSchema {
        /// The database.
        database: String,
        /// What it says.
        #[source]
        source: Failure,
    },
    /// The database did not do it.
    #[error("the database did not do it")]
    Database(#[from] Failure),
}

/// What a pass found and did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What authors should look at.
    pub findings: Vec<Finding>,
    /// How many changes were written, or would be.
    pub changes: usize,
    /// Whether there was nothing to write.
    pub was_alike: bool,
    /// Whether something failed that may succeed without any change: the database refused it, or a generated password could not be kept.
    pub has_failed: bool,
    /// What was written in words: a count of each kind.
    pub summary: String,
    /// The changes in full, without secrets, if they were only looked at.
    pub plan: Option<String>,
    /// How many connections no file wants any more, whether they were removed or not.
    pub unwanted: usize,
    /// Why nothing was removed, and how many connections that concerns.
    pub refusal: Option<(usize, String)>,
}

impl Report {
    /// Whether the database now holds all that the files want.
    fn is_alike(&self) -> bool {
        self.refusal.is_none() && self.findings.iter().all(|finding| finding.severity == Severity::Warning)
    }
}

/// Whether a pass writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Write,
    Look,
}

/// The provisioner.
#[derive(Debug)]
pub struct Provisioner {
    settings: Settings,
    metrics: Metrics,
    /// How things were when there was nothing to write, if the last pass left them so.
    settled: Mutex<Option<Settled>>,
    unwanted: Mutex<Unwanted>,
}

/// What a pass goes by, read before the database is asked anything: files may be slow.
struct Inputs {
    target: Target,
    policy: Policy,
    /// Of all files, if there is nothing more to them than their bytes.
    files: Option<Digest>,
}

impl Provisioner {
    /// A provisioner that counts in this registry.
    #[must_use]
    pub fn new(settings: Settings, registry: &mut Registry) -> Self {
        Self { settings, metrics: Metrics::new(registry), settled: Mutex::default(), unwanted: Mutex::default() }
    }

    /// Keeps files and database alike until shutdown. A pass that is under way then is given up, and undone by the server.
    pub async fn run(self, gate: Gate, pulse: Pulse, shutdown: Shutdown) {
        let beat = async {
            loop {
                pulse.beat();
                sleep(BEAT).await;
            }
        };
        tokio::select! {
            () = shutdown.closing() => {}
            () = self.keep_alike(&gate) => {}
            () = beat => {}
        }
    }

    async fn keep_alike(&self, gate: &Gate) {
        let watch =
            Watch::new().inspect_err(|error| tracing::warn!(%error, "changes of files can't be noticed; looking now and then")).ok();
        sleep(self.settings.startup_delay).await;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let (mut complaint, mut said, mut turn) = (Complaint::default(), BTreeSet::new(), Turn::default());
        loop {
            self.follow(watch.as_ref()).await;
            let pause = match self.pass_in_turn(&mut turn).await {
                Ok(None) => {
                    backoff.reset();
                    complaint.settle();
                    gate.open_with(STANDS_BY.to_owned());
                    STAND_BY
                }
                Ok(Some(report)) => {
                    complaint.settle();
                    tell(&report, &mut said, gate);
                    let due = lock(&self.unwanted).next_due(Instant::now(), self.settings.prune_delay);
                    let again = if report.has_failed { Some(backoff.pause()) } else { None };
                    if again.is_none() {
                        backoff.reset();
                    }
                    due.into_iter().chain(again).fold(jittered(self.settings.interval), Duration::min)
                }
                Err(error) => {
                    let pause = backoff.pause();
                    if complaint.is_new(&error) {
                        tracing::warn!(error = with_causes(&error), "files and database can't be compared; trying again");
                    }
                    let first = tell_findings(self.findings_beside(&error).await, &mut said);
                    gate.close_with(with_causes(&error) + &first.map(|first| format!("; also {first}")).unwrap_or_default());
                    pause
                }
            };
            wait(watch.as_ref(), pause).await;
        }
    }

    async fn follow(&self, watch: Option<&Watch>) {
        let Some(watch) = watch else { return };
        let (connections, configuration) = (self.settings.connections.clone(), self.settings.configuration.clone());
        let folders = blocking::within(READ_LIMIT, move || folder::watched(&connections, &configuration)).await;
        let Some(folders) = folders else { return };
        if let Err(error) = watch.follow(&folders) {
            tracing::warn!(%error, "changes of some files can't be noticed; looking now and then");
        }
    }

    /// A pass, unless another provisioner of the same owner is at work.
    async fn pass_in_turn(&self, turn: &mut Turn) -> Result<Option<Report>, PassError> {
        let inputs = self.inputs().await?;
        match turn.take(&inputs.target, &inputs.policy.owner).await? {
            Holder::Another => return Ok(None),
            Holder::Kept => {}
            // The database may have been set back meanwhile, to rows of the same versions.
            Holder::New => *lock(&self.settled) = None,
        }
        self.write(inputs).await.map(Some)
    }

    /// Makes the database what the files want, once, when it is this one's turn.
    pub async fn pass(&self) -> Result<Report, PassError> {
        let (mut turn, inputs) = (Turn::default(), self.inputs().await?);
        turn.wait(&inputs.target, &inputs.policy.owner).await?;
        self.write(inputs).await
    }

    async fn write(&self, inputs: Inputs) -> Result<Report, PassError> {
        let start = Instant::now();
        let passed = self.compare(inputs, Mode::Write).await;
        self.metrics.passed(start.elapsed(), passed.is_ok(), passed.as_ref().is_ok_and(Report::is_alike));
        if let Ok(report) = &passed {
            self.metrics.changed(report.changes);
            self.metrics.found(&report.findings, report.refusal.as_ref().map_or(0, |(count, _)| *count));
        }
        passed
    }

    /// Says what a pass would do.
    pub async fn look(&self) -> Result<Report, PassError> {
        self.compare(self.inputs().await?, Mode::Look).await
    }

    /// What there is to look at in the files when a pass came to nothing.
    pub async fn findings_beside(&self, error: &PassError) -> Vec<Finding> {
        if matches!(error, PassError::NoAnswer) {
            return Vec::new();
        }
        let folder = self.settings.connections.clone();
        let read = blocking::within(READ_LIMIT, move || folder::read_connections(&folder, &mut Reading::new(&|_, _| false))).await;
        read.map(|desired| desired.findings).unwrap_or_default()
    }

    /// Reads the configuration, anew for each pass: a password that was changed counts from the next one on.
    async fn inputs(&self) -> Result<Inputs, PassError> {
        let settings = self.settings.clone();
        let read = move || (folder::digest(&settings.connections, &settings.configuration), target(&settings));
        let (files, target) = blocking::within(READ_LIMIT, read).await.ok_or(PassError::NoAnswer)?;
        let (target, mut policy) = target?;
        policy.removals = lock(&self.unwanted).removals(Instant::now(), self.settings.prune_delay);
        Ok(Inputs { target, policy, files })
    }

    async fn compare(&self, inputs: Inputs, mode: Mode) -> Result<Report, PassError> {
        let Inputs { target, policy, files } = inputs;
        let mut session = Session::open(&target).await?;
        let work = session.run(async |client| {
            match self.transact(client, &policy, files, mode, Attempt::First).await {
                Err(PassError::Database(failure)) if failure.is_conflict() => {}
                done => return done,
            }
            client.batch_execute("ROLLBACK").await.map_err(Failure::from)?;
            self.transact(client, &policy, files, mode, Attempt::Last).await
        });
        match timeout(PASS_LIMIT, work).await {
            Ok(Err(PassError::Database(source))) if source.code() == Some(UNDEFINED_TABLE) => {
                Err(PassError::NoSchema { database: target.to_string(), source })
            }
            Ok(done) => done,
            Err(_) => Err(Failure::Unreachable(format!("it took longer than {PASS_LIMIT:?}")).into()),
        }
    }

    async fn transact(
        &self,
        client: &Client,
        policy: &Policy,
        files: Option<Digest>,
        mode: Mode,
        attempt: Attempt,
    ) -> Result<Report, PassError> {
        client.batch_execute(if mode == Mode::Write { BEGIN } else { BEGIN_TO_LOOK }).await.map_err(Failure::from)?;
        let report = match mode {
            Mode::Write => self.write_unless_settled(client, policy, files, attempt).await?,
            Mode::Look => {
                let observed = observe::observe(client).await?;
                self.decide(client, policy, Known { observed, files: KnownFiles::default() }, mode, attempt).await?.0
            }
        };
        client.batch_execute("COMMIT").await.map_err(Failure::from)?;
        Ok(report)
    }

    /// Does nothing if nothing has changed since there was nothing to do, and reads the database only if that has. What is remembered was
    /// looked at before what it stands for, so a change in between is found by the next pass.
    async fn write_unless_settled(
        &self,
        client: &Client,
        policy: &Policy,
        files: Option<Digest>,
        attempt: Attempt,
    ) -> Result<Report, PassError> {
        let database = settled::row_versions(client).await?;
        let known = lock(&self.settled).take().filter(|known| known.database == database);
        let known = match known {
            Some(known) if files.is_some() && files == known.files => {
                let report = known.report.clone();
                *lock(&self.settled) = Some(known);
                return Ok(report);
            }
            Some(known) => known.known,
            None => Known { observed: observe::observe(client).await?, files: KnownFiles::default() },
        };
        let (report, known) = self.decide(client, policy, known, Mode::Write, attempt).await?;
        if report.was_alike {
            let is_done = report.unwanted == 0 && !report.has_failed;
            let files = if is_done { self.unless_changed(files).await? } else { None };
            *lock(&self.settled) = Some(Settled { files, database, known, report: report.clone() });
        }
        Ok(report)
    }

    /// What the files' digest still is after they were read; none if it isn't, since what was read is then not what it stands for.
    async fn unless_changed(&self, files: Option<Digest>) -> Result<Option<Digest>, PassError> {
        let Some(before) = files else { return Ok(None) };
        let (connections, configuration) = (self.settings.connections.clone(), self.settings.configuration.clone());
        let after = blocking::within(READ_LIMIT, move || folder::digest(&connections, &configuration)).await;
        Ok(after.ok_or(PassError::NoAnswer)?.filter(|after| *after == before))
    }

    /// Reads the files, and of parameters only what the database doesn't have.
    async fn read_files(&self, known: Known, owner: &str) -> Result<(Desired, Known), PassError> {
        let (folder, owner) = (self.settings.connections.clone(), owner.to_owned());
        let read = move || {
            let Known { observed, files } = known;
            let digests = observed.digests(&owner);
            let is_new = |origin: &Origin, parameters: &Parameters| {
                digests.get(origin.to_string().as_str()).is_none_or(|known| **known != parameters.digest())
            };
            let mut reading = Reading::after(&is_new, files);
            let desired = folder::read_connections(&folder, &mut reading);
            let files = reading.into_known();
            drop(digests);
            (desired, Known { observed, files })
        };
        blocking::within(READ_LIMIT, read).await.ok_or(PassError::NoAnswer)
    }

    /// Gives new users the passwords that are generated for them, and says whether all got one. Who gets none isn't made, since nobody would
    /// learn it later.
    async fn generate_passwords(&self, desired: &mut Desired, observed: &Observed, policy: &Policy, mode: Mode) -> Result<bool, PassError> {
        let users = plan::users_to_generate_for(desired, observed, policy);
        if users.is_empty() {
            return Ok(true);
        }
        let folder = self.settings.passwords.clone();
        let obtain = move |user: &str| {
            match &folder {
            None => Err("its password is to be generated, and there is no folder to keep it in: set PASSWORDS_DIR, or guacamole.outrigger.dev/passwords-volume where we are a sidecar".to_owned()),
            Some(_) if mode == Mode::Look => generated::generate().map_err(|error| error.to_string()),
            Some(folder) => generated::obtain(folder, user).map_err(|error| with_causes(&error)),
        }
        };
        let obtain_all = move || users.into_iter().map(|user| (obtain(&user), user)).collect::<Vec<_>>();
        let mut have_all = true;
        for (password, name) in blocking::within(READ_LIMIT, obtain_all).await.ok_or(PassError::NoAnswer)? {
            let Some(user) = desired.users.get_mut(&name) else { continue };
            match password {
                Ok(password) => user.password = Password::Given(password),
                Err(why) => {
                    have_all = false;
                    let message = format!("{why}; the user isn't made before there is one");
                    desired.findings.push(Finding::error(document::subject(&user.file, "user", &name), message));
                }
            }
        }
        Ok(have_all)
    }

    /// Compares files and database in full, and writes what is different, or only says what is.
    async fn decide(
        &self,
        client: &Client,
        policy: &Policy,
        known: Known,
        mode: Mode,
        attempt: Attempt,
    ) -> Result<(Report, Known), PassError> {
        let (mut desired, mut known) = self.read_files(known, &policy.owner).await?;
        let observed = &mut known.observed;
        observe::observe_case(client, policy.case, &desired, observed).await?;
        let have_passwords = self.generate_passwords(&mut desired, observed, policy, mode).await?;
        observe::observe_passwords(client, &desired, observed).await?;
        let stale = plan::stale(&desired, observed, policy);
        observe::observe_parameters(client, observed, &stale).await?;
        let findings = desired.findings.clone();
        let mut plan = plan::plan(&desired, observed, policy);
        let (changes, was_alike) = (plan.changes.len(), plan.is_empty());
        let (unwanted, has_failed) = (plan.unwanted.len(), !have_passwords);
        let mut report = Report { findings, changes, was_alike, has_failed, unwanted, ..Report::default() };
        report.findings.append(&mut plan.findings);
        report.refusal = plan.refusal.map(|refusal| (refusal.unwanted, refusal.to_string()));
        if mode == Mode::Look {
            report.plan = Some(plan.to_string());
        } else if !plan.is_empty() {
            let applied = apply::apply(client, &plan, &policy.owner, self.settings.batch_size, attempt).await?;
            report.changes = applied.written.len();
            report.summary = plan::summary(&applied.written);
            report.has_failed |= !applied.findings.is_empty();
            report.findings.extend(applied.findings);
        }
        if mode == Mode::Write {
            let removed = plan.changes.iter().filter(|change| matches!(change, plan::Change::RemoveConnection(_))).count();
            lock(&self.unwanted).note(Instant::now(), &plan.unwanted, removed);
        }
        drop(plan);
        Ok((report, known))
    }
}

/// The database and the policy.
fn target(settings: &Settings) -> Result<(Target, Policy), PassError> {
    let password = settings.password_file.as_deref().map(folder::read_password).transpose()?;
    let properties = match folder::read_properties(&settings.configuration) {
        Err(ConfigurationError::Missing { .. }) if password.is_some() => Properties::default(),
        properties => properties?,
    };
    let mut target = properties.target(&settings.database)?;
    if let Some(password) = password {
        target.password = Some(password).filter(|password: &SecretString| !secrecy::ExposeSecret::expose_secret(password).is_empty());
    }
    let policy = Policy {
        owner: settings.owner.clone(),
        prune: settings.prune,
        prune_limit: settings.prune_limit,
        removals: Removals::default(),
        adopt: settings.adopt,
        create_users: settings.create_users,
        case: properties.case_sensitivity()?,
    };
    Ok((target, policy))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole after any panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What PostgreSQL says of a table that isn't there.
const UNDEFINED_TABLE: &str = "42P01";

/// Waits for a change of files, but no longer than this.
async fn wait(watch: Option<&Watch>, pause: Duration) {
    let Some(watch) = watch else { return sleep(pause).await };
    tokio::select! {
        () = sleep(pause) => {}
        changed = watch.changed() => match changed {
            Ok(()) => tracing::debug!("files have changed"),
            Err(error) => {
                tracing::warn!(%error, "changes of files can't be noticed; looking now and then");
                sleep(pause).await;
            }
        },
    }
}

/// Says what is new, and shows how things are.
fn tell(report: &Report, said: &mut BTreeSet<Finding>, gate: &Gate) {
    if report.unwanted > 0 {
        tracing::debug!(connections = report.unwanted, "no file wants some of our connections any more");
    }
    if report.changes > 0 {
        tracing::info!(changes = report.changes, "the database was changed: {}", report.summary);
    }
    let refusal = report.refusal.as_ref().map(|(_, text)| Finding::error("removal", text));
    let findings: Vec<Finding> = report.findings.iter().cloned().chain(refusal).collect();
    match tell_findings(findings, said) {
        None => gate.open(),
        Some(first) => gate.open_with(first),
    }
}

/// Logs the findings that are new, and those that are settled. Returns how many there are, and the first.
fn tell_findings(findings: Vec<Finding>, said: &mut BTreeSet<Finding>) -> Option<String> {
    let findings: BTreeSet<Finding> = findings.into_iter().collect();
    for finding in findings.difference(said) {
        match finding.severity {
            Severity::Error => tracing::error!("{finding}"),
            Severity::Warning => tracing::warn!("{finding}"),
        }
    }
    for finding in said.difference(&findings) {
        tracing::info!("settled: {finding}");
    }
    let first = findings.first().map(|first| format!("{} to look at; the first: {first}", findings.len()));
    *said = findings;
    first
}
