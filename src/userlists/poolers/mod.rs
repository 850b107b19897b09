//! Gets poolers to use the newest list, each by the way that the plan names, and says how far each is.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::Client;

use crate::{
    api::{
        selector::LabelSelector,
        user_list::{AGENT_ANNOTATION, Pooler, PoolerStatus, ReloadPolicy, UserListSpec},
    },
    runtime::{complaint::with_causes, lease::Claim},
};

use super::{
    list::{ListId, Lists},
    metrics::Metrics,
    plan::pooler::{Known, Lag, Means, Newest, Turn, Way, needs_restart, way},
    status,
};

pub(super) mod agent;
mod confirmed;
mod console;
mod workload;

pub(super) use confirmed::Confirmed;
pub(super) use console::Live;

use agent::{AgentClient, AgentError, Applied};
use console::{Pending, PodConsole};
use workload::{Workload, WorkloadError, workloads};

/// How many pods of a workload are told at once.
const AT_ONCE: usize = 8;

/// Who tells poolers, and about which list.
pub(super) struct Herald<'a> {
    pub(super) client: &'a Client,
    pub(super) agents: &'a AgentClient,
    pub(super) claim: &'a Claim,
    pub(super) metrics: &'a Metrics,
    /// All lists: one of the others may restart the same workload.
    pub(super) lists: &'a Lists,
    pub(super) id: &'a ListId,
    pub(super) spec: &'a UserListSpec,
    pub(super) live: Live<'a>,
}

/// How far a pod is.
struct Told {
    /// What became known of it; none if nothing did.
    known: Option<Known>,
    trouble: Option<String>,
    lag: Option<PodLag>,
}

/// Why a pod lags behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PodLag {
    Unknown,
    Other,
    Sessions,
    Start,
}

impl Told {
    fn done(digest: &str) -> Self {
        Self { known: Some(Known::Uses(digest.to_owned())), trouble: None, lag: None }
    }

    fn behind(trouble: impl Into<String>, lag: PodLag) -> Self {
        Self { known: None, trouble: Some(trouble.into()), lag: Some(lag) }
    }
}

impl From<Pending> for Told {
    fn from(pending: Pending) -> Self {
        let lag = match &pending {
            Pending::Console(_) | Pending::NoAdmin | Pending::Kubelet => PodLag::Unknown,
            Pending::AnotherAdmin(_) | Pending::AnotherList => PodLag::Other,
            Pending::Sessions(_) => PodLag::Sessions,
        };
        Self::behind(pending.to_string(), lag)
    }
}

