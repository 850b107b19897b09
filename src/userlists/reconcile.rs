//! One `UserList`: observe, plan, apply, status, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::select_all;
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::Time};
use kube::{Api, core::DynamicObject};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tokio::time::Instant;

use crate::{
    api::user_list::{Admin, AdminSecret, AuthType, NAMESPACES_ANNOTATION, PoolerStatus, ReloadPolicy, UserListSpec, UserListStatus},
    cluster::snapshot::{Changes, Snapshot},
    events::{
        note::{Note, Reason},
        recorder::Notes,
    },
    runtime::{
        backoff::{Backoff, jittered},
        complaint::{Complaint, with_causes},
        lease::Claim,
        request::RequestError,
    },
};

use super::{
    UserLists,
    grammar::{Form, Password, UserName},
    list::{List, ListId, UserListProjection},
    plan::{
        self, Found, Past, Plan, Reserved, Skipped,
        contents::{Contents, contents},
        form::Forms,
    },
    poolers::{self, Confirmed, Herald, Live, agent::AgentClient},
    source::SourceSecret,
    status::{self, Report, Verdict},
    verifiers::{InPlainText, Verifiers},
    watches::{Seen, SourceKey, Watches},
    written::{Desired, Memory, Role, WriteError, WrittenSecret},
};

/// How long sources may take to show themselves before the list is written without them.
const SOURCES_PATIENCE: Duration = Duration::from_secs(10);
/// How often an unchanged world is looked at: poolers may have new pods, and a stranger's Secret may be gone.
const INTERVAL: Duration = Duration::from_secs(30);
/// What failed, or isn't applied yet, is tried again after about this.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// And no later than after this.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// For so long at least poolers are told of a list even if the next one comes.
const LEAST_TELLING: Duration = Duration::from_secs(1);
/// What the API server refused may be granted any moment.
const WRITE_FAILED: &str = "WriteFailed";
/// So often in a row poolers are left for a newer list before one is told whatever comes.
const MOST_INTERRUPTIONS: u32 = 3;
/// How many passwords of the console's user are tried.
const CONSOLE_PASSWORDS: usize = 3;
/// What a Secret may hold, with something left for its metadata (Kubernetes, `MaxSecretSize`).
const MOST_BYTES: usize = 1_040_000;
/// How many Secrets an Event names, and how many users a condition.
const NAMED: usize = 5;

/// Looks after one list as its author last wrote it.
pub(super) struct Reconciler<'a> {
    work: &'a UserLists,
    agents: &'a AgentClient,
    claim: &'a Claim,
    notes: &'a Notes,
    id: ListId,
    list: Arc<List>,
    secrets: Api<Secret>,
    selected: Vec<(String, Snapshot<Seen<SourceSecret>>)>,
    extra: Option<Snapshot<Seen<SourceSecret>>>,
    written: Snapshot<Seen<WrittenSecret>>,
    begun: Instant,
    /// What the list's Secret remembers, even while somebody has deleted it.
    memory: Option<Memory>,
    verifiers: Verifiers,
    confirmed: Confirmed,
    told: UserListStatus,
    /// How often in a row something came up while poolers were told.
    interruptions: u32,
    backoff: Backoff,
    complaint: Complaint,
}

/// What the sources show.
struct Observed {
    found: Found,
    /// Which sources can't be read, in sentences.
    unreadable: Vec<String>,
    /// The other namespaces of which no Secret may be used.
    closed: Vec<String>,
    /// The Secrets that we wrote in this namespace; none if they can't be seen.
    written: Option<Vec<Arc<WrittenSecret>>>,
}

/// What is written, or was before.
#[derive(Default)]
struct Standing {
    digest: Option<String>,
    users: Option<usize>,
    probe: Option<Password>,
    /// With which its poolers may be spoken to.
    console_passwords: Vec<SecretString>,
    removed: BTreeSet<UserName>,
    fresh_since: Option<Timestamp>,
    skipped: Vec<Skipped>,
}

