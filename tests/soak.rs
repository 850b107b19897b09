//! Many reviews through all that happens to an installation in its life, without one that fails.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use common::{
    balancer::Balancer,
    https::{Client, pod, post, read_answer, review, within},
    installation::Installation,
    process::Server,
};
use outrigger_bed::ControlPlane;
use rustix::process::Signal;
use tokio::{io::AsyncWriteExt, task::JoinSet};

/// How many reviews are to be answered at least, where somebody has more patience than a test may have.
const VARIABLE: &str = "OUTRIGGER_SOAK_REVIEWS";
const REVIEWS: u64 = 5_000;
/// As many as connections that an API server keeps.
const CLIENTS: usize = 8;
/// Then a client connects anew, so that there are handshakes at every moment of a rotation.
const PER_CONNECTION: usize = 200;
/// An API server hears of a new bundle a moment after it was published.
const LATE: Duration = Duration::from_millis(400);
/// CAs that are renewed every 20 seconds, and leaves every 12.
const SHORT_LIVES: [&str; 2] = ["--ca-lifetime=30s", "--leaf-lifetime=20s"];

#[tokio::test(flavor = "multi_thread")]
async fn no_review_fails_in_the_long_run() {
    let wanted = std::env::var(VARIABLE).map_or(REVIEWS, |text| text.parse().unwrap());
    let installation = Installation::with_empty_secret(ControlPlane::shared().await, "soak").await;
    let balancer = Balancer::start().await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(replica(&installation, &balancer).await);
    }
    installation.register(balancer.address, None).await;
    installation.published().await;

    let trusting = Arc::new(ArcSwap::from_pointee(client(&installation, &balancer).await));
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(ask(trusting.clone(), answered.clone()));
    }
    let start = Instant::now();
    let (mut rollouts, mut rotations) = (0, 0);
    let life = async {
        while answered.load(Ordering::Relaxed) < wanted || rotations == 0 {
            installation.rotated().await;
            rotations += 1;
            roll_out(&installation, &balancer, &mut replicas).await;
            rollouts += 1;
        }
    };
    let hears = async {
        loop {
            tokio::time::sleep(LATE).await;
            trusting.store(Arc::new(client(&installation, &balancer).await));
        }
    };
    tokio::select! {
        () = life => {}
        never = hears => never,
        ended = clients.join_next() => panic!("a client stops only when it is not answered: {ended:?}"),
    }
    let (answered, seconds) = (answered.load(Ordering::Relaxed), start.elapsed().as_secs());
    eprintln!("{answered} reviews in {seconds} s, across {rollouts} rolling restarts and {rotations} rotations; none failed");
}

/// Asks for ever over one connection after the other, each until it has lasted or the server says that it was the last answer.
async fn ask(trusting: Arc<ArcSwap<Client>>, answered: Arc<AtomicU64>) {
    let request = post(review("soak", &pod()).to_string());
    loop {
        let mut stream = within("a connection", trusting.load_full().connect()).await.unwrap();
        for _ in 0..PER_CONNECTION {
            let exchange = async {
                stream.write_all(&request).await?;
                read_answer(&mut stream).await
            };
            let answer = within("an answer", exchange).await.unwrap();
            assert_eq!(answer.response()["patchType"], "JSONPatch", "{answer:?}");
            answered.fetch_add(1, Ordering::Relaxed);
            if answer.head.to_ascii_lowercase().contains("connection: close") {
                break;
            }
        }
    }
}

async fn client(installation: &Installation<'_>, balancer: &Balancer) -> Client {
    Client::new(&installation.bundles("mutatingwebhookconfigurations").await[0], balancer.address)
}

async fn replica(installation: &Installation<'_>, balancer: &Balancer) -> Server {
    let replica = installation.replica(&["--roles=admission,controllers", SHORT_LIVES[0], SHORT_LIVES[1]]);
    replica.until_status("/readyz", 200).await;
    balancer.add(&replica);
    replica
}

/// For each replica one more, then it goes.
async fn roll_out(installation: &Installation<'_>, balancer: &Balancer, replicas: &mut Vec<Server>) {
    for _ in 0..replicas.len() {
        replicas.push(replica(installation, balancer).await);
        let mut old = replicas.remove(0);
        old.signal(Signal::TERM);
        assert_eq!(old.exit().await.code(), Some(0), "{}", old.log());
    }
}
