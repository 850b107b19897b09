//! The duty of a container's first process: processes that lose their parent become its children (`pid_namespaces(7)`), and none is gone before
//! it has asked how they ended. Any other process has no such duty, and does nothing here.

use std::{future::pending, sync::Arc};

use rustix::process::{WaitOptions, getpid, wait};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{OwnedRwLockReadGuard, RwLock},
};

/// The children of others. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Orphans {
    /// Read by whoever has a child of its own, written by whoever asks for the end of any.
    children: Arc<RwLock<()>>,
}

/// A child of our own may run. Nobody else asks for its end until this is dropped.
#[derive(Debug)]
pub struct OwnChild(#[expect(dead_code, reason = "it is held")] OwnedRwLockReadGuard<()>);

impl Orphans {
    /// To be had before a child is started, and kept until its end is known.
    pub async fn own_child(&self) -> OwnChild {
        OwnChild(self.children.clone().read_owned().await)
    }

    /// Asks for the end of each, for as long as this runs. Not for a process some of whose children nobody announces with
    /// [`Self::own_child`]: it would be asked for theirs, too.
    pub async fn reap(self) {
        if !getpid().is_init() {
            return pending().await;
        }
        let Ok(mut ended) = signal(SignalKind::child()).inspect_err(|error| tracing::warn!(%error, "orphans are not reaped")) else {
            return pending().await;
        };
        loop {
            {
                let _nobody_waits = self.children.write().await;
                while let Ok(Some((process, _))) = wait(WaitOptions::NOHANG) {
                    tracing::debug!(process = process.as_raw_pid(), "an orphan has ended");
                }
            }
            ended.recv().await;
        }
    }
}
