//! Whether the parts of a process still do something. One that has been silent for longer than it may counts as dead.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The parts of a process that must be heard from. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Pulses {
    parts: Arc<Mutex<BTreeMap<String, Part>>>,
}

#[derive(Debug)]
struct Part {
    last: Instant,
    limit: Duration,
}

/// One part. It is listened to until this is dropped.
#[derive(Debug)]
pub struct Pulse {
    name: String,
    pulses: Pulses,
}

impl Pulses {
    /// Listens to a part, which may be silent for as long as `limit`.
    #[must_use]
    pub fn pulse(&self, name: impl Into<String>, limit: Duration) -> Pulse {
        let name = name.into();
        self.lock().insert(name.clone(), Part { last: Instant::now(), limit });
        Pulse { name, pulses: self.clone() }
    }

    /// One line for each part that was not heard from in time; none if all is well.
    #[must_use]
    pub fn silent(&self) -> Vec<String> {
        let parts = self.lock();
        let silent = parts.iter().filter(|(_, part)| part.last.elapsed() > part.limit);
        silent.map(|(name, part)| format!("{name}: silent for {} s", part.last.elapsed().as_secs())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Part>> {
        // A map of moments is whole after any panic.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// It did something, successful or not.
    pub fn beat(&self) {
        if let Some(part) = self.pulses.lock().get_mut(&self.name) {
            part.last = Instant::now();
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.pulses.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_is_silent_when_it_did_nothing_for_longer_than_it_may() {
        let pulses = Pulses::default();
        let (watch, idle) = (pulses.pulse("watch", Duration::from_secs(10)), pulses.pulse("idle", Duration::from_secs(100)));
        tokio::time::advance(Duration::from_secs(8)).await;
        watch.beat();
        tokio::time::advance(Duration::from_secs(8)).await;
        assert_eq!(pulses.silent(), Vec::<String>::new());
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(pulses.silent(), ["watch: silent for 12 s"]);
        drop(watch);
        assert_eq!(pulses.silent(), Vec::<String>::new(), "what has ended need not be heard from");
        drop(idle);
    }
}
