//! A proxy that counts the messages of PostgreSQL's clients, ends all connections after so many, or holds one back.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicI64, AtomicU16, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What stands between the controllers and a server. TLS would hide the messages, so none is spoken.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

/// Which messages wait.
#[derive(Debug)]
enum Hold {
    Nothing,
    /// All after so many.
    After(i64),
    /// The next one with this text.
    Text(String),
}

struct Shared {
    server: AtomicU16,
    left: AtomicI64,
    seen: Mutex<Vec<u8>>,
    hold: Mutex<Hold>,
    /// Whether a message waits.
    is_held: watch::Sender<bool>,
    /// Changes when all connections end.
    ends: watch::Sender<()>,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: AtomicU16::new(server),
            left: AtomicI64::new(i64::MAX),
            seen: Mutex::default(),
            hold: Mutex::new(Hold::Nothing),
            is_held: watch::Sender::new(false),
            ends: watch::Sender::new(()),
        });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, shared.clone()));
        Self { port, shared, _task: task }
    }

    /// Leads to another server, to which everybody has to connect anew.
    pub(crate) fn lead_to(&self, server: u16) {
        self.shared.server.store(server, Ordering::SeqCst);
        self.end_connections();
    }

    pub(crate) fn end_connections(&self) {
        self.shared.ends.send_replace(());
    }

    /// After so many more messages that change or ask something, all connections end: the last one reaches the server, and its answer
    /// reaches nobody.
    pub(crate) fn cut_after(&self, messages: i64) {
        self.shared.left.store(messages, Ordering::SeqCst);
    }

    pub(crate) fn heal(&self) {
        self.shared.left.store(i64::MAX, Ordering::SeqCst);
    }

    /// Whether the time of the cut has come.
    pub(crate) fn is_cut(&self) -> bool {
        self.shared.left.load(Ordering::SeqCst) <= 0
    }

    /// After so many more messages, all that follow wait.
    pub(crate) fn hold_after(&self, messages: i64) {
        *self.shared.hold.lock().unwrap() = Hold::After(messages);
    }

    /// The next statement with this text waits.
    pub(crate) fn hold_statement(&self, text: &str) {
        *self.shared.hold.lock().unwrap() = Hold::Text(text.to_owned());
    }

    /// Whether a message waits.
    pub(crate) fn is_held(&self) -> bool {
        *self.shared.is_held.borrow()
    }

    /// Lets what waits reach the server, and all that follows.
    pub(crate) fn let_go(&self) {
        *self.shared.hold.lock().unwrap() = Hold::Nothing;
        self.shared.is_held.send_replace(false);
    }

    /// All that clients have sent.
    pub(crate) fn seen(&self) -> Vec<u8> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Shared {
    /// Waits if this message is to wait.
    async fn wait(&self, body: &[u8]) {
        let waits = match &mut *self.hold.lock().unwrap() {
            Hold::Nothing => false,
            Hold::After(left) => {
                *left -= 1;
                *left < 0
            }
            Hold::Text(text) => body.windows(text.len()).any(|window| window == text.as_bytes()),
        };
        if waits {
            let mut is_held = self.is_held.subscribe();
            self.is_held.send_replace(true);
            is_held.wait_for(|is_held| !is_held).await.unwrap();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if shared.left.load(Ordering::SeqCst) <= 0 {
            continue;
        }
        let shared = shared.clone();
        connections.spawn(async move { drop(forward(client, &shared).await) });
    }
}

async fn forward(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut ends = shared.ends.subscribe();
    let mut server = TcpStream::connect(("127.0.0.1", shared.server.load(Ordering::SeqCst))).await?;
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
            shared.seen.lock().unwrap().extend_from_slice(&body);
            // Simple queries, and the end of others.
            let is_counted = matches!(kind, Some(b'Q' | b'S'));
            if is_counted {
                shared.wait(&body).await;
            }
            if let Some(kind) = kind {
                to_server.write_u8(kind).await?;
            }
            to_server.write_u32(length).await?;
            to_server.write_all(&body).await?;
            is_first = false;
            if is_counted && shared.left.fetch_sub(1, Ordering::SeqCst) <= 1 {
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
        _ = ends.changed() => Ok(()),
    }
}