impl Herald<'_> {
    /// Tells all poolers that don't use the list yet, and says how far each is.
    pub(super) async fn tell(&self, confirmed: &mut Confirmed) -> Vec<PoolerStatus> {
        let age = confirmed.age(self.live.digest);
        let (mut statuses, mut seen, mut alive, mut is_complete) = (Vec::new(), BTreeSet::new(), BTreeSet::new(), true);
        let mut unknown = |kind, name: &str, error: &WorkloadError| {
            is_complete &= matches!(error, WorkloadError::Absent(_));
            status::pooler(kind, name, 0, Some(&with_causes(error)), Vec::new())
        };
        for pooler in &self.spec.poolers {
            match workloads(self.client, &self.id.namespace, pooler).await {
                Ok(found) => {
                    for workload in found.iter().filter(|workload| seen.insert((workload.kind as u8, workload.name.clone()))) {
                        let told = self.tell_workload(workload, age, confirmed, &mut alive).await;
                        statuses.push(told.unwrap_or_else(|error| unknown(workload.kind, &workload.name, &error)));
                    }
                }
                Err(error) => statuses.push(unknown(pooler.kind, &name_of(pooler), &error)),
            }
        }
        // Who may only be unseen is not forgotten.
        if is_complete {
            confirmed.keep(&alive);
        }
        statuses
    }

    async fn tell_workload(
        &self,
        workload: &Workload,
        age: Duration,
        confirmed: &mut Confirmed,
        alive: &mut BTreeSet<String>,
    ) -> Result<PoolerStatus, WorkloadError> {
        let pods = workload.pods(self.client, &self.id.namespace).await?;
        let mut ways = Vec::with_capacity(pods.len());
        for pod in &pods {
            alive.insert(pod.uid.clone());
            let way = way(pod, self.means(), self.newest(), confirmed.of(pod, self.live.digest));
            // We may be interrupted before we learn what it read.
            if matches!(way, Way::Reload(_)) {
                confirmed.learn(&pod.uid, Known::Unsure);
            }
            ways.push(way);
        }
        let telling: Vec<_> = ways.into_iter().map(|way| self.tell_pod(way, age)).collect();
        let told: Vec<Told> = stream::iter(telling).buffered(AT_ONCE).collect().await;
        let (mut trouble, mut restart, mut again, mut digests) = (None, false, false, Vec::with_capacity(pods.len()));
        for (pod, told) in pods.iter().zip(told) {
            if let Some(known) = told.known {
                confirmed.learn(&pod.uid, known);
            }
            if let Some(lag) = told.lag
                && needs_restart(lag.measured(|| confirmed.behind(&pod.uid)), self.spec.reload_policy)
            {
                restart = true;
                again |= pod.is_started_for(self.newest());
            }
            trouble = trouble.or_else(|| told.trouble.map(|trouble| format!("pod {}: {trouble}", pod.name)));
            let digest = if let Known::Uses(digest) = confirmed.of(pod, self.live.digest) { Some(digest.clone()) } else { None };
            digests.push((pod.name.clone(), digest));
        }
        if restart {
            trouble = Some(self.restart(workload, again).await);
        }
        let applied = digests.iter().filter(|(_, digest)| digest.as_deref() == Some(self.live.digest)).count();
        Ok(status::pooler(workload.kind, &workload.name, applied, trouble.as_deref(), digests))
    }

    /// Restarts a workload for this list, once, and not too often. What is to be said of it.
    async fn restart(&self, workload: &Workload, again: bool) -> String {
        let now = Timestamp::now();
        match workload.last_restart.turn(self.newest(), again, now, |uid| self.rival(uid, workload).is_some()) {
            Turn::Now => {}
            Turn::GoesOn => return "a rolling restart goes on".to_owned(),
            Turn::Later(earliest) => {
                return format!("it needs a rolling restart, and had one a moment ago: the next begins after {earliest:.0}");
            }
            Turn::Taken(uid) => {
                let name = self.rival(&uid, workload).unwrap_or_default();
                return format!("UserList {name} restarts it already: name it in one list alone, or set reloadPolicy: Reload in the other");
            }
        }
        if !self.claim.is_current() {
            return "the lease is lost".to_owned();
        }
        match workload.restart(self.client, &self.id.namespace, self.newest(), now).await {
            Ok(()) => {
                self.metrics.restarts.inc();
                let ListId { namespace, name, .. } = self.id;
                tracing::info!(namespace, name, workload = workload.name, "a pooler is restarted for its list of users");
                "a rolling restart has begun".to_owned()
            }
            Err(error) => with_causes(&error),
        }
    }

    /// The name of the list of this uid, if it may restart the workload, too.
    fn rival(&self, uid: &str, workload: &Workload) -> Option<String> {
        let rival = self.lists.iter().find(|(id, _)| id.uid == uid && id.namespace == self.id.namespace);
        let may_restart = |policy| matches!(policy, ReloadPolicy::Auto | ReloadPolicy::Restart);
        let rival = rival.filter(|(_, list)| {
            may_restart(list.spec.reload_policy) && list.spec.poolers.iter().any(|pooler| workload.is_meant_by(pooler))
        });
        rival.map(|(id, _)| id.name.clone())
    }

    async fn tell_pod(&self, way: Way, age: Duration) -> Told {
        match way {
            Way::Done => Told::done(self.live.digest),
            Way::Leave => Told::behind("nobody tells it, as reloadPolicy says", PodLag::Unknown),
            Way::Wait(reason) => Told::behind(reason, PodLag::Unknown),
            Way::Restart => Told::behind("it needs a restart", PodLag::Start),
            Way::Ask(agent) => self.ask(agent).await,
            Way::Reload(address) => self.reload(address, age).await,
        }
    }

    async fn ask(&self, agent: SocketAddr) -> Told {
        let unsure = |trouble: String, lag| Told { known: Some(Known::Unsure), ..Told::behind(trouble, lag) };
        match self.agents.applied(agent).await {
            Ok(Applied { digest, .. }) if digest != self.live.digest => {
                Told { known: Some(Known::Uses(digest)), ..Told::behind("its agent has not applied the newest list yet", PodLag::Unknown) }
            }
            Ok(Applied { remaining_sessions: Some(0), .. }) => Told::done(self.live.digest),
            Ok(Applied { remaining_sessions: Some(left), .. }) => unsure(remaining(left), PodLag::Sessions),
            Ok(Applied { remaining_sessions: None, .. }) if self.live.removed.is_empty() => Told::done(self.live.digest),
            Ok(Applied { remaining_sessions: None, .. }) => unsure(with_causes(&AgentError::Sessions), PodLag::Unknown),
            Err(error) => unsure(with_causes(&error), PodLag::Unknown),
        }
    }

    async fn reload(&self, address: IpAddr, age: Duration) -> Told {
        let reloaded = PodConsole { address, spec: self.spec, live: self.live }.reload(age).await;
        self.metrics.count_reload(if reloaded.is_ok() { "applied" } else { "pending" });
        reloaded.map_or_else(Told::from, |()| Told::done(self.live.digest))
    }

    fn means(&self) -> Means {
        Means { policy: self.spec.reload_policy, has_admin: !self.live.admin.is_empty(), fresh_since: self.live.fresh_since }
    }

    fn newest(&self) -> Newest<'_> {
        Newest { list: &self.id.uid, digest: self.live.digest }
    }
}

impl PodLag {
    fn measured(self, behind: impl FnOnce() -> Duration) -> Lag {
        match self {
            Self::Unknown => Lag::Unknown,
            Self::Other => Lag::Other(behind()),
            Self::Sessions => Lag::Sessions,
            Self::Start => Lag::Start,
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

fn remaining(left: usize) -> String {
    format!("{left} sessions of removed users are left, which PgBouncer can end from 1.24: restart it")
}

fn name_of(pooler: &Pooler) -> String {
    pooler.name.clone().unwrap_or_else(|| pooler.selector.as_ref().map(LabelSelector::to_query).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::pgbouncer::ConsoleError;

    #[test]
    fn only_what_is_said_of_the_list_itself_counts_against_a_pod() {
        let silent = ConsoleError::Silent { console: "pgbouncer".to_owned(), limit: Duration::from_secs(5) };
        for (pending, expected) in [
            (Pending::Console(silent), PodLag::Unknown),
            (Pending::Kubelet, PodLag::Unknown),
            (Pending::NoAdmin, PodLag::Unknown),
            (Pending::AnotherList, PodLag::Other),
            (Pending::AnotherAdmin("admin".to_owned()), PodLag::Other),
            (Pending::Sessions(1), PodLag::Sessions),
        ] {
            let told = Told::from(pending);
            assert!(told.lag == Some(expected) && told.known.is_none(), "{:?}", told.trouble);
        }
    }
}
