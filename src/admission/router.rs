//! The HTTP edge: paths, limits, status codes. Decisions are made elsewhere.

use std::{
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
use tokio::sync::Semaphore;

use crate::runtime::traces::Traces;

use super::{
    body::{BodyError, Budget},
    metrics::{Metrics, Verdict},
    objects::{Kind, Objects},
    pods::Pods,
    review::{self, ReviewError},
};

/// Reviews decided at once. Each takes microseconds, so more than these wait on something that does not come.
const CONCURRENT: usize = 512;
/// Together with the time a body may take to arrive, below the webhooks' own timeouts.
const DEADLINE: Duration = Duration::from_millis(1500);

/// Everything that answers reviews.
#[derive(Debug)]
pub struct Admission {
    pods: Pods,
    objects: Objects,
    metrics: Metrics,
    traces: Traces,
    budget: Budget,
    slots: Semaphore,
}

impl Admission {
    /// Puts together what answers reviews.
    #[must_use]
    pub fn new(pods: Pods, objects: Objects, metrics: Metrics, traces: Traces) -> Arc<Self> {
        Arc::new(Self { pods, objects, metrics, traces, budget: Budget::default(), slots: Semaphore::new(CONCURRENT) })
    }

    /// One review, from its headers and body to a response.
    async fn review(&self, webhook: Webhook, headers: &HeaderMap, body: Body) -> Response {
        let _in_flight = self.metrics.begin();
        let trace = self.traces.begin(webhook.path(), headers);
        let mut since = Instant::now();
        let (response, verdict) = match self.judge(webhook, headers, body, &mut since).await {
            Ok((answer, verdict)) => (([(header::CONTENT_TYPE, "application/json")], answer).into_response(), verdict),
            Err(refusal) => refusal.into_response(webhook),
        };
        self.metrics.observe(webhook.label(), verdict, since);
        trace.end([("outrigger.webhook", webhook.label()), ("outrigger.outcome", verdict.outcome), ("outrigger.reason", verdict.reason)]);
        response
    }

    /// The answer to a review; `since` becomes the time of its last byte.
    async fn judge(&self, webhook: Webhook, headers: &HeaderMap, body: Body, since: &mut Instant) -> Result<(Vec<u8>, Verdict), Refused> {
        let body = self.budget.read(headers, body).await.map_err(Refused::Body)?;
        let _slot = self.slots.try_acquire().map_err(|_| Refused::Overloaded)?;
        *since = Instant::now();
        let answer = tokio::time::timeout(DEADLINE, self.answer(webhook, &body.bytes)).await;
        answer.map_err(|_| Refused::Late)?.map_err(Refused::Malformed)
    }

    /// The answer to a review of a pod, from bytes to bytes.
    pub async fn answer_pod(&self, body: &[u8]) -> Result<Vec<u8>, ReviewError> {
        self.answer(Webhook::Pods, body).await.map(|(answer, _)| answer)
    }

    async fn answer(&self, webhook: Webhook, body: &[u8]) -> Result<(Vec<u8>, Verdict), ReviewError> {
        let text = review::text(body)?;
        match webhook {
            Webhook::Pods => self.pods.answer(text).await,
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
    #[error(transparent)]
    Malformed(ReviewError),
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Body(error) => error.status(),
            Self::Overloaded | Self::Late => StatusCode::SERVICE_UNAVAILABLE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The reason in a word of its own.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Body(error) => error.label(),
            Self::Overloaded => "overloaded",
            Self::Late => "deadline",
            Self::Malformed(_) => "malformed",
        }
    }

    fn into_response(self, webhook: Webhook) -> (Response, Verdict) {
        tracing::warn!(webhook = webhook.label(), error = &self as &dyn std::error::Error, "a review was not answered");
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

impl Webhook {
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
