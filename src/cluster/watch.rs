//! One watch: from the API server's events to a snapshot.

use std::{collections::HashMap, fmt::Debug, time::Duration};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::runtime::{complaint::with_causes, readiness::Gate, shutdown::Shutdown};

/// Below what load balancers between us and the API server tolerate of silence.
const WATCH_SECONDS: u32 = 200;
const PAGE_SIZE: u32 = 100;
/// A storm of events is published in steps, not one by one: each step copies what is known.
const STEP: Duration = Duration::from_millis(50);

/// What is known of one kind, by namespace (empty for cluster-scoped kinds) and name.
pub type Entries<E> = HashMap<(String, String), E>;

/// How objects become what readers see.
pub trait Projection: Send + 'static {
    /// The object as the API server sends it.
    type Object: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static;
    /// What is kept of an object.
    type Entry: Send + 'static;

    /// The kind in the plural, for logs and readiness.
    const NAME: &'static str;
    /// Whether what was seen counts for nothing once the right to see it is withdrawn. Otherwise it only grows older.
    const ENDS_WITH_ITS_RIGHT: bool = false;

    /// What is kept of an object; `None` for one that can't be read, which counts as absent.
    fn project(&self, object: &Self::Object) -> Option<Self::Entry>;

    /// Shows readers what is known, or that nothing can be known.
    fn publish(&self, known: Option<&Entries<Self::Entry>>);

    /// What is missing among what is known, for readiness and the log.
    fn lack(&self, _known: &Entries<Self::Entry>) -> Option<&'static str> {
        None
    }
}

/// Which objects a watch is of.
#[derive(Debug, Clone)]
pub enum Scope {
    /// All there are.
    All,
    /// The one of this name. A right to list and watch objects by name is enough for it.
    Named(String),
    /// Those that a label selector chooses, as a list request takes it.
    Selected(String),
}

/// Keeps a snapshot up to date until shutdown.
///
/// The gate opens when all objects are known. A watch that is forbidden, or whose kind is not installed, counts as
/// complete and empty, and the gate says so: what is absent never denies anything.
pub async fn run<P: Projection>(projection: P, api: Api<P::Object>, scope: Scope, gate: Gate, shutdown: Shutdown)
where
    <P::Object as kube::Resource>::DynamicType: Clone,
{
    let config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE_SIZE);
    let config = match scope {
        Scope::All => config,
        Scope::Named(name) => config.fields(&format!("metadata.name={name}")),
        Scope::Selected(labels) => config.labels(&labels),
    };
    let begin = || watcher(api.clone(), config.clone()).default_backoff().boxed();
    let mut events = begin();
    let mut state = State::new(projection, gate);
    loop {
        let event = tokio::select! {
            () = shutdown.closing() => return,
            () = tokio::time::sleep_until(state.next_step), if state.unpublished => {
                state.publish();
                continue;
            }
            event = events.try_next() => event,
        };
        match event {
            Ok(Some(event)) => state.handle(event),
            // The stream of a watcher does not end; if it ever does, whoever joins this task must know.
            Ok(None) => return,
            Err(error) => {
                // It would go on from where it was, and say nothing until something changes.
                if state.failed(&error) {
                    events = begin();
                }
            }
        }
    }
}

struct State<P: Projection> {
    projection: P,
    gate: Gate,
    known: Entries<P::Entry>,
    /// Entries of a list in progress: they replace the known ones when it is whole.
    listing: Entries<P::Entry>,
    unpublished: bool,
    next_step: Instant,
    /// Whether a whole list was ever seen. Afterwards a failure only means that what is known grows older.
    listed: bool,
    failing: bool,
    lack: Option<&'static str>,
}

impl<P: Projection> State<P> {
    fn new(projection: P, gate: Gate) -> Self {
        let (known, listing) = (HashMap::new(), HashMap::new());
        Self { projection, gate, known, listing, unpublished: false, next_step: Instant::now(), listed: false, failing: false, lack: None }
    }

