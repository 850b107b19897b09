//! The chart pgbouncer as its users install it, beside the operator as its users install that: PostgreSQL and poolers of two generations as
//! pods on a real node.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod client;
#[path = "../common/helm.rs"]
mod helm;
#[path = "../common/product_image.rs"]
mod product_image;
#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
#[path = "../common/running.rs"]
mod running;
mod site;
#[path = "../common/until.rs"]
mod until;

use std::time::Instant;

use serde_json::{Value, json};

use client::Attempt;
use site::{NAMESPACE, Site};
use until::until;

const LABEL: (&str, &str) = ("example.com/pooler", "current");

/// Two poolers: a current one whose list the operator writes, and an old one with a list of its user's own.
fn values(server: &str) -> Value {
    json!({
        "fullnameOverride": "pooler",
        "defaults": {
            "databases": {"app": {"host": server, "port": 5432}},
            // The server of this test has no certificate.
            "tls": {"server": {"mode": "disable"}},
            "termination": {"drainSeconds": 1, "graceSeconds": 30},
            "readinessProbe": {"periodSeconds": 1},
        },
        "instances": {
            "current": {"userList": {"matchLabels": {LABEL.0: LABEL.1}}, "serverConnections": 20},
            "old": {"version": "1.18", "replicas": 1, "existingUserlistSecret": "by-hand", "existingAdminSecret": "by-hand-admin",
                "config": {"max_client_conn": 20}},
        },
        "tests": {"image": site::POSTGRES, "mostClients": 20, "databases": {"app": "app", "other": "app"}},
    })
}

