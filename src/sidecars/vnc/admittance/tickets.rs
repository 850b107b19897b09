//! Tickets: each lets one viewer in, once, within a short time. They live in this process alone.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::{
    digest::{SHA256, SHA256_OUTPUT_LEN, digest},
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;

use super::Grant;

/// Random bytes of a ticket: nobody guesses one.
const LENGTH: usize = 32;

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketError {
    /// Too many wait to be used.
    #[error("{0} tickets wait to be used, and no more may be; they expire by themselves")]
    TooMany(usize),
    /// There are no random bytes to be had.
    #[error("the system has no random bytes")]
    Random,
}

/// The tickets that wait to be used.
#[derive(Debug)]
pub struct Tickets {
    most: usize,
    waiting: Mutex<HashMap<Digest, Ticket>>,
}

/// What is kept of a ticket: nobody who reads our memory can use it, and looking it up takes as long whatever it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Digest([u8; SHA256_OUTPUT_LEN]);

#[derive(Debug, Clone)]
struct Ticket {
    grant: Grant,
    expires: Instant,
}

/// A ticket that was used, until its viewer is in. Dropped before that it is good again: whoever was asked to come later, or hung up
/// meanwhile, needs it once more.
#[derive(Debug)]
pub struct Used<'tickets> {
    tickets: &'tickets Tickets,
    digest: Digest,
    ticket: Ticket,
    is_spent: bool,
}

impl Used<'_> {
    /// What it allows.
    pub(super) const fn grant(&self) -> &Grant {
        &self.ticket.grant
    }

    /// Its viewer is in.
    pub(super) fn spend(mut self) {
        self.is_spent = true;
    }
}

impl Drop for Used<'_> {
    fn drop(&mut self) {
        if !self.is_spent {
            self.tickets.waiting().insert(self.digest, self.ticket.clone());
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Digest")
    }
}

impl Digest {
    fn of(token: &str) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        for (to, from) in bytes.iter_mut().zip(digest(&SHA256, token.as_bytes()).as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl Tickets {
    /// A store for at most so many at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::default() }
    }

    /// A new ticket, good for `life`.
    ///
    /// # Errors
    /// See [`TicketError`].
    pub fn issue(&self, grant: Grant, life: Duration, now: Instant) -> Result<SecretString, TicketError> {
        let mut bytes = [0; LENGTH];
        rand::fill(&mut bytes).map_err(|_| TicketError::Random)?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let mut waiting = self.waiting();
        waiting.retain(|_, ticket| ticket.expires > now);
        if waiting.len() >= self.most {
            return Err(TicketError::TooMany(self.most));
        }
        waiting.insert(Digest::of(&token), Ticket { grant, expires: now + life });
        Ok(token.into())
    }

    /// Uses a ticket. `None` if there is none like it, or it has expired.
    #[must_use]
    pub fn take(&self, token: &str, now: Instant) -> Option<Used<'_>> {
        let digest = Digest::of(token);
        let ticket = self.waiting().remove(&digest).filter(|ticket| ticket.expires > now)?;
        Some(Used { tickets: self, digest, ticket, is_spent: false })
    }

    /// What a ticket allows, which stays unused. `None` if there is none like it, or it has expired.
    #[must_use]
    pub fn look_up(&self, token: &str, now: Instant) -> Option<Grant> {
        self.waiting().get(&Digest::of(token)).filter(|ticket| ticket.expires > now).map(|ticket| ticket.grant.clone())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Digest, Ticket>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecars::vnc::viewers::Role;
    use secrecy::ExposeSecret;

    const LIFE: Duration = Duration::from_secs(30);

    fn grant() -> Grant {
        Grant { user: Some("ann".to_owned()), role: Role::View }
    }

    #[test]
    fn b3_a_ticket_lets_one_viewer_in_once_and_not_for_long() {
        let (tickets, now) = (Tickets::new(10), Instant::now());
        let issue = || tickets.issue(grant(), LIFE, now).unwrap();
        let (first, second) = (issue(), issue());
        assert_ne!(first.expose_secret(), second.expose_secret());
        let used = tickets.take(first.expose_secret(), now).unwrap();
        assert_eq!(used.grant(), &grant());
        used.spend();
        assert!(tickets.take(first.expose_secret(), now).is_none(), "used");
        assert!(tickets.take(second.expose_secret(), now + LIFE).is_none(), "expired");
        assert!(tickets.take("", now).is_none());
        assert!(!format!("{tickets:?}").contains(first.expose_secret()));
    }

    #[test]
    fn a_ticket_that_let_nobody_in_is_good_again() {
        let (tickets, now) = (Tickets::new(10), Instant::now());
        let ticket = tickets.issue(grant(), LIFE, now).unwrap();
        let used = tickets.take(ticket.expose_secret(), now).unwrap();
        assert!(tickets.take(ticket.expose_secret(), now).is_none(), "nobody else comes in by it meanwhile");
        drop(used);
        assert!(tickets.take(ticket.expose_secret(), now).is_some());
    }

    #[test]
    fn tickets_that_nobody_uses_take_no_more_room_than_there_is() {
        let (tickets, now) = (Tickets::new(2), Instant::now());
        for _ in 0..2 {
            tickets.issue(grant(), LIFE, now).unwrap();
        }
        assert!(matches!(tickets.issue(grant(), LIFE, now), Err(TicketError::TooMany(2))));
        tickets.issue(grant(), LIFE, now + LIFE).unwrap();
    }
}
