//! Gets poolers to use the newest list, each by the way that the plan names, and says how far each is.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use futures::{StreamExt, stream};
use kube::Client;
use secrecy::SecretString;
use tokio::time::Instant;

use crate::{
    api::user_list::{AGENT_ANNOTATION, Pooler, PoolerStatus, ReloadPolicy, UserListSpec, UserListStatus, WorkloadKind},
    postgres::{
        pgbouncer::{self, CONSOLE, Console, ConsoleError},
        session::Target,
        tls::Tls,
    },
    runtime::{complaint::with_causes, lease::Claim},
};

use super::{
    grammar::{Password, UserName},
    metrics::Metrics,
    plan::pooler::{Means, PodSight, Way, way},
    status,
};

pub(super) mod agent;
mod workload;

use agent::AgentClient;
use workload::{Workload, WorkloadError, workloads};

/// How long a pod has for all that is done at its console.
const CONSOLE_LIMIT: Duration = Duration::from_secs(5);
/// How long the probe has. Where PgBouncer hands all names of databases on, it makes us wait for its server, which refuses the probe's role,
/// and it asks that one no sooner than 15 s after it last did (`server_login_retry`).
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// How many pods of a workload are told at once.
const AT_ONCE: usize = 8;
/// The kubelet renews the files of a Secret within its sync period of a minute and the age of what it has cached (Kubernetes, "Using Secrets
/// as files"). A RELOAD after that reads the list that was written before.
const KUBELET_DELAY: Duration = Duration::from_secs(120);
/// Whoever does not use the list by RELOAD in this time never will, as where a Secret is mounted by subPath.
const RELOAD_PATIENCE: Duration = Duration::from_secs(180);

/// What is known of pods from before.
#[derive(Debug, Default)]
pub(super) struct Confirmed {
    /// The list that a pod is known to use, by its name. A pod that is made anew under its name has read the list at its start.
    digests: HashMap<String, String>,
    /// The list that poolers are to use, and since when they could.
    newest: Option<(String, Instant)>,
}

/// A list that is written, and what it gives to tell poolers with.
pub(super) struct Live<'a> {
    pub(super) digest: &'a str,
    pub(super) probe: Option<&'a Password>,
    /// The password of the console's user, and the one before.
    pub(super) admin: &'a [SecretString],
    /// Whose sessions are to end.
    pub(super) removed: &'a BTreeSet<UserName>,
}

/// Who tells poolers, and about which list.
pub(super) struct Herald<'a> {
    pub(super) client: &'a Client,
    pub(super) agents: &'a AgentClient,
    pub(super) claim: &'a Claim,
    pub(super) metrics: &'a Metrics,
    pub(super) namespace: &'a str,
    pub(super) spec: &'a UserListSpec,
    pub(super) live: Live<'a>,
}

/// How far a pod is.
struct Told {
    pod: String,
    digest: Option<String>,
    trouble: Option<String>,
    needs_restart: bool,
}

impl Confirmed {
    /// What was written of pods before this process began.
    pub(super) fn from_status(status: &UserListStatus) -> Self {
        let pods = status.poolers.iter().flat_map(|pooler| &pooler.digests);
        Self { digests: pods.filter_map(|pod| Some((pod.pod.clone(), pod.digest.clone()?))).collect(), newest: None }
    }

    /// For how long poolers could have used this list.
    fn age(&mut self, digest: &str) -> Duration {
        match &self.newest {
            Some((newest, since)) if newest == digest => since.elapsed(),
            _ => {
                self.newest = Some((digest.to_owned(), Instant::now()));
                Duration::ZERO
            }
        }
    }

    fn uses(&self, pod: &str, digest: &str) -> bool {
        self.digests.get(pod).is_some_and(|known| known == digest)
    }
}

