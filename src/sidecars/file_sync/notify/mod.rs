//! Telling the app that files changed: once for each settled batch of changes, again and again until it is heard.

mod call;
mod changes;
mod script;

use std::{error::Error, path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

pub(super) use changes::Changes;
pub use script::ScriptError;

use super::{
    metrics::Metrics,
    settings::{Notify, Web},
    web::WebError,
};
use crate::runtime::{backoff::Backoff, complaint::Complaint};

/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why the app was not told.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotifyError {
    /// The call failed.
    #[error("the call failed")]
    Call(#[from] WebError),
    /// A file with a credential can't be read.
    #[error("{path} can't be read, which REQ_USERNAME_FILE or REQ_PASSWORD_FILE names")]
    Credential {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The program failed.
    #[error("the script failed")]
    Script(#[from] ScriptError),
}

impl NotifyError {
    /// Whether another attempt may fare better, going by what the settings say of answers of 500 and above.
    fn is_final(&self, retry_5xx: bool) -> bool {
        matches!(self, Self::Call(error) if error.status().is_some_and(|status| status.is_server_error() && !retry_5xx))
    }
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
}

/// Checks, before anything is written, that those who are to be told can be.
///
/// # Errors
/// The script can't be run.
pub(super) fn check(notify: &Notify) -> Result<(), ScriptError> {
    notify.script.as_ref().map_or(Ok(()), |script| script::check(&PathBuf::from(&script.path)))
}

/// Tells of changes.
#[derive(Debug)]
pub(super) struct Notifier {
    notify: Notify,
    changes: Changes,
    metrics: Metrics,
    caller: Option<call::Caller>,
}

impl Notifier {
    /// One that tells of these changes.
    #[must_use]
    pub(super) fn new(notify: Notify, web: Web, changes: Changes, metrics: Metrics) -> Self {
        let caller = notify.call.clone().map(|call| call::Caller::new(call, web));
        Self { notify, changes, metrics, caller }
    }

    /// Tells of each batch. Never ends.
    pub(super) async fn run(mut self) {
        loop {
            self.tell_next().await;
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
        let (mut failures, mut script_ran) = (0, None);
        loop {
            let (batch, generation) = self.changes.batch();
            let error = match self.tell(&batch, &mut script_ran, generation).await {
                Ok(()) => {
                    tracing::info!(files = batch.count, "notified");
                    self.metrics.notified();
                    self.changes.delivered(generation);
                    return;
                }
                Err(error) => error,
            };
            self.metrics.failed_notification();
            failures += 1;
            let retry_5xx = self.notify.call.as_ref().is_none_or(|call| call.retry_5xx);
            if error.is_final(retry_5xx) || self.notify.retries.is_some_and(|retries| failures > retries) {
                tracing::error!(error = &error as &dyn Error, files = batch.count, attempts = failures, "not notified, and given up");
                self.changes.delivered(generation);
                return;
            }
            if complaint.is_new(&error) {
                tracing::warn!(error = &error as &dyn Error, files = batch.count, "not notified yet; trying again");
            }
            sleep(backoff.pause()).await;
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

    /// Runs the script, unless it ran for these changes already, and makes the call.
    async fn tell(&mut self, batch: &Batch, script_ran: &mut Option<u64>, generation: u64) -> Result<(), NotifyError> {
        if let Some(script) = self.notify.script.as_ref().filter(|_| *script_ran != Some(generation)) {
            script::run(script, batch).await?;
            *script_ran = Some(generation);
        }
        if let Some(caller) = &mut self.caller {
            caller.call(batch).await?;
        }
        Ok(())
    }
}
