//! How long a server waits for a client, measured where bytes move.
//!
//! An idle connection may stay long: the API server keeps its own for 90 s, and whoever closes first loses a request
//! now and then, so we close later. A request that has begun must go on: a client that sends or reads a byte at a time
//! holds a connection that others need.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// A connection with deadlines.
#[derive(Debug)]
pub struct Patience<S> {
    stream: S,
    limits: Limits,
    phase: Phase,
    deadline: Pin<Box<Sleep>>,
}

/// How long each phase of a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From one response to the first byte of the next request.
    pub idle: Duration,
    /// From the first byte of a request to the first of its response, and again to the end of the response.
    pub request: Duration,
    /// How long connections may go on when no new work is taken any more; then they are cut.
    pub drain: Duration,
}

impl Default for Limits {
    /// Clients keep a connection for 90 s (Go's default): whoever closes first may lose a request, so that is never us.
    fn default() -> Self {
        Self { idle: Duration::from_mins(2), request: Duration::from_secs(15), drain: Duration::from_secs(10) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Reading,
    Writing,
}

impl<S> Patience<S> {
    /// Watches over a connection. The first request must begin as soon as one in progress must go on.
    pub fn new(stream: S, limits: Limits) -> Self {
        Self { stream, limits, phase: Phase::Reading, deadline: Box::pin(sleep_until(Instant::now() + limits.request)) }
    }

    /// The connection without deadlines.
    pub fn into_inner(self) -> S {
        self.stream
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase != phase {
            self.phase = phase;
            let limit = if phase == Phase::Idle { self.limits.idle } else { self.limits.request };
            self.deadline.as_mut().reset(Instant::now() + limit);
        }
    }

    fn check(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            if buffer.filled().len() > before {
                self.enter(Phase::Reading);
            }
            return Poll::Ready(result);
        }
        // While a response is written, the connection is only read to notice that the client left.
        self.check(context).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> Patience<S> {
    fn wrote<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => self.check(context).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.enter(Phase::Writing);
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.enter(Phase::Writing);
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(result, Poll::Ready(Ok(()))) && self.phase == Phase::Writing {
            self.enter(Phase::Idle);
        }
        self.wrote(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.wrote(context, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const LIMITS: Limits = Limits { idle: Duration::from_secs(100), request: Duration::from_secs(10), drain: Duration::from_secs(10) };

    async fn read_one(connection: &mut (impl AsyncRead + Unpin)) -> io::Result<u8> {
        connection.read_u8().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_that_never_begins_times_out() {
        let (server, _client) = duplex(64);
        let start = Instant::now();
        let error = read_one(&mut Patience::new(server, LIMITS)).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_at_a_time_does_not_buy_more_time() {
        let (server, mut client) = duplex(64);
        let mut connection = Patience::new(server, LIMITS);
        let start = Instant::now();
        for _ in 0..4 {
            client.write_u8(b'x').await.unwrap();
            read_one(&mut connection).await.unwrap();
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        let error = read_one(&mut connection).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 12));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_response_the_connection_may_idle() {
        let (server, mut client) = duplex(64);
        let mut connection = Patience::new(server, LIMITS);
        client.write_u8(b'x').await.unwrap();
        read_one(&mut connection).await.unwrap();
        connection.write_u8(b'y').await.unwrap();
        connection.flush().await.unwrap();
        let start = Instant::now();
        let error = read_one(&mut connection).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_times_out() {
        let (server, _client) = duplex(4);
        let mut connection = Patience::new(server, LIMITS);
        let start = Instant::now();
        let error = connection.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 10));
    }
}
