//! How a pooler gets to use the newest list, and when its workload is restarted: pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::api::user_list::{AGENT_ANNOTATION, DIGEST_ANNOTATION, LIST_ANNOTATION, RESTARTED_ANNOTATION, ReloadPolicy};

/// A pod that answers RELOADs and doesn't use the list in this time never will, as where a Secret is mounted by subPath.
const RELOAD_PATIENCE: Duration = Duration::from_secs(180);
/// The least time between two restarts of a workload: whoever changes a password again and again must not keep a shared pooler rolling.
const RESTART_PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// What is said of a pod that is not ours to restart, and remembers somebody whom no list can take from it.
const NOT_FRESH: &str = "users who were removed may be let in until it starts anew: restart it, or set reloadPolicy: Auto";

/// A pod of a pooler, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::userlists) struct PodSight {
    pub(in crate::userlists) name: String,
    pub(in crate::userlists) uid: String,
    pub(in crate::userlists) address: Option<IpAddr>,
    /// When it was made, by the API server's clock.
    pub(in crate::userlists) created: Option<Timestamp>,
    /// Whether its containers run and are ready.
    pub(in crate::userlists) is_ready: bool,
    pub(in crate::userlists) annotations: BTreeMap<String, String>,
}

/// The list that poolers are to use.
#[derive(Debug, Clone, Copy)]
pub(in crate::userlists) struct Newest<'a> {
    /// The uid of the `UserList`.
    pub(in crate::userlists) list: &'a str,
    pub(in crate::userlists) digest: &'a str,
}

/// What is known of the list that a pod uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::userlists) enum Known {
    /// Nobody has told it anything: it uses what it started with.
    #[default]
    Untold,
    /// The list of this digest, and no session of a removed user is left.
    Uses(String),
    /// It was told to RELOAD, and uses what it found then.
    Unsure,
}

/// By what a pod is told, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::userlists) enum Way {
    /// It uses the list.
    Done,
    /// Its agent is asked which list is live.
    Ask(SocketAddr),
    /// It is told to RELOAD at this address.
    Reload(IpAddr),
    /// Only a restart helps.
    Restart,
    /// It is not ours to tell.
    Leave,
    /// It can't be told now, for this reason.
    Wait(String),
}

/// What a list gives us to tell poolers with.
#[derive(Debug, Clone, Copy)]
pub(in crate::userlists) struct Means {
    pub(in crate::userlists) policy: ReloadPolicy,
    /// Whether there is a user of the console.
    pub(in crate::userlists) has_admin: bool,
    /// A pod from before this may let in somebody who is not in the list, whatever it reads.
    pub(in crate::userlists) fresh_since: Option<Timestamp>,
}

/// Why a pod doesn't use the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::userlists) enum Lag {
    /// It can't be asked, or what it says is about something else. That is no reason to restart anybody.
    Unknown,
    /// It answers, and has answered for so long, that it uses another list.
    Other(Duration),
    /// It uses the list, and sessions of removed users go on that nobody can end.
    Sessions,
    /// A restart is the way.
    Start,
}

/// For which list a workload's pods were last restarted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::userlists) struct LastRestart {
    /// The uid of its `UserList`.
    pub(in crate::userlists) list: Option<String>,
    pub(in crate::userlists) digest: Option<String>,
    pub(in crate::userlists) at: Option<Timestamp>,
}

/// Whether a workload that needs a restart gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::userlists) enum Turn {
    Now,
    /// It is being restarted for this very list.
    GoesOn,
    /// It was restarted a moment ago: not before this time.
    Later(Timestamp),
    /// Another list that is there, of this uid, restarts it.
    Taken(String),
}

impl Means {
    /// Whether pods without an agent are told to RELOAD.
    fn reload(self) -> bool {
        self.policy == ReloadPolicy::Reload || self.policy == ReloadPolicy::Auto && self.has_admin
    }
}