    fn handle(&mut self, event: watcher::Event<P::Object>) {
        if std::mem::take(&mut self.failing) && self.listed {
            self.open();
            tracing::info!(kind = P::NAME, "the watch goes on");
        }
        match event {
            watcher::Event::Init => self.listing.clear(),
            watcher::Event::InitApply(object) => {
                self.listing.extend(self.projection.project(&object).map(|entry| (key(&object), entry)));
            }
            watcher::Event::InitDone => {
                self.known = std::mem::take(&mut self.listing);
                self.listed = true;
                self.publish();
                tracing::info!(kind = P::NAME, count = self.known.len(), "watching");
            }
            watcher::Event::Apply(object) => {
                // One that can't be read any more must not live on as it was.
                match self.projection.project(&object) {
                    Some(entry) => self.known.insert(key(&object), entry),
                    None => self.known.remove(&key(&object)),
                };
                self.changed();
            }
            watcher::Event::Delete(object) => {
                self.known.remove(&key(&object));
                self.changed();
            }
        }
    }

    /// The first change after a while is shown at once, those of a storm together.
    fn changed(&mut self) {
        self.unpublished = true;
        if Instant::now() >= self.next_step {
            self.publish();
        }
    }

    fn publish(&mut self) {
        self.projection.publish(Some(&self.known));
        self.unpublished = false;
        self.next_step = Instant::now() + STEP;
        if self.listed && !self.failing {
            self.open();
        }
    }

    /// Opens the gate, with a note if something is missing.
    fn open(&mut self) {
        let lack = self.projection.lack(&self.known);
        match lack {
            None => self.gate.open(),
            Some(lack) => self.gate.open_with(lack),
        }
        let before = std::mem::replace(&mut self.lack, lack);
        if let Some(lack) = lack.filter(|_| lack != before) {
            tracing::warn!(kind = P::NAME, "{lack}");
        }
    }

    /// Whether everything is to be listed anew.
    fn failed(&mut self, error: &watcher::Error) -> bool {
        let note = match status_code(error) {
            Some(401 | 403) => Some("forbidden, so it counts as complete and empty: grant list and watch"),
            Some(404) => Some("not installed, so it counts as complete and empty: apply the CRDs"),
            _ => None,
        };
        let is_withdrawn = self.listed && note.is_some() && P::ENDS_WITH_ITS_RIGHT;
        if is_withdrawn {
            (self.listed, self.unpublished) = (false, false);
            self.known.clear();
        }
        match note {
            // A watcher that fails after its list goes on from where it was: it would not list again what we forgot.
            _ if self.listed => self.gate.open_with("the watch fails, so what is known grows older: see the log"),
            Some(note) => {
                self.projection.publish(None);
                self.gate.open_with(note);
            }
            None => {}
        }
        // The watcher tries again by itself, with backoff; the first failure says enough.
        if !self.failing {
            self.failing = true;
            tracing::warn!(kind = P::NAME, error = with_causes(error), note, "the watch failed; trying again");
        }
        is_withdrawn
    }
}

