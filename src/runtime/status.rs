//! The plain port for those who look after the process: liveness, readiness, metrics.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;

use super::{pulse::Pulses, readiness::Readiness, telemetry::exposition};

/// What the plain port shows.
#[derive(Debug)]
pub struct Status {
    /// Whether work may be sent here.
    pub readiness: Readiness,
    /// The parts without which the process is to be started again.
    pub pulses: Pulses,
    /// All metrics.
    pub registry: Registry,
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(status: Status) -> Router {
    let routes = Router::new().route("/livez", get(alive)).route("/readyz", get(ready)).route("/metrics", get(metrics));
    routes.with_state(Arc::new(status))
}

/// Answering is living, unless a part of this process has died: nothing outside it may end it.
async fn alive(State(status): State<Arc<Status>>) -> Response {
    let silent = status.pulses.silent();
    if silent.is_empty() { "ok\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, silent.join("\n") + "\n").into_response() }
}

async fn ready(State(status): State<Arc<Status>>) -> Response {
    let code = if status.readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, status.readiness.report()).into_response()
}

async fn metrics(State(status): State<Arc<Status>>) -> Response {
    match exposition(&status.registry) {
        Ok((content_type, text)) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
