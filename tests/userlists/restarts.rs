//! Poolers that can't be told to RELOAD, and those that say themselves what they use.

use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use outrigger_bed::ControlPlane;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    pooler::{run, workload},
    world::{World, user, wait_for},
};

/// The digest that the pod template was given.
async fn restarted_for(world: &World<'_>, kind: &str) -> Option<String> {
    let path = r"jsonpath={.spec.template.metadata.annotations.outrigger\.dev/userlist-digest}";
    Some(world.installation.kubectl(&["get", kind, "pooler", "-o", path]).await).filter(|digest| !digest.is_empty())
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
        let next = wait_for("it is restarted again", async || restarted_for(&world, kind).await.filter(|next| *next != digest)).await;
        assert_eq!(world.status().await["digest"], json!(next));
        world.delete(kind, "pooler").await;
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
    let status = wait_for("the pod is seen", async || Some(world.status().await).filter(|status| status["poolers"][0]["pods"] == 1)).await;
    assert!(status.to_string().contains("reloadPolicy"), "{status}");
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
    let status = world.until("Applied", "False", "Pending").await;
    assert!(status.to_string().contains("has applied no list yet"), "{status}");
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
