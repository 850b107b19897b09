//! A review's body, read within bounds: its size is known before the first byte, and all bodies share one budget.
//!
//! A body takes its share of the budget piece by piece, as it arrives: a client that promises much and sends little holds
//! little, and doesn't keep the others waiting.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::{BodyExt, Limited};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The API server takes objects up to 3 MiB; a review may hold two of them.
pub(crate) const MAX_BODY: usize = 8 * 1024 * 1024;
/// What all bodies being read may hold together, in KiB. At least one of the largest fits.
const BUDGET: u32 = 32 * 1024;
/// The piece by which a body's share grows, in KiB. Nearly all reviews fit into one.
const PIECE: u32 = 64;
/// How long a review waits for a piece.
const BUDGET_WAIT: Duration = Duration::from_millis(500);

/// Why a body is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the content type must be application/json")]
    ContentType,
    #[error("the request must say its Content-Length")]
    LengthRequired,
    #[error("the body is larger than {MAX_BODY} bytes")]
    TooLarge,
    #[error("too many large reviews at once: try again")]
    Busy,
    #[error("the body ended early")]
    Truncated(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl BodyError {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Truncated(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// The memory that bodies may hold.
#[derive(Debug)]
pub(crate) struct Budget {
    kibibytes: Semaphore,
}

impl Default for Budget {
    fn default() -> Self {
        Self { kibibytes: Semaphore::new(BUDGET as usize) }
    }
}

/// A body with its share of the budget, given back when it is dropped.
pub(crate) struct ReviewBody<'a> {
    pub(crate) bytes: Vec<u8>,
    _share: SemaphorePermit<'a>,
}

impl Budget {
    /// Reads a body. What is refused is refused by its headers, before it takes any memory.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<ReviewBody<'_>, BodyError> {
        if !is_json(headers) {
            return Err(BodyError::ContentType);
        }
        // The API server always says the length; a body without one could be any size.
        let length = content_length(headers).ok_or(BodyError::LengthRequired)?;
        if length > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        let mut body = Limited::new(body, length);
        let mut share = self.piece(length).await?;
        // Only addresses: memory follows as bytes arrive, and growing by copies would take twice as much of it.
        let mut bytes = Vec::with_capacity(length);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Truncated)?.into_data() else { continue };
            while share.num_permits() * 1024 < bytes.len() + data.len() {
                share.merge(self.piece(length.saturating_sub(share.num_permits() * 1024)).await?);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(ReviewBody { bytes, _share: share })
    }

    /// The share for the next piece of a body of which this many bytes are to come.
    async fn piece(&self, remaining: usize) -> Result<SemaphorePermit<'_>, BodyError> {
        let kibibytes = u32::try_from(remaining.div_ceil(1024)).unwrap_or(PIECE).clamp(1, PIECE);
        let waiting = tokio::time::timeout(BUDGET_WAIT, self.kibibytes.acquire_many(kibibytes));
        waiting.await.map_err(|_| BodyError::Busy)?.map_err(|_| BodyError::Busy)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
