use super::*;
use crate::{
    events::note::Reason,
    injection::{Denial, Patch, SkipReason},
};

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
        record: None,
    }
}

fn replica_set() -> Sighting {
    sighting(Some(reference("apps/v1", "ReplicaSet")))
}

const REPORT: Policy = Policy { evict: false, evict_outdated: false, minimum_age: Duration::from_secs(60), excluded: Vec::new() };
const EVICT: Policy = Policy { evict: true, evict_outdated: false, minimum_age: Duration::from_secs(60), excluded: Vec::new() };

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
    assert!(!is_to_be_evicted(&replica_set(), &Need::Missing, &REPORT));
    for (controller, expected) in [
        (Some(reference("apps/v1", "ReplicaSet")), true),
        (Some(reference("apps/v1", "StatefulSet")), true),
        (Some(reference("apps/v1", "DaemonSet")), true),
        (Some(reference("v1", "ReplicationController")), true),
        (Some(reference("batch/v1", "Job")), false),
        (Some(reference("example.com/v1", "ReplicaSet")), false),
        (None, false),
    ] {
        assert_eq!(is_to_be_evicted(&sighting(controller.clone()), &Need::Missing, &EVICT), expected, "{controller:?}");
    }
    let of_the_cluster = Sighting { namespace: "kube-system".to_owned(), ..replica_set() };
    assert!(!is_to_be_evicted(&of_the_cluster, &Need::Missing, &EVICT));
}

#[test]
fn outdated_sidecars_are_reason_to_evict_only_on_request_and_a_refused_replacement_never() {
    let outdated_too = Policy { evict_outdated: true, ..EVICT };
    assert!(!is_to_be_evicted(&replica_set(), &Need::Outdated, &EVICT));
    assert!(is_to_be_evicted(&replica_set(), &Need::Outdated, &outdated_too));
    assert!(!is_to_be_evicted(&replica_set(), &Need::Outdated, &Policy { evict: false, ..outdated_too.clone() }));
    assert!(!is_to_be_evicted(&replica_set(), &Need::Refused("too flat".to_owned()), &outdated_too));
}

#[test]
fn pods_that_the_webhook_is_not_asked_about_are_of_no_concern() {
    let policy = Policy { excluded: vec!["tools".to_owned()], ..EVICT };
    assert!(is_of_concern(&replica_set(), &policy));
    assert!(!is_of_concern(&Sighting { namespace: "tools".to_owned(), ..replica_set() }, &policy));
    assert!(!is_of_concern(&Sighting { standing: Standing::Settled, ..replica_set() }, &policy));
}

#[test]
fn while_new_pods_come_without_sidecars_none_is_evicted_for_them() {
    let of = |pods: &[(i64, Standing)]| {
        let seen = pods.iter().map(|(created, standing)| Sighting { created: at(*created), standing: *standing, ..replica_set() });
        seen.fold(None, |siblings, seen| Some(Siblings::with(siblings, &seen))).unwrap()
    };
    let settled =
        |need: &Need, siblings: Siblings, held_for| has_settled(need, siblings, &EVICT, Duration::from_secs(held_for), at(10_000));
    let (old, young) = (9_400, 9_401);
    assert!(settled(&Need::Missing, of(&[(old, Standing::Missing), (9_999, Standing::Injected)]), 0));
    assert!(
        !settled(&Need::Missing, of(&[(young, Standing::Missing), (old, Standing::Missing)]), 86_400),
        "a replacement, of whoever knew it"
    );
    assert!(
        !settled(&Need::Missing, of(&[(old, Standing::Missing), (10_000, Standing::Injected)]), 86_400),
        "the next replacement could be of the same second"
    );
    assert!(!settled(&Need::Outdated, of(&[(young, Standing::Outdated)]), 86_400));
    assert!(!settled(&Need::Outdated, of(&[(old, Standing::Outdated)]), 599), "an upgrade may go on");
    assert!(settled(&Need::Outdated, of(&[(old, Standing::Outdated)]), 600));
    assert_eq!(of(&[(1, Standing::Missing), (3, Standing::Injected), (2, Standing::Missing)]).youngest, at(3));
}

#[test]
fn reports_name_the_way_out_and_no_pod() {
    let denied = Need::Refused("too flat".to_owned());
    for ((reason, message), expected, end) in [
        (report(&Need::Missing, false), Reason::Missing, "delete it and create it again"),
        (report(&Need::Outdated, true), Reason::Outdated, "delete it, and its replacement gets them"),
        (report(&denied, true), Reason::Missing, "too flat"),
        (over_budget(&Need::Missing), Reason::Missing, "as soon as its PodDisruptionBudget allows that"),
        (refused(&Need::Missing, "no"), Reason::Missing, "the API server says: no"),
        (paused(Setback::NotReplaced), Reason::Paused, "such as a quota or a policy"),
        (evicted(&Need::Outdated), Reason::Evicted, "gets those of today"),
    ] {
        assert_eq!(reason, expected);
        assert!(message.ends_with(end) && !message.contains("shop-7f9c"), "{message}");
    }
}