/// Why a list isn't written.
enum Obstacle {
    /// Its author is to do something, or to wait.
    Verdict(Verdict),
    /// It is to be tried again soon, and nothing is to be said of it.
    Again,
}

impl From<WriteError> for Obstacle {
    fn from(error: WriteError) -> Self {
        match &error {
            WriteError::Foreign(_) => Self::Verdict(Verdict::no("SecretNotOurs", error.to_string())),
            WriteError::LeaseLost => Self::Again,
            WriteError::Request { source, .. } if source.is_conflict() => Self::Again,
            WriteError::Label(_) | WriteError::Request { .. } => Self::Verdict(Verdict::no(WRITE_FAILED, with_causes(&error))),
        }
    }
}

impl<'a> Reconciler<'a> {
    /// `None` if its watches have not begun.
    pub(super) fn new(
        work: &'a UserLists,
        agents: &'a AgentClient,
        claim: &'a Claim,
        notes: &'a Notes,
        id: &ListId,
        list: &Arc<List>,
        watches: &Watches<'_>,
    ) -> Option<Self> {
        let selected = SourceKey::selected(id, &list.spec).into_iter().map(|key| Some((key.namespace.clone(), watches.source(&key)?)));
        let extra = match SourceKey::extra(id, &list.spec) {
            Some(key) => Some(watches.source(&key)?),
            None => None,
        };
        Some(Self {
            work,
            agents,
            claim,
            notes,
            id: id.clone(),
            list: list.clone(),
            secrets: Api::namespaced(work.client.clone(), &id.namespace),
            selected: selected.collect::<Option<_>>()?,
            extra,
            written: watches.written(&id.namespace)?,
            begun: Instant::now(),
            memory: None,
            verifiers: Verifiers::default(),
            confirmed: Confirmed::from_status(&list.status),
            told: list.status.clone(),
            interruptions: 0,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            complaint: Complaint::default(),
        })
    }

