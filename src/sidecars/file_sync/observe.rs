//! What the API server tells: one stream for each kind in each namespace, so that one that is forbidden or fails harms only itself.
//!
//! A stream begins with a list, streamed where the server can and in small pages where it can't, and goes on as a watch from the list's
//! version. A watch that ends is resumed where it was; bookmarks keep that place fresh, so nothing is read again. Only when the server has
//! forgotten the place (410 Gone) is the list read anew.

use std::{pin::pin, time::Duration};

use futures::{Stream as EventStream, StreamExt};
use kube::{
    Api, Client,
    api::{ListParams, WatchEvent, WatchParams},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use super::{
    metrics::Metrics,
    object::Payload,
    plan::{Kind, ObjectId},
    settings::{Method, Named, Namespaces, Pace, Selection},
};
use crate::runtime::{
    backoff::Backoff,
    complaint::{Complaint, with_causes},
    pulse::Pulse,
};

/// For the first byte of an answer, and for a page.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A watch that ends sooner is not resumed at once.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);
/// What a bookmark says at the end of a streamed list (KEP-3157).
const END_OF_LIST: &str = "k8s.io/initial-events-end";

/// What a stream is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    /// The kind.
    pub kind: Kind,
    /// The namespace; all without.
    pub namespace: Option<String>,
    /// The one object of this name. A right for this name alone is enough for it.
    pub name: Option<String>,
    /// The labels that objects must have.
    pub labels: Option<String>,
}

/// The streams that a selection takes.
#[must_use]
pub(super) fn scopes(selection: &Selection, own_namespace: &str) -> Vec<Scope> {
    let namespaces: Vec<Option<String>> = match &selection.namespaces {
        Namespaces::Own => vec![Some(own_namespace.to_owned())],
        Namespaces::All => vec![None],
        Namespaces::Listed(names) => names.iter().cloned().map(Some).collect(),
    };
    let scope = |kind, namespace: &Option<String>, name: Option<&Named>| Scope {
        kind,
        namespace: name.and_then(|name| name.namespace.clone()).or_else(|| namespace.clone()),
        name: name.map(|name| name.name.clone()),
        labels: selection.labels.clone(),
    };
    let mut scopes = Vec::new();
    for kind in &selection.kinds {
        for namespace in &namespaces {
            let named = selection.names.iter().filter(|name| name.kind.is_none_or(|of| of == *kind));
            let found = if selection.names.is_empty() {
                vec![scope(*kind, namespace, None)]
            } else {
                named.map(|name| scope(*kind, namespace, Some(name))).collect()
            };
            for scope in found {
                // A name with its namespace is the same in each.
                if !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
        }
    }
    scopes
}

impl std::fmt::Display for Scope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = self.namespace.as_deref().unwrap_or("all namespaces");
        match &self.name {
            Some(name) => write!(formatter, "{} {name} in {place}", self.kind.as_str()),
            None => write!(formatter, "{} in {place}", self.kind.plural()),
        }
    }
}

/// What a stream tells.
#[derive(Debug)]
pub(super) enum News {
    /// A list begins: what it doesn't name is gone.
    Listing,
    /// An object as it is now.
    Object(Box<Payload>),
    /// The list was whole.
    Listed,
    /// An object is gone, or no longer selected.
    Gone(ObjectId),
    /// The API server refuses, in its words.
    Forbidden(String),
    /// It has refused for so long that what it showed before is to go.
    Lost,
    /// It can't be asked.
    Failing,
    /// It answers again.
    Answering,
}

/// News of one stream, by its number.
pub(super) type Event = (usize, News);

/// One stream.
pub(super) struct Stream {
    /// Its number.
    pub number: usize,
    /// What it is of.
    pub scope: Scope,
    /// Whether it goes on after its list.
    pub method: Method,
    /// How the API server is asked.
    pub pace: Pace,
    /// To whom it tells what it hears.
    pub events: mpsc::Sender<Event>,
    /// That it does something.
    pub pulse: Pulse,
    /// What it counts.
    pub metrics: Metrics,
}

/// How long a stream with this pace may be silent before it is dead.
#[must_use]
pub(super) fn silence_limit(pace: &Pace, method: Method) -> Duration {
    let between = if method == Method::Poll { pace.interval } else { pace.client_timeout };
    2 * between + REQUEST_LIMIT + pace.longest_pause
}

/// Why a stream stopped for a moment.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("the API server refuses it")]
    Refused(#[from] kube::Error),
    #[error("the API server does not answer")]
    Silent(#[from] tokio::time::error::Elapsed),
    /// Nobody listens any more.
    #[error("the sidecar is ending")]
    Ending,
}

impl StreamError {
    fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }

    /// Whether the API server itself says no (a Status whose reason is "Forbidden"), and not a proxy before it.
    fn is_by_authorization(&self) -> bool {
        matches!(self, Self::Refused(kube::Error::Api(status)) if status.reason == "Forbidden")
    }
}

/// What is known between two requests.
struct Place {
    api: Api<Payload>,
    /// From where a watch goes on.
    version: Option<String>,
    /// Whether the server may stream lists.
    streams_lists: bool,
    forbidden_since: Option<Instant>,
    backoff: Backoff,
    complaint: Complaint,
}

