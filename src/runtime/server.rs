//! An HTTP server, with TLS or without, and a bound on everything a client can hold: connections, handshakes, headers, time.

use std::{io, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
};
use futures::FutureExt;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustls::{ServerConfig, server::ResolvesServerCert};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    backoff::Backoff,
    complaint::Complaint,
    patience::{Limits, Patience},
    shutdown::Shutdown,
};

/// Connections held at once. More wait in the kernel's queue until one ends.
const CONNECTIONS: usize = 1024;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Room for a head; bodies are read through it piece by piece.
const BUFFER: usize = 16 * 1024;
/// How long after its handshake a connection is kept open for its first request, whatever else happens: it may be on its way.
const FIRST_REQUEST_LIMIT: Duration = Duration::from_secs(1);
/// After this, connections that still drain are cut.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// A listener without a file descriptor left must not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves `router` over TLS until shutdown, then lets requests in progress end. `limits` is how long clients are waited for.
///
/// # Errors
/// The TLS provider can't make keys for session tickets.
pub async fn serve_tls(
    listener: TcpListener,
    certificate: Arc<dyn ResolvesServerCert>,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) -> Result<(), rustls::Error> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(certificate)?));
    Server::new(Some(acceptor), router, limits, shutdown).serve(listener).await;
    Ok(())
}

/// Serves `router` in plain text until shutdown, then lets requests in progress end.
pub async fn serve_plain(listener: TcpListener, router: Router, shutdown: Shutdown) {
    Server::new(None, router, Limits::default(), shutdown).serve(listener).await;
}

/// What all connections of one port share.
struct Server {
    acceptor: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
    free: Arc<Semaphore>,
    connections: TaskTracker,
    /// Cancelled when connections have drained for long enough.
    cut: CancellationToken,
}

impl Server {
    fn new(acceptor: Option<TlsAcceptor>, router: Router, limits: Limits, shutdown: Shutdown) -> Self {
        let router = router.layer(middleware::from_fn_with_state(shutdown.clone(), say_if_last));
        let (free, connections) = (Arc::new(Semaphore::new(CONNECTIONS)), TaskTracker::new());
        Self { acceptor, router, limits, shutdown, free, connections, cut: CancellationToken::new() }
    }

    async fn serve(self, listener: TcpListener) {
        let (mut complaint, mut backoff) = (Complaint::default(), Backoff::new(ACCEPT_PAUSE, LONGEST_ACCEPT_PAUSE));
        loop {
            let accepted = tokio::select! {
                () = self.shutdown.closing() => break,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok((stream, permit)) => {
                    complaint.settle();
                    backoff.reset();
                    self.spawn(stream, permit);
                }
                Err(error) => {
                    if complaint.is_new(&error) {
                        tracing::warn!(error = &error as &dyn std::error::Error, "connections can't be accepted; trying again");
                    }
                    sleep(backoff.pause()).await;
                }
            }
        }
        self.drain(listener).await;
    }

    /// The next connection, when there is room for one.
    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let permit = self.room().await?;
        let (stream, _) = listener.accept().await?;
        Ok((stream, permit))
    }

    async fn room(&self) -> io::Result<OwnedSemaphorePermit> {
        // The semaphore is never closed, so this only waits.
        self.free.clone().acquire_owned().await.map_err(io::Error::other)
    }

    /// Serves one connection in a task of its own.
    fn spawn(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // Answers are one write each; nothing is gained by holding one back. A socket that refuses is closed already.
        let _ = stream.set_nodelay(true);
        let (acceptor, router, limits, shutdown) = (self.acceptor.clone(), self.router.clone(), self.limits, self.shutdown.clone());
        let connection = async move {
            match acceptor {
                None => converse(stream, router, limits, shutdown).await,
                Some(acceptor) => {
                    if let Some(stream) = handshake(&acceptor, stream).await {
                        converse(stream, router, limits, shutdown).await;
                    }
                }
            }
        };
        let cut = self.cut.clone();
        self.connections.spawn(async move {
            let ended = tokio::select! {
                // What a panic leaves behind ends with the connection; the others go on, and the log knows.
                ended = AssertUnwindSafe(connection).catch_unwind() => ended,
                () = cut.cancelled() => Ok(()),
            };
            if ended.is_err() {
                tracing::error!("answering a request panicked; its connection is closed");
            }
            drop(permit);
        });
    }

    /// Closes the port, and waits for all whose connection it took: for each the end of its handshake, and of its last request.
    async fn drain(self, listener: TcpListener) {
        let drained = async {
            for stream in queued(listener) {
                if let Ok(permit) = self.room().await {
                    self.spawn(stream, permit);
                }
            }
            self.connections.close();
            self.connections.wait().await;
        };
        if tokio::time::timeout(DRAIN_LIMIT, drained).await.is_err() {
            tracing::warn!("connections were still busy after {DRAIN_LIMIT:?}, and are cut");
            self.cut.cancel();
            self.connections.close();
            self.connections.wait().await;
        }
    }
}

