use super::*;
use crate::events::note::Reference;

const OWNER: &str = "uid";
const MISSING: Need = Need::Missing;
const RECORD: Option<u64> = Some(1);

/// Points in time so many minutes after a start.
fn clock() -> impl Fn(u64) -> Instant {
    let start = Instant::now();
    move |minutes| start + Duration::from_mins(minutes)
}

/// When the API server says that a pod was created, in minutes. It is another clock.
fn created(minutes: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(minutes * 60).unwrap()).unwrap()
}

fn pod(created_at: u64, standing: Standing, record: Option<u64>) -> Sighting {
    Sighting {
        pod: Reference { api_version: "v1".to_owned(), kind: "Pod".to_owned(), name: "web-1".to_owned(), uid: "pod".to_owned() },
        namespace: "shop".to_owned(),
        controller: None,
        created: created(created_at),
        is_terminating: false,
        standing,
        record,
    }
}

fn bare(created_at: u64) -> Sighting {
    pod(created_at, Standing::Missing, None)
}

fn injected(created_at: u64) -> Sighting {
    pod(created_at, Standing::Injected, Some(2))
}

fn outdated(created_at: u64, record: Option<u64>) -> Sighting {
    pod(created_at, Standing::Outdated, record)
}

impl Attempts {
    /// The controller's youngest pod is evicted, which was created a minute before.
    fn evict(&mut self, controller: &str, minute: u64, at: &impl Fn(u64) -> Instant) {
        self.evicted(controller, &bare(minute), created(minute), at(minute));
    }
}

/// Attempts of which one has helped.
fn proven(at: &impl Fn(u64) -> Instant) -> Attempts {
    let mut attempts = Attempts::default();
    attempts.evict("first", 0, at);
    attempts.learn("first", &injected(1), at(1));
    attempts
}

#[test]
fn each_bare_replacement_doubles_the_pause_up_to_a_day() {
    let (mut attempts, at) = (Attempts::default(), clock());
    let mut now = 0;
    for pause in [20, 40, 80, 160, 320, 640, 1280, 1440, 1440] {
        assert_eq!(attempts.permission(OWNER, &MISSING, at(now)), Permission::Granted, "at {now}");
        attempts.evict(OWNER, now, &at);
        assert_eq!(attempts.permission(OWNER, &MISSING, at(now)), Permission::Awaiting);
        // Several bare replacements are one failure.
        attempts.learn(OWNER, &bare(now + 1), at(now + 1));
        attempts.learn(OWNER, &bare(now + 2), at(now + 2));
        let last = attempts.permission(OWNER, &MISSING, at(now + pause - 1));
        assert_eq!(last, Permission::Paused(Setback::NoBetter), "{pause} minutes from {now}");
        now += pause;
        attempts.learn(OWNER, &bare(now - 1), at(now - 1));
        attempts.advance(at(now));
    }
}

#[test]
fn a_replacement_with_sidecars_frees_its_siblings_at_once() {
    let (mut attempts, at) = (Attempts::default(), clock());
    attempts.evicted(OWNER, &bare(5), created(7), at(10));
    for sibling in [injected(5), injected(7), bare(4)] {
        attempts.learn(OWNER, &sibling, at(11));
        assert_eq!(attempts.permission(OWNER, &MISSING, at(11)), Permission::Awaiting, "older pods prove nothing");
    }
    attempts.learn(OWNER, &injected(10), at(11));
    assert_eq!(attempts.permission(OWNER, &MISSING, at(11)), Permission::Granted);
}

#[test]
fn a_controller_whose_pod_was_not_replaced_loses_no_other() {
    let (mut attempts, at) = (proven(&clock()), clock());
    attempts.evict(OWNER, 10, &at);
    attempts.advance(at(19));
    assert_eq!(attempts.permission(OWNER, &MISSING, at(19)), Permission::Awaiting);
    for minute in (20..30 * 1440).step_by(5) {
        // Its other pods are seen at each look.
        attempts.learn(OWNER, &bare(1), at(minute));
        attempts.advance(at(minute));
        assert_eq!(attempts.permission(OWNER, &MISSING, at(minute)), Permission::Paused(Setback::NotReplaced), "at {minute}");
    }
    let late = 30 * 1440;
    attempts.learn(OWNER, &injected(late), at(late));
    assert_eq!(attempts.permission(OWNER, &MISSING, at(late)), Permission::Granted, "it came after all");
}

#[test]
fn several_that_were_not_replaced_are_cause_for_doubt() {
    let (mut attempts, at) = (proven(&clock()), clock());
    for owner in ["a", "b", "c"] {
        attempts.evict(owner, 0, &at);
    }
    attempts.advance(at(9));
    assert!(!attempts.are_doubtful());
    attempts.advance(at(10));
    assert!(attempts.are_doubtful());
    attempts.learn("a", &bare(11), at(11));
    assert_eq!(attempts.trials.missing.failed_in_a_row, 3, "late and bare is one failure");
    attempts.learn("a", &injected(12), at(12));
    assert!(!attempts.are_doubtful());
}

