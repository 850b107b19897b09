//! Buffers that are lent while bytes are on their way: who is idle has none, so a viewer costs little.

use std::{
    mem,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

use crate::sidecars::vnc::metrics::Metrics;

/// Bytes of a buffer. Larger ones gain nothing: X servers write less at once.
pub(super) const BUFFER: usize = 64 * 1024;
/// How many that nobody needs are kept for the next.
const KEPT: usize = 4;

/// Where buffers are borrowed. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Vec<Vec<u8>>>,
    metrics: Metrics,
}

impl Buffers {
    /// None yet. What is lent is counted.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Shared { kept: Mutex::default(), metrics }))
    }

    /// A buffer, for as long as it is held.
    pub(super) fn lend(&self) -> Lent {
        let kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        self.0.metrics.buffer_lent(BUFFER);
        Lent { bytes: kept.unwrap_or_else(|| vec![0; BUFFER]), home: self.clone() }
    }
}

/// A buffer that goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.0.metrics.buffer_returned(BUFFER);
        let mut kept = self.home.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(mem::take(&mut self.bytes));
        }
    }
}
