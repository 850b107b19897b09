//! What a Service does: connections go to replicas that say they are ready.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{process::Server, webhook::plain_get};

/// How soon readiness is noticed. Kubelet and kube-proxy take longer, which draining allows for.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
const PROBE_PATIENCE: Duration = Duration::from_millis(500);

/// One address in front of several replicas.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    backends: Arc<Mutex<Vec<Backend>>>,
    /// Ends with this.
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Backend {
    https: SocketAddr,
    status: SocketAddr,
    ready: bool,
}

impl Balancer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let backends = Arc::<Mutex<Vec<Backend>>>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(forward(listener, backends.clone()));
        tasks.spawn(probe(backends.clone()));
        Self { address, backends, _tasks: tasks }
    }

    /// Sends connections to this replica too, once it is ready.
    pub(crate) fn add(&self, server: &Server) {
        self.backends.lock().unwrap().push(Backend { https: server.https, status: server.status, ready: false });
    }
}

async fn forward(listener: TcpListener, backends: Arc<Mutex<Vec<Backend>>>) {
    let mut connections = JoinSet::new();
    for turn in 0.. {
        let (mut incoming, _) = listener.accept().await.unwrap();
        let ready: Vec<_> = backends.lock().unwrap().iter().filter(|backend| backend.ready).map(|backend| backend.https).collect();
        // Without a backend the connection is closed, as a Service without endpoints refuses it.
        let Some(backend) = ready.get(turn % ready.len().max(1)).copied() else { continue };
        connections.spawn(async move {
            let Ok(mut outgoing) = TcpStream::connect(backend).await else { return };
            // Either side may cut it; what matters is what the API server makes of that.
            drop(tokio::io::copy_bidirectional(&mut incoming, &mut outgoing).await);
        });
    }
}

async fn probe(backends: Arc<Mutex<Vec<Backend>>>) {
    loop {
        let known = backends.lock().unwrap().clone();
        let states = join_all(known.iter().map(state)).await;
        backends.lock().unwrap().retain_mut(|backend| {
            let state = known.iter().zip(&states).find(|(known, _)| known.https == backend.https).map(|(_, state)| state);
            match state {
                Some(State::Gone) => return false,
                Some(State::Ready(ready)) => backend.ready = *ready,
                Some(State::Silent) | None => {}
            }
            true
        });
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

enum State {
    Ready(bool),
    /// It does not answer in time, as on a machine that has too much to do: it stays what it was.
    Silent,
    Gone,
}

async fn state(backend: &Backend) -> State {
    match tokio::time::timeout(PROBE_PATIENCE, plain_get(&backend.status.to_string(), "/readyz")).await {
        Ok(Ok((code, _))) => State::Ready(code == 200),
        // A replica is added when it listens already.
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => State::Gone,
        Ok(Err(_)) | Err(_) => State::Silent,
    }
}