impl PodSight {
    /// Whether its template was made for this list.
    pub(in crate::userlists) fn is_started_for(&self, newest: Newest<'_>) -> bool {
        let says = |key: &str, value: &str| self.annotations.get(key).is_some_and(|found| found == value);
        says(DIGEST_ANNOTATION, newest.digest) && says(LIST_ANNOTATION, newest.list)
    }

    /// Whether it was made after this second, or by a restart since: that one is written by our clock, and names no parts of seconds.
    fn is_made_since(&self, since: Timestamp) -> bool {
        let restarted = LastRestart::read(|key| self.annotations.get(key).cloned()).at;
        self.created.is_some_and(|created| created > since) || restarted.is_some_and(|restarted| restarted >= since)
    }
}

impl LastRestart {
    /// As the annotations of a pod template have it.
    pub(in crate::userlists) fn read(annotation: impl Fn(&str) -> Option<String>) -> Self {
        let at = annotation(RESTARTED_ANNOTATION).and_then(|text| text.parse().ok());
        Self { list: annotation(LIST_ANNOTATION), digest: annotation(DIGEST_ANNOTATION), at }
    }

    /// Whether it is time for a restart. `again` if a pod needs one that has started with this list already.
    pub(in crate::userlists) fn turn(&self, newest: Newest<'_>, again: bool, now: Timestamp, is_rival: impl FnOnce(&str) -> bool) -> Turn {
        let is_ours = self.list.as_deref() == Some(newest.list);
        if let Some(other) = self.list.as_deref().filter(|other| !is_ours && is_rival(other)) {
            return Turn::Taken(other.to_owned());
        }
        if is_ours && self.digest.as_deref() == Some(newest.digest) && !again {
            return Turn::GoesOn;
        }
        // A time to come is none that our clock has given.
        let earliest = self.at.filter(|at| *at <= now).and_then(|at| at.checked_add(RESTART_PAUSE).ok());
        earliest.filter(|earliest| *earliest > now).map_or(Turn::Now, Turn::Later)
    }
}

/// How a pod gets to use a list.
///
/// What it started with is what it uses as long as it was told nothing: a RELOAD may have given it another list, even one that nobody has
/// confirmed. Where no RELOADs are sent, none can have.
pub(in crate::userlists) fn way(pod: &PodSight, means: Means, newest: Newest<'_>, known: &Known) -> Way {
    let Some(address) = pod.address.filter(|_| pod.is_ready) else {
        return Way::Wait("it isn't ready".to_owned());
    };
    if means.fresh_since.is_some_and(|since| !pod.is_made_since(since)) {
        return match means.policy {
            ReloadPolicy::Auto | ReloadPolicy::Restart => Way::Restart,
            ReloadPolicy::Reload | ReloadPolicy::None => Way::Wait(NOT_FRESH.to_owned()),
        };
    }
    if let Some(port) = pod.annotations.get(AGENT_ANNOTATION) {
        return match port.parse::<u16>() {
            Ok(port) if port > 0 => Way::Ask(SocketAddr::new(address, port)),
            _ => Way::Wait(format!("annotation {AGENT_ANNOTATION} must be a port, and is {port:?}")),
        };
    }
    let uses = match known {
        Known::Uses(digest) => digest == newest.digest,
        Known::Untold => pod.is_started_for(newest),
        Known::Unsure => pod.is_started_for(newest) && !means.reload(),
    };
    match means.policy {
        ReloadPolicy::None => Way::Leave,
        _ if uses => Way::Done,
        _ if means.reload() => Way::Reload(address),
        _ => Way::Restart,
    }
}

