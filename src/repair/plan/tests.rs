use super::*;
use crate::injection::{Denial, Patch, SkipReason};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn reference(api_version: &str, kind: &str) -> Reference {
    Reference { api_version: api_version.to_owned(), kind: kind.to_owned(), name: "shop-7f9c".to_owned(), uid: "uid".to_owned() }
}

fn sighting(controller: Option<Reference>) -> Sighting {
    Sighting {
        pod: reference("v1", "Pod"),
        namespace: "shop".to_owned(),
        controller,
        created: at(0),
        is_terminating: false,
        standing: Standing::Missing,
    }
}

fn replica_set() -> Sighting {
    sighting(Some(reference("apps/v1", "ReplicaSet")))
}

const REPORT: Policy = Policy { evict: false, evict_outdated: false, minimum_age: Duration::from_secs(60) };
const EVICT: Policy = Policy { evict: true, ..REPORT };

fn decide(seen: &Sighting, need: &Need, policy: &Policy) -> Action {
    action(seen, need, policy, &Attempts::default(), at(100))
}

fn is_report(action: &Action, expected: Reason) -> bool {
    matches!(action, Action::Report(reason, _) if *reason == expected)
}

#[test]
fn only_pods_that_stay_and_have_settled_are_suspicious() {
    assert!(is_suspicious(&replica_set(), &REPORT, at(60)));
    assert!(!is_suspicious(&replica_set(), &REPORT, at(59)), "too young");
    assert!(!is_suspicious(&replica_set(), &REPORT, at(-5)), "the API server's clock is ahead");
    assert!(!is_suspicious(&Sighting { is_terminating: true, ..replica_set() }, &REPORT, at(60)));
    for (standing, expected) in [(Standing::Outdated, true), (Standing::Injected, false), (Standing::Settled, false)] {
        assert_eq!(is_suspicious(&Sighting { standing, ..replica_set() }, &REPORT, at(60)), expected, "{standing:?}");
    }
}

#[test]
fn outdated_pods_are_fetched_only_to_be_evicted() {
    let outdated = Sighting { standing: Standing::Outdated, ..replica_set() };
    for (evict, evict_outdated, expected) in [(false, true, Some(Need::Outdated)), (true, false, Some(Need::Outdated)), (true, true, None)]
    {
        assert_eq!(need_by_record(&outdated, &Policy { evict, evict_outdated, ..REPORT }), expected);
    }
    assert_eq!(need_by_record(&replica_set(), &REPORT), None, "what lacks sidecars may be unable to have any");
}

#[test]
fn what_a_pod_needs_is_what_the_webhook_would_do() {
    let of = |outcome, is_finished| need(&Decision { outcome, warnings: Vec::new() }, is_finished);
    let injected = || Outcome::Injected { sidecars: Vec::new(), patch: Patch::default() };
    assert_eq!(of(injected(), false), Some(Need::Missing));
    assert_eq!(of(injected(), true), None, "it has come to its end");
    assert_eq!(of(Outcome::LeftAsIs, false), Some(Need::Outdated));
    assert_eq!(of(Outcome::Skipped { reason: SkipReason::HostNetwork, patch: Patch::default() }, false), None);
    assert_eq!(of(Outcome::NotAsked, false), None);
    let denial = Denial { key: None, message: "too flat".to_owned() };
    assert_eq!(of(Outcome::Denied(vec![denial]), false), Some(Need::Refused("too flat".to_owned())));
}

#[test]
fn pods_are_evicted_only_where_that_is_wanted_and_somebody_replaces_them() {
    assert!(is_report(&decide(&replica_set(), &Need::Missing, &REPORT), Reason::Missing));
    assert_eq!(decide(&replica_set(), &Need::Missing, &EVICT), Action::Evict);
    for (controller, is_evicted) in [
        (Some(reference("apps/v1", "StatefulSet")), true),
        (Some(reference("apps/v1", "DaemonSet")), true),
        (Some(reference("v1", "ReplicationController")), true),
        (Some(reference("batch/v1", "Job")), false),
        (Some(reference("example.com/v1", "ReplicaSet")), false),
        (None, false),
    ] {
        let action = decide(&sighting(controller.clone()), &Need::Missing, &EVICT);
        assert_eq!(action == Action::Evict, is_evicted, "{controller:?}");
        assert!(is_evicted || is_report(&action, Reason::Missing), "{action:?}");
    }
    let of_the_cluster = Sighting { namespace: "kube-system".to_owned(), ..replica_set() };
    assert!(is_report(&decide(&of_the_cluster, &Need::Missing, &EVICT), Reason::Missing));
}

#[test]
fn outdated_sidecars_are_reason_to_evict_only_on_request_and_a_refused_replacement_never() {
    let outdated_too = Policy { evict_outdated: true, ..EVICT };
    assert!(is_report(&decide(&replica_set(), &Need::Outdated, &EVICT), Reason::Outdated));
    assert_eq!(decide(&replica_set(), &Need::Outdated, &outdated_too), Action::Evict);
    let only_outdated = Policy { evict: false, ..outdated_too };
    assert!(is_report(&decide(&replica_set(), &Need::Outdated, &only_outdated), Reason::Outdated));
    let Action::Report(Reason::Missing, message) = decide(&replica_set(), &Need::Refused("too flat".to_owned()), &EVICT) else {
        panic!("reported")
    };
    assert!(message.ends_with("too flat"), "{message}");
}

#[test]
fn one_eviction_must_prove_itself_before_the_next() {
    let mut attempts = Attempts::default();
    attempts.evicted("uid", at(0), at(100));
    let decide = |attempts: &Attempts| action(&replica_set(), &Need::Missing, &EVICT, attempts, at(101));
    assert_eq!(decide(&attempts), Action::Leave);
    attempts.learn("uid", at(100), Standing::Missing);
    assert!(is_report(&decide(&attempts), Reason::Paused));
    attempts.learn("uid", at(101), Standing::Injected);
    assert_eq!(decide(&attempts), Action::Evict);
}

#[test]
fn who_waits_for_its_turn_is_reported_meanwhile() {
    let mut attempts = Attempts::default();
    for owner in ["a", "b", "c"] {
        attempts.evicted(owner, at(0), at(100));
    }
    assert!(is_report(&action(&replica_set(), &Need::Missing, &EVICT, &attempts, at(101)), Reason::Missing));
}

#[test]
fn reports_name_the_way_out_and_no_pod() {
    let Action::Report(_, message) = decide(&sighting(None), &Need::Missing, &REPORT) else { panic!("reported") };
    assert!(message.ends_with("delete it and create it again") && !message.contains("shop-7f9c"), "{message}");
    let Action::Report(_, message) = decide(&replica_set(), &Need::Outdated, &REPORT) else { panic!("reported") };
    assert!(message.ends_with("delete it, and its replacement gets them"), "{message}");
}
