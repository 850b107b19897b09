//! A password is changed: which one is taken when, and what becomes of sessions.

use outrigger_bed::{ControlPlane, Generation, PoolerSettings};
use serde_json::json;

use crate::{
    pooler::{ADMIN, Pooler, role, settings, workload, workload_for},
    world::{World, user, wait_for},
};

/// Which of the two passwords is taken.
async fn taken(pooler: &Pooler, user: &str) -> (bool, bool) {
    (pooler.sign_in(user, "old").await.is_ok(), pooler.sign_in(user, "new").await.is_ok())
}

async fn rotated(generation: Generation, settings: PoolerSettings, name: &str) {
    let world = World::new(ControlPlane::shared().await, name).await;
    let (pooler, alice, bob) = (Pooler::start_with(generation, settings).await, role("alice").await, role("bob").await);
    workload(&world, "StatefulSet", &json!({})).await;
    let secret = |object: &str, name: &str, password: &str| {
        let mut secret = user(object, password);
        secret["stringData"] = json!({"user": name});
        secret["data"].as_object_mut().unwrap().remove("username");
        secret
    };
    world.apply(&[user("admin", ADMIN), secret("alice", &alice, "old"), secret("bob", &bob, "bob")]).await;
    let mut spec = pooler.spec();
    spec["poolers"][0]["kind"] = json!("StatefulSet");
    world.list(&spec).await;
    let list = wait_for("the list is written", async || world.written().await).await;
    assert!(pooler.sign_in(&alice, "old").await.is_err(), "the kubelet has not renewed the file");
    let status = world.until("Applied", "False", "Pending").await;
    assert_eq!(status["poolers"][0]["appliedPods"], 0, "a RELOAD of the old file is no proof: {status}");
    pooler.renew(&list);
    let before = world.until("Applied", "True", "Applied").await["digest"].clone();
    let (of_alice, of_bob) = (pooler.sign_in(&alice, "old").await.unwrap(), pooler.sign_in(&bob, "bob").await.unwrap());
    let backends = (of_alice.backend().await.unwrap(), of_bob.backend().await.unwrap());

    // From the change of the Secret until the kubelet has renewed the file, the old password is taken, and only that.
    world.apply(&[secret("alice", &alice, "new")]).await;
    let list = wait_for("the list has the new password", async || world.written().await.filter(|list| list.contains("\"new\""))).await;
    assert_eq!(taken(&pooler, &alice).await, (true, false));
    wait_for("it is known that the pooler is behind", async || {
        let status = world.status().await;
        (status["digest"] != before && status["poolers"][0]["appliedPods"] == 0).then_some(())
    })
    .await;
    assert_eq!(taken(&pooler, &alice).await, (true, false));

    // From then on until the RELOAD either is taken, but never both or none; afterwards only the new one.
    pooler.renew(&list);
    wait_for("the new password is taken", async || match taken(&pooler, &alice).await {
        (false, true) => Some(()),
        // Where both are taken, the RELOAD came between the two questions.
        (true, _) => None,
        (false, false) => panic!("nobody could sign in"),
    })
    .await;
    let after = world.until("Applied", "True", "Applied").await["digest"].clone();
    assert_ne!(after, before);
    assert_eq!(taken(&pooler, &alice).await, (false, true));
    assert_eq!((of_alice.backend().await.unwrap(), of_bob.backend().await.unwrap()), backends, "sessions go on");
    assert!(pooler.sign_in(&bob, "bob").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_has_no_second_without_a_password_that_is_taken() {
    rotated(Generation::Installed, settings().await, "rotation-older").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_the_same_at_a_newer_pooler() {
    // Where the server is asked for all databases, and no sooner again than by default, a probe takes a quarter of a minute.
    rotated(Generation::Newer, PoolerSettings::default(), "rotation-newer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_s_own_password_can_be_rotated() {
    let world = World::new(ControlPlane::shared().await, "rotation-admin").await;
    let pooler = Pooler::start(Generation::Installed).await;
    let _kubelet = pooler.kubelet(&world);
    workload(&world, "Deployment", &json!({})).await;
    world.apply(&[user("admin", ADMIN)]).await;
    world.list(&pooler.spec()).await;
    let before = world.until("Applied", "True", "Applied").await["digest"].clone();
    world.apply(&[user("admin", "another")]).await;
    wait_for("the pooler takes the new password", async || pooler.bouncer.query("pgbouncer", "admin", "another", "SHOW VERSION").ok())
        .await;
    wait_for("that is known", async || {
        let status = world.until("Applied", "True", "Applied").await;
        (status["digest"] != before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_returns_is_told_anew_to_pods_that_started_with_it() {
    let world = World::new(ControlPlane::shared().await, "rotation-back").await;
    let (pooler, alice) = (Pooler::start(Generation::Installed).await, role("alice").await);
    let _kubelet = pooler.kubelet(&world);
    let secret = |password: &str| {
        let mut secret = user("alice", password);
        secret["stringData"] = json!({"username": alice});
        secret["data"].as_object_mut().unwrap().remove("username");
        secret
    };
    world.apply(&[user("admin", ADMIN), secret("old")]).await;
    world.list(&pooler.spec()).await;
    let digest = wait_for("the list is written", async || world.status().await["digest"].as_str().map(ToOwned::to_owned)).await;
    let uid = world.installation.kubectl(&["get", "userlist", "users", "-o", "jsonpath={.metadata.uid}"]).await;
    // As a restart for this list leaves them.
    let annotations = json!({"outrigger.dev/userlist-digest": digest, "outrigger.dev/userlist-uid": uid});
    workload_for(&world, "Deployment", &annotations, &digest).await;
    world.until("Applied", "True", "Applied").await;
    for (password, expected) in [("new", (false, true)), ("old", (true, false))] {
        world.apply(&[secret(password)]).await;
        wait_for(&format!("the {password} password is taken"), async || (taken(&pooler, &alice).await == expected).then_some(())).await;
        wait_for("that is known", async || {
            let status = world.until("Applied", "True", "Applied").await;
            ((status["digest"] == json!(digest)) == (password == "old")).then_some(())
        })
        .await;
    }
}
