//! `GET /screenshot`: what is on the desktop right now.

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{Desk, Protocol, administration::check_reader, refusal::Refusal};
use crate::runtime::complaint::with_causes;

/// By this parameter a picture is wanted that has no more pixels across.
const WIDTH: &str = "width=";

/// A PNG, for those who may see who is connected. It is no viewer's, so it counts as nobody's activity.
pub(super) async fn screenshot(State(desk): State<Desk>, RawQuery(query): RawQuery, headers: HeaderMap) -> Result<Response, Refusal> {
    let settings = &desk.0.settings;
    check_reader(&desk, &headers).await?;
    if settings.protocol == Protocol::Opaque {
        return Err(Refusal::NoPicture);
    }
    if desk.0.shutdown.is_closing() {
        return Err(Refusal::GoingDown);
    }
    let most_across = most_across(query.as_deref())?;
    let png = desk.0.camera.take(settings.targets.own(), most_across).await.inspect_err(|error| {
        tracing::warn!(error = with_causes(error), "no picture of the desktop can be taken");
    })?;
    let headers = [
        (header::CONTENT_TYPE, "image/png"),
        (header::CACHE_CONTROL, "no-store"),
        // No page of another server may show it.
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    Ok((headers.map(|(name, value)| (name, HeaderValue::from_static(value))), png).into_response())
}

fn most_across(query: Option<&str>) -> Result<Option<u16>, Refusal> {
    let Some(width) = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix(WIDTH))) else { return Ok(None) };
    width.parse().ok().filter(|width| *width > 0).map(Some).ok_or(Refusal::Width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_is_a_number_of_pixels_or_not_there() {
        for (query, expected) in [(None, None), (Some(""), None), (Some("width=320"), Some(320)), (Some("x=1&width=1&width=2"), Some(1))] {
            assert_eq!(most_across(query).unwrap(), expected, "{query:?}");
        }
        for query in ["width=", "width=0", "width=-1", "width=65536", "width=wide"] {
            assert!(matches!(most_across(Some(query)), Err(Refusal::Width)), "{query}");
        }
    }
}
