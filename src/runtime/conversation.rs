//! One connection of an HTTP server: its requests and answers, and how it ends.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderValue, Request, StatusCode, header},
    response::Response,
};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::service_fn,
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::sleep,
};
use tower::Service;

use super::{
    complaint::with_causes,
    patience::{Limits, Patience},
    shutdown::Shutdown,
    takeover::{Taken, Takeover},
};

/// Room for a head; bodies are read through it piece by piece.
const BUFFER: usize = 16 * 1024;
/// How long after its handshake a connection is kept open for its first request, whatever else happens: it may be on its way.
const FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(1);
/// How long a connection is its client's whoever else waits for one. Shorter, and a crowd would do nothing but shake hands.
const TENURE: Duration = Duration::from_secs(2);
/// How long a connection that must go is open for a request by which its client learns it: closing one between two
/// requests may lose the second.
const LAST_REQUEST_LIMIT: Duration = Duration::from_secs(1);

/// How all connections of one port are served. Clones share it.
#[derive(Clone)]
pub(super) struct Conversation {
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
    tenancy: Arc<Tenancy>,
}

/// Who must go when more clients come than there are connections: who has been there longest.
#[derive(Default)]
pub(super) struct Tenancy {
    /// Wakes the first that waits for it.
    end: Notify,
}

impl Tenancy {
    /// Ends one, as soon as there is one that may be ended.
    pub(super) fn end_one(&self) {
        self.end.notify_one();
    }

    /// Waits until the connection that begins now must go.
    pub(super) async fn ended(&self) {
        sleep(TENURE).await;
        self.end.notified().await;
    }
}

impl Conversation {
    pub(super) fn new(router: Router, limits: Limits, shutdown: Shutdown) -> Self {
        Self { router, limits, shutdown, tenancy: Arc::default() }
    }

    pub(super) fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    pub(super) fn tenancy(&self) -> &Tenancy {
        &self.tenancy
    }

    /// Answers the requests of one connection, and then does what the last answer left to be done with it.
    pub(super) async fn hold<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(&self, stream: S, peer: SocketAddr) {
        let leaving = Leaving::default();
        self.converse(stream, peer, &leaving).await;
        if let Some((takeover, upgrade)) = leaving.into_inner().unwrap_or_else(PoisonError::into_inner) {
            take_over::<S>(&takeover, upgrade).await;
        }
    }

