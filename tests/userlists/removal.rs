//! Who is removed is out: with no password, not with the old one, and not in a session that goes on.

use outrigger::postgres::{
    pgbouncer::{CONSOLE, Console},
    session::Target,
    tls::Tls,
};
use outrigger_bed::{ControlPlane, Generation, PoolerSettings};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    pooler::{ADMIN, Pooler, role, run, workload},
    world::{OUTPUT, World, controllers, user, wait_for},
};

/// Two users signed in, of whom one is removed.
async fn without(generation: Generation, name: &str, check: impl AsyncFnOnce(&World<'_>, &Pooler, &str)) {
    let world = World::new(ControlPlane::shared().await, name).await;
    let (pooler, gone, stays) = (Pooler::start(generation).await, role("gone").await, role("stays").await);
    let _kubelet = pooler.kubelet(&world);
    workload(&world, "Deployment", &json!({})).await;
    world
        .apply(
            &[user("admin", ADMIN), user("gone", "before"), user("stays", "other")]
                .map(|secret| named(secret, &[("gone", &gone), ("stays", &stays)])),
        )
        .await;
    world.list(&pooler.spec()).await;
    world.until("Applied", "True", "Applied").await;
    let (leaving, staying) = (pooler.sign_in(&gone, "before").await.unwrap(), pooler.sign_in(&stays, "other").await.unwrap());
    let backend = staying.backend().await.unwrap();

    world.delete("secret", "gone").await;
    wait_for("the removed user's password is refused", async || pooler.sign_in(&gone, "before").await.is_err().then_some(())).await;
    for password in ["", "before"] {
        let refused = pooler.sign_in(&gone, password).await.err().unwrap();
        assert!(refused.contains("authentication failed"), "{password:?}: {refused}");
    }
    check(&world, &pooler, &gone).await;
    if generation == Generation::Newer {
        wait_for("the removed user's session is over", async || leaving.backend().await.is_err().then_some(())).await;
    }
    assert_eq!(staying.backend().await.unwrap(), backend, "the session of another user goes on");
    assert!(pooler.sign_in(&stays, "other").await.is_ok());
}

/// The digest for which the workload is restarted, once it is.
async fn restarted(world: &World<'_>) -> String {
    wait_for("the workload is restarted", async || Some(restarted_for(world).await).filter(|digest| !digest.is_empty())).await
}

async fn restarted_for(world: &World<'_>) -> String {
    let path = r"jsonpath={.spec.template.metadata.annotations.outrigger\.dev/userlist-digest}";
    world.installation.kubectl(&["get", "deployment", "pooler", "-o", path]).await
}

/// The Secret with the role's own name as its user.
fn named(mut secret: Value, names: &[(&str, &str)]) -> Value {
    for (name, user) in names {
        if secret["metadata"]["name"] == *name {
            secret["stringData"] = json!({"username": user});
            secret["data"].as_object_mut().unwrap().remove("username");
        }
    }
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_user_is_out_at_once_where_sessions_can_be_ended() {
    without(Generation::Newer, "removal-newer", async |world, _, _| {
        world.until("Applied", "True", "Applied").await;
        let template = "jsonpath={.spec.template.metadata.annotations}";
        let annotations = world.installation.kubectl(&["get", "deployment", "pooler", "-o", template]).await;
        assert!(!annotations.contains("userlist-digest"), "nothing is restarted: {annotations}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_user_s_session_ends_by_a_rolling_restart_where_it_can_not_be_ended() {
    without(Generation::Installed, "removal-older", async |world, _, _| {
        let digest = restarted(world).await;
        run(world, &digest).await;
        let status = wait_for("its new pod has started with the list", async || {
            let status = world.status().await;
            let pods = status["poolers"][0]["digests"].as_array()?.clone();
            pods.iter().any(|pod| pod["digest"] == json!(digest)).then_some(status)
        })
        .await;
        assert_eq!(status["digest"], json!(digest), "the restart was for the newest list");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_let_in_by_name_alone_is_out_once_all_pods_have_started_without_them() {
    let world = World::new(ControlPlane::shared().await, "removal-trust").await;
    let settings = || PoolerSettings { auth_type: "trust", ..PoolerSettings::default() };
    let (pooler, gone) = (Pooler::start_with(Generation::Installed, settings()).await, role("gone").await);
    let _kubelet = pooler.kubelet(&world);
    workload(&world, "Deployment", &json!({})).await;
    world.apply(&[user("admin", ADMIN), named(user("gone", "before"), &[("gone", &gone)])]).await;
    let mut spec = pooler.spec();
    spec["authType"] = json!("trust");
    world.list(&spec).await;
    wait_for("whatever the password", async || pooler.sign_in(&gone, "another").await.ok()).await;
    assert_eq!(restarted_for(&world).await, "", "nobody is restarted for who comes");

    world.delete("secret", "gone").await;
    let digest = restarted(&world).await;
    let list = world.written().await.unwrap();
    assert!(!list.contains(&gone), "a tombstone would let them in: {list}");
    world.until("Applied", "False", "Pending").await;
    assert!(pooler.sign_in(&gone, "another").await.is_ok(), "its old pod remembers them");
    run(&world, &digest).await;
    world.until("Applied", "True", "Applied").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("userlist.txt"), &list).unwrap();
    let started = Pooler::start_in(folder, Generation::Installed, settings()).await;
    let refused = started.sign_in(&gone, "another").await.err().unwrap();
    assert!(refused.contains(r#"\"trust\" authentication failed"#), "{refused}");

    world.apply(&[user("later", "x")]).await;
    wait_for("who comes later is made known by RELOAD", async || world.status().await.to_string().contains("told to RELOAD").then_some(()))
        .await;
    assert_eq!(restarted_for(&world).await, digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_knows_any_more_who_was_removed_all_pods_start_anew() {
    let mut world = World::new(ControlPlane::shared().await, "removal-forgotten").await;
    let (pooler, gone) = (Pooler::start(Generation::Installed).await, role("gone").await);
    let _kubelet = pooler.kubelet(&world);
    workload(&world, "Deployment", &json!({})).await;
    world.apply(&[user("admin", ADMIN), named(user("gone", "before"), &[("gone", &gone)])]).await;
    world.list(&pooler.spec()).await;
    let first = world.until("Applied", "True", "Applied").await["digest"].clone();
    world.delete("secret", "gone").await;
    let before = wait_for("the list without them is live", async || {
        let status = world.until("Applied", "True", "Applied").await;
        Some(status["digest"].clone()).filter(|digest| *digest != first)
    })
    .await;

    world.server.signal(Signal::TERM);
    world.server.exit().await;
    world.delete("secret", OUTPUT).await;
    world.server = controllers(&world.installation);
    let digest = restarted(&world).await;
    assert_ne!(json!(digest), before);
    assert!(!world.written().await.unwrap().contains(&gone), "nobody remembers them");
    let refused = pooler.sign_in(&gone, "").await.err().unwrap();
    assert!(refused.contains("authentication failed"), "a RELOAD of the new list would have let them in: {refused}");
    run(&world, &digest).await;
    world.until("Applied", "True", "Applied").await;
    assert_eq!(restarted_for(&world).await, digest, "once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_has_left_before_it_could_be_ended_holds_nobody_up() {
    let pooler = Pooler::start(Generation::Newer).await;
    let console = Target {
        host: "127.0.0.1".to_owned(),
        port: pooler.bouncer.port(),
        database: CONSOLE.to_owned(),
        user: "admin".to_owned(),
        password: Some(ADMIN.into()),
        tls: Tls::default(),
        options: None,
    };
    Console::open(&console).await.unwrap().kill_client(1_000_000).await.unwrap();
}
