//! A review's body, read within bounds: its size is known before the first byte, and all bodies share one budget.
//!
//! A large body takes its share once its beginning has arrived: a client that promises much and sends little holds little,
//! and keeps nobody waiting.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The API server takes objects up to 3 MiB; a review may hold two of them.
pub(crate) const MAX_BODY: usize = 8 * 1024 * 1024;
/// The beginning of a body, which is all there is of nearly every review.
const BEGINNING: usize = 64 * 1024;
/// What all beginnings may hold together, in KiB.
const BEGINNINGS: usize = 16 * 1024;
/// What the rest of large bodies may hold together, in KiB: three of the largest. Nobody without a large body waits for it.
const RESTS: usize = 24 * 1024;
/// How long a review waits for its share.
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
    #[error("the body is not awaited: send it with its head, without Expect")]
    Expectation,
    #[error("the body took too long to arrive")]
    Slow,
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
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Truncated(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl BodyError {
    /// The error as a metric's label.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Busy => "overloaded",
            Self::Slow => "slow",
            Self::Truncated(_) => "truncated",
            Self::ContentType | Self::LengthRequired | Self::TooLarge | Self::Expectation => "refused",
        }
    }
}

/// The memory that bodies may hold, in KiB.
#[derive(Debug)]
pub(crate) struct Budget {
    beginnings: Semaphore,
    rests: Semaphore,
}

impl Default for Budget {
    fn default() -> Self {
        Self { beginnings: Semaphore::new(BEGINNINGS), rests: Semaphore::new(RESTS) }
    }
}

/// A body with its shares of the budget, given back when it is dropped.
pub(crate) struct ReviewBody<'a> {
    pub(crate) bytes: Bytes,
    _beginning: SemaphorePermit<'a>,
    _rest: Option<SemaphorePermit<'a>>,
}

impl Budget {
    /// Reads a body that arrives in time. What is refused is refused by its headers, before it takes any memory.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body, arrival: Duration) -> Result<ReviewBody<'_>, BodyError> {
        if !is_json(headers) {
            return Err(BodyError::ContentType);
        }
        // The API server always says the length; a body without one could be any size.
        let length = content_length(headers).ok_or(BodyError::LengthRequired)?;
        if length > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        if headers.contains_key(header::EXPECT) {
            return Err(BodyError::Expectation);
        }
        tokio::time::timeout(arrival, self.collect(length, body)).await.map_err(|_| BodyError::Slow)?
    }

    async fn collect(&self, length: usize, body: Body) -> Result<ReviewBody<'_>, BodyError> {
        let beginning = share(&self.beginnings, length.min(BEGINNING)).await?;
        let mut rest = None;
        let mut bytes = Vec::new();
        let mut body = Limited::new(body, length);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Truncated)?.into_data() else { continue };
            if data.len() == length {
                // It came in one piece, which need not be copied.
                return Ok(ReviewBody { bytes: data, _beginning: beginning, _rest: rest });
            }
            if rest.is_none() && bytes.len() + data.len() > BEGINNING {
                rest = Some(share(&self.rests, length - BEGINNING).await?);
            }
            // Once for the beginning, once for the rest: growing by doubling would take more than the share.
            let room = if rest.is_some() { length } else { length.min(BEGINNING) };
            bytes.reserve_exact(room - bytes.len());
            bytes.extend_from_slice(&data);
        }
        Ok(ReviewBody { bytes: Bytes::from(bytes), _beginning: beginning, _rest: rest })
    }
}

/// A share of so many bytes, after a short wait for others to give theirs back.
async fn share(budget: &Semaphore, bytes: usize) -> Result<SemaphorePermit<'_>, BodyError> {
    let kibibytes = u32::try_from(bytes.div_ceil(1024)).map_err(|_| BodyError::TooLarge)?;
    let waiting = tokio::time::timeout(BUDGET_WAIT, budget.acquire_many(kibibytes));
    waiting.await.map_err(|_| BodyError::Busy)?.map_err(|_| BodyError::Busy)
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use futures::stream;
    use std::io;
    use tokio::time::{Instant, sleep};

    const ARRIVAL_LIMIT: Duration = Duration::from_secs(3);

    fn headers(length: usize) -> HeaderMap {
        let length = HeaderValue::from(length);
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::CONTENT_LENGTH, length)].into_iter().collect()
    }

    /// A body that arrives byte by byte.
    fn dripping(length: usize, pause: Duration) -> Body {
        Body::from_stream(stream::unfold(0, move |sent| async move {
            sleep(pause).await;
            (sent < length).then_some((Ok::<_, io::Error>("x"), sent + 1))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_arrives_just_in_time_is_read() {
        let budget = Budget::default();
        let body = budget.read(&headers(10), dripping(10, ARRIVAL_LIMIT / 12), ARRIVAL_LIMIT).await.unwrap();
        assert_eq!(body.bytes, "xxxxxxxxxx");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up_and_its_share_is_free_again() {
        let budget = Budget::default();
        let start = Instant::now();
        let error = budget.read(&headers(100), dripping(100, ARRIVAL_LIMIT / 12), ARRIVAL_LIMIT).await.err().unwrap();
        assert!(matches!(error, BodyError::Slow), "{error:?}");
        assert_eq!((error.status(), start.elapsed()), (StatusCode::REQUEST_TIMEOUT, ARRIVAL_LIMIT));
        assert_eq!(budget.beginnings.available_permits(), BEGINNINGS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let start = Instant::now();
        let never = Body::from_stream(stream::pending::<io::Result<&str>>());
        let error = Budget::default().read(&headers(100), never, ARRIVAL_LIMIT).await.err().unwrap();
        assert!(matches!(error, BodyError::Slow), "{error:?}");
        assert_eq!(start.elapsed(), ARRIVAL_LIMIT);
    }
}
