//! What is done at the console of a pod without an agent: RELOAD, a look whether it was enough, and the end of removed users' sessions.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use jiff::Timestamp;
use secrecy::SecretString;

use crate::{
    api::user_list::UserListSpec,
    postgres::{
        pgbouncer::{self, CONSOLE, Console, ConsoleError},
        session::Target,
        tls::Tls,
    },
    runtime::complaint::with_causes,
    userlists::grammar::{Password, UserName},
};

use super::remaining;

/// How long a pod has for all that is done at its console.
const CONSOLE_LIMIT: Duration = Duration::from_secs(5);
/// How long the probe has. Where PgBouncer hands all names of databases on, it makes us wait for its server, which refuses the probe's role,
/// and it asks that one no sooner than 15 s after it last did (`server_login_retry`).
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// The kubelet renews the files of a Secret within its sync period of a minute and the age of what it has cached (Kubernetes, "Using Secrets
/// as files"). A RELOAD after that reads the list that was written before.
const KUBELET_DELAY: Duration = Duration::from_secs(120);

/// A list that is written, and what it gives to tell poolers with.
#[derive(Clone, Copy)]
pub(in crate::userlists) struct Live<'a> {
    pub(in crate::userlists) digest: &'a str,
    pub(in crate::userlists) probe: Option<&'a Password>,
    /// The password of the console's user, and the one before.
    pub(in crate::userlists) admin: &'a [SecretString],
    /// Whose sessions are to end.
    pub(in crate::userlists) removed: &'a BTreeSet<UserName>,
    /// Since when pods must have started.
    pub(in crate::userlists) fresh_since: Option<Timestamp>,
}

/// Why a pod does not use the list yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Pending {
    /// It can't be asked, or what it says is about something else.
    #[error("{}", with_causes(.0))]
    Console(#[from] ConsoleError),
    #[error("no password of the console's user is known: see the condition Ready")]
    NoAdmin,
    /// The kubelet may not have renewed the file.
    #[error(
        "it was told to RELOAD, and will be again until its kubelet must have renewed its files, which takes two minutes; with a probeUser \
         it is known sooner"
    )]
    Kubelet,
    #[error("the console takes no password of {0}, so it uses another list")]
    AnotherAdmin(String),
    #[error("it was told to RELOAD and does not use the newest list yet: its kubelet renews files within two minutes")]
    AnotherList,
    #[error("{}", remaining(*.0))]
    Sessions(usize),
}

/// The console of one pod.
pub(super) struct PodConsole<'a> {
    pub(super) address: IpAddr,
    pub(super) spec: &'a UserListSpec,
    pub(super) live: Live<'a>,
}

impl PodConsole<'_> {
    /// Lets the pod read its list anew, and sees to it that it has, and that nobody who was removed is left. `age` is for how long it could.
    pub(super) async fn reload(&self, age: Duration) -> Result<(), Pending> {
        let target = self.admin().await?;
        let told = async {
            let mut console = Console::open(&target).await?;
            console.reload().await?;
            Ok(console)
        };
        let mut console = pgbouncer::within(&target, CONSOLE_LIMIT, told).await?;
        match self.probe() {
            Some(probe) if !pgbouncer::takes_password(&probe, PROBE_LIMIT).await? => return Err(Pending::AnotherList),
            None if age < KUBELET_DELAY => return Err(Pending::Kubelet),
            _ => {}
        }
        if self.live.removed.is_empty() {
            return Ok(());
        }
        let is_removed = |user: &str| UserName::new(user).is_ok_and(|name| self.live.removed.contains(&name));
        let sessions = pgbouncer::within(&target, CONSOLE_LIMIT, console.end_sessions(is_removed)).await?;
        if sessions.remaining > 0 { Err(Pending::Sessions(sessions.remaining)) } else { Ok(()) }
    }

    /// The console, with the password that it takes: a pooler that has not read the list yet knows the one before.
    async fn admin(&self) -> Result<Target, Pending> {
        let Some(admin) = self.spec.admin.as_ref().filter(|_| !self.live.admin.is_empty()) else { return Err(Pending::NoAdmin) };
        for password in self.live.admin {
            let target = self.target(&admin.user, password.clone());
            if pgbouncer::takes_password(&target, CONSOLE_LIMIT).await? {
                return Ok(target);
            }
        }
        Err(Pending::AnotherAdmin(admin.user.clone()))
    }

    fn probe(&self) -> Option<Target> {
        let user = self.spec.probe_user.as_deref()?;
        // Of the console it would say that this is none of its users before it asks for the password.
        Some(Target { database: user.to_owned(), ..self.target(user, self.live.probe?.secret()) })
    }

    fn target(&self, user: &str, password: SecretString) -> Target {
        let port = self.spec.admin.as_ref().map_or(0, |admin| admin.port);
        Target {
            host: self.address.to_string(),
            port,
            database: CONSOLE.to_owned(),
            user: user.to_owned(),
            password: Some(password),
            tls: Tls::default(),
            options: None,
        }
    }
}