/// Closes the port, and gives what the kernel has accepted for it: those clients count on an answer.
fn queued(listener: TcpListener) -> Vec<TcpStream> {
    // Not tokio's own accept: what arrived this moment, it may not have heard of.
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accepted = std::iter::from_fn(|| listener.accept().ok());
    let stream = |(stream, _): (std::net::TcpStream, _)| {
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    };
    accepted.filter_map(|accepted| stream(accepted).ok()).collect()
}

/// From the first signal on, each answer asks its client for a new connection, which then goes to another replica: a kept
/// one would be used until it is cut.
async fn say_if_last(State(shutdown): State<Shutdown>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if shutdown.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers the requests of one connection.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router, limits: Limits, shutdown: Shutdown) {
    let stream = TokioIo::new(Patience::new(stream, limits));
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new().max_buf_size(BUFFER).header_read_timeout(None).serve_connection(stream, service);
    tokio::pin!(connection);
    let first_request_is_due = sleep(FIRST_REQUEST_LIMIT);
    let last_call = async {
        shutdown.closing().await;
        first_request_is_due.await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = last_call => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended early");
    }
}

fn tls(certificate: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(certificate);
    // The API server speaks nothing else to webhooks.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        task::JoinHandle,
        time::{Instant, timeout},
    };

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    /// Longer than anything here takes, shorter than a hanging test.
    const LONG: Duration = Duration::from_secs(20);

    fn hello() -> Router {
        Router::new().route("/", get(async || "hello"))
    }

    /// The head and body of the next answer that ends with `hello`.
    async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
        let mut text = String::new();
        while !text.ends_with("hello") {
            let byte = timeout(LONG, stream.read_u8()).await.unwrap();
            text.push(byte.unwrap_or_else(|error| panic!("{error} after {text:?}")).into());
        }
        text
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A client, and the task that serves its connection.
    fn connection(limits: Limits, shutdown: Shutdown) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = duplex(4096);
        (client, tokio::spawn(converse(server, hello(), limits, shutdown)))
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_connection_alone_and_is_logged() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt().with_writer(Arc::new(log.reopen().unwrap())).finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let panicking = get(async || assert!(!std::hint::black_box(true), "a defect"));
        let (listener, address) = listener().await;
        let shutdown = Shutdown::default();
        let serving = tokio::spawn(serve_plain(listener, hello().route("/panic", panicking), shutdown.clone()));

        let mut kept = TcpStream::connect(address).await.unwrap();
        kept.write_all(REQUEST).await.unwrap();
        answer(&mut kept).await;
        let mut unlucky = TcpStream::connect(address).await.unwrap();
        unlucky.write_all(b"GET /panic HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
        assert_eq!(timeout(LONG, unlucky.read_to_end(&mut Vec::new())).await.unwrap().unwrap_or(0), 0, "closed without an answer");
        assert!(std::fs::read_to_string(log.path()).unwrap().contains("answering a request panicked; its connection is closed"));

        kept.write_all(REQUEST).await.unwrap();
        answer(&mut kept).await;
        let mut later = TcpStream::connect(address).await.unwrap();
        later.write_all(REQUEST).await.unwrap();
        answer(&mut later).await;
        shutdown.close();
        timeout(LONG, serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_waits_in_the_kernels_queue_when_the_port_closes_is_answered() {
        let (listener, address) = listener().await;
        let mut clients = Vec::new();
        for _ in 0..50 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(REQUEST).await.unwrap();
            clients.push(client);
        }
        let shutdown = Shutdown::default();
        shutdown.close();
        let serving = tokio::spawn(serve_plain(listener, hello(), shutdown));
        for mut client in clients {
            assert!(answer(&mut client).await.contains("connection: close"));
        }
        timeout(LONG, serving).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_is_cut_when_connections_have_drained_for_long_enough() {
        let (listener, address) = listener().await;
        let limits = Limits { idle: DRAIN_LIMIT * 100, request: DRAIN_LIMIT * 100 };
        let shutdown = Shutdown::default();
        let serving = Server::new(None, hello(), limits, shutdown.clone()).serve(listener);
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&REQUEST[..9]).await.unwrap();
        shutdown.close();
        let start = Instant::now();
        serving.await;
        assert_eq!(start.elapsed(), DRAIN_LIMIT);
        // By the clock of this test nothing else would happen for long.
        let end = timeout(DRAIN_LIMIT, client.read_u8()).await.unwrap();
        assert!(end.is_err(), "it is closed");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_outlasts_the_limit_of_a_request() {
        let limits = Limits { idle: Duration::from_secs(100), request: Duration::from_secs(10) };
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
}
