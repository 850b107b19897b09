//! One viewer: who it is, what it may do, and what it did.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Guest;
use crate::sidecars::vnc::{
    metrics::Metrics,
    rfb::{filter::Tally, policy::Policy},
};

/// What a viewer is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// To look.
    View,
    /// To do all that the desktop's settings allow.
    Control,
}

impl Role {
    /// What is left of it on a desktop where those in control may do this.
    fn within(self, control: Policy) -> Self {
        if control == Policy::VIEW_ONLY { Self::View } else { self }
    }

    const fn policy(self, control: Policy) -> Policy {
        match self {
            Self::View => Policy::VIEW_ONLY,
            Self::Control => control,
        }
    }
}

/// A viewer, from its upgrade to its end.
#[derive(Debug)]
pub struct Viewer {
    id: u64,
    guest: Guest,
    since: Timestamp,
    rights: Mutex<Rights>,
    metrics: Metrics,
    received: AtomicU64,
    sent: AtomicU64,
    messages: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Rights {
    role: Role,
    policy: Policy,
    last_input: Option<Timestamp>,
}

impl Viewer {
    pub(super) fn new(id: u64, guest: Guest, control: Policy, metrics: Metrics) -> Self {
        let rights = Rights { role: guest.role.within(control), policy: guest.role.policy(control), last_input: None };
        Self {
            id,
            guest,
            since: Timestamp::now(),
            rights: Mutex::new(rights),
            metrics,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Its number, unique as long as this process runs.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Who it was when it came.
    #[must_use]
    pub const fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Since when it is there.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// What it is there for, by now: on a desktop that everybody may only look at, to look.
    #[must_use]
    pub fn role(&self) -> Role {
        self.rights().role
    }

    /// What it may do, by now.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.rights().policy
    }

    /// When its last key or pointer event reached the desktop.
    #[must_use]
    pub fn last_input(&self) -> Option<Timestamp> {
        self.rights().last_input
    }

    /// Bytes to the desktop, bytes from it, messages, and those of them that were kept from the desktop.
    #[must_use]
    pub fn counts(&self) -> [u64; 4] {
        [&self.received, &self.sent, &self.messages, &self.dropped].map(|count| count.load(Ordering::Relaxed))
    }

    pub(super) fn set_role(&self, role: Role, control: Policy) {
        let mut rights = self.rights();
        (rights.role, rights.policy) = (role.within(control), role.policy(control));
    }

    /// The desktop got bytes.
    pub(in super::super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.metrics.desktop_got(bytes);
    }

    /// The desktop sent bytes.
    pub(in super::super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.metrics.desktop_sent(bytes);
    }

    /// The viewer said something.
    pub(in super::super) fn count(&self, tally: &Tally) {
        if tally.messages == 0 {
            return;
        }
        self.messages.fetch_add(tally.messages.into(), Ordering::Relaxed);
        let dropped = tally.dropped;
        let all_dropped = [dropped.input, dropped.clipboard, dropped.resize, dropped.power].into_iter().map(u64::from).sum();
        self.dropped.fetch_add(all_dropped, Ordering::Relaxed);
        self.metrics.count(tally);
        if tally.inputs > 0 {
            self.rights().last_input = Some(Timestamp::now());
        }
    }

    fn rights(&self) -> MutexGuard<'_, Rights> {
        self.rights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
