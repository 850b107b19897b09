//! One CA for all replicas: how it comes to be, is trusted, and is renewed, at a real API server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use common::{
    https::{Client, pod, review},
    installation::{Installation, SECRET},
    load::Load,
    process::Server,
    replicas::Replicas,
    webhook::wait_for,
};
use outrigger_bed::ControlPlane;
use rustix::process::Signal;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_at_once_share_one_ca_with_rights_to_its_name_alone() {
    let installation = Installation::with_empty_secret(ControlPlane::shared().await, "ca-shared").await;
    let replicas = [(); 3].map(|()| installation.replica(&[]));
    for replica in &replicas {
        replica.until_status("/readyz", 200).await;
    }
    let trusted = installation.secret("ca.crt").await;
    for replica in &replicas {
        let answer = replica.client_trusting(&trusted).review(&review("u", &pod())).await;
        assert_eq!(answer.unwrap_or_else(|error| panic!("{error}: {}", replica.log())).status, 200);
        assert!(!replica.log().contains("PRIVATE"), "{}", replica.log());
    }
    assert_eq!(trusted, installation.secret("tls.crt").await, "one CA, made once");
    let managers = "jsonpath={range .metadata.managedFields[*]}{.manager} {.operation}{\"\\n\"}{end}";
    let managers = installation.kubectl(&["get", "secret", SECRET, "--show-managed-fields", "-o", managers]).await;
    assert!(managers.contains("outrigger Update\n"), "{managers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_emptied_or_deleted_comes_back_with_the_same_ca() {
    let installation = Installation::with_empty_secret(ControlPlane::shared().await, "ca-emptied").await;
    let replica = installation.replica(&[]);
    replica.until_status("/readyz", 200).await;
    let (before, key) = (installation.secret("tls.crt").await, installation.secret("tls.key").await);

    installation.kubectl(&["patch", "secret", SECRET, "--type=json", "-p", r#"[{"op": "remove", "path": "/data"}]"#]).await;
    wait_for("the Secret is filled again", async || (installation.secret("tls.crt").await == before).then_some(())).await;

    // As after `helm upgrade` brought it back.
    installation.kubectl(&["delete", "secret", SECRET]).await;
    wait_for("it is missed", async || replica.log().contains("can't be used or filled").then_some(())).await;
    installation.apply(&[installation.empty_secret()]).await;
    wait_for("the new one is filled", async || (installation.secret("tls.key").await == key).then_some(())).await;
    replica.client_trusting(&before).review(&review("u", &pod())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_create_the_secret_does_and_all_replicas_use_it() {
    let installation = Installation::new(ControlPlane::shared().await, "ca-created").await;
    installation.grant(json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}])).await;
    let first = installation.replica(&[]);
    first.until_status("/readyz", 200).await;
    let authority = installation.secret("tls.crt").await;
    let second = installation.replica(&[]);
    second.until_status("/readyz", 200).await;
    second.client_trusting(&authority).review(&review("u", &pod())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_somebody_else_is_left_alone_and_readyz_says_so() {
    let installation = Installation::new(ControlPlane::shared().await, "ca-foreign").await;
    installation.kubectl(&["create", "secret", "generic", SECRET, "--from-literal=password=precious"]).await;
    let before = installation.kubectl(&["get", "secret", SECRET, "-o", "json"]).await;
    let replica = installation.replica(&[]);
    let problem = r#"certificate: the CA's Secret can't be used: its type is "Opaque""#;
    let unready = wait_for("readiness says why", async || {
        let (code, report) = replica.status("/readyz").await.ok()?;
        report.contains(problem).then_some(code)
    });
    assert_eq!(unready.await, 503);
    wait_for("the log names the way out", async || replica.log().contains("delete it if nobody uses it").then_some(())).await;
    assert_eq!(installation.kubectl(&["get", "secret", SECRET, "-o", "json"]).await, before);
    assert_eq!(replica.status("/livez").await.unwrap().0, 200);

    // The way out that the text names.
    installation.kubectl(&["delete", "secret", SECRET]).await;
    installation.apply(&[installation.empty_secret()]).await;
    replica.until_status("/readyz", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_is_added_to_both_configurations_and_what_others_put_there_stays() {
    let installation = Installation::with_empty_secret(ControlPlane::shared().await, "ca-published").await;
    let foreign = rcgen::KeyPair::generate().unwrap();
    let foreign = rcgen::CertificateParams::new(vec!["other.example.com".to_owned()]).unwrap().self_signed(&foreign).unwrap().pem();
    let server = installation.replica(&["--roles=admission,controllers"]);
    installation.register(server.https, Some(&foreign)).await;
    installation.published().await;
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        for bundle in installation.bundles(kind).await {
            assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2, "{bundle}");
            assert!(bundle.starts_with(&foreign.replace('\r', "")), "{bundle}");
        }
    }

    // An upgrade that brings a configuration anew, without a bundle.
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        installation.kubectl(&["delete", kind, installation.name()]).await;
    }
    installation.register(server.https, None).await;
    installation.published().await;
    installation.until_asked().await;
}

/// All that can happen to an installation while pods are created, each without a pod that was accepted and not reviewed,
/// and without one that was refused for the webhook's sake.
#[tokio::test(flavor = "multi_thread")]
async fn no_review_fails_through_rotation_rolling_restart_and_a_restart_of_the_api_server() {
    let cluster: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start().await));
    let installation = Installation::with_empty_secret(cluster, "steady").await;
    // The third of a life that is left outlasts a slow restart of the API server.
    let mut replicas = Replicas::start(&installation, &["--ca-lifetime=60s", "--leaf-lifetime=40s"]).await;

    let load = Load::start(installation.namespace.client());
    shake_hands_until(&installation, replicas.balancer.address, installation.rotated()).await;
    let after_rotation = load.outcome();
    assert_eq!(after_rotation.unreviewed, [], "after a rotation");

    replicas.roll_out().await;
    let after_rollout = load.outcome();
    assert_eq!(after_rollout.unreviewed, [], "after a rolling restart");
    assert_eq!(after_rollout.unanswered, [], "the API server was there all the time");

    cluster.restart_api_server().await;
    installation.rotated().await;

    let outcome = load.end().await;
    assert_eq!(outcome.unreviewed, [], "after a restart of the API server");
    assert!(outcome.accepted.len() > 200, "{}", outcome.accepted.len());
    eprintln!(
        "{} pods accepted and all reviewed; {} not created while the API server was away",
        outcome.accepted.len(),
        outcome.unanswered.len()
    );
}

/// Shakes hands again and again until something has happened, as an API server that hears of a bundle late: the API
/// server of the test hears at once and keeps its connections, so it alone would not notice a hasty rotation.
async fn shake_hands_until(installation: &Installation<'_>, address: SocketAddr, event: impl Future<Output = ()>) {
    const LATE: Duration = Duration::from_millis(400);
    let hands = async {
        loop {
            let bundle = installation.bundles("mutatingwebhookconfigurations").await.remove(0);
            let client = Client::new(&bundle, address);
            let until = Instant::now() + LATE;
            while Instant::now() < until {
                let answer = client.review(&review("late", &pod())).await;
                let answer = answer.unwrap_or_else(|error| panic!("whoever trusts the bundle of a moment ago is answered: {error}"));
                assert_eq!(answer.status, 200);
            }
        }
    };
    tokio::select! {
        () = event => {}
        never = hands => never,
    }
}

/// A replica that is killed takes with it what it was answering; the API server does not ask again.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_costs_reviews_only_until_its_endpoint_is_gone() {
    let installation = Installation::with_empty_secret(ControlPlane::shared().await, "killed").await;
    let replicas = Replicas::start(&installation, &[]).await;
    let load = Load::start(installation.namespace.client());
    let enough = async |count: usize| {
        wait_for("pods are accepted", async || (load.outcome().accepted.len() >= count).then_some(())).await;
    };
    enough(50).await;
    let before = load.outcome();

    let killed = Instant::now();
    replicas.servers[0].signal(Signal::KILL);
    enough(before.accepted.len() + 100).await;
    let outcome = load.end().await;
    let missed: Vec<_> = outcome.unreviewed.iter().filter(|(at, _)| *at >= killed).collect();
    let last = missed.iter().map(|(at, _)| at.duration_since(killed)).max().unwrap_or_default();
    // Balancer and API server notice within moments; the margin is for a busy machine.
    assert!(last < Duration::from_secs(10), "lost {} reviews, the last {last:?} after the kill: {missed:?}", missed.len());
    eprintln!("a kill cost {} of {} reviews, the last {last:?} after it", missed.len(), outcome.accepted.len() + missed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn lifetimes_that_cannot_be_kept_are_refused_at_start() {
    let kubeconfig: &Path = ControlPlane::shared().await.kubeconfig_path();
    let (status, text) = common::process::failing(kubeconfig, &["--ca-lifetime=1s"]).await;
    assert_eq!(status.code(), Some(2), "{text}");
    assert!(text.contains("--ca-lifetime is 1s"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_for_local_work_makes_files_that_are_served_and_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file).display().to_string();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/certs/make.sh");
    let made = std::process::Command::new(script).arg(folder.path()).args(["localhost", "127.0.0.1"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let arguments = [format!("--tls-cert={}", path("tls.crt")), format!("--tls-key={}", path("tls.key"))];
    let server = Server::ready(ControlPlane::shared().await.kubeconfig_path(), &[&arguments[0], &arguments[1]]).await;
    let client = server.client_trusting(&std::fs::read_to_string(path("ca.crt")).unwrap());
    assert_eq!(client.review(&review("u", &pod())).await.unwrap().status, 200);

    let refused = std::process::Command::new(script).arg(folder.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("usage: certs/make.sh FOLDER NAME"), "{refused:?}");
}
