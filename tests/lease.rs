//! Of several controllers one acts: who that is, and what happens when it goes, is killed, sleeps or is robbed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use std::time::Duration;

use common::{process::Server, webhook::wait_for};
use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use outrigger_bed::{ControlPlane, Namespace};
use rustix::process::Signal;
use serde_json::json;

const NAME: &str = "outrigger-controllers";
/// How long a lease lasts that is not renewed, by the Lease itself.
const LASTS: Duration = Duration::from_secs(10);

/// Two controllers, of which the first holds the lease.
struct Pair<'cluster> {
    leases: Api<Lease>,
    holder: Server,
    other: Server,
    _namespace: Namespace<'cluster>,
}

impl<'cluster> Pair<'cluster> {
    async fn start(cluster: &'cluster ControlPlane, name: &str) -> Self {
        let namespace = cluster.namespace(name).await;
        let leases = Api::default_namespaced(namespace.client());
        let argument = format!("--namespace={}", namespace.name());
        let start = || Server::start(cluster.kubeconfig_path(), &["--roles=controllers", "--drain-delay=0s", &argument]);
        let holder = start();
        until_leading(&holder, 1).await;
        let other = start();
        other.until_status("/readyz", 200).await;
        Self { leases, holder, other, _namespace: namespace }
    }

    async fn lease(&self) -> Lease {
        self.leases.get(NAME).await.unwrap()
    }
}

async fn until_leading(server: &Server, leading: u8) {
    let metric = format!("outrigger_leading {leading}\n");
    wait_for("the lease changes hands", async || {
        let (_, metrics) = server.status("/metrics").await.ok()?;
        metrics.contains(&metric).then_some(())
    })
    .await;
}

fn times(lease: &Lease) -> (Timestamp, Timestamp) {
    let spec = lease.spec.as_ref().unwrap();
    (spec.acquire_time.as_ref().unwrap().0, spec.renew_time.as_ref().unwrap().0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_given_back_is_taken_at_once() {
    let mut pair = Pair::start(ControlPlane::shared().await, "lease-given").await;
    pair.holder.signal(Signal::TERM);
    assert_eq!(pair.holder.exit().await.code(), Some(0), "{}", pair.holder.log());
    assert!(pair.holder.log().contains("the lease is given back"), "{}", pair.holder.log());
    let (_, renewed) = times(&pair.lease().await);
    until_leading(&pair.other, 1).await;
    let lease = pair.lease().await;
    assert_eq!(lease.spec.as_ref().unwrap().lease_transitions, Some(1));
    // Negative if the other had renewed it by then.
    let waited = times(&lease).0.duration_since(renewed);
    assert!(waited.as_secs() < LASTS.as_secs().cast_signed(), "it did not have to run out: {waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_of_a_killed_holder_runs_out_and_no_sooner() {
    let mut pair = Pair::start(ControlPlane::shared().await, "lease-killed").await;
    pair.holder.signal(Signal::KILL);
    pair.holder.exit().await;
    let (_, renewed) = times(&pair.lease().await);
    until_leading(&pair.other, 1).await;
    let waited = Duration::try_from(times(&pair.lease().await).0 - renewed).unwrap();
    assert!(waited >= LASTS, "its holder might have lived: {waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_slept_stops_when_it_wakes() {
    let pair = Pair::start(ControlPlane::shared().await, "lease-slept").await;
    pair.holder.signal(Signal::STOP);
    until_leading(&pair.other, 1).await;
    pair.holder.signal(Signal::CONT);
    until_leading(&pair.holder, 0).await;
    wait_for("the log says so", async || pair.holder.log().contains("the lease is lost").then_some(())).await;
    until_leading(&pair.other, 1).await;
    assert_eq!(pair.holder.status("/livez").await.unwrap().0, 200, "it waits for its next turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_robbed_holder_stops_and_takes_the_lease_back_when_the_robber_is_silent() {
    let pair = Pair::start(ControlPlane::shared().await, "lease-robbed").await;
    let robbery = json!({"spec": {"holderIdentity": "robber", "renewTime": pair.lease().await.spec.unwrap().renew_time}});
    pair.leases.patch(NAME, &PatchParams::default(), &Patch::Merge(robbery)).await.unwrap();
    until_leading(&pair.holder, 0).await;
    assert_eq!(pair.lease().await.spec.unwrap().holder_identity.as_deref(), Some("robber"));
    wait_for("one of both holds it again", async || {
        let holder = pair.lease().await.spec.unwrap().holder_identity.unwrap();
        (holder != "robber").then_some(())
    })
    .await;
}
