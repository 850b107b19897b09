//! Telling the app that files changed: once for each settled batch of changes, again and again until it is heard.

mod call;
mod changes;
mod credential;
mod mail;
mod reload;
mod script;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

pub(super) use changes::{Applied, Changes, Said};
pub use script::ScriptError;

use mail::MailError;

use super::{
    metrics::Metrics,
    settings::{Mail, Notify, PgBouncer, Script, Web},
    web::WebError,
};
use crate::{
    postgres::pgbouncer::ConsoleError,
    runtime::{
        backoff::Backoff,
        complaint::{Complaint, with_causes},
        orphans::Orphans,
    },
};

/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How often it is looked whether sessions that can't be ended have ended by themselves.
const REMAINING_PAUSE: Duration = Duration::from_secs(15);

/// Why the app was not told.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotifyError {
    /// The call failed.
    #[error("the call failed")]
    Call(#[from] WebError),
    /// A file with a credential can't be read.
    #[error("{path} can't be read, which a setting names as the file of a credential")]
    Credential {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The call failed in a way that is not to be tried again.
    #[error("the call failed, and ENABLE_5XX says not to make it again")]
    Final(#[source] WebError),
    /// The program failed.
    #[error("the script failed")]
    Script(#[from] ScriptError),
    /// The mail failed.
    #[error("the mail failed")]
    Mail(#[from] MailError),
    /// `PgBouncer` was not told.
    #[error("PgBouncer has not read its files anew")]
    Reload(#[from] ConsoleError),
}

/// Files that changed, together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// The first of them, in order.
    pub files: Vec<String>,
    /// How many there are.
    pub count: usize,
    /// Where they are.
    pub folder: String,
    /// Users of `PgBouncer` whose sessions are to end.
    pub removed_users: BTreeSet<String>,
}

impl Batch {
    /// How many files changed, in words.
    fn summary(&self) -> String {
        match self.count {
            0 => format!("Files in {} changed", self.folder),
            1 => format!("1 file in {} changed", self.folder),
            count => format!("{count} files in {} changed", self.folder),
        }
    }

    /// The same with their names.
    fn line(&self) -> String {
        let names = self.files.join(", ");
        match self.count.saturating_sub(self.files.len()) {
            _ if self.files.is_empty() => self.summary(),
            0 => format!("{}: {names}", self.summary()),
            more => format!("{}: {names} and {more} more", self.summary()),
        }
    }
}

/// Checks, before anything is written, that those who are to be told can be.
///
/// # Errors
/// The script can't be run.
pub(super) fn check(notify: &Notify) -> Result<(), ScriptError> {
    notify.script.as_ref().map_or(Ok(()), |script| script::check(&PathBuf::from(&script.path)))
}

/// A way to tell.
#[derive(Debug)]
enum Channel {
    Script(Script, Orphans),
    PgBouncer(PgBouncer, Duration, Changes),
    Call(call::Caller),
    Mail(Mail, Duration),
}

impl Channel {
    async fn tell(&mut self, batch: &Batch) -> Result<(), NotifyError> {
        match self {
            Self::Script(script, orphans) => Ok(script::run(script, batch, orphans).await?),
            Self::PgBouncer(pgbouncer, timeout, changes) => {
                changes.remain(reload::reload(pgbouncer, *timeout, &batch.removed_users).await?);
                Ok(())
            }
            Self::Call(caller) => caller.call(batch).await,
            Self::Mail(mail, timeout) => mail::send(mail, *timeout, batch).await,
        }
    }
}

/// Whether a channel was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    NotYet,
    Told,
    GivenUp,
}

/// Tells of changes.
#[derive(Debug)]
pub(super) struct Notifier {
    notify: Notify,
    changes: Changes,
    metrics: Metrics,
    /// In the order in which they are told.
    channels: Vec<Channel>,
}

impl Notifier {
    /// One that tells of these changes.
    #[must_use]
    pub(super) fn new(notify: Notify, web: &Web, changes: Changes, orphans: &Orphans, metrics: Metrics) -> Self {
        let script = notify.script.clone().map(|script| Channel::Script(script, orphans.clone()));
        // Whoever is called then may sign in as a new user.
        let pgbouncer = notify.pgbouncer.clone().map(|pgbouncer| Channel::PgBouncer(pgbouncer, web.timeout, changes.clone()));
        let call = notify.call.clone().map(|call| Channel::Call(call::Caller::new(call, web.clone())));
        let mail = notify.mail.clone().map(|mail| Channel::Mail(mail, web.timeout));
        Self { notify, changes, metrics, channels: [script, pgbouncer, call, mail].into_iter().flatten().collect() }
    }

    /// Tells of each batch. Never ends.
    pub(super) async fn run(mut self) {
        loop {
            let remaining = self.changes.remaining_users();
            tokio::select! {
                biased;
                () = self.changes.wait() => self.tell_next().await,
                () = sleep(REMAINING_PAUSE), if remaining.is_some() => self.look_again(&remaining.unwrap_or_default()).await,
            }
        }
    }

    /// Whether sessions that could not be ended have ended by themselves.
    async fn look_again(&self, users: &BTreeSet<String>) {
        for channel in &self.channels {
            let Channel::PgBouncer(pgbouncer, timeout, changes) = channel else { continue };
            match reload::end_sessions(pgbouncer, *timeout, users).await {
                Ok(remaining) => changes.remain(remaining),
                Err(error) => tracing::debug!(error = with_causes(&error), "the sessions of removed users can't be seen; looking again"),
            }
        }
    }

    /// Tells of all there is to tell, and returns when that is done or given up.
    pub(super) async fn finish(mut self) {
        while self.changes.are_waiting() {
            self.tell_next().await;
        }
    }

    /// Waits for the next batch to settle, and tells of it.
    async fn tell_next(&mut self) {
        self.changes.wait().await;
        self.settle().await;
        let (mut backoff, mut complaint) = (Backoff::new(self.notify.first_pause, LONGEST_PAUSE), Complaint::default());
        // What was told, and up to which change.
        let (mut told, mut told_up_to) = (vec![Progress::NotYet; self.channels.len()], None);
        let mut failures = 0;
        loop {
            let (batch, generation) = self.changes.batch();
            if told_up_to.replace(generation) != Some(generation) {
                // What nobody was told of yet has all its attempts before it.
                told.fill(Progress::NotYet);
                failures = 0;
                backoff.reset();
            }
            let Some(error) = self.tell(&batch, &mut told).await else {
                if told.iter().all(|told| *told == Progress::Told) {
                    tracing::info!(files = batch.count, "notified");
                    self.metrics.notified();
                    self.changes.heard();
                }
                self.changes.delivered(generation);
                return;
            };
            failures += 1;
            self.changes.failed(with_causes(&error));
            if self.notify.retries.is_some_and(|retries| failures > retries) {
                tracing::error!(error = with_causes(&error), files = batch.count, attempts = failures, "not notified, and given up");
                self.changes.delivered(generation);
                return;
            }
            if complaint.is_new(&error) {
                tracing::warn!(error = with_causes(&error), files = batch.count, "not notified yet; trying again");
            }
            tokio::select! {
                () = sleep(backoff.pause()) => {}
                // Who changes something now may well have mended the app first.
                () = self.changes.next() => self.settle().await,
            }
        }
    }

    /// Waits until nothing has changed for a while, but not for ever.
    async fn settle(&self) {
        let latest = Instant::now() + self.notify.latest;
        loop {
            let quiet = Instant::now() + self.notify.quiet;
            if timeout_at(quiet.min(latest), self.changes.next()).await.is_err() {
                return;
            }
        }
    }

    /// Tells by each channel that does not know yet. One that fails does not hold back the others; the first failure is returned.
    async fn tell(&mut self, batch: &Batch, told: &mut [Progress]) -> Option<NotifyError> {
        let mut failure = None;
        for (channel, told) in self.channels.iter_mut().zip(told) {
            if *told != Progress::NotYet {
                continue;
            }
            match channel.tell(batch).await {
                Ok(()) => *told = Progress::Told,
                Err(error) => {
                    self.metrics.failed_notification();
                    if matches!(error, NotifyError::Final(_)) {
                        tracing::error!(error = with_causes(&error), files = batch.count, "not notified, and given up");
                        *told = Progress::GivenUp;
                    } else {
                        failure.get_or_insert(error);
                    }
                }
            }
        }
        failure
    }
}
