//! Which news is written, and which is only counted. Decides only; [`super::recorder`] writes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::note::{Note, Reason};

/// What happens again and again is written once in this time. So is what is still so, if it is put in other words.
pub const HAPPENS_AGAIN: Duration = Duration::from_mins(10);
/// What is still so is written again before API servers forget it, which they do after an hour unless told otherwise.
pub const IS_STILL_SO: Duration = Duration::from_mins(50);
/// What could not be written is tried again after this time.
const RETRY: Duration = Duration::from_mins(1);
/// News that has been silent for longer is new again.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// Owners and reasons that are remembered. With more than that, who was silent for longest is forgotten.
const CAPACITY: usize = 10_000;
/// What is written at once of that which waits, so that new notes don't wait for long.
const BATCH: usize = 100;

/// What was told, to whom and when.
#[derive(Debug)]
pub struct Ledger {
    told: HashMap<Key, Told>,
    /// News that goes on in the same words is written once in this time.
    repeat: Duration,
    lost: u64,
}

/// News is the same if its owner and reason are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    reason: Reason,
}

#[derive(Debug)]
struct Told {
    entry: Entry,
    heard: Instant,
    written: Instant,
    state: State,
}

/// What was written of some news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All of it.
    Written,
    /// Not how often it happened.
    Behind,
    /// Not what it says by now.
    Changed,
    /// Nothing, or nothing of the last: that has failed.
    Failed,
}

/// A point in time: for what is shown, and by a clock that never jumps.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// What a clock on the wall shows.
    pub wall: Timestamp,
    /// The same by the steady clock.
    pub steady: Instant,
}

/// An Event as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The Event's own name.
    pub name: String,
    /// The last that was told.
    pub note: Note,
    /// How often it happened.
    pub count: i32,
    /// When it first happened.
    pub first: Timestamp,
    /// When it last happened.
    pub last: Timestamp,
}

/// What becomes of a note.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It is news: a new Event.
    Create(Entry),
    /// It has gone on for a while: the Event's count grows.
    Update(Entry),
    /// It was told a moment ago.
    Count,
}

impl Ledger {
    /// An empty one: news that goes on in the same words is written once in the time `repeat`.
    #[must_use]
    pub fn new(repeat: Duration) -> Self {
        Self { told: HashMap::new(), repeat, lost: 0 }
    }

    /// Remembers a note that happened now, and tells what becomes of it.
    pub fn add(&mut self, note: Note, now: Moment) -> Step {
        let key = Key::of(&note);
        if let Some(told) = self.told.get_mut(&key) {
            told.count(note, now);
            return told.update(self.repeat, now.steady).map_or(Step::Count, Step::Update);
        }
        if self.told.len() >= CAPACITY {
            self.forget_one();
        }
        let entry = Entry { name: event_name(&note, now.wall), note, count: 1, first: now.wall, last: now.wall };
        self.told.insert(key, Told { entry: entry.clone(), heard: now.steady, written: now.steady, state: State::Written });
        Step::Create(entry)
    }

    /// Remembers that what was to be written could not be.
    pub fn failed(&mut self, entry: &Entry) {
        if let Some(told) = self.told.get_mut(&Key::of(&entry.note)) {
            told.state = State::Failed;
        }
    }

    /// Some of what is to be written now. What has been silent for long is forgotten.
    pub fn due(&mut self, now: Instant) -> Vec<Entry> {
        let before = self.unwritten();
        self.told.retain(|_, told| now.duration_since(told.heard) < FORGOTTEN);
        self.lost += before - self.unwritten();
        self.told.values_mut().filter_map(|told| told.update(self.repeat, now)).take(BATCH).collect()
    }

    /// How much was forgotten, since this was last asked, that could not be written.
    pub const fn lost(&mut self) -> u64 {
        std::mem::replace(&mut self.lost, 0)
    }

