//! Poolers that can't be told to RELOAD, and those that say themselves what they use.

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use outrigger_bed::ControlPlane;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    pooler::{run, run_annotated, workload},
    world::{World, list, user, wait_for},
};

/// The digest that the pod template was given.
async fn restarted_for(world: &World<'_>, kind: &str) -> Option<String> {
    template(world, kind, "digest").await
}

/// What the pod template was given.
async fn template(world: &World<'_>, kind: &str, what: &str) -> Option<String> {
    let path = format!(r"jsonpath={{.spec.template.metadata.annotations.outrigger\.dev/userlist-{what}}}");
    Some(world.installation.kubectl(&["get", kind, "pooler", "-o", &path]).await).filter(|value| !value.is_empty())
}

/// Lets the last restart be long ago.
async fn age(world: &World<'_>, kind: &str) {
    let (annotation, ago) = ("outrigger.dev/userlist-restarted-at", "2001-01-01T00:00:00Z");
    let annotations = json!({annotation: ago});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}).to_string();
    world.installation.kubectl(&["patch", kind, "pooler", "--type=merge", "--patch", &patch]).await;
    // If the next restart begins first, no pod is made for this one.
    let begun = wait_for("the next restart begins", async || template(world, kind, "restarted-at").await.filter(|at| at != ago));
    tokio::select! {
        _ = run_annotated(world, annotation, ago) => {}
        _ = begun => {}
    }
}

