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

use super::{
    body::Budget,
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
    budget: Budget,
    slots: Semaphore,
}

impl Admission {
    /// Puts together what answers reviews.
    #[must_use]
    pub fn new(pods: Pods, objects: Objects, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { pods, objects, metrics, budget: Budget::default(), slots: Semaphore::new(CONCURRENT) })
    }

    /// One review, from its headers and body to a response.
    async fn review(&self, webhook: Webhook, headers: &HeaderMap, body: Body) -> Response {
        let _in_flight = self.metrics.begin();
        let arrived = Instant::now();
        let body = match self.budget.read(headers, body).await {
            Ok(body) => body,
            Err(error) => return self.refuse(webhook, error.status(), error.label(), &error.to_string(), arrived),
        };
        let Ok(_slot) = self.slots.try_acquire() else {
            return self.refuse(webhook, StatusCode::SERVICE_UNAVAILABLE, "overloaded", "too many reviews at once: try again", arrived);
        };
        let since = Instant::now();
        match tokio::time::timeout(DEADLINE, self.answer(webhook, &body.bytes)).await {
            Ok(Ok((answer, verdict))) => {
                self.metrics.observe(webhook.label(), verdict, since);
                ([(header::CONTENT_TYPE, "application/json")], answer).into_response()
            }
            Ok(Err(error)) => self.refuse(webhook, StatusCode::BAD_REQUEST, "malformed", &error.to_string(), since),
            Err(_) => self.refuse(webhook, StatusCode::SERVICE_UNAVAILABLE, "deadline", "the review took too long: try again", since),
        }
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

    fn refuse(&self, webhook: Webhook, status: StatusCode, reason: &'static str, message: &str, since: Instant) -> Response {
        self.metrics.observe(webhook.label(), Verdict { outcome: "error", reason }, since);
        (status, message.to_owned()).into_response()
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
        .route("/mutate/pods", post(mutate_pods))
        .route("/validate/pgdatabases", post(validate_pg_databases))
        .route("/validate/sessions", post(validate_sessions))
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
