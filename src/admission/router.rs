//! The HTTP edge: paths, limits, status codes. Decisions are made elsewhere.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::runtime::{complaint::with_causes, own_thread, server, traces::Traces};

use super::{
    body::{BodyError, Budget},
    metrics::{Metrics, Verdict},
    objects::{Kind, Objects},
    pods::Pods,
    review::{self, ReviewError},
};

/// Reviews decided at once. Each takes microseconds, so more than these wait on something that does not come.
const CONCURRENT: usize = 512;
/// Of these, so many may wait for a namespace that comes: the others are for who needs nothing but a decision.
const WAITING: usize = 128;

/// A larger body, in bytes, takes half a millisecond and more to decide about, for which no other review is to wait.
const LARGEST_AT_ONCE: usize = 256 * 1024;

/// Everything that answers reviews.
#[derive(Debug)]
pub struct Admission {
    pods: Pods,
    objects: Objects,
    metrics: Metrics,
    traces: Traces,
    budget: Budget,
    slots: Semaphore,
    waiting: Semaphore,
}

impl Admission {
    /// Puts together what answers reviews.
    #[must_use]
    pub fn new(pods: Pods, objects: Objects, metrics: Metrics, traces: Traces) -> Arc<Self> {
        let (slots, waiting) = (Semaphore::new(CONCURRENT), Semaphore::new(WAITING));
        Arc::new(Self { pods, objects, metrics, traces, budget: Budget::default(), slots, waiting })
    }

    /// One review, from its headers and body to a response.
    async fn review(self: &Arc<Self>, webhook: Webhook, headers: &HeaderMap, body: Body) -> Response {
        let _in_flight = self.metrics.begin();
        let trace = self.traces.begin(webhook.path(), headers);
        let mut since = Instant::now();
        let (response, verdict) = match self.judge(webhook, headers, body, &mut since).await {
            Ok((answer, verdict)) => (([(header::CONTENT_TYPE, "application/json")], answer).into_response(), verdict),
            Err(refusal) => refusal.into_response(webhook),
        };
        self.metrics.observe(webhook.label(), verdict, since);
        trace.end([("outrigger.webhook", webhook.label()), ("outrigger.outcome", verdict.outcome), ("outrigger.reason", verdict.reason)]);
        server::others_catch_up().await;
        response
    }

    /// The answer to a review; `since` becomes the time of its last byte.
    async fn judge(
        self: &Arc<Self>,
        webhook: Webhook,
        headers: &HeaderMap,
        body: Body,
        since: &mut Instant,
    ) -> Result<(Vec<u8>, Verdict), Refused> {
        let limits = webhook.limits();
        let body = self.budget.read(headers, body, limits.arrival).await.map_err(Refused::Body)?;
        *since = Instant::now();
        server::others_catch_up().await;
        let _slot = self.slots.try_acquire().map_err(|_| Refused::Overloaded)?;
        let answer = tokio::time::timeout(limits.decision, self.answer_in_place(webhook, body.bytes.clone())).await;
        answer.map_err(|_| Refused::Late)?.map_err(Refused::NoThread)?.map_err(Refused::Malformed)
    }

    /// The answer to a review, decided where the others don't wait for it.
    async fn answer_in_place(self: &Arc<Self>, webhook: Webhook, body: Bytes) -> io::Result<Result<(Vec<u8>, Verdict), ReviewError>> {
        if body.len() <= LARGEST_AT_ONCE {
            return Ok(self.answer(webhook, &body).await);
        }
        let admission = self.clone();
        own_thread::run(move || async move { admission.answer(webhook, &body).await }).await
    }

    /// The answer to a review of a pod, from bytes to bytes.
    pub async fn answer_pod(&self, body: &[u8]) -> Result<Vec<u8>, ReviewError> {
        self.answer(Webhook::Pods, body).await.map(|(answer, _)| answer)
    }

    async fn answer(&self, webhook: Webhook, body: &[u8]) -> Result<(Vec<u8>, Verdict), ReviewError> {
        let text = review::text(body)?;
        match webhook {
            Webhook::Pods => self.pods.answer(text, &self.waiting).await,
            Webhook::PgDatabases => self.objects.answer(Kind::PgDatabase, text),
            Webhook::Sessions => self.objects.answer(Kind::Session, text),
        }
    }
}

/// Why there is no answer to a review.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Body(BodyError),
    #[error("too many reviews at once: try again")]
    Overloaded,
    #[error("the review took too long: try again")]
    Late,
    #[error("there is no thread to be had for so large a review: try again")]
    NoThread(#[source] io::Error),
    #[error(transparent)]
    Malformed(ReviewError),
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Body(error) => error.status(),
            Self::Overloaded | Self::Late | Self::NoThread(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The reason in a word of its own.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Body(error) => error.label(),
            Self::Overloaded | Self::NoThread(_) => "overloaded",
            Self::Late => "deadline",
            Self::Malformed(_) => "malformed",
        }
    }

    fn into_response(self, webhook: Webhook) -> (Response, Verdict) {
        tracing::warn!(webhook = webhook.label(), error = with_causes(&self), "a review was not answered");
        ((self.status(), self.to_string()).into_response(), Verdict { outcome: "error", reason: self.reason() })
    }
}

