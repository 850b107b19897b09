//! The tasks of the process.

use anyhow::{Result, anyhow};
use tokio::task::JoinSet;

use crate::runtime::shutdown::Shutdown;

/// The tasks of the process. One that ends before shutdown ends the process: half of it must not live on.
pub(super) struct Tasks {
    running: JoinSet<&'static str>,
    shutdown: Shutdown,
}

impl Tasks {
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self { running: JoinSet::new(), shutdown }
    }

    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits for the signal and then for all tasks; fails if a task ends before the signal.
    pub(super) async fn until_all_end(mut self, signals: impl Future<Output = ()>) -> Result<()> {
        tokio::pin!(signals);
        let mut early = None;
        loop {
            let ended = tokio::select! {
                ended = self.running.join_next() => ended,
                // Signals are watched until the end: the second one ends the process.
                () = &mut signals => return Ok(()),
            };
            let Some(ended) = ended else { return early.map_or(Ok(()), Err) };
            if self.shutdown.is_closing() {
                continue;
            }
            early = Some(match ended {
                Ok(name) => anyhow!("the task {name} ended early"),
                Err(error) => anyhow!(error).context("a task panicked"),
            });
            self.shutdown.close();
        }
    }
}