impl Stream {
    /// Tells what it hears, until nobody listens.
    pub(super) async fn run(self, client: Client) {
        let api = match &self.scope.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &self.scope.kind),
            None => Api::all_with(client, &self.scope.kind),
        };
        let backoff = Backoff::new(FIRST_PAUSE, self.pace.longest_pause);
        let complaint = Complaint::default();
        let mut place = Place { api, version: None, streams_lists: true, forbidden_since: None, backoff, complaint };
        loop {
            self.pulse.beat();
            let was_watching = place.version.is_some();
            let done = match place.version.clone() {
                None => self.list(&mut place).await,
                Some(version) => self.watch(&mut place, &version).await,
            };
            let done = match done {
                Ok(()) => self.went_well(&mut place, was_watching).await,
                Err(error) => self.failed(&mut place, error).await,
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// After a list or a watch.
    async fn went_well(&self, place: &mut Place, was_watching: bool) -> Result<(), StreamError> {
        // A list is good for nothing if no watch can follow it.
        if was_watching || self.method != Method::Watch {
            place.backoff.reset();
        }
        match self.method {
            Method::Watch => {}
            Method::Poll => {
                place.version = None;
                sleep(self.pace.interval).await;
            }
            // The list was all there is to tell.
            Method::Once => {
                self.events.closed().await;
                return Err(StreamError::Ending);
            }
        }
        Ok(())
    }

    async fn failed(&self, place: &mut Place, error: StreamError) -> Result<(), StreamError> {
        match error.code() {
            _ if matches!(error, StreamError::Ending) => return Err(error),
            // The server has forgotten the place: KEP-365 and "410 Gone responses", Kubernetes API concepts.
            Some(410) => {
                tracing::info!(stream = %self.scope, "the API server has forgotten where we were: reading the list again");
                self.metrics.relisted();
                place.version = None;
                // All sidecars of a cluster may have been told so at the same time.
                sleep(place.backoff.pause()).await;
                return Ok(());
            }
            // "sendInitialEvents is forbidden" unless the server has the feature.
            Some(422) if place.version.is_none() && place.streams_lists => {
                place.streams_lists = false;
                return Ok(());
            }
            Some(403) if error.is_by_authorization() => self.forbidden(place, &error).await?,
            _ => self.tell(News::Failing).await?,
        }
        self.metrics.failed_request();
        if place.complaint.is_new(&error) {
            tracing::warn!(stream = %self.scope, error = with_causes(&error), "can't be read; trying again");
        }
        sleep(place.backoff.pause()).await;
        Ok(())
    }

    async fn forbidden(&self, place: &mut Place, error: &StreamError) -> Result<(), StreamError> {
        let since = *place.forbidden_since.get_or_insert_with(Instant::now);
        let message = match error {
            StreamError::Refused(kube::Error::Api(status)) => status.message.clone(),
            other => other.to_string(),
        };
        self.tell(News::Forbidden(message)).await?;
        if since.elapsed() >= self.pace.forbidden_grace {
            // What was there is forgotten, so a watch has nothing to go on from.
            place.version = None;
            self.tell(News::Lost).await?;
        }
        Ok(())
    }

    async fn answered(&self, place: &mut Place) -> Result<(), StreamError> {
        self.pulse.beat();
        place.complaint.settle();
        place.forbidden_since = None;
        self.tell(News::Answering).await
    }

    async fn list(&self, place: &mut Place) -> Result<(), StreamError> {
        if place.streams_lists && self.method == Method::Watch { self.list_streamed(place).await } else { self.list_in_pages(place).await }
    }

    async fn list_in_pages(&self, place: &mut Place) -> Result<(), StreamError> {
        let mut params = ListParams { limit: Some(self.pace.page_size), ..ListParams::default() };
        params.label_selector.clone_from(&self.scope.labels);
        params.field_selector = self.field_selector();
        let mut is_first = true;
        loop {
            let page = timeout(REQUEST_LIMIT, place.api.list(&params)).await??;
            if std::mem::take(&mut is_first) {
                self.answered(place).await?;
                self.tell(News::Listing).await?;
            }
            for object in page.items {
                self.tell(News::Object(Box::new(object))).await?;
            }
            self.pulse.beat();
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                place.version = page.metadata.resource_version;
                return self.tell(News::Listed).await;
            }
        }
    }

    /// The list as the first events of a watch, which then goes on.
    async fn list_streamed(&self, place: &mut Place) -> Result<(), StreamError> {
        let params = WatchParams { send_initial_events: true, ..self.watch_params() };
        let events = timeout(REQUEST_LIMIT, place.api.watch(&params, "")).await??;
        self.answered(place).await?;
        self.tell(News::Listing).await?;
        self.follow(place, events, true).await
    }

    async fn watch(&self, place: &mut Place, version: &str) -> Result<(), StreamError> {
        let events = timeout(REQUEST_LIMIT, place.api.watch(&self.watch_params(), version)).await??;
        self.answered(place).await?;
        self.follow(place, events, false).await
    }

    /// Passes on what a watch says until it ends, or is silent for too long.
    async fn follow(
        &self,
        place: &mut Place,
        events: impl EventStream<Item = Result<WatchEvent<Payload>, kube::Error>>,
        mut is_listing: bool,
    ) -> Result<(), StreamError> {
        self.metrics.watching();
        let (mut events, begun) = (pin!(events), Instant::now());
        loop {
            let Ok(event) = timeout(self.pace.client_timeout, events.next()).await else {
                tracing::info!(stream = %self.scope, "the watch was silent for {:?}: resuming it anew", self.pace.client_timeout);
                self.metrics.resumed_silent_watch();
                return Ok(());
            };
            self.pulse.beat();
            let version = match event {
                None => {
                    // Whatever makes a server end watches as soon as they begin, it must not be asked all the time.
                    sleep(SHORTEST_WATCH.saturating_sub(begun.elapsed())).await;
                    return Ok(());
                }
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    let version = object.version().map(str::to_owned);
                    self.tell(News::Object(Box::new(object))).await?;
                    version
                }
                Some(Ok(WatchEvent::Deleted(object))) => {
                    let version = object.version().map(str::to_owned);
                    self.tell(News::Gone(object.id(self.scope.kind))).await?;
                    version
                }
                Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                    if is_listing && bookmark.metadata.annotations.get(END_OF_LIST).is_some_and(|value| value == "true") {
                        is_listing = false;
                        self.tell(News::Listed).await?;
                    }
                    Some(bookmark.metadata.resource_version)
                }
                Some(Ok(WatchEvent::Error(status))) => return Err(kube::Error::Api(status).into()),
                Some(Err(error)) => return Err(error.into()),
            };
            // Half a list is none: after a break it begins anew.
            if !is_listing {
                place.version = version.or_else(|| place.version.take());
            }
        }
    }

    fn watch_params(&self) -> WatchParams {
        WatchParams {
            label_selector: self.scope.labels.clone(),
            field_selector: self.field_selector(),
            timeout: u32::try_from(self.pace.server_timeout.as_secs().max(1)).ok(),
            bookmarks: true,
            send_initial_events: false,
        }
    }

    fn field_selector(&self) -> Option<String> {
        self.scope.name.as_ref().map(|name| format!("metadata.name={name}"))
    }

    async fn tell(&self, news: News) -> Result<(), StreamError> {
        self.events.send((self.number, news)).await.map_err(|_| StreamError::Ending)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::http::Uri;
    use serde_json::{Value, json};

    use super::*;
    use crate::runtime::{
        fake_api::{FakeApi, Fate},
        pulse::Pulses,
    };

    fn stream(events: mpsc::Sender<Event>) -> Stream {
        let pace = Pace {
            interval: Duration::from_secs(60),
            page_size: 10,
            server_timeout: Duration::from_secs(200),
            client_timeout: Duration::from_secs(90),
            longest_pause: Duration::from_secs(5),
            forbidden_grace: Duration::from_secs(10),
            skip_tls_verify: false,
        };
        let scope = Scope { kind: Kind::ConfigMap, namespace: Some("a".to_owned()), name: None, labels: None };
        let pulse = Pulses::default().pulse("a", Duration::from_secs(600));
        Stream { number: 0, scope, method: Method::Watch, pace, events, pulse, metrics: Metrics::default() }
    }

    /// What a stream asks in a minute, and what it tells of the answers.
    async fn in_a_minute(answer: fn(&str) -> (u16, Value)) -> (usize, Vec<News>) {
        let asked = Arc::<AtomicUsize>::default();
        let counted = asked.clone();
        let client = FakeApi::default().client(move |uri: &Uri| {
            counted.fetch_add(1, Ordering::Relaxed);
            let (code, object) = answer(uri.query().unwrap_or_default());
            Fate::Answered(code, object)
        });
        let (sender, mut events) = mpsc::channel(1000);
        assert!(timeout(Duration::from_secs(60), stream(sender).run(client)).await.is_err(), "it goes on");
        let news = std::iter::from_fn(|| events.try_recv().ok().map(|(_, news)| news)).collect();
        (asked.load(Ordering::Relaxed), news)
    }

    fn status(code: u16, reason: &str) -> (u16, Value) {
        (code, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}))
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_forgets_every_place_is_asked_with_growing_pauses() {
        let (asked, news) = in_a_minute(|query| match query {
            query if query.contains("sendInitialEvents") => status(422, "Invalid"),
            query if query.contains("watch=") => status(410, "Expired"),
            _ => (200, json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": []})),
        })
        .await;
        assert!(news.iter().any(|news| matches!(news, News::Listed)));
        assert!(asked < 100, "{asked} requests");
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_api_server_itself_can_take_a_right_away() {
        let (_, news) = in_a_minute(|_| status(403, "Forbidden")).await;
        assert!(news.iter().any(|news| matches!(news, News::Lost)), "{news:?}");
        let (_, news) = in_a_minute(|_| (403, json!("<html>a proxy says no</html>"))).await;
        assert!(!news.is_empty() && news.iter().all(|news| matches!(news, News::Failing)), "{news:?}");
    }
}