/// The webhooks there are.
#[derive(Debug, Clone, Copy)]
enum Webhook {
    Pods,
    PgDatabases,
    Sessions,
}

/// How long the parts of a review may take, together less than the API server waits.
struct Limits {
    /// Until the last byte of its body is there: the API server sends it with its head.
    arrival: Duration,
    /// From then to the answer.
    decision: Duration,
}

impl Webhook {
    const fn limits(self) -> Limits {
        match self {
            Self::Pods => Limits { arrival: Duration::from_secs(3), decision: Duration::from_millis(1500) },
            Self::PgDatabases | Self::Sessions => Limits { arrival: Duration::from_millis(1500), decision: Duration::from_secs(1) },
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Pods => "/mutate/pods",
            Self::PgDatabases => "/validate/pgdatabases",
            Self::Sessions => "/validate/sessions",
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::PgDatabases => "pgdatabases",
            Self::Sessions => "sessions",
        }
    }
}

/// The webhooks' paths.
pub fn router(admission: Arc<Admission>) -> Router {
    Router::new()
        .route(Webhook::Pods.path(), post(mutate_pods))
        .route(Webhook::PgDatabases.path(), post(validate_pg_databases))
        .route(Webhook::Sessions.path(), post(validate_sessions))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(admission)
}

async fn unknown_path(uri: Uri) -> Response {
    (StatusCode::NOT_FOUND, format!("there is no webhook at {}", uri.path())).into_response()
}

async fn wrong_method(method: Method) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, format!("reviews are sent with POST, not {method}")).into_response()
}

async fn mutate_pods(State(admission): State<Arc<Admission>>, headers: HeaderMap, body: Body) -> Response {
    admission.review(Webhook::Pods, &headers, body).await
}

async fn validate_pg_databases(State(admission): State<Arc<Admission>>, headers: HeaderMap, body: Body) -> Response {
    admission.review(Webhook::PgDatabases, &headers, body).await
}

