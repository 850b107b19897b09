//! An HTTP server, with TLS or without, and a bound on everything a client can hold: connections, handshakes, headers, time.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use futures::FutureExt;
use rustix::io::Errno;
use rustls::{ServerConfig, server::ResolvesServerCert};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::sleep,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    backoff::Backoff,
    complaint::{Complaint, with_causes},
    conversation::{Conversation, Tenancy},
    own_thread,
    patience::Limits,
    shutdown::Shutdown,
    streams,
};

/// Connections held at once.
const CONNECTIONS: usize = 1024;
/// More wait, so many of them here, and take the places of those that had theirs for long.
const WAITING: usize = 128;
/// A client that has not confirmed what it was sent for so long is gone. One that reads slowly may take nothing for almost as long.
const UNCONFIRMED_LIMIT: Duration = Duration::from_secs(2 * 60);
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// A listener without a file descriptor left must not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Listens. All of IPv6 means all of IPv4 too, so on a machine without IPv6 the latter is what is left of it.
///
/// # Errors
/// The address is taken, or is none of this machine's.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) && is_everywhere(address) => {
            tracing::info!(%address, "there is no IPv6 here: listening on IPv4 alone");
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

fn is_everywhere(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// Why nothing can be served over TLS.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There are no random bytes for them.
    #[error("keys for session tickets can't be made")]
    Tickets(#[source] rustls::Error),
    /// The system has none left.
    #[error("there is no thread to be had for connections")]
    Thread(#[source] io::Error),
}

/// Serves `router` over TLS until shutdown, then lets requests in progress end. `limits` is how long clients are waited for. All
/// connections share one thread, which is theirs alone: it decides more than an API server asks, and passing connections between
/// threads costs a twentieth of the work. What takes long must leave it.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve_tls(
    listener: TcpListener,
    certificate: Arc<dyn ResolvesServerCert>,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(certificate).map_err(ServeError::Tickets)?));
    let server = Server::new(Some(acceptor), router, limits, shutdown);
    let ended = own_thread::run(move || async {
        server.serve(moved_here(listener)?).await;
        Ok(())
    });
    ended.await.flatten().map_err(ServeError::Thread)
}

/// The same in the tasks of the runtime that this is called in, over TLS if there is a certificate: for a process that has one thread for
/// everything.
///
/// # Errors
/// See [`ServeError::Tickets`].
pub async fn serve_here(
    listener: TcpListener,
    certificate: Option<Arc<dyn ResolvesServerCert>>,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let config = certificate.map(tls).transpose().map_err(ServeError::Tickets)?;
    let acceptor = config.map(|config| TlsAcceptor::from(Arc::new(config)));
    Server::new(acceptor, router, limits, shutdown).serve(listener).await;
    Ok(())
}

/// The listener, woken from now on by the runtime of this thread.
fn moved_here(listener: TcpListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener.into_std()?)
}

/// Serves `router` in plain text until shutdown, then lets requests in progress end.
pub async fn serve_plain(listener: TcpListener, router: Router, shutdown: Shutdown) {
    Server::new(None, router, Limits::default(), shutdown).serve(listener).await;
}

/// Lets the other connections of this thread come as far as this one: what has arrived is read, then worked on, then answered. A step that
/// is taken for several requests in a row finds its code in the CPU's caches, and who gets several answers at once is woken once: up to a
/// third less CPU for each request under load. The first of many that come at once waits for the others; the last is answered sooner.
pub async fn others_catch_up() {
    tokio::task::yield_now().await;
}

/// What all connections of one port share.
struct Server {
    acceptor: Option<TlsAcceptor>,
    conversation: Conversation,
    places: Arc<Places>,
    connections: TaskTracker,
    drain: Duration,
    /// Cancelled when connections have drained for long enough.
    cut: CancellationToken,
}

impl Server {
    fn new(acceptor: Option<TlsAcceptor>, router: Router, limits: Limits, shutdown: Shutdown) -> Self {
        let conversation = Conversation::new(router, limits, shutdown);
        let (places, connections) = (Arc::new(Places::new(CONNECTIONS, WAITING)), TaskTracker::new());
        Self { acceptor, conversation, places, connections, drain: limits.drain, cut: CancellationToken::new() }
    }

    async fn serve(self, listener: TcpListener) {
        let shutdown = self.conversation.shutdown();
        let mut trouble = Trouble::default();
        loop {
            let accepted = tokio::select! {
                () = shutdown.closing() => break,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok((stream, peer, waiting)) => {
                    trouble.settle();
                    self.spawn(stream, peer, Some(waiting));
                }
                Err(error) => trouble.wait(&error).await,
            }
        }
        self.drain(listener).await;
    }