/// All in one, since the pods and their images take the most time: poolers wait for their lists, a password changes under a client that
/// signs in all the time, `helm test` finds nothing wrong, who is removed is out, and a pod ends when its transactions have.
#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_t31_poolers_follow_their_lists_and_lose_no_transaction() {
    let Some(site) = Site::start("poolers_follow_their_lists").await else { return };
    site.operator();
    let server = site.postgres().await;
    // The server asks one of them for the password, and leaves the other, whose password changes, to the poolers.
    site.sql("CREATE ROLE app LOGIN; CREATE ROLE other LOGIN PASSWORD 'first'").await;
    site.sql("CREATE DATABASE app").await;
    site.release("install", &values(&server), &[]);

    // Without a list nobody starts, and says why.
    until("a pod says what it waits for", async || {
        let events = site.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]).await;
        if events.contains("no object has the list of users yet") { Ok(()) } else { Err(events) }
    })
    .await;
    assert_eq!(site.started("pgbouncer").await, 0, "PgBouncer does not start without a list");

    for (user, password) in [("pgbouncer", "admin"), ("app", "first"), ("other", "first")] {
        site.put_secret(user, &[LABEL], &[("username", user), ("password", password)]).await;
    }
    let by_hand = "\"pgbouncer\" \"admin\"\n\"app\" \"first\"\n";
    site.put_secret("by-hand", &[], &[("userlist.txt", by_hand)]).await;
    site.put_secret("by-hand-admin", &[], &[("adminUser", "pgbouncer"), ("adminPassword", "admin")]).await;
    site.until_ready("pooler-current", 2).await;
    site.until_ready("pooler-old", 1).await;
    let pods = site.pods("current").await;

    // Of several pods, each changes over at a moment of its own: the client asks always the same.
    let client = site.start_client(&site.pod_address(&pods[0].0).await, "first", "second").await;
    until("the client signs in", async || match client.attempts().await.last() {
        Some(Attempt { old: true, new: false }) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    site.put_secret("app", &[LABEL], &[("username", "app"), ("password", "second")]).await;
    let changed = Instant::now();
    site.until_applied(&pods).await;
    println!("a changed Secret was in use by both pods after {} ms", changed.elapsed().as_millis());
    client.until_rotated().await;
    let attempts = client.attempts().await;
    let turn = attempts.iter().position(|attempt| attempt.new).unwrap();
    let (before, after) = attempts.split_at(turn);
    assert!(before.iter().all(|attempt| attempt.old), "until the new password signs in, the old one does: {attempts:?}");
    assert!(after.iter().all(|attempt| attempt.new), "and from then on the new one: {attempts:?}");
    client.session_goes_on().await;
    assert_eq!(site.pods("current").await, pods, "no pod was replaced or restarted");

    // A list that would lock people out is not used, and the old one stays.
    site.put_secret("by-hand", &[], &[("userlist.txt", "\"pgbouncer\" \"admin\"\n\"app \"first\"\n")]).await;
    site.until_log("old", "agent", "line 2 of the list of users").await;
    assert!(site.signs_in("pooler-old", "app", "second").await.unwrap_err().contains("authentication failed"), "it never learnt of it");
    site.put_secret("by-hand", &[], &[("userlist.txt", &by_hand.replace("first", "second"))]).await;
    until("the repaired list is used", async || site.signs_in("pooler-old", "app", "second").await).await;

    let test = ["test", "pooler", "--namespace", NAMESPACE, "--logs", "--timeout", "10m"];
    let report = tokio::task::block_in_place(|| site.helm.output(&test));
    for expected in [
        "signed in: 3 users",
        "signed in: 2 users",
        "latency: half of 100 queries below",
        "saturated: of 7 clients at once",
        "rotated: after",
        "server connections: app has",
        "of at most 10",
        "skipped: what needs outrigger-probe",
        "filled: beside 20 clients another was refused",
        "skipped: max_client_conn, since 600 clients are more",
    ] {
        assert!(report.contains(expected), "{expected}: {report}");
    }
    who_is_removed_is_out(&site, &pods).await;
    client.session_goes_on().await;

    for instance in ["current", "old"] {
        site.ends_after_its_transactions(instance).await;
    }
    // A change of the configuration does roll the pods.
    site.release("upgrade", &values(&server), &["--set", "instances.current.config.default_pool_size=5"]);
    until("all pods are new", async || {
        let now = site.pods("current").await;
        if now.iter().all(|pod| !pods.contains(pod)) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    without_agents_the_operator_lets_pods_reload(&site, &server).await;
}

/// Signing in and sessions that are open end with a user's Secret, at each pod and without a restart.
async fn who_is_removed_is_out(site: &Site, pods: &[(String, i32)]) {
    site.until_condition("pooler-current", "Applied", "True").await;
    let mut sessions = Vec::new();
    for (pod, _) in pods {
        let session = site.connect_to_pod(pod, "other", "first").await.unwrap();
        session.simple_query("SELECT 1").await.unwrap();
        sessions.push(session);
    }
    site.kubectl(&["delete", "secret", "other"]).await;
    for ((pod, _), session) in pods.iter().zip(sessions) {
        for password in ["first", ""] {
            until(&format!("{pod} lets nobody in with {password:?}"), async || match site.connect_to_pod(pod, "other", password).await {
                Err(refused) if refused.contains("authentication failed") || refused.contains("password") => Ok(()),
                other => Err(format!("{:?}", other.map(drop))),
            })
            .await;
        }
        until(&format!("{pod} has ended the open session"), async || match session.simple_query("SELECT 1").await {
            Err(_) => Ok(()),
            Ok(_) => Err("it goes on".to_owned()),
        })
        .await;
    }
    site.until_condition("pooler-current", "Applied", "True").await;
    assert_eq!(site.pods("current").await, pods, "no pod was replaced or restarted");
}

/// The kubelet renews the mounted list, and the operator tells PgBouncer to RELOAD until it uses it.
async fn without_agents_the_operator_lets_pods_reload(site: &Site, server: &str) {
    assert!(site.started("agent").await > 0);
    site.release("upgrade", &values(server), &["--set", "agent.enabled=false", "--wait"]);
    until("the pods with agents are gone", async || match site.started("agent").await {
        0 => Ok(()),
        left => Err(format!("{left} run")),
    })
    .await;
    let pods = site.pods("current").await;
    for (pod, _) in &pods {
        // Helm waits for as many pods as a rollout leaves in service, not for each.
        until(&format!("{pod} is in service"), async || {
            let client = site.connect_to_pod(pod, "app", "second").await?;
            client.simple_query("SELECT 1").await.map(drop).map_err(|error| format!("{error:?}"))
        })
        .await;
    }
    site.put_secret("app", &[LABEL], &[("username", "app"), ("password", "third")]).await;
    for (pod, _) in &pods {
        until(&format!("{pod} takes the new password"), async || site.connect_to_pod(pod, "app", "third").await.map(drop)).await;
        let refused = site.connect_to_pod(pod, "app", "second").await.map(drop).unwrap_err();
        assert!(refused.contains("authentication failed"), "{refused}");
    }
    assert_eq!(site.pods("current").await, pods, "no pod was replaced or restarted");
}
