//! Which news is written, and which is only counted. Decides only; [`super::recorder`] writes.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::note::{Note, Reason};

/// The same news of the same owner is written at most once in this time.
const QUIET: SignedDuration = SignedDuration::from_mins(10);
/// API servers keep Events for an hour unless told otherwise; news that has been silent for longer is new again.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(1);
/// Owners and reasons that are remembered. With more than that, what comes next is dropped until some are forgotten.
const CAPACITY: usize = 1000;

/// What was told, to whom and when.
#[derive(Debug, Default)]
pub struct Ledger {
    told: HashMap<Key, Told>,
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
    written: Timestamp,
    /// Whether more has happened than was written.
    is_behind: bool,
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
    /// Too much is told at once.
    Drop,
}

impl Ledger {
    /// Remembers a note that happened now, and tells what becomes of it.
    pub fn add(&mut self, note: Note, now: Timestamp) -> Step {
        let key = Key { uid: note.about.uid.clone(), reason: note.reason };
        if let Some(told) = self.told.get_mut(&key) {
            told.count(note, now);
            return told.update(now).map_or(Step::Count, Step::Update);
        }
        if self.told.len() >= CAPACITY {
            return Step::Drop;
        }
        let entry = Entry { name: event_name(&note, now), note, count: 1, first: now, last: now };
        self.told.insert(key, Told { entry: entry.clone(), written: now, is_behind: false });
        Step::Create(entry)
    }

    /// What was only counted and is to be written now. What has been silent for long is forgotten.
    pub fn due(&mut self, now: Timestamp) -> Vec<Entry> {
        self.told.retain(|_, told| told.is_behind || now.duration_since(told.entry.last) < FORGOTTEN);
        self.told.values_mut().filter_map(|told| told.update(now)).collect()
    }
}

impl Told {
    fn count(&mut self, note: Note, now: Timestamp) {
        self.entry.count = self.entry.count.saturating_add(1);
        self.entry.last = now;
        self.entry.note = note;
        self.is_behind = true;
    }

    fn update(&mut self, now: Timestamp) -> Option<Entry> {
        if !self.is_behind || now.duration_since(self.written) < QUIET {
            return None;
        }
        self.written = now;
        self.is_behind = false;
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

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn the_same_news_is_written_once_in_ten_minutes_and_counted_meanwhile() {
        let mut ledger = Ledger::default();
        assert!(matches!(ledger.add(note("u", Reason::Skipped, "a"), at(0)), Step::Create(entry) if entry.count == 1));
        for second in 1..=50 {
            assert_eq!(ledger.add(note("u", Reason::Skipped, "b"), at(second)), Step::Count);
        }
        assert!(ledger.due(at(599)).is_empty());
        let due = ledger.due(at(600));
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].count, due[0].first, due[0].last, due[0].note.message.as_str()), (51, at(0), at(50), "b"));
        assert!(ledger.due(at(1300)).is_empty(), "nothing has happened since");
        assert!(matches!(ledger.add(note("u", Reason::Skipped, "b"), at(1300)), Step::Update(entry) if entry.count == 52));
    }

    #[test]
    fn another_owner_or_reason_is_other_news_and_silence_makes_it_new_again() {
        let mut ledger = Ledger::default();
        for (uid, reason) in [("u", Reason::Skipped), ("u", Reason::Denied), ("v", Reason::Skipped)] {
            assert!(matches!(ledger.add(note(uid, reason, "a"), at(0)), Step::Create(_)));
        }
        assert!(ledger.due(at(3601)).is_empty());
        assert!(matches!(ledger.add(note("u", Reason::Skipped, "a"), at(3602)), Step::Create(entry) if entry.first == at(3602)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut ledger = Ledger::default();
        for n in 0..CAPACITY {
            assert!(matches!(ledger.add(note(&n.to_string(), Reason::Missing, "a"), at(0)), Step::Create(_)));
        }
        assert_eq!(ledger.add(note("one more", Reason::Missing, "a"), at(1)), Step::Drop);
        assert_eq!(ledger.add(note("0", Reason::Missing, "a"), at(1)), Step::Count, "what is known is still counted");
        ledger.due(at(3700));
        ledger.due(at(7300));
        assert!(matches!(ledger.add(note("one more", Reason::Missing, "a"), at(7301)), Step::Create(_)));
    }
}