    /// Never returns.
    pub(super) async fn run(mut self) {
        let mut changes: Vec<Changes> = self.selected.iter().map(|(_, seen)| seen).chain(&self.extra).map(Snapshot::changes).collect();
        changes.push(self.written.changes());
        loop {
            let pause = self.pass(&mut changes).await;
            tokio::select! {
                () = any(&mut changes) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Looks once, and does what is to be done. When to look again if nothing changes before.
    async fn pass(&mut self, changes: &mut [Changes]) -> Duration {
        let Some(observed) = self.observe() else {
            return SOURCES_PATIENCE.saturating_sub(self.begun.elapsed()).max(FIRST_PAUSE);
        };
        let mut standing = Standing::default();
        let verdict = match self.write(&observed, &mut standing).await {
            Ok(verdict) | Err(Obstacle::Verdict(verdict)) => verdict,
            Err(Obstacle::Again) => return self.backoff.pause(),
        };
        let Some(poolers) = self.tell_poolers(&standing, changes).await else { return Duration::ZERO };
        let Standing { digest, users, skipped, .. } = standing;
        let report = Report { verdict, users, skipped, digest, poolers };
        self.tell_author(&report);
        if let Err(error) = self.write_status(&report).await {
            if self.complaint.is_new(&error) {
                let ListId { namespace, name, .. } = &self.id;
                tracing::warn!(namespace, name, error = with_causes(&error), "the status of a UserList can't be written; trying again");
            }
            return self.backoff.pause();
        }
        self.complaint.settle();
        if report.is_applied() && report.verdict.reason != WRITE_FAILED {
            self.backoff.reset();
            return jittered(INTERVAL);
        }
        self.backoff.pause()
    }

    /// What can be seen; `None` while something may show itself in a moment.
    fn observe(&self) -> Option<Observed> {
        let may_come = self.begun.elapsed() < SOURCES_PATIENCE;
        let (mut secrets, mut unreadable, mut closed) = (Vec::new(), Vec::new(), Vec::new());
        let own = &self.id.namespace;
        for (namespace, seen) in &self.selected {
            match &*seen.load() {
                Seen::Nothing if may_come => return None,
                Seen::Nothing => unreadable.push(unseen(namespace)),
                Seen::Forbidden => unreadable.push(forbidden(namespace)),
                Seen::All(found) => {
                    let before = secrets.len();
                    secrets.extend(found.iter().filter(|secret| plan::may_be_used(secret, own)).cloned());
                    if namespace != own && secrets.len() == before {
                        closed.push(namespace.clone());
                    }
                }
            }
        }
        let mut extra = None;
        if let (Some(seen), Some(wish)) = (&self.extra, &self.list.spec.extra_users) {
            match &*seen.load() {
                Seen::Nothing if may_come => return None,
                Seen::Nothing => unreadable.push(unseen(own)),
                Seen::Forbidden => unreadable.push(forbidden(own)),
                Seen::All(found) if found.is_empty() => unreadable.push(format!("Secret {} with extra users does not exist", wish.name)),
                Seen::All(found) => extra = found.first().cloned(),
            }
        }
        let written = match &*self.written.load() {
            Seen::Nothing if may_come => return None,
            Seen::Nothing | Seen::Forbidden => None,
            Seen::All(written) => Some(written.clone()),
        };
        let found = Found { namespace: own.clone(), extra, secrets, is_complete: unreadable.is_empty() };
        Some(Observed { found, unreadable, closed, written })
    }

    /// Writes what differs.
    async fn write(&mut self, observed: &Observed, standing: &mut Standing) -> Result<Verdict, Obstacle> {
        let list = self.list.clone();
        let spec = &list.spec;
        if spec.selector.is_empty() {
            return Ok(Verdict::no("SelectorEmpty", "an empty selector would choose every Secret: write matchLabels or matchExpressions"));
        }
        let Some(written) = &observed.written else {
            return Ok(Verdict::no("Forbidden", forbidden(&self.id.namespace)));
        };
        let seen = written.iter().find(|secret| secret.name == spec.output.name);
        if seen.is_some_and(|seen| !seen.belongs_to(&self.id)) {
            return Err(WriteError::Foreign(spec.output.name.clone()).into());
        }
        let memory = self.memory(seen, written)?;
        standing.digest = seen.and_then(|seen| seen.digest.clone());
        self.confirmed.stands(standing.digest.as_deref());
        standing.probe = seen.zip(probe_of(spec)).and_then(|(seen, probe)| seen.password_of(&spec.output.key, probe));
        standing.users = standing.digest.as_ref().map(|_| memory.past.users.len());
        standing.console_passwords.clone_from(&memory.console_passwords);
        standing.removed.clone_from(&memory.past.removed);
        standing.fresh_since = memory.fresh_since;
        let forms = Forms::new(spec);
        let mut plan = self.plan(observed, &forms, &memory);
        standing.skipped.clone_from(&plan.skipped);
        if plan.users.len() < usize::try_from(spec.minimum_users).unwrap_or(usize::MAX) {
            return Ok(too_few(&plan, spec, observed));
        }
        let in_plain_text = self.verifiers.put_into(&mut plan, &forms, &memory.past.users).await;
        let console_passwords = self.console_passwords(&plan, &memory);
        self.write_list(&plan, Memory { console_passwords, ..memory }, seen.map(AsRef::as_ref), standing).await?;
        if let Some((admin, secret)) = spec.admin.as_ref().and_then(|admin| Some((admin, admin.secret.as_ref()?))) {
            let Some(password) = &admin_of(&plan, admin) else { return Ok(no_admin(admin)) };
            self.write_admin(admin, secret, password, written).await?;
        } else if let Some(admin) = spec.admin.as_ref().filter(|admin| admin_of(&plan, admin).is_none()) {
            return Ok(no_admin(admin));
        }
        if !observed.unreadable.is_empty() {
            let message = format!("{}; until then nobody is taken out of the list", observed.unreadable.join("; "));
            return Ok(Verdict::no("SourcesUnreadable", message));
        }
        let closed = closed(&observed.closed, &self.id.namespace);
        let remarks = remarks(&in_plain_text);
        let message = format!("Secret {} has {} users{remarks}{closed}", spec.output.name, plan.users.len());
        Ok(Verdict { is_ready: Some(true), reason: "Written", message })
    }

    /// What the list's Secret remembers; if somebody has deleted it, what it did; if it had another name, what that one does; if it never
    /// was, a beginning. If nobody knows any more, whoever was removed may be in the memory of pods, and only a restart takes them from it.
    fn memory(&self, seen: Option<&Arc<WrittenSecret>>, written: &[Arc<WrittenSecret>]) -> Result<Memory, Obstacle> {
        let UserListSpec { output, probe_user, .. } = &self.list.spec;
        let read = |seen: &Arc<WrittenSecret>| seen.memory(&output.key, &self.id.namespace, probe_user.as_deref(), self.memory.as_ref());
        let before = self.told.digest.as_deref();
        let former = || written.iter().find(|secret| before.is_some_and(|digest| secret.is_list_of(&self.id, digest)));
        if let Some(memory) = seen.and_then(read).or_else(|| self.memory.clone()).or_else(|| former().and_then(read)) {
            return Ok(memory);
        }
        let begun = Memory::new().map_err(|_| Obstacle::Verdict(Verdict::no(WRITE_FAILED, "there are no random bytes to be had")))?;
        Ok(Memory { fresh_since: before.map(|_| this_second()), ..begun })
    }

    fn plan(&self, observed: &Observed, forms: &Forms<'_>, memory: &Memory) -> Plan {
        let spec = &self.list.spec;
        let admin = spec.admin.as_ref().map(|admin| admin.user.as_str());
        let reserved = Reserved { admin, probe: spec.probe_user.as_deref(), own: &spec.reserved_users };
        plan::plan(&observed.found, reserved, forms, &memory.past)
    }

    async fn write_list(
        &mut self,
        plan: &Plan,
        memory: Memory,
        seen: Option<&WrittenSecret>,
        standing: &mut Standing,
    ) -> Result<(), Obstacle> {
        let list = self.list.clone();
        let spec = &list.spec;
        let admits_by_name = spec.auth_type.is_some_and(AuthType::admits_by_name);
        let may_be_reloaded = admits_by_name || spec.reload_policy != ReloadPolicy::Restart || self.has_agents(&plan.removed).await;
        let removed = if may_be_reloaded { plan.removed.clone() } else { BTreeSet::new() };
        let tombstones = if admits_by_name { BTreeSet::new() } else { removed.clone() };
        let fresh_since = if admits_by_name { self.fresh_since(&removed, &memory) } else { memory.fresh_since };
        let contents = contents(plan, &tombstones, probe_of(spec), &memory.digest_key());
        let Contents { list, digest, probe } =
            contents.map_err(|error| Obstacle::Verdict(Verdict::no("NotRepresentable", error.to_string())))?;
        let past = Past { users: plan.users.clone(), removed, origins: plan.origins.clone() };
        let memory = Memory { past, fresh_since, ..memory };
        let data = memory.data(&spec.output.key, &list, &self.id.namespace);
        let length: usize = data.values().map(|value| value.expose_secret().len()).sum();
        if length > MOST_BYTES {
            return Err(Obstacle::Verdict(too_long(length, memory.past.removed.len())));
        }
        let desired = Desired { name: spec.output.name.clone(), role: Role::List, digest: Some(digest.clone()), data };
        self.put(&desired, seen).await?;
        *standing = Standing {
            digest: Some(digest),
            users: Some(plan.users.len()),
            probe,
            console_passwords: memory.console_passwords.clone(),
            removed: memory.past.removed.clone(),
            fresh_since,
            skipped: std::mem::take(&mut standing.skipped),
        };
        self.memory = Some(memory);
        Ok(())
    }

    async fn write_admin(
        &self,
        admin: &Admin,
        secret: &AdminSecret,
        password: &Password,
        written: &[Arc<WrittenSecret>],
    ) -> Result<(), Obstacle> {
        let data = BTreeMap::from([
            (secret.username_key.clone(), SecretSlice::from(admin.user.clone().into_bytes())),
            (secret.password_key.clone(), SecretSlice::from(password.expose_secret().as_bytes().to_vec())),
        ]);
        let desired = Desired { name: secret.name.clone(), role: Role::Admin, digest: None, data };
        let seen = written.iter().find(|written| written.name == secret.name);
        self.put(&desired, seen.map(AsRef::as_ref)).await
    }

    async fn put(&self, desired: &Desired, seen: Option<&WrittenSecret>) -> Result<(), Obstacle> {
        if desired.write(&self.secrets, &self.id, seen, self.claim).await? {
            self.work.metrics.writes.inc();
            let ListId { namespace, name, .. } = &self.id;
            tracing::info!(namespace, name, secret = desired.name, "a Secret of a UserList was written");
        }
        Ok(())
    }

    /// Since when pods must have started where the names of a list are let in without their passwords.
    fn fresh_since(&self, removed: &BTreeSet<UserName>, memory: &Memory) -> Option<Timestamp> {
        let known = &self.memory.as_ref().unwrap_or(memory).past.removed;
        let is_known = removed.is_empty() || memory.fresh_since.is_some() && removed.is_subset(known);
        if is_known { memory.fresh_since } else { Some(this_second()) }
    }

    /// Whether agents may RELOAD a list for which all pods are to be restarted. Only asked if somebody would be forgotten.
    async fn has_agents(&self, removed: &BTreeSet<UserName>) -> bool {
        !removed.is_empty() && poolers::have_agents(&self.work.client, &self.id.namespace, &self.list.spec.poolers).await
    }

    /// The console's passwords, the newest first: a pooler that has not read the newest list takes one from before.
    fn console_passwords(&self, plan: &Plan, memory: &Memory) -> Vec<SecretString> {
        let Some(admin) = &self.list.spec.admin else { return Vec::new() };
        let newest = admin_of(plan, admin).map(|password| password.secret());
        let mut passwords = memory.console_passwords.clone();
        if let Some(newest) = newest {
            passwords.retain(|known| known.expose_secret() != newest.expose_secret());
            passwords.insert(0, newest);
        }
        passwords.truncate(CONSOLE_PASSWORDS);
        passwords
    }

    /// Tells poolers of the list that is there. `None` if something else came up meanwhile.
    async fn tell_poolers(&mut self, standing: &Standing, changes: &mut [Changes]) -> Option<Vec<PoolerStatus>> {
        let Some(digest) = &standing.digest else { return Some(Vec::new()) };
        let lists = self.work.lists.load();
        let herald = Herald {
            client: &self.work.client,
            agents: self.agents,
            claim: self.claim,
            metrics: &self.work.metrics,
            lists: &lists,
            id: &self.id,
            spec: &self.list.spec,
            live: Live {
                digest,
                probe: standing.probe.as_ref(),
                admin: &standing.console_passwords,
                removed: &standing.removed,
                fresh_since: standing.fresh_since,
            },
        };
        let may_be_interrupted = self.interruptions < MOST_INTERRUPTIONS;
        let interruption = async {
            tokio::time::sleep(LEAST_TELLING).await;
            any(changes).await;
        };
        tokio::select! {
            biased;
            told = herald.tell(&mut self.confirmed) => {
                self.interruptions = 0;
                Some(told)
            }
            () = interruption, if may_be_interrupted => {
                self.interruptions += 1;
                None
            }
        }
    }

    /// What its author should see without looking for it.
    fn tell_author(&self, report: &Report) {
        if report.verdict.is_ready == Some(false) {
            self.notes.tell(self.note(Reason::UserListNotReady, report.verdict.message.clone()));
        }
        if !report.skipped.is_empty() {
            let named =
                report.skipped.iter().take(NAMED).map(|skipped| format!("{}/{}: {}", skipped.namespace, skipped.name, skipped.reason));
            let named = named.collect::<Vec<_>>().join("; ");
            self.notes.tell(self.note(Reason::UsersSkipped, format!("left out: {} in all; {named}", report.skipped.len())));
        }
    }

    fn note(&self, reason: Reason, message: String) -> Note {
        Note { namespace: self.id.namespace.clone(), about: self.id.reference(), reason, message }
    }

    async fn write_status(&mut self, report: &Report) -> Result<(), RequestError> {
        let status = report.status(&self.id, &self.told, &Time(Timestamp::now()));
        if status == self.told || !self.claim.is_current() {
            return Ok(());
        }
        let api: Api<DynamicObject> = Api::namespaced_with(self.work.client.clone(), &self.id.namespace, &UserListProjection::resource());
        status::write(&api, &self.id, &self.told, &status).await?;
        self.told = status;
        Ok(())
    }
}

/// Waits for the first of several changes.
async fn any(changes: &mut [Changes]) {
    select_all(changes.iter_mut().map(|changes| Box::pin(changes.next()))).await;
}

fn forbidden(namespace: &str) -> String {
    format!("Secrets in namespace {namespace} can't be watched: grant list and watch, as the chart's userLists.namespaces does")
}

fn unseen(namespace: &str) -> String {
    format!("Secrets in namespace {namespace} could not be listed so far: the log of the controllers says why")
}

fn closed(namespaces: &[String], own: &str) -> String {
    if namespaces.is_empty() {
        return String::new();
    }
    format!("; no selected Secret of {} names {own} in its annotation {NAMESPACES_ANNOTATION}, so none is used", namespaces.join(", "))
}

/// Who stays in plain text, and why.
fn remarks(users: &InPlainText) -> String {
    let named = users.iter().take(NAMED).map(|(name, why)| format!("; {name} stays in plain text: {why}"));
    let more = users.len().checked_sub(NAMED).filter(|more| *more > 0).map(|more| format!("; and {more} more do"));
    named.chain(more).collect()
}

fn too_few(plan: &Plan, spec: &UserListSpec, observed: &Observed) -> Verdict {
    let mut message =
        format!("{} users were found and minimumUsers is {}, so the list is left as it is", plan.users.len(), spec.minimum_users);
    for sentence in &observed.unreadable {
        message = format!("{message}; {sentence}");
    }
    Verdict::no("TooFewUsers", message + &closed(&observed.closed, &observed.found.namespace))
}

fn no_admin(admin: &Admin) -> Verdict {
    let message = format!(
        "no selected Secret has the password itself of the console's user {}, which a hash is not: label one that does, or change admin.user",
        admin.user
    );
    Verdict::no("AdminMissing", message)
}

fn too_long(length: usize, removed: usize) -> Verdict {
    let message = format!(
        "the list and what is remembered of it would have {length} bytes, {removed} names of users who were removed among them, and a Secret \
         holds {MOST_BYTES}: divide its users among several UserLists, or begin anew with another one and new poolers"
    );
    Verdict::no("NotRepresentable", message)
}

/// The password of the console's user. A hash signs in nowhere.
fn admin_of(plan: &Plan, admin: &Admin) -> Option<Password> {
    plan.users.get(&UserName::new(&admin.user).ok()?).filter(|password| password.form() == Form::Plain).cloned()
}

/// The user of the probe. There is none where its password would not be what lets it in: it proves nothing there.
fn probe_of(spec: &UserListSpec) -> Option<&str> {
    spec.probe_user.as_deref().filter(|_| spec.auth_type.is_none_or(AuthType::asks_for_passwords))
}

/// As the list's Secret has it.
fn this_second() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