    /// The next connection, when there is room for it to wait in.
    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        // The semaphore is never closed, so this only waits.
        let waiting = self.places.waiting.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = listener.accept().await?;
        Ok((stream, peer, waiting))
    }

    /// Serves one connection in a task of its own.
    fn spawn(&self, stream: TcpStream, peer: SocketAddr, waiting: Option<OwnedSemaphorePermit>) {
        // A socket that refuses is closed already.
        let _ = streams::prepare(&stream, UNCONFIRMED_LIMIT);
        let (acceptor, conversation, places) = (self.acceptor.clone(), self.conversation.clone(), self.places.clone());
        let connection = async move {
            let _place = places.take(conversation.tenancy()).await;
            drop(waiting);
            match acceptor {
                None => conversation.hold(stream, peer).await,
                Some(acceptor) => {
                    if let Some(stream) = handshake(&acceptor, stream, conversation.tenancy()).await {
                        conversation.hold(stream, peer).await;
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
        });
    }

    /// Closes the port, and waits for all whose connection it took: for each the end of its handshake, and of its last request.
    async fn drain(&self, listener: TcpListener) {
        let drained = async {
            for (stream, peer) in queued(listener) {
                self.spawn(stream, peer, None);
            }
            self.connections.close();
            self.connections.wait().await;
        };
        if tokio::time::timeout(self.drain, drained).await.is_err() {
            tracing::warn!("connections were still busy after {:?}, and are cut", self.drain);
            self.cut.cancel();
            self.connections.close();
            self.connections.wait().await;
        }
    }
}

/// A listener that can't accept connections: said once, and asked again after a pause.
pub(super) struct Trouble {
    complaint: Complaint,
    backoff: Backoff,
}

impl Default for Trouble {
    fn default() -> Self {
        Self { complaint: Complaint::default(), backoff: Backoff::new(ACCEPT_PAUSE, LONGEST_ACCEPT_PAUSE) }
    }
}

impl Trouble {
    pub(super) fn settle(&mut self) {
        self.complaint.settle();
        self.backoff.reset();
    }

    pub(super) async fn wait(&mut self, error: &io::Error) {
        if self.complaint.is_new(error) {
            tracing::warn!(error = with_causes(error), "connections can't be accepted; trying again");
        }
        sleep(self.backoff.pause()).await;
    }
}

/// Room for connections, and for those that wait for it.
struct Places {
    free: Semaphore,
    waiting: Arc<Semaphore>,
}

impl Places {
    fn new(connections: usize, waiting: usize) -> Self {
        Self { free: Semaphore::new(connections), waiting: Arc::new(Semaphore::new(waiting)) }
    }

    /// A place, when there is one: if there is none, one that has had its own for long is asked to leave.
    async fn take(&self, tenancy: &Tenancy) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.free.try_acquire() {
            return Some(place);
        }
        tenancy.end_one();
        // The semaphore is never closed, so this only waits.
        self.free.acquire().await.ok()
    }
}

/// Closes the port, and gives what the kernel has accepted for it: those clients count on an answer.
fn queued(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    // Not tokio's own accept: what arrived this moment, it may not have heard of.
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accepted = std::iter::from_fn(|| listener.accept().ok());
    let stream = |(stream, peer): (std::net::TcpStream, SocketAddr)| {
        stream.set_nonblocking(true)?;
        Ok::<_, io::Error>((TcpStream::from_std(stream)?, peer))
    };
    accepted.filter_map(|accepted| stream(accepted).ok()).collect()
}

fn tls(certificate: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(certificate);
    // The API server speaks nothing else to webhooks.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream, tenancy: &Tenancy) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)) => shaken,
        () = tenancy.ended() => return None,
    };
    match shaken {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(error = with_causes(&error), "a TLS handshake failed");
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
        io::{AsyncReadExt, AsyncWriteExt},
        time::{Instant, timeout},
    };

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    /// Longer than anything here takes, shorter than a hanging test.
    const LONG: Duration = Duration::from_secs(20);

    fn hello() -> Router {
        Router::new().route("/", get(async || "hello"))
    }

    /// The head and body of the next answer that ends with `hello`.
    async fn answer(stream: &mut TcpStream) -> String {
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

    #[tokio::test]
    async fn when_all_connections_are_taken_the_next_client_gets_the_place_of_the_oldest() {
        let (listener, address) = listener().await;
        let shutdown = Shutdown::default();
        let mut server = Server::new(None, hello(), Limits::default(), shutdown.clone());
        server.places = Arc::new(Places::new(2, 1));
        let serving = tokio::spawn(async move { server.serve(listener).await });
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(REQUEST).await.unwrap();
            answer(&mut client).await;
            clients.push(client);
        }
        let [first, second, ..] = clients.as_mut_slice() else { unreachable!() };
        for gone in [first, second] {
            assert_eq!(timeout(LONG, gone.read(&mut [0])).await.unwrap().unwrap(), 0);
        }
        shutdown.close();
        timeout(LONG, serving).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_is_cut_when_connections_have_drained_for_long_enough() {
        let (listener, address) = listener().await;
        let drain = Duration::from_secs(3);
        let limits = Limits { idle: drain * 100, request: drain * 100, drain };
        let shutdown = Shutdown::default();
        let serving = Server::new(None, hello(), limits, shutdown.clone()).serve(listener);
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&REQUEST[..9]).await.unwrap();
        shutdown.close();
        let start = Instant::now();
        serving.await;
        assert_eq!(start.elapsed(), drain);
        // By the clock of this test nothing else would happen for long.
        let end = timeout(drain, client.read_u8()).await.unwrap();
        assert!(end.is_err(), "it is closed");
    }
}
