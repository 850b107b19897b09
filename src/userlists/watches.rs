//! The watches of Secrets: one for each choice of them that a `UserList` makes, shared by all that make the same, begun and ended with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::{
    api::user_list::UserListSpec,
    cluster::{
        snapshot::{Snapshot, Writer, snapshot},
        watch::{self, Entries, Projection, Scope},
    },
    runtime::{group::Group, readiness::Readiness, shutdown::Shutdown},
};

use super::{
    list::{ListId, Lists},
    source::{Reading, SourceSecret},
    written::{MARK, WrittenSecret},
};

/// What a watch has shown.
#[derive(Debug)]
pub(super) enum Seen<E> {
    /// Nothing yet.
    Nothing,
    /// It is forbidden.
    Forbidden,
    /// These are there.
    All(Vec<Arc<E>>),
}

/// A choice of Secrets with users.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceKey {
    pub(super) namespace: String,
    choice: Choice,
    reading: Reading,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Choice {
    Selected(String),
    Named(String),
}

impl SourceKey {
    /// What the spec selects, a choice for each namespace. Whatever an older definition of the kind let through, an empty selector chooses nothing.
    pub(super) fn selected(id: &ListId, spec: &UserListSpec) -> Vec<Self> {
        if spec.selector.is_empty() {
            return Vec::new();
        }
        let own = std::slice::from_ref(&id.namespace);
        let namespaces = if spec.namespaces.is_empty() { own } else { &spec.namespaces };
        let choice = Choice::Selected(spec.selector.to_query());
        let key =
            |namespace: &String| Self { namespace: namespace.clone(), choice: choice.clone(), reading: Reading::one_user(&spec.keys) };
        namespaces.iter().map(key).collect()
    }

    /// The Secret with extra users, if the spec names one.
    pub(super) fn extra(id: &ListId, spec: &UserListSpec) -> Option<Self> {
        let extra = spec.extra_users.as_ref()?;
        Some(Self {
            namespace: id.namespace.clone(),
            choice: Choice::Named(extra.name.clone()),
            reading: Reading::Lines { key: extra.key.clone() },
        })
    }
}

/// All watches of Secrets.
pub(super) struct Watches<'a> {
    client: Client,
    shutdown: Shutdown,
    sources: BTreeMap<SourceKey, Snapshot<Seen<SourceSecret>>>,
    written: BTreeMap<String, Snapshot<Seen<WrittenSecret>>>,
    running: Group<'a, WatchKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum WatchKey {
    Source(SourceKey),
    Written(String),
}

impl<'a> Watches<'a> {
    pub(super) fn new(client: Client, shutdown: Shutdown) -> Self {
        Self { client, shutdown, sources: BTreeMap::new(), written: BTreeMap::new(), running: Group::default() }
    }

    /// Begins and ends watches so that these lists have theirs.
    pub(super) fn keep(&mut self, lists: &Lists) {
        let wanted = wanted(lists);
        self.sources.retain(|key, _| wanted.contains(&WatchKey::Source(key.clone())));
        self.written.retain(|namespace, _| wanted.contains(&WatchKey::Written(namespace.clone())));
        let Self { client, shutdown, sources, written, running } = self;
        running.keep(&wanted, |key| -> futures::future::BoxFuture<'a, ()> {
            match key {
                WatchKey::Source(key) => {
                    let reading = key.reading.clone();
                    let (projection, seen) = SecretProjection::new(move |secret| reading.read(secret));
                    sources.insert(key.clone(), seen);
                    let scope = match &key.choice {
                        Choice::Selected(labels) => Scope::Selected(labels.clone()),
                        Choice::Named(name) => Scope::Named(name.clone()),
                    };
                    Box::pin(follow(projection, client, &key.namespace, scope, shutdown))
                }
                WatchKey::Written(namespace) => {
                    let (projection, seen) = SecretProjection::new(WrittenSecret::read);
                    written.insert(namespace.clone(), seen);
                    Box::pin(follow(projection, client, namespace, Scope::Selected(MARK.to_owned()), shutdown))
                }
            }
        });
    }

    /// Moves all watches on. It returns when one has ended by itself, which they only do when the process ends.
    pub(super) async fn drive(&mut self) {
        self.running.drive().await;
    }

    pub(super) fn source(&self, key: &SourceKey) -> Option<Snapshot<Seen<SourceSecret>>> {
        self.sources.get(key).cloned()
    }

    pub(super) fn written(&self, namespace: &str) -> Option<Snapshot<Seen<WrittenSecret>>> {
        self.written.get(namespace).cloned()
    }
}

fn wanted(lists: &Lists) -> BTreeSet<WatchKey> {
    let of_list = |(id, list): (&ListId, &Arc<super::list::List>)| {
        let mut keys: Vec<WatchKey> = SourceKey::selected(id, &list.spec).into_iter().map(WatchKey::Source).collect();
        keys.extend(SourceKey::extra(id, &list.spec).map(WatchKey::Source));
        keys.push(WatchKey::Written(id.namespace.clone()));
        keys
    };
    lists.iter().flat_map(of_list).collect()
}

fn follow<E: Send + Sync + 'static>(
    projection: SecretProjection<E>,
    client: &Client,
    namespace: &str,
    scope: Scope,
    shutdown: &Shutdown,
) -> impl Future<Output = ()> + Send + use<E> {
    // A list whose Secrets can't be seen says so itself; the process is no less ready for that.
    let gate = Readiness::default().gate(SecretProjection::<E>::NAME);
    watch::run(projection, Api::namespaced(client.clone(), namespace), scope, gate, shutdown.clone())
}

/// Keeps what is read of each Secret.
struct SecretProjection<E> {
    read: Box<dyn Fn(&Secret) -> E + Send>,
    seen: Writer<Seen<E>>,
}

impl<E> SecretProjection<E> {
    fn new(read: impl Fn(&Secret) -> E + Send + 'static) -> (Self, Snapshot<Seen<E>>) {
        let (writer, seen) = snapshot(Seen::Nothing);
        (Self { read: Box::new(read), seen: writer }, seen)
    }
}

impl<E: Send + Sync + 'static> Projection for SecretProjection<E> {
    type Object = Secret;
    type Entry = Arc<E>;

    const NAME: &'static str = "secrets-of-userlists";
    const ENDS_WITH_ITS_RIGHT: bool = true;

    fn project(&self, secret: &Secret) -> Option<Arc<E>> {
        Some(Arc::new((self.read)(secret)))
    }

    fn publish(&self, known: Option<&Entries<Arc<E>>>) {
        self.seen.store(known.map_or(Seen::Forbidden, |known| Seen::All(known.values().cloned().collect())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_selector_chooses_no_secret_in_any_namespace() {
        let spec = |selector: serde_json::Value| -> UserListSpec {
            serde_json::from_value(serde_json::json!({"selector": selector, "namespaces": ["a", "b"], "output": {"name": "list"}})).unwrap()
        };
        let id = ListId { namespace: "a".to_owned(), name: "l".to_owned(), uid: "u".to_owned(), generation: 1 };
        assert_eq!(SourceKey::selected(&id, &spec(serde_json::json!({"matchLabels": {}}))), []);
        assert_eq!(SourceKey::selected(&id, &spec(serde_json::json!({"matchLabels": {"of": "list"}}))).len(), 2);
    }
}