    fn forget_one(&mut self) {
        let silent = self.told.iter().min_by_key(|(_, told)| told.heard).map(|(key, _)| key.clone());
        let forgotten = silent.and_then(|key| self.told.remove(&key));
        self.lost += u64::from(forgotten.is_some_and(|told| told.state == State::Failed));
    }

    fn unwritten(&self) -> u64 {
        self.told.values().map(|told| u64::from(told.state == State::Failed)).sum()
    }
}

impl Key {
    fn of(note: &Note) -> Self {
        Self { uid: note.about.uid.clone(), reason: note.reason }
    }
}

impl Told {
    fn count(&mut self, note: Note, now: Moment) {
        self.state = match self.state {
            State::Written | State::Behind if note.message == self.entry.note.message => State::Behind,
            State::Written | State::Behind | State::Changed => State::Changed,
            State::Failed => State::Failed,
        };
        self.entry.count = self.entry.count.saturating_add(1);
        self.entry.last = now.wall;
        self.entry.note = note;
        self.heard = now.steady;
    }

    fn update(&mut self, repeat: Duration, now: Instant) -> Option<Entry> {
        let pause = match self.state {
            State::Written => return None,
            State::Behind => repeat,
            State::Changed => HAPPENS_AGAIN,
            State::Failed => RETRY,
        };
        if now.duration_since(self.written) < pause {
            return None;
        }
        self.written = now;
        self.state = State::Written;
        Some(self.entry.clone())
    }
}

