//! A value with one writer and many readers, swapped whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

/// What is known of one kind of object. Clones read the same value.
#[derive(Debug)]
pub struct Snapshot<T> {
    value: Arc<ArcSwap<T>>,
    changed: watch::Receiver<()>,
}

// Not derived: the value itself is not cloned.
impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), changed: self.changed.clone() }
    }
}

/// The one who may change it.
#[derive(Debug)]
pub struct Writer<T> {
    value: Arc<ArcSwap<T>>,
    changed: watch::Sender<()>,
}

/// A snapshot and its writer.
#[must_use]
pub fn snapshot<T>(first: T) -> (Writer<T>, Snapshot<T>) {
    let value = Arc::new(ArcSwap::from_pointee(first));
    let (sender, receiver) = watch::channel(());
    (Writer { value: value.clone(), changed: sender }, Snapshot { value, changed: receiver })
}

/// Changes of a snapshot.
#[derive(Debug)]
pub struct Changes(watch::Receiver<()>);

impl Changes {
    /// Waits until the value was replaced since the last call. Never completes without a writer.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl<T> Writer<T> {
    /// Replaces the value.
    pub fn store(&self, value: T) {
        self.value.store(Arc::new(value));
        self.changed.send_replace(());
    }

    /// The value as it is.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.value.load_full()
    }
}

impl<T> Snapshot<T> {
    /// The value as it is now.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// The changes after this call, for whoever acts on them.
    #[must_use]
    pub fn changes(&self) -> Changes {
        let mut changed = self.changed.clone();
        changed.mark_unchanged();
        Changes(changed)
    }

    /// Waits until `wanted` finds what it looks for. Whoever calls sets the deadline. Never completes without a writer.
    pub async fn wait_for<R>(&self, mut wanted: impl FnMut(&T) -> Option<R>) -> R {
        let mut changes = self.changes();
        loop {
            if let Some(found) = wanted(&self.load()) {
                return found;
            }
            changes.next().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_waits_for_what_the_writer_brings() {
        let (writer, snapshot) = snapshot(0);
        let reader = tokio::spawn(async move { snapshot.wait_for(|value| (*value == 3).then_some(*value)).await });
        for value in 1..=3 {
            writer.store(value);
            tokio::task::yield_now().await;
        }
        assert_eq!(reader.await.unwrap(), 3);
    }
}
