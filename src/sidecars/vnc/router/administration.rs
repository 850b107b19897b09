//! What those may see and change who look after the desktop, such as the controller of its session.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Desk, refusal::Refusal};
use crate::runtime::complaint::with_causes;
use crate::sidecars::vnc::{
    admittance::{
        Grant,
        administrator::{TokenFile, TokenFileError},
        bearer,
    },
    viewers::Role,
    websocket::close::{Close, CloseCode},
};

/// The life of a ticket that says nothing of it, and those it may have, in seconds.
const USUAL_LIFE: u64 = 30;
const LIVES: RangeInclusive<u64> = 1..=3600;
const EXPECTED_TICKET: &str = "{\"role\":\"view\" or \"control\",\"user\":\"NAME\",\"seconds\":1 to 3600}";

/// The ticket that is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketRequest {
    user: Option<String>,
    role: Role,
    #[serde(default = "usual_life")]
    seconds: u64,
}

const fn usual_life() -> u64 {
    USUAL_LIFE
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TicketAnswer<'a> {
    ticket: &'a str,
    seconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleRequest {
    role: Role,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeRequest {
    reason: String,
}

/// `GET /activity`
pub(super) async fn activity(State(desk): State<Desk>, headers: HeaderMap) -> Result<Response, Refusal> {
    check_reader(&desk, &headers).await?;
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(([no_store], Json(desk.0.viewers.activity())).into_response())
}

/// `DELETE /viewers/{id}`
pub(super) async fn revoke(State(desk): State<Desk>, Path(id): Path<u64>, headers: HeaderMap, body: Bytes) -> Result<StatusCode, Refusal> {
    check_administrator(&desk, &headers).await?;
    let reason = if body.is_empty() {
        "an administrator ended the connection".to_owned()
    } else {
        parsed::<RevokeRequest>(&body, "empty, or {\"reason\":\"TEXT\"}")?.reason
    };
    if desk.0.viewers.revoke(id, Close::new(CloseCode::PolicyViolation, reason)) {
        tracing::info!(viewer = id, "a viewer was revoked");
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refusal::NoViewer)
}

/// `PUT /viewers/{id}/role`
pub(super) async fn change_role(
    State(desk): State<Desk>,
    Path(id): Path<u64>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    check_administrator(&desk, &headers).await?;
    let RoleRequest { role } = parsed(&body, "{\"role\":\"view\"} or {\"role\":\"control\"}")?;
    if role == Role::View && desk.0.settings.protocol == super::Protocol::Opaque {
        return Err(Refusal::NotFiltered);
    }
    if desk.0.viewers.change_role(id, role) {
        tracing::info!(viewer = id, ?role, "a viewer has another role");
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Refusal::NoViewer)
}

/// `POST /tickets`
pub(super) async fn issue_ticket(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    check_administrator(&desk, &headers).await?;
    let TicketRequest { user, role, seconds } = parsed(&body, EXPECTED_TICKET)?;
    if !LIVES.contains(&seconds) {
        return Err(Refusal::Body(EXPECTED_TICKET));
    }
    let tickets = desk.0.settings.admittance.tickets.as_ref().ok_or(Refusal::NoTickets)?;
    let ticket = tickets.issue(Grant { user, role }, Duration::from_secs(seconds), Instant::now())?;
    let answer = Json(TicketAnswer { ticket: ticket.expose_secret(), seconds });
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((StatusCode::CREATED, [no_store], answer).into_response())
}

fn parsed<T: DeserializeOwned>(body: &[u8], expected: &'static str) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::Body(expected))
}

/// Whether somebody may see who is there and what: whoever reaches us, or the administrator where there is one.
pub(super) async fn check_reader(desk: &Desk, headers: &HeaderMap) -> Result<(), Refusal> {
    let settings = &desk.0.settings;
    match &settings.administrator {
        Some(administrator) => check(administrator, headers).await,
        None if settings.admittance.is_open() => Ok(settings.origins.check_reader(headers)?),
        // What is there is no business of those who may not come in.
        None => Err(Refusal::NoAdministrator),
    }
}

async fn check_administrator(desk: &Desk, headers: &HeaderMap) -> Result<(), Refusal> {
    check(desk.0.settings.administrator.as_ref().ok_or(Refusal::NoAdministrator)?, headers).await
}

async fn check(administrator: &TokenFile, headers: &HeaderMap) -> Result<(), Refusal> {
    match administrator.has(bearer(headers).unwrap_or_default()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refusal::NotAdministrator),
        Err(TokenFileError::Missing { .. }) => Err(Refusal::NoAdministrator),
        Err(error) => {
            tracing::warn!(error = with_causes(&error), "nobody can be told from the administrator");
            Err(Refusal::AdministratorUnknown(error))
        }
    }
}