async fn validate_sessions(State(admission): State<Arc<Admission>>, headers: HeaderMap, body: Body) -> Response {
    admission.review(Webhook::Sessions, &headers, body).await
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::mpsc};

    use axum::http::HeaderValue;
    use futures::future::join_all;
    use prometheus_client::registry::Registry;
    use serde_json::{Value, json};
    use tokio::{runtime::Builder, task::spawn_blocking, time::sleep};

    use super::*;
    use crate::{
        admission::{
            body::MAX_BODY,
            registration::{Endpoint, manifests},
        },
        api::{annotations::INJECT, inventory::Inventory},
        cluster::{
            namespaces::Namespaces,
            snapshot::{Snapshot, snapshot},
        },
        events::recorder::Notes,
        injection::Settings,
        runtime::telemetry,
    };

    #[test]
    fn each_webhook_answers_before_the_api_server_gives_up() {
        let configurations = manifests(&Endpoint::Url("https://localhost".to_owned()), None);
        let entries: Vec<&Value> = configurations.iter().flat_map(|one| one["webhooks"].as_array().unwrap()).collect();
        for webhook in [Webhook::Pods, Webhook::PgDatabases, Webhook::Sessions] {
            let url = format!("https://localhost{}", webhook.path());
            let timeouts =
                entries.iter().filter(|entry| entry["clientConfig"]["url"] == url).map(|entry| entry["timeoutSeconds"].as_u64().unwrap());
            let timeout = Duration::from_secs(timeouts.min().unwrap_or_else(|| panic!("{url} in {entries:?}")));
            let Limits { arrival, decision } = webhook.limits();
            assert!(arrival + decision + Duration::from_millis(250) <= timeout, "{webhook:?}");
        }
    }

    fn review(namespace: &str, annotations: &Value) -> (HeaderMap, Body) {
        let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app"}]}});
        let request = json!({"uid": "u", "namespace": namespace, "operation": "CREATE", "object": pod});
        let text = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string();
        let length = HeaderValue::from(text.len());
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::CONTENT_LENGTH, length)];
        (headers.into_iter().collect(), Body::from(text))
    }

    fn admission(namespaces: Snapshot<Namespaces>) -> Arc<Admission> {
        counted_in(&mut Registry::default(), namespaces)
    }

    fn counted_in(registry: &mut Registry, namespaces: Snapshot<Namespaces>) -> Arc<Admission> {
        let (_inventory, inventory) = snapshot(Inventory::default());
        let pods = Pods { settings: Settings::default(), namespaces, notes: Notes::nowhere() };
        Admission::new(pods, Objects { inventory }, Metrics::new(registry), Traces::default())
    }

    #[test]
    fn nobody_waits_until_a_huge_review_is_decided() {
        let (_writer, namespaces) = snapshot(Namespaces::new(HashMap::from([("desks".to_owned(), None)])));
        let admission = admission(namespaces);
        let answered = async |annotations: Value| {
            let (headers, body) = review("desks", &annotations);
            admission.review(Webhook::Pods, &headers, body).await.status()
        };
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            // The only other thread is busy until the small review is answered, so the order is no matter of luck.
            let (release, held) = mpsc::channel::<()>();
            let busy = spawn_blocking(move || held.recv());
            let huge = answered(json!({INJECT.name: "vnc", "example.org/notes": "x".repeat(LARGEST_AT_ONCE)}));
            tokio::pin!(huge);
            tokio::select! {
                biased;
                _ = &mut huge => panic!("it was decided before anybody else"),
                status = answered(json!({INJECT.name: "vnc"})) => assert_eq!(status, StatusCode::OK),
            }
            drop(release);
            assert!(busy.await.unwrap().is_err());
            assert_eq!(huge.await, StatusCode::OK);
        });
    }

    #[tokio::test]
    async fn what_has_arrived_together_is_decided_before_any_of_it_is_answered() {
        let (_writer, namespaces) = snapshot(Namespaces::new(HashMap::from([("desks".to_owned(), None)])));
        let mut registry = Registry::default();
        let admission = counted_in(&mut registry, namespaces);
        let registry = Arc::new(registry);
        let answers = [(); 3].map(|()| {
            let (admission, registry) = (admission.clone(), registry.clone());
            tokio::spawn(async move {
                let (headers, body) = review("desks", &json!({INJECT.name: "vnc"}));
                admission.review(Webhook::Pods, &headers, body).await;
                let counts = telemetry::exposition(&registry).unwrap().1;
                ["admission_in_flight 2", "admission_in_flight 1", "outcome=\"injected\",reason=\"\"} 3"]
                    .map(|count| counts.contains(count))
            })
        });
        let answered = join_all(answers).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(answered, [[true, false, true], [false, true, true], [false, false, true]]);
    }

    #[tokio::test]
    async fn more_than_can_be_decided_at_once_may_arrive_together() {
        let (_writer, namespaces) = snapshot(Namespaces::new(HashMap::from([("desks".to_owned(), None)])));
        let admission = admission(namespaces);
        let answers = (0..2 * CONCURRENT).map(|_| {
            let admission = admission.clone();
            tokio::spawn(async move {
                let (headers, body) = review("desks", &json!({INJECT.name: "vnc"}));
                admission.review(Webhook::Pods, &headers, body).await.status()
            })
        });
        for answered in join_all(answers).await {
            assert_eq!(answered.unwrap(), StatusCode::OK);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reviews_that_wait_for_a_namespace_leave_room_for_those_that_do_not() {
        let (_writer, namespaces) = snapshot(Namespaces::new(HashMap::from([("desks".to_owned(), None)])));
        let admission = admission(namespaces);
        let answered = async |namespace: &str, annotations: Value| {
            let (headers, body) = review(namespace, &annotations);
            admission.review(Webhook::Pods, &headers, body).await.status()
        };

        let unknown = join_all((0..1000).map(|_| answered("unheard-of", json!({}))));
        tokio::pin!(unknown);
        tokio::select! {
            biased;
            _ = &mut unknown => panic!("some wait for the namespace"),
            () = sleep(Duration::from_millis(1)) => {}
        }
        let begun = tokio::time::Instant::now();
        assert_eq!(answered("desks", json!({INJECT.name: "vnc"})).await, StatusCode::OK);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(unknown.await.iter().all(|status| *status == StatusCode::OK), "none was turned away");
    }

    #[tokio::test]
    async fn what_is_more_than_can_be_decided_is_turned_away_at_once() {
        let (_writer, namespaces) = snapshot(Namespaces::new(HashMap::from([("desks".to_owned(), None)])));
        let admission = admission(namespaces);
        let answered = async || {
            let (headers, body) = review("desks", &json!({INJECT.name: "vnc"}));
            admission.review(Webhook::Pods, &headers, body).await
        };
        let all = admission.slots.try_acquire_many(u32::try_from(CONCURRENT).unwrap()).unwrap();
        let refused = answered().await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let said = axum::body::to_bytes(refused.into_body(), MAX_BODY).await.unwrap();
        assert_eq!(said, "too many reviews at once: try again");
        drop(all);
        assert_eq!(answered().await.status(), StatusCode::OK);
    }

    #[test]
    fn a_review_that_finds_no_thread_in_time_is_given_up_before_the_api_server_gives_up() {
        let (_writer, namespaces) = snapshot(Namespaces::new(HashMap::from([("desks".to_owned(), None)])));
        let admission = admission(namespaces);
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (release, held) = mpsc::channel::<()>();
            let busy = spawn_blocking(move || held.recv());
            let (headers, body) = review("desks", &json!({INJECT.name: "vnc", "example.org/notes": "x".repeat(LARGEST_AT_ONCE)}));
            let late = admission.review(Webhook::Pods, &headers, body).await;
            assert_eq!(late.status(), StatusCode::SERVICE_UNAVAILABLE);
            drop(release);
            assert!(busy.await.unwrap().is_err());
        });
    }
}
