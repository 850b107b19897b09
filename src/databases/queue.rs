//! Which object's turn it is: pure but for the time, which comes in.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::runtime::backoff::Backoff;

/// What fails is tried again after about this, and then after longer.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What waits for people is tried again less often.
const FIRST_PAUSE_FOR_PEOPLE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE_FOR_PEOPLE: Duration = Duration::from_secs(300);

/// An object by namespace and name.
pub(super) type Key = (String, String);

/// What of an object makes it worth another look when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    pub(super) is_going: bool,
    pub(super) is_given_up: bool,
    /// Whether there is more of it than the shared catalogue shows.
    pub(super) has_more: bool,
}

/// How a job has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is as it should be.
    Settled,
    /// It is to be tried again.
    Waits,
    /// Somebody has to do something first.
    NeedsPeople,
}

#[derive(Debug)]
struct Entry {
    mark: Mark,
    due: Option<Instant>,
    is_running: bool,
    backoff: Backoff,
    backoff_for_people: Backoff,
    /// When all of it was last looked at, inside the database and in its Secret, too.
    looked: Option<Instant>,
}

/// The objects of one server.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: HashMap<Key, Entry>,
}

impl Queue {
    /// Takes in what there is now. What is new or has changed is due, and what is gone is forgotten.
    pub(super) fn refresh(&mut self, objects: impl Iterator<Item = (Key, Mark)>, now: Instant) {
        let mut before = std::mem::take(&mut self.entries);
        for (key, mark) in objects {
            let entry = match before.remove(&key) {
                Some(entry) if entry.mark == mark => entry,
                Some(entry) => Entry { is_running: entry.is_running, ..Entry::new(mark, now) },
                None => Entry::new(mark, now),
            };
            self.entries.insert(key, entry);
        }
        // A job that runs must be waited for, even if its object is gone.
        before.retain(|_, entry| entry.is_running);
        self.entries.extend(before.into_iter().map(|(key, entry)| (key, Entry { due: None, ..entry })));
    }

    /// The object that has been due longest. It isn't given again until its job is done.
    pub(super) fn take(&mut self, now: Instant) -> Option<Key> {
        let due = self.entries.iter_mut().filter(|(_, entry)| !entry.is_running && entry.due.is_some_and(|due| due <= now));
        let (key, entry) = due.min_by_key(|(_, entry)| entry.due)?;
        entry.is_running = true;
        entry.due = None;
        Some(key.clone())
    }

    /// When the next one will be due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.values().filter(|entry| !entry.is_running).filter_map(|entry| entry.due).min()
    }

    pub(super) fn done(&mut self, key: &Key, outcome: Outcome, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.is_running = false;
        let retry = match outcome {
            Outcome::Settled => {
                entry.backoff.reset();
                entry.backoff_for_people.reset();
                entry.looked = Some(now);
                None
            }
            Outcome::Waits => Some(now + entry.backoff.pause()),
            Outcome::NeedsPeople => Some(now + entry.backoff_for_people.pause()),
        };
        // What has changed meanwhile is due already.
        entry.due = entry.due.or(retry);
    }

    /// Puts an object back whose job could not begin.
    pub(super) fn put_back(&mut self, key: &Key, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.is_running = false;
            entry.due.get_or_insert(now);
        }
    }

    /// Makes an object due, unless it is to be tried again anyway.
    pub(super) fn wake(&mut self, key: &Key, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key).filter(|entry| !entry.is_running) {
            entry.due.get_or_insert(now);
        }
    }

    /// The settled objects of which there is more than the shared catalogue shows, and that were looked at longest ago: so many, and no
    /// younger than this.
    pub(super) fn oldest(&self, most: usize, age: Duration, now: Instant) -> Vec<Key> {
        let settled = self.entries.iter().filter(|(_, entry)| entry.mark.has_more && entry.due.is_none() && !entry.is_running);
        let mut old: Vec<(Instant, &Key)> =
            settled.filter_map(|(key, entry)| Some((entry.looked.filter(|looked| *looked + age <= now)?, key))).collect();
        old.sort_unstable();
        old.into_iter().take(most).map(|(_, key)| key.clone()).collect()
    }
}

