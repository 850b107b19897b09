//! The tasks of the process.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, anyhow};
use tokio::task::{Id, JoinError, JoinSet};

use crate::runtime::shutdown::Shutdown;

/// How long all tasks may take to end once no new work is taken: the longest is to drain connections, which is bounded itself.
/// It is less than the chart gives a pod.
const END_LIMIT: Duration = Duration::from_secs(15);

/// The tasks of the process. One that ends before shutdown ends the process: half of it must not live on.
pub(super) struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    shutdown: Shutdown,
}

impl Tasks {
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self { running: JoinSet::new(), names: HashMap::new(), shutdown }
    }

    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits for the signal and then for all tasks, but not for ever; fails if a task ends before the signal, or panics.
    pub(super) async fn until_all_end(mut self, signals: impl Future<Output = ()>) -> Result<()> {
        let shutdown = self.shutdown.clone();
        let overdue = async {
            shutdown.closing().await;
            tokio::time::sleep(END_LIMIT).await;
        };
        tokio::pin!(signals, overdue);
        let mut failure = None;
        loop {
            let ended = tokio::select! {
                ended = self.running.join_next_with_id() => ended,
                // Signals are watched until the end: the second one ends the process.
                () = &mut signals => return Ok(()),
                () = &mut overdue => {
                    tracing::warn!(tasks = ?self.names.values(), "still busy after {END_LIMIT:?}; ending without them");
                    break;
                }
            };
            let Some(ended) = ended else { break };
            if let Err(error) = self.judge(ended) {
                failure.get_or_insert(error);
                self.shutdown.close();
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Whether a task may have ended so.
    fn judge(&mut self, ended: Result<(Id, ()), JoinError>) -> Result<()> {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let name = self.names.remove(&id).unwrap_or_default();
        ended.with_context(|| format!("the task {name} panicked"))?;
        if self.shutdown.is_closing() { Ok(()) } else { Err(anyhow!("the task {name} ended early")) }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn tasks() -> (Tasks, Shutdown) {
        let shutdown = Shutdown::default();
        (Tasks::new(shutdown.clone()), shutdown)
    }

    #[tokio::test]
    async fn a_task_that_ends_early_ends_the_others_and_is_named() {
        let (mut tasks, shutdown) = tasks();
        tasks.spawn("steady", async move { shutdown.closing().await });
        tasks.spawn("hasty", async {});
        let error = tasks.until_all_end(pending()).await.unwrap_err();
        assert_eq!(error.to_string(), "the task hasty ended early");
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_also_at_the_end_and_the_first_failure_counts() {
        let (mut tasks, shutdown) = tasks();
        let closing = shutdown.clone();
        tasks.spawn("clumsy", async move {
            closing.closing().await;
            assert!(!std::hint::black_box(true), "a defect");
        });
        shutdown.close();
        let error = tasks.until_all_end(pending()).await.unwrap_err();
        assert_eq!(error.to_string(), "the task clumsy panicked");

        let (mut tasks, shutdown) = self::tasks();
        tasks.spawn("clumsy", async move {
            shutdown.closing().await;
            assert!(!std::hint::black_box(true), "a defect");
        });
        tasks.spawn("hasty", async {});
        let error = tasks.until_all_end(pending()).await.unwrap_err();
        assert_eq!(error.to_string(), "the task hasty ended early", "that came first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_never_ends_does_not_hold_back_the_process() {
        let (mut tasks, shutdown) = tasks();
        tasks.spawn("stuck", pending());
        shutdown.close();
        tasks.until_all_end(pending()).await.unwrap();
    }
}
