//! How a pooler gets to use the newest list: pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use crate::api::user_list::{AGENT_ANNOTATION, DIGEST_ANNOTATION, ReloadPolicy};

/// A pod of a pooler, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::userlists) struct PodSight {
    pub(in crate::userlists) name: String,
    pub(in crate::userlists) address: Option<IpAddr>,
    /// Whether its containers run and are ready.
    pub(in crate::userlists) is_ready: bool,
    pub(in crate::userlists) annotations: BTreeMap<String, String>,
}

/// By what a pod is told, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::userlists) enum Way {
    /// It started with the list.
    Started,
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
}

/// How a pod gets to use the list of this digest.
pub(in crate::userlists) fn way(pod: &PodSight, means: Means, digest: &str) -> Way {
    let started = pod.annotations.get(DIGEST_ANNOTATION).is_some_and(|started| started == digest);
    let Some(address) = pod.address.filter(|_| pod.is_ready) else {
        return Way::Wait(format!("pod {} isn't ready", pod.name));
    };
    if let Some(port) = pod.annotations.get(AGENT_ANNOTATION) {
        return match port.parse::<u16>() {
            Ok(port) if port > 0 => Way::Ask(SocketAddr::new(address, port)),
            _ => Way::Wait(format!("pod {}: annotation {AGENT_ANNOTATION} must be a port, and is {port:?}", pod.name)),
        };
    }
    match means.policy {
        ReloadPolicy::None => Way::Leave,
        _ if started => Way::Started,
        ReloadPolicy::Reload => Way::Reload(address),
        ReloadPolicy::Auto if means.has_admin => Way::Reload(address),
        ReloadPolicy::Auto | ReloadPolicy::Restart => Way::Restart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(annotations: &[(&str, &str)]) -> PodSight {
        PodSight {
            name: "pooler-1".to_owned(),
            address: Some(IpAddr::from([10, 0, 0, 1])),
            is_ready: true,
            annotations: annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
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
            assert_eq!(way(&pod(&[]), Means { policy, has_admin }, "d"), expected, "{policy:?} {has_admin}");
            let started = way(&pod(&[(DIGEST_ANNOTATION, "d")]), Means { policy, has_admin }, "d");
            assert_eq!(started == Way::Started, policy != ReloadPolicy::None, "{policy:?}");
            let agent = way(&pod(&[(AGENT_ANNOTATION, "8080"), (DIGEST_ANNOTATION, "d")]), Means { policy, has_admin }, "d");
            assert_eq!(agent, Way::Ask(SocketAddr::new(here, 8080)), "who has an agent is only asked");
        }
    }

    #[test]
    fn who_can_not_be_told_yet_is_named() {
        let means = Means { policy: ReloadPolicy::Auto, has_admin: true };
        let unready = PodSight { is_ready: false, ..pod(&[]) };
        assert_eq!(way(&unready, means, "d"), Way::Wait("pod pooler-1 isn't ready".to_owned()));
        for port in ["", "0", "70000", "http"] {
            let Way::Wait(reason) = way(&pod(&[(AGENT_ANNOTATION, port)]), means, "d") else { panic!("{port}") };
            assert!(reason.contains("pooler-1") && reason.contains("must be a port"), "{reason}");
        }
    }
}
