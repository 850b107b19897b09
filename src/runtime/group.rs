//! Futures by key, driven together: some begin and others end while they run.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
};

use futures::{
    StreamExt,
    future::{AbortHandle, Abortable},
    stream::FuturesUnordered,
};

type Member<'a, K> = Pin<Box<dyn Future<Output = K> + Send + 'a>>;

/// A group of futures. They only move while [`Group::drive`] is polled, and all end when the group is dropped.
pub struct Group<'a, K> {
    handles: BTreeMap<K, AbortHandle>,
    members: FuturesUnordered<Abortable<Member<'a, K>>>,
}

/// Lets the other members of one's group move on, in the midst of long computations.
pub async fn let_others_go_on() {
    tokio::task::yield_now().await;
}

impl<K> Default for Group<'_, K> {
    fn default() -> Self {
        Self { handles: BTreeMap::new(), members: FuturesUnordered::new() }
    }
}

impl<'a, K: Ord + Clone + Send + 'a> Group<'a, K> {
    /// Ends all members but these, and starts those that are missing.
    pub fn keep<F: Future<Output = ()> + Send + 'a>(&mut self, wanted: &BTreeSet<K>, mut start: impl FnMut(&K) -> F) {
        self.handles.retain(|key, handle| {
            let stays = wanted.contains(key);
            if !stays {
                handle.abort();
            }
            stays
        });
        for key in wanted.iter().filter(|key| !self.handles.contains_key(*key)).cloned().collect::<Vec<_>>() {
            let (handle, registration) = AbortHandle::new_pair();
            let (work, own_key) = (start(&key), key.clone());
            let member: Member<'a, K> = Box::pin(async move {
                work.await;
                own_key
            });
            self.members.push(Abortable::new(member, registration));
            self.handles.insert(key, handle);
        }
    }

    /// Moves the members on until one of them ends by itself; never returns while none does.
    pub async fn drive(&mut self) -> K {
        loop {
            match self.members.next().await {
                Some(Ok(key)) => {
                    self.handles.remove(&key);
                    return key;
                }
                // It was ended.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct OnDrop(Arc<Mutex<Vec<u8>>>, u8);

    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(self.1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn members_begin_and_end_as_they_are_wanted() {
        let ended = Arc::<Mutex<Vec<u8>>>::default();
        let mut started = Vec::new();
        let mut group = Group::default();
        let mut keep = |group: &mut Group<'static, u8>, wanted: &[u8]| {
            let ended = ended.clone();
            group.keep(&wanted.iter().copied().collect(), |key| {
                started.push(*key);
                let (guard, ends) = (OnDrop(ended.clone(), *key), *key == 3);
                async move {
                    let _guard = guard;
                    if !ends {
                        std::future::pending::<()>().await;
                    }
                }
            });
        };
        keep(&mut group, &[1, 2]);
        keep(&mut group, &[2, 3]);
        assert_eq!(group.drive().await, 3, "what ends by itself is told, and what was ended is not");
        let mut seen = ended.lock().unwrap().clone();
        seen.sort_unstable();
        assert_eq!(seen, [1, 3], "what is no longer wanted has ended");
        keep(&mut group, &[2, 3]);
        assert_eq!(started, [1, 2, 3, 3], "what goes on isn't started again");
        drop(group);
        assert!(ended.lock().unwrap().contains(&2));
    }
}