/// Whether a pod that lags behind needs a restart that the list's author allows.
pub(in crate::userlists) fn needs_restart(lag: Lag, policy: ReloadPolicy) -> bool {
    let is_allowed = matches!(policy, ReloadPolicy::Auto | ReloadPolicy::Restart);
    is_allowed
        && match lag {
            Lag::Unknown => false,
            Lag::Other(since) => since > RELOAD_PATIENCE,
            Lag::Sessions | Lag::Start => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: Newest<'static> = Newest { list: "ours", digest: "d" };

    fn pod(annotations: &[(&str, &str)]) -> PodSight {
        PodSight {
            name: "pooler-1".to_owned(),
            uid: "1".to_owned(),
            address: Some(IpAddr::from([10, 0, 0, 1])),
            created: Some(at(0)),
            is_ready: true,
            annotations: annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn started() -> PodSight {
        pod(&[(DIGEST_ANNOTATION, "d"), (LIST_ANNOTATION, "ours")])
    }

    #[test]
    fn qs_pgbouncer_p10_a_reload_is_preferred_and_a_restart_is_for_where_nothing_else_helps() {
        let here = IpAddr::from([10, 0, 0, 1]);
        for (policy, has_admin, expected) in [
            (ReloadPolicy::Auto, true, Way::Reload(here)),
            (ReloadPolicy::Auto, false, Way::Restart),
            (ReloadPolicy::Reload, true, Way::Reload(here)),
            (ReloadPolicy::Restart, true, Way::Restart),
            (ReloadPolicy::None, true, Way::Leave),
        ] {
            let means = Means { policy, has_admin, fresh_since: None };
            assert_eq!(way(&pod(&[]), means, NEWEST, &Known::Untold), expected, "{policy:?} {has_admin}");
            let after_start = way(&started(), means, NEWEST, &Known::Untold);
            assert_eq!(after_start == Way::Done, policy != ReloadPolicy::None, "{policy:?}");
            let agent = pod(&[(AGENT_ANNOTATION, "8080"), (DIGEST_ANNOTATION, "d"), (LIST_ANNOTATION, "ours")]);
            assert_eq!(way(&agent, means, NEWEST, &Known::Untold), Way::Ask(SocketAddr::new(here, 8080)), "who has an agent is only asked");
        }
    }

    #[test]
    fn a_list_that_returns_is_told_anew_to_pods_that_started_with_it_and_were_told_another_since() {
        let here = IpAddr::from([10, 0, 0, 1]);
        let auto = Means { policy: ReloadPolicy::Auto, has_admin: true, fresh_since: None };
        for since in [Known::Uses("other".to_owned()), Known::Unsure] {
            assert_eq!(way(&started(), auto, NEWEST, &since), Way::Reload(here), "{since:?}");
        }
        assert_eq!(way(&started(), auto, NEWEST, &Known::Uses("d".to_owned())), Way::Done);
        let restart = Means { policy: ReloadPolicy::Restart, ..auto };
        assert_eq!(way(&started(), restart, NEWEST, &Known::Uses("other".to_owned())), Way::Restart);
        assert_eq!(way(&started(), restart, NEWEST, &Known::Unsure), Way::Done, "nobody sends it RELOADs");
        let of_another = pod(&[(DIGEST_ANNOTATION, "d"), (LIST_ANNOTATION, "theirs")]);
        assert_eq!(way(&of_another, restart, NEWEST, &Known::Untold), Way::Restart, "digests of two lists say nothing to each other");
    }

    #[test]
    fn a_pod_that_may_remember_whom_no_list_can_take_from_it_is_started_anew_and_only_once() {
        let agent = (AGENT_ANNOTATION, "8080");
        for (policy, expected) in
            [(ReloadPolicy::Auto, true), (ReloadPolicy::Restart, true), (ReloadPolicy::Reload, false), (ReloadPolicy::None, false)]
        {
            let means = Means { policy, has_admin: true, fresh_since: Some(at(10)) };
            let (restarted, before) = (at(10).to_string(), at(9).to_string());
            let known = Known::Uses("d".to_owned());
            for old in [
                pod(&[]),
                pod(&[agent]),
                pod(&[(DIGEST_ANNOTATION, "d"), (LIST_ANNOTATION, "ours"), (RESTARTED_ANNOTATION, before.as_str())]),
            ] {
                match way(&old, means, NEWEST, &known) {
                    Way::Restart => assert!(expected, "{policy:?}"),
                    Way::Wait(message) => assert!(!expected && message.contains("restart it"), "{policy:?} {message}"),
                    other => panic!("{policy:?} {other:?}"),
                }
            }
            let later = |seconds| PodSight { created: Some(at(seconds)), ..pod(&[]) };
            assert_ne!(way(&later(11), means, NEWEST, &known), way(&later(10), means, NEWEST, &known), "{policy:?}");
            let usual = Means { fresh_since: None, ..means };
            for new in
                [later(11), pod(&[(RESTARTED_ANNOTATION, restarted.as_str())]), pod(&[(RESTARTED_ANNOTATION, restarted.as_str()), agent])]
            {
                assert_eq!(way(&new, means, NEWEST, &known), way(&new, usual, NEWEST, &known), "{policy:?}");
            }
        }
    }

    #[test]
    fn why_a_pod_can_not_be_told_yet_is_said() {
        let means = Means { policy: ReloadPolicy::Auto, has_admin: true, fresh_since: None };
        let unready = PodSight { is_ready: false, ..pod(&[]) };
        assert_eq!(way(&unready, means, NEWEST, &Known::Untold), Way::Wait("it isn't ready".to_owned()));
        for port in ["", "0", "70000", "http"] {
            let Way::Wait(reason) = way(&pod(&[(AGENT_ANNOTATION, port)]), means, NEWEST, &Known::Untold) else { panic!("{port}") };
            assert!(reason.contains("must be a port") && reason.contains(&format!("{port:?}")), "{reason}");
        }
    }

    #[test]
    fn nobody_is_restarted_for_what_says_nothing_of_the_list_or_sooner_than_a_kubelet_may_take() {
        let (soon, late) = (Lag::Other(RELOAD_PATIENCE), Lag::Other(RELOAD_PATIENCE + Duration::from_secs(1)));
        for (lag, expected) in [(Lag::Unknown, false), (soon, false), (late, true), (Lag::Sessions, true), (Lag::Start, true)] {
            assert_eq!(needs_restart(lag, ReloadPolicy::Auto), expected, "{lag:?}");
            for policy in [ReloadPolicy::Reload, ReloadPolicy::None] {
                assert!(!needs_restart(lag, policy), "{lag:?} {policy:?}");
            }
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn last(list: &str, digest: &str, second: i64) -> LastRestart {
        let annotations = BTreeMap::from([
            (LIST_ANNOTATION, list.to_owned()),
            (DIGEST_ANNOTATION, digest.to_owned()),
            (RESTARTED_ANNOTATION, at(second).to_string()),
        ]);
        LastRestart::read(|key| annotations.get(key).cloned())
    }

    #[test]
    fn a_workload_is_restarted_once_for_a_list_and_no_more_often_than_every_five_minutes() {
        let turn = |last: LastRestart, again, second| last.turn(NEWEST, again, at(second), |_| true);
        assert_eq!(turn(LastRestart::default(), false, 0), Turn::Now);
        assert_eq!(turn(last("ours", "d", 0), false, 1000), Turn::GoesOn);
        assert_eq!(turn(last("ours", "d", 0), true, 10), Turn::Later(at(300)));
        assert_eq!(turn(last("ours", "older", 0), false, 299), Turn::Later(at(300)));
        assert_eq!(turn(last("ours", "older", 0), false, 300), Turn::Now);
        assert_eq!(turn(last("ours", "older", 500), false, 0), Turn::Now, "a clock that was wrong holds nobody up");
    }

    #[test]
    fn of_two_lists_that_would_restart_a_workload_one_does() {
        let other = last("theirs", "e", 0);
        assert_eq!(other.turn(NEWEST, false, at(1000), |uid| uid == "theirs"), Turn::Taken("theirs".to_owned()));
        assert_eq!(other.turn(NEWEST, false, at(1000), |_| false), Turn::Now, "the other list is gone, or lets it be");
        assert_eq!(other.turn(NEWEST, false, at(10), |_| false), Turn::Later(at(300)));
    }
}
