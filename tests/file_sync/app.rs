//! The app that is told of changes.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{
        HeaderMap, Method, StatusCode, Uri,
        header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION},
    },
    response::{IntoResponse, Response},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::until::until;

/// A path whose contents have a date that is always the same, and no other name of their version.
pub(crate) const DATED: &str = "/dated";

/// A server that remembers what it was asked, and answers as the test says.
pub(crate) struct App {
    origin: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    calls: Mutex<Vec<Call>>,
    answer: Mutex<(StatusCode, String)>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self { calls: Mutex::default(), answer: Mutex::new((StatusCode::OK, "done".to_owned())) })
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (origin, shared) = (format!("http://{}", listener.local_addr().unwrap()), Shared::new());
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { origin, shared, task }
    }

    /// Over TLS, with a certificate of its own, which is returned.
    pub(crate) async fn start_with_tls() -> (Self, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (origin, shared) = (format!("https://localhost:{}", listener.local_addr().unwrap().port()), Shared::new());
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Whoever does not trust it leaves.
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let service = TowerToHyperService::new(router.clone());
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        });
        (Self { origin, shared, task }, certificate.pem())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// What all requests are answered from now on.
    pub(crate) fn answer(&self, status: u16, body: &str) {
        *self.shared.answer.lock().unwrap() = (StatusCode::from_u16(status).unwrap(), body.to_owned());
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// Waits until it was asked so often.
    pub(crate) async fn until_calls(&self, count: usize) -> Vec<Call> {
        until(&format!("the app was called {count} times"), async || {
            let calls = self.calls();
            if calls.len() >= count { Ok(calls) } else { Err(format!("{calls:?}")) }
        })
        .await
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    let (known, is_dated) = (headers.get(IF_NONE_MATCH).cloned(), headers.contains_key(IF_MODIFIED_SINCE));
    let path = uri.path().to_owned();
    shared.calls.lock().unwrap().push(Call { method, path: path.clone(), headers, body });
    let (status, body) = shared.answer.lock().unwrap().clone();
    if status == StatusCode::OK && path == DATED {
        let dated = [(LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT")];
        return if is_dated { StatusCode::NOT_MODIFIED.into_response() } else { (dated, body).into_response() };
    }
    let version = format!("\"{body}\"");
    if status == StatusCode::OK && known.is_some_and(|known| known.as_bytes() == version.as_bytes()) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    // What a redirection says is where to.
    if status.is_redirection() {
        (status, [(LOCATION, body)]).into_response()
    } else {
        // Its own text is the version's name, where that fits into a line.
        (status, [(ETAG, version.replace('\n', " "))], body).into_response()
    }
}
