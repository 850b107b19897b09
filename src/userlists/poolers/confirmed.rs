//! What is known of pods from before.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    api::user_list::UserListStatus,
    userlists::plan::pooler::{Known, PodSight},
};

/// What is known of pods, by their uids.
#[derive(Debug, Default)]
pub(in crate::userlists) struct Confirmed {
    pods: HashMap<String, Pod>,
    /// What the status says of pods, by their names, until they were all seen.
    written: HashMap<String, Option<String>>,
    /// The list of which that was written, if there was one. Not all pods have room there.
    written_of: Option<String>,
    /// The list that poolers are to use, and since when they could.
    newest: Option<(String, Instant)>,
}

#[derive(Debug)]
struct Pod {
    known: Known,
    /// Since when it has been answering that it uses another list.
    behind: Option<Instant>,
}

impl Confirmed {
    /// What was written of pods before this process began.
    pub(in crate::userlists) fn from_status(status: &UserListStatus) -> Self {
        let pods = status.poolers.iter().flat_map(|pooler| &pooler.digests);
        let written = pods.map(|pod| (pod.pod.clone(), pod.digest.clone())).collect();
        Self { written, written_of: status.digest.clone(), ..Self::default() }
    }

    /// What was written counts for the list that stands in the Secret alone: pods may have been told of a newer one before that was written.
    pub(in crate::userlists) fn stands(&mut self, digest: Option<&str>) {
        if self.written_of.as_deref() != digest {
            self.written.values_mut().for_each(|digest| *digest = None);
        }
    }

    /// For how long poolers could have used this list.
    pub(super) fn age(&mut self, digest: &str) -> Duration {
        match &self.newest {
            Some((newest, since)) if newest == digest => since.elapsed(),
            _ => {
                self.newest = Some((digest.to_owned(), Instant::now()));
                self.pods.values_mut().for_each(|pod| pod.behind = None);
                Duration::ZERO
            }
        }
    }

    /// What is known of a pod.
    pub(super) fn of(&mut self, pod: &PodSight, digest: &str) -> &Known {
        let written = self.written.get(&pod.name);
        let known = || match written {
            None if self.written_of.is_none() => Known::Untold,
            Some(Some(used)) if used == digest => Known::Uses(used.clone()),
            // It may have been told more than was written, and a StatefulSet's pod may be made anew under its name.
            _ => Known::Unsure,
        };
        &self.pods.entry(pod.uid.clone()).or_insert_with(|| Pod { known: known(), behind: None }).known
    }

    /// Takes note of what became known of a pod.
    pub(super) fn learn(&mut self, uid: &str, known: Known) {
        if let Some(pod) = self.pods.get_mut(uid) {
            if known != Known::Unsure {
                pod.behind = None;
            }
            pod.known = known;
        }
    }

    /// For how long a pod has been answering that it uses another list.
    pub(super) fn behind(&mut self, uid: &str) -> Duration {
        let since = self.pods.get_mut(uid).map(|pod| *pod.behind.get_or_insert_with(Instant::now));
        since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Forgets all pods but these.
    pub(super) fn keep(&mut self, alive: &BTreeSet<String>) {
        self.pods.retain(|uid, _| alive.contains(uid));
        self.written.clear();
        self.written_of = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::userlists::status;

    fn pod(name: &str, uid: &str) -> PodSight {
        PodSight {
            name: name.to_owned(),
            uid: uid.to_owned(),
            address: None,
            created: None,
            is_ready: true,
            annotations: std::collections::BTreeMap::new(),
        }
    }

    fn before() -> Confirmed {
        let pods = [("uses", Some("d".to_owned())), ("used", Some("older".to_owned())), ("nobody-knows", None)];
        let pods = pods.map(|(pod, digest)| (pod.to_owned(), digest)).to_vec();
        let pooler = status::pooler(crate::api::user_list::WorkloadKind::StatefulSet, "pooler", 1, None, pods);
        Confirmed::from_status(&UserListStatus { digest: Some("d".to_owned()), poolers: vec![pooler], ..UserListStatus::default() })
    }

    #[test]
    fn the_status_is_taken_for_the_newest_list_alone() {
        let mut confirmed = before();
        confirmed.stands(Some("d"));
        for (name, expected) in [
            ("uses", Known::Uses("d".to_owned())),
            ("used", Known::Unsure),
            ("nobody-knows", Known::Unsure),
            ("one-of-many", Known::Unsure),
        ] {
            assert_eq!(*confirmed.of(&pod(name, name), "d"), expected, "{name}");
        }
        let mut told_more = before();
        told_more.stands(Some("told, and not written down"));
        assert_eq!(*told_more.of(&pod("uses", "uses"), "d"), Known::Unsure);
        confirmed.keep(&BTreeSet::new());
        assert_eq!(*confirmed.of(&pod("uses", "another"), "d"), Known::Untold, "a pod that was made anew under the name is another");
    }

    #[tokio::test(start_paused = true)]
    async fn patience_begins_with_a_pod_s_own_first_answer() {
        let mut confirmed = Confirmed::default();
        confirmed.age("d");
        tokio::time::advance(Duration::from_secs(600)).await;
        confirmed.of(&pod("late", "1"), "d");
        assert_eq!(confirmed.behind("1"), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(confirmed.behind("1"), Duration::from_secs(60));
        confirmed.age("e");
        assert_eq!(confirmed.behind("1"), Duration::ZERO, "another list, another patience");
    }
}
