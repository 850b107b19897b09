//! Who is connected: how many may be, what each may do, and what each does.

mod activity;
mod viewer;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::oneshot;

pub use activity::Activity;
pub use viewer::{Role, Viewer};

use super::{metrics::Metrics, rfb::policy::Policy, websocket::close::Close};

/// How many viewers there may be at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of everybody.
    pub total: usize,
    /// Of each user; viewers whose user is not known are not counted here.
    pub of_user: usize,
    /// From each IP address.
    pub of_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total: 32, of_user: 8, of_address: 32 }
    }
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// That of everybody.
    #[error("{0} viewers are connected, and no more may be")]
    Total(usize),
    /// That of this user.
    #[error("{0} viewers of this user are connected, and no more may be")]
    OfUser(usize),
    /// That of this address.
    #[error("{0} viewers from this address are connected, and no more may be")]
    OfAddress(usize),
}

/// Somebody who wants to be a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Who, where that is known.
    pub user: Option<String>,
    /// Where from.
    pub address: IpAddr,
    /// As what.
    pub role: Role,
}

/// All viewers of a desktop. Clones share them.
#[derive(Debug, Clone)]
pub struct Viewers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    /// What a viewer in control may do.
    control: Policy,
    metrics: Metrics,
    seats: Mutex<Seats>,
}

#[derive(Debug)]
struct Seats {
    last_id: u64,
    taken: BTreeMap<u64, Taken>,
    /// Since when there is nobody.
    empty_since: Option<Timestamp>,
    /// The last input of those who left.
    last_input: Option<Timestamp>,
    /// Since when there may be viewers at all.
    started: Timestamp,
}

#[derive(Debug)]
struct Taken {
    viewer: Arc<Viewer>,
    end: Option<oneshot::Sender<Close>>,
}

impl Viewers {
    /// Nobody yet. `control` is what a viewer in control may do.
    #[must_use]
    pub fn new(limits: Limits, control: Policy, metrics: Metrics) -> Self {
        let started = Timestamp::now();
        let seats = Seats { last_id: 0, taken: BTreeMap::new(), empty_since: Some(started), last_input: None, started };
        Self(Arc::new(Shared { limits, control, metrics, seats: Mutex::new(seats) }))
    }

    /// A seat for one more viewer, if there may be one.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn seat(&self, guest: Guest) -> Result<Seat, Full> {
        let mut seats = self.seats();
        seats.have_room(self.0.limits, &guest)?;
        seats.last_id += 1;
        let (id, (end, order)) = (seats.last_id, oneshot::channel());
        let viewer = Arc::new(Viewer::new(id, guest, self.0.control, self.0.metrics.clone()));
        seats.taken.insert(id, Taken { viewer: viewer.clone(), end: Some(end) });
        seats.empty_since = None;
        self.0.metrics.viewers(seats.taken.len());
        Ok(Seat { viewers: self.clone(), viewer, order })
    }

    /// Whether there is a seat for one more viewer at this moment.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn has_room(&self, guest: &Guest) -> Result<(), Full> {
        self.seats().have_room(self.0.limits, guest)
    }

    /// Ends a viewer's conversation. Says whether there is such a viewer.
    #[must_use]
    pub fn revoke(&self, id: u64, close: Close) -> bool {
        let Some(end) = self.seats().taken.get_mut(&id).map(|taken| taken.end.take()) else { return false };
        if let Some(end) = end {
            // Whoever ends by itself this moment hears nothing any more.
            let _ = end.send(close);
        }
        true
    }

    /// Gives a viewer another role, in force for what it says from now on. Says whether there is such a viewer.
    #[must_use]
    pub fn change_role(&self, id: u64, role: Role) -> bool {
        let viewer = self.seats().taken.get(&id).map(|taken| taken.viewer.clone());
        viewer.is_some_and(|viewer| {
            viewer.set_role(role, self.0.control);
            true
        })
    }

    /// Who is there, and since when somebody last did something.
    #[must_use]
    pub fn activity(&self) -> Activity {
        let seats = self.seats();
        let viewers = seats.taken.values().map(|taken| &*taken.viewer);
        Activity::new(viewers, seats.last_input, seats.empty_since, seats.started, Timestamp::now())
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seats {
    fn have_room(&self, limits: Limits, guest: &Guest) -> Result<(), Full> {
        let count = |is_alike: &dyn Fn(&Guest) -> bool| self.taken.values().filter(|taken| is_alike(taken.viewer.guest())).count();
        if self.taken.len() >= limits.total {
            return Err(Full::Total(limits.total));
        }
        if guest.user.is_some() && count(&|other| other.user == guest.user) >= limits.of_user {
            return Err(Full::OfUser(limits.of_user));
        }
        if count(&|other| other.address == guest.address) >= limits.of_address {
            return Err(Full::OfAddress(limits.of_address));
        }
        Ok(())
    }
}

/// A viewer's place, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    viewers: Viewers,
    /// Who has it.
    pub viewer: Arc<Viewer>,
    order: oneshot::Receiver<Close>,
}