impl Entry {
    const fn new(mark: Mark, now: Instant) -> Self {
        Self {
            mark,
            due: Some(now),
            is_running: false,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            backoff_for_people: Backoff::new(FIRST_PAUSE_FOR_PEOPLE, LONGEST_PAUSE_FOR_PEOPLE),
            looked: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        ("n".to_owned(), name.to_owned())
    }

    fn mark(generation: i64) -> Mark {
        Mark { uid: "u".to_owned(), generation: Some(generation), is_going: false, is_given_up: false, has_more: true }
    }

    fn queue(names: &[&str], now: Instant) -> Queue {
        let mut queue = Queue::default();
        queue.refresh(names.iter().map(|name| (key(name), mark(1))), now);
        queue
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_given_once_and_again_when_it_changes() {
        let now = Instant::now();
        let mut queue = queue(&["a"], now);
        assert_eq!(queue.take(now), Some(key("a")));
        assert_eq!(queue.take(now), None);
        queue.refresh([(key("a"), mark(2))].into_iter(), now);
        assert_eq!(queue.take(now), None, "its job still runs");
        queue.done(&key("a"), Outcome::Settled, now);
        assert_eq!(queue.take(now), Some(key("a")), "what came meanwhile is not lost");
        queue.done(&key("a"), Outcome::Settled, now);
        queue.refresh([(key("a"), mark(2))].into_iter(), now);
        assert_eq!(queue.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn cnpg_9430_what_is_going_is_due_at_once_however_often_it_has_failed() {
        let now = Instant::now();
        let mut queue = queue(&["a"], now);
        for _ in 0..9 {
            let due = queue.next().unwrap();
            queue.take(due);
            queue.done(&key("a"), Outcome::NeedsPeople, due);
        }
        let next = queue.next().unwrap();
        let going = || [(key("a"), Mark { is_going: true, ..mark(2) })].into_iter();
        assert!(next > now + LONGEST_PAUSE_FOR_PEOPLE, "{next:?}");
        queue.refresh(going(), now);
        assert_eq!(queue.take(now), Some(key("a")));
        // What keeps its database from going is over.
        queue.done(&key("a"), Outcome::Waits, now);
        assert!(queue.next().unwrap() <= now + 2 * FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_comes_back_later_and_later() {
        let now = Instant::now();
        let mut queue = queue(&["a"], now);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            let now = queue.next().unwrap();
            queue.take(now).unwrap();
            queue.done(&key("a"), Outcome::Waits, now);
            pauses.push(queue.next().unwrap() - now);
        }
        assert!(pauses[3] > 2 * pauses[0], "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_is_forgotten_once_its_job_is_done() {
        let now = Instant::now();
        let mut queue = queue(&["a", "b"], now);
        let running = queue.take(now).unwrap();
        queue.refresh(std::iter::empty(), now);
        assert_eq!(queue.take(now), None);
        queue.done(&running, Outcome::Waits, now);
        queue.refresh(std::iter::empty(), now);
        assert!(queue.entries.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_could_not_begin_is_given_again_at_once() {
        let now = Instant::now();
        let mut queue = queue(&["a"], now);
        queue.take(now).unwrap();
        queue.put_back(&key("a"), now);
        assert_eq!(queue.take(now), Some(key("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_shared_catalogue_shows_is_not_looked_at_as_a_whole() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.refresh([(key("a"), Mark { has_more: false, ..mark(1) })].into_iter(), now);
        queue.take(now).unwrap();
        queue.done(&key("a"), Outcome::Settled, now);
        assert!(queue.oldest(9, Duration::ZERO, now).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_are_looked_at_again_within_a_budget() {
        let now = Instant::now();
        let mut queue = queue(&["a", "b", "c"], now);
        for second in 0..3 {
            let name = queue.take(now).unwrap();
            queue.done(&name, Outcome::Settled, now + Duration::from_secs(second));
        }
        let later = now + Duration::from_secs(61);
        assert_eq!(queue.oldest(1, Duration::from_secs(60), later).len(), 1);
        assert_eq!(queue.oldest(9, Duration::from_secs(60), later).len(), 2, "the last is too young");
        assert!(queue.oldest(9, Duration::from_secs(60), now).is_empty());
    }
}