fn key(object: &impl kube::Resource) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    use super::*;
    use crate::runtime::readiness::Readiness;

    /// Keeps the key `value` of config maps; those without can't be read.
    #[derive(Default)]
    struct Values {
        published: Arc<Mutex<Vec<Option<usize>>>>,
    }

    impl Projection for Values {
        type Object = ConfigMap;
        type Entry = String;
        const NAME: &'static str = "values";

        fn project(&self, object: &ConfigMap) -> Option<String> {
            object.data.as_ref()?.get("value").cloned()
        }

        fn publish(&self, known: Option<&Entries<String>>) {
            self.published.lock().unwrap().push(known.map(Entries::len));
        }
    }

    /// The same, which only count while they may be seen.
    #[derive(Default)]
    struct Shared(Values);

    impl Projection for Shared {
        type Object = ConfigMap;
        type Entry = String;
        const NAME: &'static str = "shared";
        const ENDS_WITH_ITS_RIGHT: bool = true;

        fn project(&self, object: &ConfigMap) -> Option<String> {
            self.0.project(object)
        }

        fn publish(&self, known: Option<&Entries<String>>) {
            self.0.publish(known);
        }
    }

    fn config_map(name: &str, value: Option<&str>) -> ConfigMap {
        let metadata = ObjectMeta { name: Some(name.to_owned()), namespace: Some("n".to_owned()), ..ObjectMeta::default() };
        ConfigMap { metadata, data: value.map(|value| [("value".to_owned(), value.to_owned())].into()), ..ConfigMap::default() }
    }

    fn forbidden(code: u16) -> watcher::Error {
        let status = kube::core::Status { code, ..kube::core::Status::default() };
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_shown_when_it_is_whole_and_a_storm_in_steps() {
        let readiness = Readiness::default();
        let values = Values::default();
        let published = values.published.clone();
        let mut state = State::new(values, readiness.gate("values"));
        state.handle(watcher::Event::Init);
        state.handle(watcher::Event::InitApply(config_map("a", Some("1"))));
        state.handle(watcher::Event::InitApply(config_map("unreadable", None)));
        assert!(published.lock().unwrap().is_empty() && !readiness.is_ready(), "half a list is none");
        state.handle(watcher::Event::InitDone);
        assert!(readiness.is_ready());
        tokio::time::advance(STEP).await;
        for n in 0..100 {
            state.handle(watcher::Event::Apply(config_map(&format!("storm-{n}"), Some("1"))));
        }
        assert_eq!(*published.lock().unwrap(), [Some(1), Some(2)]);
        assert!(state.unpublished, "the rest is shown at the next step");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_any_more_is_gone() {
        let mut state = State::new(Values::default(), Readiness::default().gate("values"));
        state.handle(watcher::Event::Apply(config_map("a", Some("1"))));
        state.handle(watcher::Event::Apply(config_map("a", None)));
        assert!(state.known.is_empty());
        state.handle(watcher::Event::Apply(config_map("b", Some("1"))));
        state.handle(watcher::Event::Delete(config_map("b", None)));
        assert!(state.known.is_empty(), "a delete needs no readable object");
    }

    #[tokio::test(start_paused = true)]
    async fn a_forbidden_watch_is_complete_and_empty_and_another_failure_is_not() {
        let readiness = Readiness::default();
        let values = Values::default();
        let published = values.published.clone();
        let mut state = State::new(values, readiness.gate("values"));
        state.failed(&forbidden(500));
        assert!(!readiness.is_ready());
        state.failed(&forbidden(403));
        assert!(readiness.is_ready());
        assert!(readiness.report().contains("values: forbidden"));
        assert_eq!(*published.lock().unwrap(), [None]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_not_be_seen_any_more_is_forgotten_where_that_matters() {
        let shared = Shared::default();
        let published = shared.0.published.clone();
        let mut state = State::new(shared, Readiness::default().gate("shared"));
        state.handle(watcher::Event::InitApply(config_map("a", Some("1"))));
        state.handle(watcher::Event::InitDone);
        assert!(!state.failed(&forbidden(500)), "it goes on from where it was");
        assert!(state.failed(&forbidden(403)));
        assert!(!state.failed(&forbidden(403)), "it is being listed anew already");
        assert_eq!(*published.lock().unwrap(), [Some(1), None, None]);
        state.handle(watcher::Event::InitDone);
        assert_eq!(published.lock().unwrap().last(), Some(&Some(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_outlives_a_failure_and_the_gate_says_so() {
        let readiness = Readiness::default();
        let mut state = State::new(Values::default(), readiness.gate("values"));
        state.handle(watcher::Event::InitApply(config_map("a", Some("1"))));
        state.handle(watcher::Event::InitDone);
        state.failed(&forbidden(403));
        assert_eq!(state.known.len(), 1);
        assert!(readiness.is_ready() && readiness.report().contains("grows older"), "{}", readiness.report());
        state.handle(watcher::Event::Apply(config_map("b", Some("1"))));
        assert_eq!(readiness.report(), "values: ok\n");
    }
}
