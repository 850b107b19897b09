//! A connection that leaves HTTP: whoever answered its last request goes on with the bare stream, in the task that the connection had.
//! So it keeps its place among all connections, is drained as they are, and no task is an orphan.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection as it is below HTTP.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that was taken over.
pub struct Taken {
    /// The stream itself: plain TCP, or TLS.
    pub stream: Box<dyn Stream>,
    /// What the client sent behind its request, and was read with it.
    pub read_ahead: Bytes,
}

type Work = Box<dyn FnOnce(Taken) -> BoxFuture<'static, ()> + Send>;

/// An answer to an upgrade request that comes with the work to do afterwards.
#[derive(Clone)]
pub struct Takeover(Arc<Mutex<Option<Work>>>);

impl Takeover {
    /// Does `work` once the answer was sent.
    pub fn new<F: Future<Output = ()> + Send + 'static>(work: impl FnOnce(Taken) -> F + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(|taken| Box::pin(work(taken)))))))
    }

    /// The work, for whoever asks first.
    pub(super) fn work(&self) -> Option<Work> {
        self.0.lock().ok()?.take()
    }
}

impl IntoResponse for Takeover {
    /// `101 Switching Protocols`; headers are to be added.
    fn into_response(self) -> Response {
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Debug for Takeover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Takeover")
    }
}
