//! The addresses in `.url` keys: fetched beside everything else, again and again until they answer. What is there stays until then.
//! On request they are asked again from time to time, whether their contents have changed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{
    FutureExt, StreamExt,
    future::{AbortHandle, Abortable, BoxFuture},
    stream::FuturesUnordered,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::{
    plan::{Digest, Target},
    settings::Web,
    web::{self, Answer, Version, WebError},
};
use crate::runtime::backoff::{Backoff, jittered};

/// Addresses fetched at once.
const AT_ONCE: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long the first sync waits for addresses that have not been asked yet.
const FIRST_SYNC_LIMIT: Duration = Duration::from_secs(60);

/// The addresses that are wanted.
pub(super) struct Links {
    web: Web,
    client: Option<reqwest::Client>,
    wanted: BTreeMap<Target, Wanted>,
    running: FuturesUnordered<Abortable<BoxFuture<'static, Fetched>>>,
    /// When the first was wanted.
    begun: Option<Instant>,
    room: Arc<Semaphore>,
}

struct Wanted {
    link: Digest,
    address: String,
    backoff: Backoff,
    progress: Progress,
    /// Of what the file holds.
    version: Version,
    /// Ends what is under way for it.
    abort: AbortHandle,
}

/// How far an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    NotAsked,
    /// It has not answered yet.
    Failing,
    /// It has answered.
    Fetched,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// What an address answered.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The file it is for.
    pub target: Target,
    /// The digest of the address.
    pub link: Digest,
    /// What it holds.
    pub answer: Result<Answer, WebError>,
}

impl Links {
    /// None are wanted yet.
    #[must_use]
    pub(super) fn new(web: Web) -> Self {
        let (running, room) = (FuturesUnordered::new(), Arc::new(Semaphore::new(AT_ONCE)));
        Self { web, client: None, wanted: BTreeMap::new(), running, begun: None, room }
    }

    /// A file is to hold what an address does. It does not yet, whatever it held before.
    pub(super) fn want(&mut self, target: &Target, link: Digest, address: String) {
        if self.wanted.get(target).is_some_and(|wanted| wanted.link == link && wanted.progress != Progress::Fetched) {
            return;
        }
        let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        self.begun.get_or_insert_with(Instant::now);
        let (abort, _) = AbortHandle::new_pair();
        let (progress, version) = (Progress::NotAsked, None);
        self.wanted.insert(target.clone(), Wanted { link, address, backoff, progress, version, abort });
        self.fetch(target, Duration::ZERO);
    }

    /// A file is to hold what this address does, something else, or nothing. What is under way for another address ends.
    pub(super) fn forget_others(&mut self, target: &Target, link: Option<Digest>) {
        if self.wanted.get(target).is_some_and(|wanted| Some(wanted.link) != link) {
            self.wanted.remove(target);
        }
    }

    /// Whether each address was asked at least once, or that takes too long.
    #[must_use]
    pub(super) fn were_all_tried(&self) -> bool {
        let is_overdue = self.begun.is_some_and(|begun| begun.elapsed() >= FIRST_SYNC_LIMIT);
        is_overdue || self.wanted.values().all(|wanted| wanted.progress != Progress::NotAsked)
    }

    /// How many files wait.
    #[must_use]
    pub(super) fn count(&self) -> usize {
        self.wanted.values().filter(|wanted| wanted.progress != Progress::Fetched).count()
    }

    /// The next answer to what is still wanted. Waits for ever if nothing is. An address that failed is asked again; one that gave contents is
    /// once [`Self::refresh`] has heard what became of them.
    pub(super) async fn next(&mut self) -> Fetched {
        loop {
            if self.running.is_empty() {
                std::future::pending::<()>().await;
            }
            // One that is no longer wanted was ended.
            let Some(Ok(fetched)) = self.running.next().await else { continue };
            let Some(wanted) = self.wanted.get_mut(&fetched.target).filter(|wanted| wanted.link == fetched.link) else { continue };
            if let Ok(answer) = &fetched.answer {
                wanted.progress = Progress::Fetched;
                wanted.backoff.reset();
                if matches!(answer, Answer::Unchanged) {
                    let version = wanted.version.clone();
                    self.refresh(&fetched.target, version);
                }
            } else {
                if wanted.progress == Progress::NotAsked {
                    wanted.progress = Progress::Failing;
                }
                let pause = wanted.backoff.pause();
                self.fetch(&fetched.target, pause);
            }
            return fetched;
        }
    }

    /// A file holds this version of what its address answered, or, if that could not be written, none that is known. On request the address is
    /// asked again when it is time.
    pub(super) fn refresh(&mut self, target: &Target, version: Version) {
        let Some(wanted) = self.wanted.get_mut(target) else { return };
        wanted.version = version;
        match self.web.refresh.map(jittered) {
            Some(pause) => self.fetch(target, pause),
            None => drop(self.wanted.remove(target)),
        }
    }

    fn fetch(&mut self, target: &Target, pause: Duration) {
        let Some(wanted) = self.wanted.get_mut(target) else { return };
        let (target, link, address, room) = (target.clone(), wanted.link, wanted.address.clone(), self.room.clone());
        let known = wanted.version.clone();
        let client = match &self.client {
            Some(client) => Ok(client.clone()),
            None => web::client(&self.web, true).map(|client| self.client.insert(client).clone()),
        };
        let fetch = async move {
            sleep(pause).await;
            // The semaphore is never closed.
            let _room = room.acquire().await;
            let answer = match client {
                Ok(client) => web::fetch(&client, &address, known).await,
                Err(error) => Err(error),
            };
            Fetched { target, link, answer }
        };
        let (abort, registration) = AbortHandle::new_pair();
        wanted.abort = abort;
        self.running.push(Abortable::new(fetch.boxed(), registration));
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_no_longer_wanted_makes_room_for_others() {
        // It takes connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", silent.local_addr().unwrap());
        let web = Web { timeout: Duration::from_secs(600), skip_tls_verify: false, ca_file: None, refresh: None };
        let mut links = Links::new(web);
        let target = |path: &str| Target { root: 0, path: path.to_owned() };
        for number in 0..20 {
            links.want(&target("flipped"), [number; 32], address.clone());
        }
        links.want(&target("refused"), [1; 32], "no address".to_owned());
        let fetched = tokio::time::timeout(Duration::from_secs(60), links.next()).await.unwrap();
        assert!(fetched.target == target("refused") && fetched.answer.is_err());
        assert!(!links.were_all_tried());
        links.forget_others(&target("flipped"), None);
        assert!(links.were_all_tried());
    }
}
