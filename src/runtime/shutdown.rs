//! The end of a process: unready at once, serving on until nobody sends work any more, then closed and drained.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::readiness::Gate;

/// The stages of an orderly end. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled at the first signal.
    draining: CancellationToken,
    /// Cancelled when no new work is taken any more.
    closing: CancellationToken,
}

impl Shutdown {
    /// Completes when no new work is to be taken.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Whether the end was announced: work is still taken, and its senders should look for others.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Whether no new work is taken.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Stops taking new work now.
    pub fn close(&self) {
        self.draining.cancel();
        self.closing.cancel();
    }

    /// Waits for a signal, closes `gate` so that endpoints drop this process, and closes after `delay`: they take a moment
    /// to notice, and until then they send work that must be served. The second signal ends the process, so this never completes.
    pub async fn on_signal(self, mut signals: Signals, gate: Gate, delay: Duration) {
        signals.next().await;
        tracing::info!(?delay, "shutting down: unready, serving on");
        self.draining.cancel();
        gate.close();
        tokio::select! {
            () = tokio::time::sleep(delay) => self.close(),
            // Whoever signals twice will not wait.
            () = signals.next() => end_now(),
        }
        tracing::info!("shutting down: taking no new work");
        signals.next().await;
        end_now()
    }
}

/// Ends the process without a word to anybody: the second signal says that nobody waits for one. No exit handler runs: those of the
/// TLS library wipe the state of its random generators, and abort when another thread is using one.
fn end_now() -> ! {
    tracing::warn!("second signal: ending now");
    signal_hook::low_level::exit(130)
}

/// The signals that ask the process to end: SIGTERM, SIGINT, and SIGHUP when its terminal closes. Once they are listened to, they no longer end it by themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    /// Listens from now on. What comes before [`Self::next`] is asked for is not lost.
    ///
    /// # Errors
    /// The handlers can't be installed.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Completes at the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