impl Herald<'_> {
    /// Tells all poolers that don't use the list yet, and says how far each is.
    pub(super) async fn tell(&self, confirmed: &mut Confirmed) -> Vec<PoolerStatus> {
        let age = confirmed.age(self.live.digest);
        let (mut statuses, mut seen, mut alive) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for pooler in &self.spec.poolers {
            match workloads(self.client, self.namespace, pooler).await {
                Ok(found) => {
                    for workload in found.iter().filter(|workload| seen.insert((workload.kind as u8, workload.name.clone()))) {
                        statuses.push(self.tell_workload(workload, age, confirmed, &mut alive).await);
                    }
                }
                Err(error) => statuses.push(unknown(pooler.kind, &name_of(pooler), &error)),
            }
        }
        confirmed.digests.retain(|pod, _| alive.contains(pod));
        statuses
    }

    async fn tell_workload(
        &self,
        workload: &Workload,
        age: Duration,
        confirmed: &mut Confirmed,
        alive: &mut BTreeSet<String>,
    ) -> PoolerStatus {
        let pods = match workload.pods(self.client, self.namespace).await {
            Ok(pods) => pods,
            Err(error) => return unknown(workload.kind, &workload.name, &error),
        };
        let known = &*confirmed;
        let telling: Vec<_> = pods.iter().map(|pod| self.tell_pod(pod, age, known)).collect();
        let told: Vec<Told> = stream::iter(telling).buffered(AT_ONCE).collect().await;
        for pod in &told {
            alive.insert(pod.pod.clone());
            match &pod.digest {
                Some(digest) => confirmed.digests.insert(pod.pod.clone(), digest.clone()),
                None => confirmed.digests.remove(&pod.pod),
            };
        }
        let mut trouble = told.iter().find_map(|pod| pod.trouble.clone());
        if told.iter().any(|pod| pod.needs_restart) {
            trouble = Some(self.restart(workload).await);
        }
        let is_applied = |pod: &&Told| pod.digest.as_deref() == Some(self.live.digest);
        let applied = told.iter().filter(is_applied).count();
        status::pooler(
            workload.kind,
            &workload.name,
            applied,
            trouble.as_deref(),
            told.into_iter().map(|pod| (pod.pod, pod.digest)).collect(),
        )
    }

    /// Restarts a workload for this list, once. What is to be said of it.
    async fn restart(&self, workload: &Workload) -> String {
        if workload.restarted_for.as_deref() == Some(self.live.digest) {
            return "a rolling restart goes on".to_owned();
        }
        if !self.claim.is_current() {
            return "the lease is lost".to_owned();
        }
        match workload.restart(self.client, self.namespace, self.live.digest).await {
            Ok(()) => {
                self.metrics.restarts.inc();
                tracing::info!(namespace = self.namespace, workload = workload.name, "a pooler is restarted for its list of users");
                "a rolling restart has begun".to_owned()
            }
            Err(error) => with_causes(&error),
        }
    }

    async fn tell_pod(&self, pod: &PodSight, age: Duration, confirmed: &Confirmed) -> Told {
        let means = Means { policy: self.spec.reload_policy, has_admin: !self.live.admin.is_empty() };
        let digest = self.live.digest;
        let told = |digest: Option<&str>, trouble: Option<String>, needs_restart| Told {
            pod: pod.name.clone(),
            digest: digest.map(ToOwned::to_owned),
            trouble: trouble.map(|trouble| format!("pod {}: {trouble}", pod.name)),
            needs_restart,
        };
        let before = confirmed.digests.get(&pod.name).map(String::as_str);
        match way(pod, means, digest) {
            Way::Started => told(Some(digest), None, false),
            Way::Leave => told(before, Some("nobody tells it, as reloadPolicy says".to_owned()), false),
            Way::Wait(reason) => Told { pod: pod.name.clone(), digest: None, trouble: Some(reason), needs_restart: false },
            Way::Restart => told(before.filter(|before| *before != digest), None, true),
            Way::Ask(agent) => match self.agents.applied(agent).await {
                Ok(applied) if applied == digest => match self.end_sessions(pod, agent.ip(), confirmed).await {
                    Ok(()) => told(Some(digest), None, false),
                    Err(trouble) => told(Some(digest), Some(trouble), false),
                },
                Ok(older) => told(Some(&older), Some("its agent has not applied the newest list yet".to_owned()), false),
                Err(error) => told(None, Some(with_causes(&error)), false),
            },
            Way::Reload(_) if confirmed.uses(&pod.name, digest) => told(Some(digest), None, false),
            Way::Reload(address) => {
                let reloaded = self.reload(address, age).await;
                self.metrics.count_reload(if reloaded.is_ok() { "applied" } else { "pending" });
                match reloaded {
                    Ok(()) => told(Some(digest), None, false),
                    Err(Pending { trouble, needs_restart }) => {
                        let may_restart = self.spec.reload_policy == ReloadPolicy::Auto;
                        told(before, Some(trouble), may_restart && (needs_restart || age > RELOAD_PATIENCE))
                    }
                }
            }
        }
    }

    /// Ends the sessions of removed users where an agent has applied the list, once.
    async fn end_sessions(&self, pod: &PodSight, address: IpAddr, confirmed: &Confirmed) -> Result<(), String> {
        if confirmed.uses(&pod.name, self.live.digest) || self.live.removed.is_empty() || self.live.admin.is_empty() {
            return Ok(());
        }
        let target = self.admin(address).await?;
        let ended = async { self.kill_clients(&mut Console::open(&target).await?).await };
        let left = pgbouncer::within(&target, CONSOLE_LIMIT, ended).await.map_err(|error| with_causes(&error))?;
        if left > 0 { Err(remaining(left)) } else { Ok(()) }
    }

    /// Lets a pod read its list anew, and sees to it that it has.
    async fn reload(&self, address: IpAddr, age: Duration) -> Result<(), Pending> {
        let target = self.admin(address).await?;
        let told = async {
            let mut console = Console::open(&target).await?;
            console.reload().await?;
            Ok(console)
        };
        let mut console = pgbouncer::within(&target, CONSOLE_LIMIT, told).await?;
        match (self.probe(address), age) {
            (Some(probe), _) if !pgbouncer::takes_password(&probe, PROBE_LIMIT).await? => {
                return Err(
                    "it was told to RELOAD and does not use the newest list yet: its kubelet renews files within two minutes".into()
                );
            }
            (None, age) if age < KUBELET_DELAY => {
                return Err("it was told to RELOAD, and will be again until its kubelet must have renewed its files, which takes two \
                            minutes; with a probeUser it is known sooner"
                    .into());
            }
            _ => {}
        }
        let left = pgbouncer::within(&target, CONSOLE_LIMIT, self.kill_clients(&mut console)).await?;
        if left > 0 { Err(Pending { trouble: remaining(left), needs_restart: true }) } else { Ok(()) }
    }

    /// Ends the sessions of removed users. How many this version can't end.
    async fn kill_clients(&self, console: &mut Console) -> Result<usize, ConsoleError> {
        if self.live.removed.is_empty() {
            return Ok(0);
        }
        let is_removed = |user: &str| UserName::new(user).is_ok_and(|name| self.live.removed.contains(&name));
        let mut left = 0;
        for client in console.clients().await?.into_iter().filter(|client| is_removed(&client.user)) {
            match client.id {
                Some(id) => console.kill_client(id).await?,
                None => left += 1,
            }
        }
        Ok(left)
    }

    /// The console, with the password that it takes: a pooler that has not read the list yet knows the one before.
    async fn admin(&self, address: IpAddr) -> Result<Target, String> {
        let Some(admin) = &self.spec.admin else { return Err("admin isn't given".to_owned()) };
        let mut refused = format!("the console takes no password of {}", admin.user);
        for password in self.live.admin {
            let target = self.target(address, &admin.user, password.clone());
            match pgbouncer::takes_password(&target, CONSOLE_LIMIT).await {
                Ok(true) => return Ok(target),
                Ok(false) => {}
                Err(error) => refused = with_causes(&error),
            }
        }
        Err(refused)
    }

    fn probe(&self, address: IpAddr) -> Option<Target> {
        let user = self.spec.probe_user.as_deref()?;
        // Of the console it would say that this is none of its users before it asks for the password.
        Some(Target { database: user.to_owned(), ..self.target(address, user, self.live.probe?.secret()) })
    }

    fn target(&self, address: IpAddr, user: &str, password: SecretString) -> Target {
        let port = self.spec.admin.as_ref().map_or(0, |admin| admin.port);
        Target {
            host: address.to_string(),
            port,
            database: CONSOLE.to_owned(),
            user: user.to_owned(),
            password: Some(password),
            tls: Tls::default(),
            options: None,
        }
    }
}

