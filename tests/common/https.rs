//! A client that says over TLS exactly the bytes it is told to, be they HTTP or not.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) type Stream = TlsStream<TcpStream>;

/// Longer than any answer takes, shorter than a hanging test.
const PATIENCE: Duration = Duration::from_secs(20);

/// One who trusts a bundle of CAs and talks to one address.
#[derive(Clone)]
pub(crate) struct Client {
    connector: TlsConnector,
    pub(crate) address: SocketAddr,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn new(ca_pem: &str, address: SocketAddr) -> Self {
        let mut roots = RootCertStore::empty();
        let trusted: Vec<_> = CertificateDer::pem_slice_iter(ca_pem.as_bytes()).map(Result::unwrap).collect();
        assert!(!trusted.is_empty(), "there is a CA in {ca_pem}");
        assert_eq!(roots.add_parsable_certificates(trusted).1, 0, "each is a CA's");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        Self { connector: TlsConnector::from(Arc::new(config)), address }
    }

    /// A connection after its handshake.
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        self.handshake(TcpStream::connect(self.address).await?).await
    }

    /// The handshake of a connection.
    pub(crate) async fn handshake(&self, stream: TcpStream) -> io::Result<Stream> {
        stream.set_nodelay(true)?;
        self.connector.connect(ServerName::from(self.address.ip()), stream).await
    }

    /// The answer to these bytes, sent over a connection of their own.
    pub(crate) async fn send(&self, bytes: &[u8]) -> io::Result<Answer> {
        let exchange = async {
            let mut stream = self.connect().await?;
            stream.write_all(bytes).await?;
            read_answer(&mut stream).await
        };
        within("an answer", exchange).await
    }

    /// The answer to a review.
    pub(crate) async fn review(&self, review: &Value) -> io::Result<Answer> {
        self.send(&post(review.to_string())).await
    }
}

/// What comes in time; panics when it does not.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// A review of a pod as it is sent.
pub(crate) fn post(body: impl AsRef<[u8]>) -> Vec<u8> {
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.as_ref().len());
    request("POST /mutate/pods HTTP/1.1", &headers, body)
}

/// A request with these headers, each with its line end, and this body.
pub(crate) fn request(line: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    [format!("{line}\r\nHost: outrigger\r\n{headers}\r\n").as_bytes(), body.as_ref()].concat()
}

/// A review of a pod that is to be created.
pub(crate) fn review(uid: &str, pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {"uid": uid, "namespace": "default", "operation": "CREATE", "object": pod},
    })
}

/// A pod that asks for a desktop.
pub(crate) fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "desk", "annotations": {"outrigger.dev/inject": "vnc"}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    })
}

/// The next answer of a connection.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let status = head[9..12].parse().unwrap();
    Ok(Answer { status, head, body: String::from_utf8(body).unwrap() })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

impl Answer {
    /// The response in the review that was answered.
    pub(crate) fn response(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        let review: Value = serde_json::from_str(&self.body).unwrap();
        review["response"].clone()
    }
}

/// Reads until the server closes, and tells how much came before.
pub(crate) async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> usize {
    let mut received = 0;
    let mut buffer = vec![0; 64 * 1024];
    // A close without a farewell is an error to TLS, and a close to us.
    while let Ok(count @ 1..) = within("the server to close", stream.read(&mut buffer)).await {
        received += count;
    }
    received
}