async fn until_message(world: &World<'_>, list: &str, part: &str) {
    wait_for(&format!("the status of {list} says {part:?}"), async || {
        let path = "jsonpath={.status.poolers[*].message}";
        world.installation.kubectl(&["get", "userlist", list, "-o", path]).await.contains(part).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qs_pgbouncer_p9_without_a_console_workloads_of_any_kind_are_restarted_when_the_list_changes_and_only_then() {
    let world = World::new(ControlPlane::shared().await, "restart-kinds").await;
    for (kind, chosen) in
        [("Deployment", json!({"name": "pooler"})), ("StatefulSet", json!({"selector": {"matchLabels": {"part": "pooler"}}}))]
    {
        workload(&world, kind, &json!({})).await;
        world.apply(&[user("alice", "one")]).await;
        world.installation.kubectl(&["label", kind, "pooler", "part=pooler"]).await;
        let mut pooler = chosen;
        pooler["kind"] = json!(kind);
        world.list(&json!({"poolers": [pooler]})).await;
        let digest = wait_for("it is restarted", async || restarted_for(&world, kind).await).await;
        run(&world, &digest).await;
        wait_for("its pod has started with the list", async || {
            (world.status().await["poolers"][0]["appliedPods"].as_u64()? >= 1).then_some(())
        })
        .await;
        world.apply(&[user(&format!("more-{}", kind.to_lowercase()), "two")]).await;
        // Whoever changes a password again and again does not keep it rolling.
        until_message(&world, "users", "had one a moment ago: the next begins after").await;
        assert_eq!(restarted_for(&world, kind).await, Some(digest.clone()));
        age(&world, kind).await;
        let next = wait_for("it is restarted again", async || restarted_for(&world, kind).await.filter(|next| *next != digest)).await;
        assert_eq!(world.status().await["digest"], json!(next));
        // With its pods, which have the next one's labels.
        world.installation.kubectl(&["delete", kind, "pooler", "--cascade=foreground"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_is_not_there_is_said_and_nobody_is_told_where_nobody_is_to_be() {
    let world = World::new(ControlPlane::shared().await, "restart-none").await;
    world.apply(&[user("alice", "one")]).await;
    world.list(&json!({"poolers": [{"name": "pooler"}]})).await;
    wait_for("it is said", async || world.status().await.to_string().contains("Deployment pooler does not exist").then_some(())).await;
    world.list(&json!({"poolers": [{"name": "pooler"}], "reloadPolicy": "None"})).await;
    world.until("Applied", "False", "Pending").await;
    workload(&world, "Deployment", &json!({})).await;
    until_message(&world, "users", "reloadPolicy").await;
    assert_eq!(restarted_for(&world, "Deployment").await, None);
}

/// A stand-in for the agent's one answer, which is all that the controllers know of it.
struct Agent {
    port: u16,
    applied: watch::Sender<Option<Value>>,
    serving: JoinHandle<()>,
}

impl Agent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (applied, answer) = watch::channel(None::<Value>);
        let route = get(move || {
            let answer = answer.borrow().clone();
            async move { answer.map_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response(), |answer| Json(answer).into_response()) }
        });
        let serving = tokio::spawn(async move { axum::serve(listener, Router::new().route("/applied", route)).await.unwrap() });
        Self { port, applied, serving }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_an_agent_is_only_asked() {
    let world = World::new(ControlPlane::shared().await, "restart-agent").await;
    let agent = Agent::start().await;
    workload(&world, "Deployment", &json!({"outrigger.dev/userlist-agent": agent.port.to_string()})).await;
    world.apply(&[user("alice", "one")]).await;
    world.list(&json!({"poolers": [{"name": "pooler"}]})).await;
    until_message(&world, "users", "has applied no list yet").await;
    agent.applied.send_replace(Some(json!({"digest": "no digest"})));
    wait_for("an answer that is none is said", async || world.status().await.to_string().contains("no digest").then_some(())).await;
    agent.applied.send_replace(Some(json!({"digest": "0".repeat(64)})));
    wait_for("an older list is said", async || world.status().await.to_string().contains("not applied the newest").then_some(())).await;
    let digest = world.status().await["digest"].clone();
    agent.applied.send_replace(Some(json!({"digest": digest})));
    let status = world.until("Applied", "True", "Applied").await;
    assert_eq!(status["poolers"][0]["digests"][0]["digest"], digest);
    assert_eq!(restarted_for(&world, "Deployment").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_done_only_when_its_agent_says_that_nobody_who_was_removed_is_left() {
    let world = World::new(ControlPlane::shared().await, "restart-remaining").await;
    let agent = Agent::start().await;
    workload(&world, "Deployment", &json!({"outrigger.dev/userlist-agent": agent.port.to_string()})).await;
    world.apply(&[user("alice", "one"), user("bob", "two")]).await;
    world.list(&json!({"poolers": [{"name": "pooler"}]})).await;
    let status = world.until("Applied", "False", "Pending").await;
    agent.applied.send_replace(Some(json!({"digest": status["digest"]})));
    world.until("Applied", "True", "Applied").await;

    world.delete("secret", "bob").await;
    let digest = wait_for("there is a list without bob", async || {
        let digest = world.status().await["digest"].clone();
        (digest != status["digest"]).then_some(digest)
    })
    .await;
    agent.applied.send_replace(Some(json!({"digest": digest})));
    until_message(&world, "users", "does not say whether sessions of removed users are over").await;
    assert_eq!(restarted_for(&world, "Deployment").await, None, "that is no reason to restart anybody");
    agent.applied.send_replace(Some(json!({"digest": digest, "remainingSessions": 2})));
    let restarted = wait_for("it is restarted", async || restarted_for(&world, "Deployment").await).await;
    assert_eq!(json!(restarted), digest);
    let status = world.until("Applied", "False", "Pending").await;
    assert_eq!(status["poolers"][0]["appliedPods"], 0, "{status}");
    agent.applied.send_replace(Some(json!({"digest": digest, "remainingSessions": 0})));
    run(&world, &restarted).await;
    wait_for("the new pod is done", async || (world.status().await["poolers"][0]["appliedPods"].as_u64()? >= 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_two_lists_name_is_restarted_by_one_of_them() {
    let world = World::new(ControlPlane::shared().await, "restart-rivals").await;
    workload(&world, "Deployment", &json!({})).await;
    world.apply(&[user("alice", "one")]).await;
    let spec = json!({"poolers": [{"name": "pooler"}], "reloadPolicy": "Restart"});
    world.list(&spec).await;
    let first = wait_for("it is restarted", async || template(&world, "Deployment", "uid").await).await;
    let mut other = spec;
    other["output"] = json!({"name": "other-users"});
    world.apply(&[list("others", &other)]).await;
    until_message(&world, "others", "UserList users restarts it already").await;
    age(&world, "Deployment").await;
    until_message(&world, "others", "UserList users restarts it already").await;
    assert_eq!(template(&world, "Deployment", "uid").await, Some(first.clone()));

    world.delete("userlist", "users").await;
    let second =
        wait_for("the other list takes over", async || template(&world, "Deployment", "uid").await.filter(|uid| *uid != first)).await;
    let uid = world.installation.kubectl(&["get", "userlist", "others", "-o", "jsonpath={.metadata.uid}"]).await;
    assert_eq!(second, uid);
}