/// Whether a pod of these poolers has an agent, or may have one for all that can be seen.
pub(super) async fn have_agents(client: &Client, namespace: &str, poolers: &[Pooler]) -> bool {
    for pooler in poolers {
        let Ok(found) = workloads(client, namespace, pooler).await else { return true };
        for workload in found {
            let Ok(pods) = workload.pods(client, namespace).await else { return true };
            if pods.iter().any(|pod| pod.annotations.contains_key(AGENT_ANNOTATION)) {
                return true;
            }
        }
    }
    false
}

/// Why a pod does not use the list yet.
struct Pending {
    trouble: String,
    needs_restart: bool,
}

impl From<String> for Pending {
    fn from(trouble: String) -> Self {
        Self { trouble, needs_restart: false }
    }
}

impl From<&str> for Pending {
    fn from(trouble: &str) -> Self {
        trouble.to_owned().into()
    }
}

impl From<ConsoleError> for Pending {
    fn from(error: ConsoleError) -> Self {
        with_causes(&error).into()
    }
}

fn remaining(left: usize) -> String {
    format!("{left} sessions of removed users are left, which PgBouncer can end from 1.24: restart it")
}

fn name_of(pooler: &Pooler) -> String {
    pooler.name.clone().unwrap_or_else(|| pooler.selector.as_ref().map(crate::api::selector::LabelSelector::to_query).unwrap_or_default())
}

fn unknown(kind: WorkloadKind, name: &str, error: &WorkloadError) -> PoolerStatus {
    status::pooler(kind, name, 0, Some(&with_causes(error)), Vec::new())
}