    async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(&self, stream: S, peer: SocketAddr, leaving: &Leaving) {
        let must_go = AtomicBool::new(false);
        let service = service_fn(|request| self.answer(request, peer, &must_go, leaving));
        let stream = TokioIo::new(Patience::new(stream, self.limits));
        let connection = http1::Builder::new().max_buf_size(BUFFER).header_read_timeout(None).serve_connection(stream, service);
        let connection = connection.with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.end(&must_go) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = with_causes(&error), "a connection ended early");
        }
    }

    /// From the first signal on, and where others wait for the connection, each answer asks its client for a new one: that
    /// goes to another replica, or waits in its turn, where a kept one would be used until it is cut.
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        must_go: &AtomicBool,
        leaving: &Leaving,
    ) -> Result<Response, Infallible> {
        let upgrade = upgrade::on(&mut request);
        request.extensions_mut().insert(ConnectInfo(peer));
        let mut response = self.router.clone().call(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(takeover) = response.extensions_mut().remove::<Takeover>()
        {
            *leaving.lock().unwrap_or_else(PoisonError::into_inner) = Some((takeover, upgrade));
            return Ok(response);
        }
        if must_go.load(Ordering::Relaxed) || self.shutdown.is_draining() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    /// Waits until the connection is to be closed as soon as no request is in progress.
    async fn end(&self, must_go: &AtomicBool) {
        let first_request_is_due = sleep(FIRST_REQUEST_LIMIT);
        let closing = async {
            self.shutdown.closing().await;
            first_request_is_due.await;
        };
        let ended = async {
            self.tenancy.ended().await;
            must_go.store(true, Ordering::Relaxed);
            sleep(LAST_REQUEST_LIMIT).await;
        };
        tokio::select! {
            () = closing => {}
            () = ended => {}
        }
    }
}

/// The answer by which a connection leaves HTTP, if there was one, and the connection when that was sent.
type Leaving = Mutex<Option<(Takeover, OnUpgrade)>>;

/// Hands the connection over as it was before HTTP: without the deadlines of requests, and with vectored writes that reach the socket.
async fn take_over<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(takeover: &Takeover, upgrade: OnUpgrade) {
    let Some(work) = takeover.work() else { return };
    match upgrade.await.map(upgrade::Upgraded::downcast::<TokioIo<Patience<S>>>) {
        Ok(Ok(parts)) => {
            let stream = parts.io.into_inner().into_inner();
            work(Taken { stream: Box::new(stream), read_ahead: parts.read_buf }).await;
        }
        Ok(Err(_)) => tracing::error!("a connection is not what it was when it began"),
        Err(error) => tracing::debug!(error = with_causes(&error), "a connection ended before it could be taken over"),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::JoinHandle,
        time::Instant,
    };

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

    /// A client, and the task that serves its connection.
    fn connection(limits: Limits, shutdown: Shutdown) -> (DuplexStream, JoinHandle<()>) {
        served(Conversation::new(Router::new().route("/", get(async || "hello")), limits, shutdown))
    }

    fn served(conversation: Conversation) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = duplex(4096);
        (client, tokio::spawn(async move { conversation.hold(server, SocketAddr::from(([127, 0, 0, 1], 1))).await }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_taken_over_knows_no_deadlines_and_loses_no_byte() {
        let echo = async || {
            Takeover::new(async |Taken { mut stream, read_ahead }| {
                stream.write_all(&read_ahead).await.unwrap();
                let mut byte = [0];
                while stream.read(&mut byte).await.unwrap() > 0 {
                    stream.write_all(&byte).await.unwrap();
                }
            })
        };
        let router = Router::new().route("/echo", get(echo));
        let (mut client, serving) = served(Conversation::new(router, Limits::default(), Shutdown::default()));
        let request = b"GET /echo HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ";
        client.write_all(request).await.unwrap();
        sleep(Limits::default().idle * 2).await;
        client.write_all(b"late").await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nearly late"), "{text}");
        serving.await.unwrap();
    }

    /// The head and body of the next answer.
    async fn answer(client: &mut DuplexStream) -> String {
        let mut text = String::new();
        while !text.ends_with("hello") {
            text.push(client.read_u8().await.unwrap().into());
        }
        text
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_outlasts_the_limit_of_a_request() {
        let limits = Limits { idle: Duration::from_secs(100), request: Duration::from_secs(10), ..Limits::default() };
        let (mut client, serving) = connection(limits, Shutdown::default());
        for _ in 0..3 {
            client.write_all(REQUEST).await.unwrap();
            answer(&mut client).await;
            sleep(Duration::from_secs(90)).await;
        }
        let (begun, half) = (Instant::now(), &REQUEST[..9]);
        client.write_all(half).await.unwrap();
        serving.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 10, "a request that has begun must go on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_that_is_on_its_way_at_the_end_is_answered() {
        let shutdown = Shutdown::default();
        let (mut client, serving) = connection(Limits::default(), shutdown.clone());
        shutdown.close();
        sleep(FIRST_REQUEST_LIMIT / 2).await;
        client.write_all(REQUEST).await.unwrap();
        answer(&mut client).await;
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_silent_connections_are_closed_once_their_first_request_is_overdue() {
        let (old, young) = (Shutdown::default(), Shutdown::default());
        let (_silent, serving) = connection(Limits::default(), young.clone());
        young.close();
        let start = Instant::now();
        serving.await.unwrap();
        assert_eq!(start.elapsed(), FIRST_REQUEST_LIMIT);

        let (_silent, serving) = connection(Limits::default(), old.clone());
        sleep(FIRST_REQUEST_LIMIT * 2).await;
        old.close();
        let start = Instant::now();
        serving.await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_others_wait_for_says_so_in_its_next_answer() {
        let conversation = Conversation::new(Router::new().route("/", get(async || "hello")), Limits::default(), Shutdown::default());
        let (mut client, serving) = served(conversation.clone());
        conversation.tenancy().end_one();
        client.write_all(REQUEST).await.unwrap();
        assert!(!answer(&mut client).await.contains("connection: close"), "it was not there for long");
        sleep(TENURE + LAST_REQUEST_LIMIT / 2).await;
        client.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut client).await.contains("connection: close"));
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn of_connections_that_are_waited_for_the_oldest_goes_and_a_silent_one_is_closed() {
        let limits = Limits { idle: TENURE * 100, request: TENURE * 100, ..Limits::default() };
        let conversation = Conversation::new(Router::new(), limits, Shutdown::default());
        let (_first, first) = served(conversation.clone());
        sleep(Duration::from_millis(1)).await;
        let (_second, second) = served(conversation.clone());
        let begun = Instant::now();
        sleep(TENURE * 2).await;
        conversation.tenancy().end_one();
        first.await.unwrap();
        assert_eq!(begun.elapsed(), TENURE * 2 + LAST_REQUEST_LIMIT);
        sleep(TENURE * 2).await;
        assert!(!second.is_finished());
    }
}
