//! A proxy that counts the messages of PostgreSQL's clients and ends all connections after so many.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What stands between the controllers and a server. TLS would hide the messages, so none is spoken.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    left: Arc<AtomicI64>,
    seen: Arc<Mutex<Vec<u8>>>,
    _task: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (left, seen) = (Arc::new(AtomicI64::new(i64::MAX)), Arc::<Mutex<Vec<u8>>>::default());
        let mut task = JoinSet::new();
        task.spawn(accept(listener, server, left.clone(), seen.clone()));
        Self { port, left, seen, _task: task }
    }

    /// After so many more messages that change or ask something, all connections end: the last one reaches the server, and its answer
    /// reaches nobody.
    pub(crate) fn cut_after(&self, messages: i64) {
        self.left.store(messages, Ordering::SeqCst);
    }

    pub(crate) fn heal(&self) {
        self.left.store(i64::MAX, Ordering::SeqCst);
    }

    /// Whether the time of the cut has come.
    pub(crate) fn is_cut(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }

    /// All that clients have sent.
    pub(crate) fn seen(&self) -> Vec<u8> {
        self.seen.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, server: u16, left: Arc<AtomicI64>, seen: Arc<Mutex<Vec<u8>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if left.load(Ordering::SeqCst) <= 0 {
            continue;
        }
        let (left, seen) = (left.clone(), seen.clone());
        connections.spawn(async move { drop(forward(client, server, &left, &seen).await) });
    }
}

async fn forward(mut client: TcpStream, server: u16, left: &AtomicI64, seen: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    // Of this connection alone: others may begin when all is well again.
    let is_over = AtomicBool::new(false);
    let upward = async {
        // The first message has no type.
        let mut is_first = true;
        loop {
            let kind = if is_first { None } else { Some(from_client.read_u8().await?) };
            let length = from_client.read_u32().await?;
            let mut body = vec![0; usize::try_from(length).unwrap() - 4];
            from_client.read_exact(&mut body).await?;
            seen.lock().unwrap().extend_from_slice(&body);
            if let Some(kind) = kind {
                to_server.write_u8(kind).await?;
            }
            to_server.write_u32(length).await?;
            to_server.write_all(&body).await?;
            is_first = false;
            // Simple queries, and the end of others.
            if matches!(kind, Some(b'Q' | b'S')) && left.fetch_sub(1, Ordering::SeqCst) <= 1 {
                is_over.store(true, Ordering::SeqCst);
                // The answer, which goes nowhere, says that it was executed.
                std::future::pending::<()>().await;
            }
        }
        #[allow(unreachable_code, reason = "it tells the type")]
        Ok::<(), std::io::Error>(())
    };
    let downward = async {
        let mut buffer = vec![0; 16_384];
        loop {
            let length = from_server.read(&mut buffer).await?;
            if length == 0 || is_over.load(Ordering::SeqCst) {
                return Ok::<(), std::io::Error>(());
            }
            to_client.write_all(&buffer[..length]).await?;
        }
    };
    tokio::select! {
        ended = upward => ended,
        ended = downward => ended,
    }
}