/// Unique by its time, as the names of Kubernetes' own Events are.
fn event_name(note: &Note, now: Timestamp) -> String {
    // Names are at most 253 characters long.
    let owner: String = note.about.name.chars().take(200).collect();
    format!("{}.{:x}", owner.trim_end_matches('.'), now.as_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::note::Reference;

    fn note(uid: &str, reason: Reason, message: &str) -> Note {
        let about =
            Reference { api_version: "apps/v1".to_owned(), kind: "Deployment".to_owned(), name: "web".to_owned(), uid: uid.to_owned() };
        Note { namespace: "shop".to_owned(), about, reason, message: message.to_owned() }
    }

    fn wall(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// Moments so many seconds after a start.
    fn clock() -> impl Fn(u64) -> Moment {
        let start = Instant::now();
        move |seconds| Moment { wall: wall(i64::try_from(seconds).unwrap()), steady: start + Duration::from_secs(seconds) }
    }

    #[test]
    fn what_happens_again_is_written_once_in_ten_minutes_and_counted_meanwhile() {
        let (mut ledger, at) = (Ledger::new(HAPPENS_AGAIN), clock());
        assert!(matches!(ledger.add(note("u", Reason::Skipped, "a"), at(0)), Step::Create(entry) if entry.count == 1));
        for second in 1..=50 {
            assert_eq!(ledger.add(note("u", Reason::Skipped, "b"), at(second)), Step::Count);
        }
        assert!(ledger.due(at(599).steady).is_empty());
        let due = ledger.due(at(600).steady);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].count, due[0].first, due[0].last, due[0].note.message.as_str()), (51, wall(0), wall(50), "b"));
        assert!(ledger.due(at(1300).steady).is_empty(), "nothing has happened since");
        assert!(matches!(ledger.add(note("u", Reason::Skipped, "b"), at(1300)), Step::Update(entry) if entry.count == 52));
    }

    #[test]
    fn what_is_still_so_is_written_before_the_api_server_forgets_it_and_at_once_in_other_words() {
        let (mut ledger, at) = (Ledger::new(IS_STILL_SO), clock());
        ledger.add(note("u", Reason::Missing, "a"), at(0));
        for look in 1..10 {
            assert_eq!(ledger.add(note("u", Reason::Missing, "a"), at(look * 300)), Step::Count, "{look}");
            assert!(ledger.due(at(look * 300).steady).is_empty(), "an unchanged world causes no write");
        }
        assert!(matches!(ledger.add(note("u", Reason::Missing, "a"), at(3000)), Step::Update(entry) if entry.count == 11));
        assert_eq!(ledger.add(note("u", Reason::Missing, "b"), at(3300)), Step::Count);
        assert!(matches!(ledger.add(note("u", Reason::Missing, "b"), at(3600)), Step::Update(entry) if entry.note.message == "b"));
    }

    #[test]
    fn another_owner_or_reason_is_other_news_and_silence_makes_it_new_again() {
        let (mut ledger, at) = (Ledger::new(HAPPENS_AGAIN), clock());
        for (uid, reason) in [("u", Reason::Skipped), ("u", Reason::Denied), ("v", Reason::Skipped)] {
            assert!(matches!(ledger.add(note(uid, reason, "a"), at(0)), Step::Create(_)));
        }
        assert!(ledger.due(at(3601).steady).is_empty());
        assert!(matches!(ledger.add(note("u", Reason::Skipped, "a"), at(3602)), Step::Create(entry) if entry.first == wall(3602)));
    }

    #[test]
    fn what_could_not_be_written_is_tried_again_until_it_is_old() {
        let (mut ledger, at) = (Ledger::new(HAPPENS_AGAIN), clock());
        let Step::Create(entry) = ledger.add(note("u", Reason::Denied, "a"), at(0)) else { panic!("news") };
        ledger.failed(&entry);
        assert!(ledger.due(at(59).steady).is_empty());
        assert_eq!(ledger.due(at(60).steady), std::slice::from_ref(&entry));
        assert!(ledger.due(at(200).steady).is_empty(), "that was written");

        ledger.failed(&entry);
        assert!(ledger.due(at(3600).steady).is_empty());
        assert_eq!((ledger.lost(), ledger.lost()), (1, 0));
    }

    #[test]
    fn a_clock_on_the_wall_that_jumps_moves_nothing() {
        let (mut ledger, at) = (Ledger::new(HAPPENS_AGAIN), clock());
        ledger.add(note("u", Reason::Skipped, "a"), at(0));
        for wall in [wall(-86400), wall(86400)] {
            assert_eq!(ledger.add(note("u", Reason::Skipped, "a"), Moment { wall, ..at(599) }), Step::Count);
        }
        assert!(matches!(ledger.add(note("u", Reason::Skipped, "a"), Moment { wall: wall(-86400), ..at(600) }), Step::Update(_)));
    }

    #[test]
    fn memory_is_bounded_and_the_newest_has_room_in_it() {
        let (mut ledger, at) = (Ledger::new(HAPPENS_AGAIN), clock());
        for n in 0..CAPACITY {
            assert!(matches!(ledger.add(note(&n.to_string(), Reason::Missing, "a"), at(n as u64 / 1000)), Step::Create(_)));
        }
        assert_eq!(ledger.add(note("0", Reason::Missing, "a"), at(100)), Step::Count);
        assert!(matches!(ledger.add(note("one more", Reason::Missing, "a"), at(101)), Step::Create(_)));
        assert_eq!(ledger.told.len(), CAPACITY);
        assert_eq!(ledger.add(note("0", Reason::Missing, "a"), at(102)), Step::Count, "heard of lately");
        assert_eq!(ledger.lost(), 0, "who was forgotten had been told");
    }

    #[test]
    fn what_waits_is_written_in_batches() {
        let (mut ledger, at) = (Ledger::new(HAPPENS_AGAIN), clock());
        for n in 0..=BATCH {
            ledger.add(note(&n.to_string(), Reason::Missing, "a"), at(0));
            ledger.add(note(&n.to_string(), Reason::Missing, "a"), at(1));
        }
        let later = at(600).steady;
        assert_eq!([ledger.due(later).len(), ledger.due(later).len(), ledger.due(later).len()], [BATCH, 1, 0]);
    }
}
