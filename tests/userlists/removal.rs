//! Who is removed is out: with no password, not with the old one, and not in a session that goes on.

use outrigger::postgres::{
    pgbouncer::{CONSOLE, Console},
    session::Target,
    tls::Tls,
};
use outrigger_bed::{ControlPlane, Generation};
use serde_json::{Value, json};

use crate::{
    pooler::{ADMIN, Pooler, role, run, workload},
    world::{World, user, wait_for},
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
        let digest = wait_for("the workload is restarted", async || {
            let path = r"jsonpath={.spec.template.metadata.annotations.outrigger\.dev/userlist-digest}";
            Some(world.installation.kubectl(&["get", "deployment", "pooler", "-o", path]).await).filter(|digest| !digest.is_empty())
        })
        .await;
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
