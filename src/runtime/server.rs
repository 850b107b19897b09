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
use hyper_util::{
    rt::TokioIo,
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use rustls::{ServerConfig, server::ResolvesServerCert};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use super::{
    patience::{Limits, Patience},
    shutdown::Shutdown,
};

/// Connections held at once. More wait in the kernel's queue until one ends.
const CONNECTIONS: usize = 1024;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Room for a head; bodies are read through it piece by piece.
const BUFFER: usize = 16 * 1024;
/// After this, connections that still drain are cut.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// A listener without a file descriptor left must not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    serve(listener, Some(acceptor), router, limits, shutdown).await;
    Ok(())
}

/// Serves `router` in plain text until shutdown, then lets requests in progress end.
pub async fn serve_plain(listener: TcpListener, router: Router, shutdown: Shutdown) {
    serve(listener, None, router, Limits::default(), shutdown).await;
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, router: Router, limits: Limits, shutdown: Shutdown) {
    let router = router.layer(middleware::from_fn_with_state(shutdown.clone(), say_if_last));
    let graceful = GracefulShutdown::new();
    let connections = TaskTracker::new();
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some((stream, permit)) = next(&listener, &free, &shutdown).await {
        let watcher = graceful.watcher();
        let (acceptor, router) = (acceptor.clone(), router.clone());
        let connection = async move {
            match acceptor {
                None => converse(stream, router, limits, watcher).await,
                Some(acceptor) => {
                    if let Some(stream) = handshake(&acceptor, stream).await {
                        converse(stream, router, limits, watcher).await;
                    }
                }
            }
        };
        connections.spawn(async move {
            // What a panic leaves behind ends with the connection; the others go on, and the log knows.
            if AssertUnwindSafe(connection).catch_unwind().await.is_err() {
                tracing::error!("answering a request panicked; its connection is closed");
            }
            drop(permit);
        });
    }
    drain(listener, graceful, connections).await;
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
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router, limits: Limits, watcher: Watcher) {
    let stream = TokioIo::new(Patience::new(stream, limits));
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new().max_buf_size(BUFFER).header_read_timeout(None).serve_connection(stream, service);
    if let Err(error) = watcher.watch(connection).await {
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

/// The next connection, when there is room for one; `None` at shutdown.
async fn next(listener: &TcpListener, free: &Arc<Semaphore>, shutdown: &Shutdown) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    loop {
        let accepted = async {
            // The semaphore is never closed, so this only waits.
            let permit = free.clone().acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _) = listener.accept().await?;
            Ok::<_, io::Error>((stream, permit))
        };
        let result = tokio::select! {
            () = shutdown.closing() => return None,
            result = accepted => result,
        };
        match result {
            Ok((stream, permit)) => {
                // Answers are one write each; nothing is gained by holding one back. A socket that refuses is closed already.
                let _ = stream.set_nodelay(true);
                return Some((stream, permit));
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a connection can't be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
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

/// Refuses new connections, tells the open ones that each answer is their last, and waits for them.
async fn drain(listener: TcpListener, graceful: GracefulShutdown, connections: TaskTracker) {
    drop(listener);
    connections.close();
    let drained = async {
        graceful.shutdown().await;
        connections.wait().await;
    };
    if tokio::time::timeout(DRAIN_LIMIT, drained).await.is_err() {
        tracing::warn!("connections were still busy after {DRAIN_LIMIT:?}");
    }
}
