//! Many reviews through all that happens to an installation in its life, without one that fails.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use common::{
    https::{Client, pod, post, read_answer, review, within},
    installation::Installation,
    replicas::{Replicas, SHORT_LIVES},
};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use outrigger_bed::ControlPlane;
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

#[tokio::test(flavor = "multi_thread")]
async fn no_review_fails_in_the_long_run() {
    let wanted = std::env::var(VARIABLE).map_or(REVIEWS, |text| text.parse().unwrap());
    let installation = Installation::with_empty_secret(ControlPlane::shared().await, "soak").await;
    let mut replicas = Replicas::start(&installation, &SHORT_LIVES).await;
    let address = replicas.balancer.address;

    let trusting = Arc::new(ArcSwap::from_pointee(client(&installation, address).await));
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
            replicas.roll_out().await;
            rollouts += 1;
        }
    };
    let hears = async {
        loop {
            tokio::time::sleep(LATE).await;
            trusting.store(Arc::new(client(&installation, address).await));
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

async fn client(installation: &Installation<'_>, address: SocketAddr) -> Client {
    // Not by kubectl, which may take longer than a successor waits before it signs.
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(installation.namespace.client());
    let webhooks = configurations.get(installation.name()).await.unwrap().webhooks.unwrap();
    let bundle = webhooks[0].client_config.ca_bundle.clone().unwrap();
    Client::new(&String::from_utf8(bundle.0).unwrap(), address)
}
