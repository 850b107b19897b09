//! One watch: from the API server's events to a snapshot.

use std::{collections::HashMap, fmt::Debug, hash::Hash};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;

use crate::runtime::{readiness::Gate, shutdown::Shutdown};

use super::snapshot::Writer;

/// Below what load balancers between us and the API server tolerate of silence.
const WATCH_SECONDS: u32 = 200;
const PAGE_SIZE: u32 = 100;

/// How objects become entries of a snapshot.
pub trait Projection: Send + 'static {
    /// The object as the API server sends it.
    type Object: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static;
    /// What tells entries apart.
    type Key: Eq + Hash + Clone + Send + Sync + 'static;
    /// What is kept of an object.
    type Entry: Clone + Send + Sync + 'static;
    /// What readers see. Its default is what they see while the watch is forbidden.
    type View: Default + Send + Sync + 'static;

    /// The kind in the plural, for logs and readiness.
    const NAME: &'static str;

    /// The entry of an object; `None` for one that can't be told apart from others.
    fn project(&self, object: &Self::Object) -> Option<(Self::Key, Self::Entry)>;

    /// Readers' view of all entries.
    fn view(&self, entries: &HashMap<Self::Key, Self::Entry>) -> Self::View;
}

/// Keeps a snapshot up to date until shutdown.
///
/// The gate opens when all objects are known. A watch that is forbidden, or whose kind is not installed, counts as
/// complete and empty, and the gate says so: what is absent never denies anything.
pub async fn run<P: Projection>(projection: P, api: Api<P::Object>, writer: Writer<P::View>, gate: Gate, shutdown: Shutdown)
where
    <P::Object as kube::Resource>::DynamicType: Clone,
{
    let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE_SIZE);
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut state = State { projection, writer, gate, known: HashMap::new(), listing: None, failing: false };
    loop {
        let event = tokio::select! {
            () = shutdown.closing() => return,
            event = events.try_next() => event,
        };
        match event {
            Ok(Some(event)) => state.handle(event),
            // The stream of a watcher does not end; if it ever does, the roles' supervisor must know.
            Ok(None) => return,
            Err(error) => state.failed(&error),
        }
    }
}

struct State<P: Projection> {
    projection: P,
    writer: Writer<P::View>,
    gate: Gate,
    known: HashMap<P::Key, P::Entry>,
    /// Entries of a list in progress: they replace the known ones when it is whole.
    listing: Option<HashMap<P::Key, P::Entry>>,
    failing: bool,
}

impl<P: Projection> State<P> {
    fn handle(&mut self, event: watcher::Event<P::Object>) {
        match event {
            watcher::Event::Init => self.listing = Some(HashMap::new()),
            watcher::Event::InitApply(object) => {
                let entry = self.projection.project(&object);
                self.listing.get_or_insert_default().extend(entry);
            }
            watcher::Event::InitDone => {
                self.known = self.listing.take().unwrap_or_default();
                self.publish();
                self.failing = false;
                self.gate.open();
                tracing::info!(kind = P::NAME, count = self.known.len(), "watching");
            }
            watcher::Event::Apply(object) => {
                self.known.extend(self.projection.project(&object));
                self.publish();
            }
            watcher::Event::Delete(object) => {
                if let Some((key, _)) = self.projection.project(&object) {
                    self.known.remove(&key);
                    self.publish();
                }
            }
        }
    }

    fn publish(&self) {
        self.writer.store(self.projection.view(&self.known));
    }

    fn failed(&mut self, error: &watcher::Error) {
        let note = match status_code(error) {
            Some(403) => Some("forbidden, so it counts as complete and empty: grant list and watch"),
            Some(404) => Some("not installed, so it counts as complete and empty: apply the CRDs"),
            _ => None,
        };
        if let Some(note) = note {
            self.known.clear();
            self.writer.store(P::View::default());
            self.gate.open_with(note);
        }
        // The watcher tries again by itself, with backoff; the first failure says enough.
        if !self.failing {
            self.failing = true;
            tracing::warn!(kind = P::NAME, error = error as &dyn std::error::Error, note, "the watch failed; trying again");
        }
    }
}

/// The HTTP status an API server answered with, if it did.
fn status_code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            Some(status.code)
        }
        watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}