#[test]
fn a_few_are_tried_until_one_shows_that_it_helps() {
    let (mut attempts, at) = (Attempts::default(), clock());
    for owner in ["a", "b", "c"] {
        assert_eq!(attempts.permission(owner, &MISSING, at(0)), Permission::Granted);
        attempts.evict(owner, 0, &at);
    }
    assert_eq!(attempts.permission("d", &MISSING, at(0)), Permission::Queued);
    attempts.learn("a", &bare(1), at(1));
    attempts.learn("b", &injected(1), at(1));
    for owner in ["d", "e", "f", "g"] {
        assert_eq!(attempts.permission(owner, &MISSING, at(1)), Permission::Granted);
        attempts.evict(owner, 1, &at);
    }
}

#[test]
fn what_failed_counts_among_the_few_that_are_tried() {
    let (mut attempts, at) = (Attempts::default(), clock());
    attempts.evict("a", 0, &at);
    attempts.learn("a", &bare(1), at(1));
    for owner in ["b", "c"] {
        assert_eq!(attempts.permission(owner, &MISSING, at(1)), Permission::Granted);
        attempts.evict(owner, 1, &at);
    }
    assert_eq!(attempts.permission("d", &MISSING, at(1)), Permission::Queued);
}

#[test]
fn when_several_come_back_bare_in_a_row_one_at_a_time_is_tried_with_longer_pauses() {
    let at = clock();
    let mut attempts = proven(&at);
    for owner in ["a", "b", "c"] {
        assert!(!attempts.are_doubtful());
        assert_eq!(attempts.permission(owner, &MISSING, at(0)), Permission::Granted);
        attempts.evict(owner, 0, &at);
        attempts.learn(owner, &bare(1), at(1));
    }
    assert!(attempts.are_doubtful());
    for (owner, now, pause) in [("d", 10, 20), ("e", 30, 40), ("f", 70, 80)] {
        assert_eq!(attempts.permission(owner, &MISSING, at(now - 1)), Permission::Queued);
        assert_eq!(attempts.permission(owner, &MISSING, at(now)), Permission::Granted);
        attempts.evict(owner, now, &at);
        assert_eq!(attempts.permission("x", &MISSING, at(now + 1)), Permission::Queued, "one at a time");
        attempts.learn(owner, &bare(now + 1), at(now + 1));
        assert_eq!(attempts.permission("x", &MISSING, at(now + pause - 1)), Permission::Queued, "{pause} minutes from {now}");
    }
    attempts.learn("f", &injected(71), at(71));
    assert_eq!(attempts.permission("x", &MISSING, at(71)), Permission::Granted);
}

#[test]
fn a_replacement_with_the_same_outdated_sidecars_ends_the_evictions_of_its_controller() {
    let (mut attempts, at) = (Attempts::default(), clock());
    for owner in ["a", "b", "c"] {
        attempts.evicted(owner, &outdated(0, RECORD), created(0), at(0));
        attempts.learn(owner, &outdated(1, RECORD), at(1));
        for day in 1..10 {
            attempts.learn(owner, &outdated(1, RECORD), at(day * 1440 - 1));
            attempts.advance(at(day * 1440));
            assert_eq!(attempts.permission(owner, &Need::Outdated, at(day * 1440)), Permission::Paused(Setback::SameSidecars));
        }
    }
    assert!(attempts.renewals_are_doubtful() && !attempts.are_doubtful());
    assert_eq!(attempts.permission("d", &MISSING, at(1)), Permission::Granted, "who has none at all is not held up");
    assert_eq!(attempts.permission("d", &Need::Outdated, at(1)), Permission::Queued);
}

#[test]
fn sidecars_of_another_version_are_better_than_none_and_no_better_than_outdated_ones() {
    let (mut attempts, at) = (Attempts::default(), clock());
    attempts.evict(OWNER, 0, &at);
    attempts.learn(OWNER, &outdated(1, RECORD), at(1));
    assert_eq!(attempts.permission(OWNER, &MISSING, at(1)), Permission::Granted);

    attempts.evicted(OWNER, &outdated(2, RECORD), created(2), at(2));
    attempts.learn(OWNER, &outdated(3, Some(7)), at(3));
    assert_eq!(attempts.permission(OWNER, &Need::Outdated, at(3)), Permission::Paused(Setback::NoBetter));
}

#[test]
fn an_owner_that_fails_again_and_again_stops_nobody_else() {
    let at = clock();
    let mut attempts = proven(&at);
    for day in 1..10 {
        attempts.evict(OWNER, day * 1440, &at);
        attempts.learn(OWNER, &bare(day * 1440 + 1), at(day * 1440 + 1));
    }
    assert_eq!(attempts.permission("another", &MISSING, at(9 * 1440 + 2)), Permission::Granted);
}

#[test]
fn memory_is_bounded_and_controllers_that_are_gone_are_forgotten() {
    let at = clock();
    let mut attempts = proven(&at);
    for n in 0..CAPACITY {
        attempts.evict(&n.to_string(), 0, &at);
        attempts.learn(&n.to_string(), &bare(1), at(1));
    }
    attempts.trials.missing.helped();
    assert_eq!(attempts.permission(OWNER, &MISSING, at(2)), Permission::Queued);
    attempts.advance(at(24 * 60));
    assert_eq!(attempts.of.len(), CAPACITY);
    attempts.advance(at(24 * 60 + 1));
    assert_eq!(attempts.permission(OWNER, &MISSING, at(24 * 60 + 1)), Permission::Granted);
}
