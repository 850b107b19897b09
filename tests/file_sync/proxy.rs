//! A wire between the sidecar and the API server that can be cut, or fall silent.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Carries connections.
pub(crate) struct Proxy {
    address: SocketAddr,
    /// Whether new connections are taken.
    is_open: watch::Sender<bool>,
    /// Connections that were made before this one are closed.
    cut_before: watch::Sender<usize>,
    /// Connections that were made before this one carry nothing any more, and are not closed.
    silent_before: watch::Sender<usize>,
    made: Arc<AtomicUsize>,
    carried: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_open, opened) = watch::channel(true);
        let ((cut_before, cuts), (silent_before, silences)) = (watch::channel(0), watch::channel(0));
        let (made, carried) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut task = JoinSet::new();
        let (making, carrying) = (made.clone(), carried.clone());
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if !*opened.borrow() {
                    continue;
                }
                let number = making.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(server).await else { continue };
                connections.spawn(carry(client, server, cuts.clone(), silences.clone(), number, carrying.clone()));
            }
        });
        Self { address, is_open, cut_before, silent_before, made, carried, _task: task }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Closes all connections, and refuses new ones.
    pub(crate) fn cut(&self) {
        self.is_open.send(false).unwrap();
        self.cut_before.send(self.made.load(Ordering::SeqCst)).unwrap();
    }

    /// Takes connections again.
    pub(crate) fn mend(&self) {
        self.is_open.send(true).unwrap();
    }

    /// What was connected so far hears nothing more, as if a machine between had vanished.
    pub(crate) fn silence(&self) {
        self.silent_before.send(self.made.load(Ordering::SeqCst)).unwrap();
    }

    /// Bytes that came from the server so far.
    pub(crate) fn carried(&self) -> usize {
        self.carried.load(Ordering::SeqCst)
    }
}

async fn carry(
    client: TcpStream,
    server: TcpStream,
    mut cut: watch::Receiver<usize>,
    mut silence: watch::Receiver<usize>,
    number: usize,
    carried: Arc<AtomicUsize>,
) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.into_split(), server.into_split());
    let there = async move { tokio::io::copy(&mut from_client, &mut to_server).await };
    let back = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            carried.fetch_add(length, Ordering::SeqCst);
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::pin!(there, back);
    let carrying = async {
        let is_silent = tokio::select! {
            _ = &mut there => false,
            () = &mut back => false,
            silent = silence.wait_for(|before| number < *before) => silent.is_ok(),
        };
        if is_silent {
            // Held open, and never read from again.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = carrying => {}
        _ = cut.wait_for(|before| number < *before) => {}
    }
}