impl Seat {
    /// Completes when the viewer must go.
    pub async fn order(&mut self) -> Close {
        match (&mut self.order).await {
            Ok(close) => close,
            // The seat is taken as long as this waits, so the sender is there until it sends.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.viewers.seats();
        seats.taken.remove(&self.viewer.id());
        seats.last_input = seats.last_input.max(self.viewer.last_input());
        if seats.taken.is_empty() {
            seats.empty_since = Some(Timestamp::now());
        }
        self.viewers.0.metrics.viewers(seats.taken.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecars::vnc::websocket::close::CloseCode;

    fn viewers(limits: Limits) -> Viewers {
        Viewers::new(limits, Policy::control(), Metrics::default())
    }

    fn guest(user: Option<&str>, address: u8) -> Guest {
        Guest { user: user.map(str::to_owned), address: [127, 0, 0, address].into(), role: Role::Control }
    }

    #[test]
    fn b9_limits_hold_in_total_for_each_user_and_for_each_address_and_a_seat_that_is_left_is_free() {
        let viewers = viewers(Limits { total: 4, of_user: 2, of_address: 3 });
        let mut seats = vec![viewers.seat(guest(Some("ann"), 1)).unwrap(), viewers.seat(guest(Some("ann"), 1)).unwrap()];
        assert_eq!(viewers.seat(guest(Some("ann"), 2)).unwrap_err(), Full::OfUser(2));
        seats.push(viewers.seat(guest(None, 1)).unwrap());
        assert_eq!(viewers.seat(guest(None, 1)).unwrap_err(), Full::OfAddress(3));
        seats.push(viewers.seat(guest(None, 2)).unwrap());
        assert_eq!(viewers.seat(guest(Some("bob"), 3)).unwrap_err(), Full::Total(4));
        seats.remove(0);
        seats.push(viewers.seat(guest(Some("ann"), 3)).unwrap());
        assert!(viewers.activity().without_viewers_since.is_none());
        drop(seats);
        assert!(viewers.activity().without_viewers_since.is_some());
    }

    #[tokio::test]
    async fn a_viewer_who_is_revoked_hears_why_and_others_do_not() {
        let viewers = viewers(Limits::default());
        let (mut gone, mut other) = (viewers.seat(guest(None, 1)).unwrap(), viewers.seat(guest(None, 1)).unwrap());
        let close = Close::new(CloseCode::PolicyViolation, "that is all");
        assert!(viewers.revoke(gone.viewer.id(), close.clone()));
        assert_eq!(gone.order().await, close);
        assert!(futures::FutureExt::now_or_never(other.order()).is_none());
        assert!(!viewers.revoke(99, close));
    }

    #[test]
    fn a_role_changes_what_a_viewer_may_do_from_now_on() {
        let viewers = viewers(Limits::default());
        let seat = viewers.seat(guest(None, 1)).unwrap();
        assert_eq!(seat.viewer.policy(), Policy::control());
        assert!(viewers.change_role(seat.viewer.id(), Role::View));
        assert_eq!(seat.viewer.policy(), Policy::VIEW_ONLY);
        assert!(viewers.change_role(seat.viewer.id(), Role::Control));
        assert_eq!(seat.viewer.policy(), Policy::control());
        assert!(!viewers.change_role(99, Role::View));
    }

    #[test]
    fn where_everybody_may_only_look_nobody_is_said_to_be_in_control() {
        let viewers = Viewers::new(Limits::default(), Policy::VIEW_ONLY, Metrics::default());
        let seat = viewers.seat(guest(None, 1)).unwrap();
        for _ in 0..2 {
            assert_eq!((viewers.activity().viewers[0].role, seat.viewer.policy()), (Role::View, Policy::VIEW_ONLY));
            assert!(viewers.change_role(seat.viewer.id(), Role::Control));
        }
    }
}
