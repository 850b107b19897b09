//! For each second of a rotation: which of the two passwords signs in, and that nobody's session ends. One attempt follows the other, so no second
//! is left out.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use outrigger_bed::{ControlPlane, Generation};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    agent::{self, Agent},
    pooler::{ADMIN, Pooler, role, settings, workload},
    world::{World, user, wait_for},
};

/// How long each half of a rotation is looked at, at least.
const HALF: Duration = Duration::from_secs(3);

/// Which passwords signed in: first the old one was tried, then the new one.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    at: Duration,
    old: bool,
    new: bool,
}

/// A client that signs in all the time.
struct Client {
    attempts: Arc<Mutex<Vec<Attempt>>>,
    task: JoinHandle<()>,
}

impl Client {
    fn start(pooler: Arc<Pooler>, user: String) -> Self {
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let (begun, seen) = (Instant::now(), attempts.clone());
        let task = tokio::spawn(async move {
            loop {
                let at = begun.elapsed();
                let old = pooler.sign_in(&user, "old").await.is_ok();
                let new = pooler.sign_in(&user, "new").await.is_ok();
                seen.lock().unwrap().push(Attempt { at, old, new });
            }
        });
        Self { attempts, task }
    }

    /// Waits until the last attempts were all like this for so long as a half is to be looked at.
    async fn until_for_a_while(&self, expected: (bool, bool)) {
        wait_for(&format!("(old, new) signs in as {expected:?}"), async || {
            let attempts = self.attempts.lock().unwrap();
            let since = attempts.iter().rev().take_while(|attempt| (attempt.old, attempt.new) == expected).last()?.at;
            (attempts.last()?.at >= since + HALF).then_some(())
        })
        .await;
    }

    /// What was seen all the time: the old password until the new one, and never neither.
    async fn end(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        let attempts = self.attempts.lock().unwrap();
        let turn = attempts.iter().position(|attempt| attempt.new).unwrap();
        for attempt in &attempts[..turn] {
            assert!(attempt.old, "before the turn the old password signs in: {attempt:?}");
        }
        // The turn may come between the two questions of one attempt.
        for attempt in &attempts[turn + 1..] {
            assert!(attempt.new && !attempt.old, "after the turn the new password alone does: {attempt:?}");
        }
    }
}

/// Secrets of two users, whose roles are called otherwise than objects may be.
fn secret(object: &str, name: &str, password: &str) -> Value {
    let mut secret = user(object, password);
    secret["stringData"] = json!({"user": name});
    secret["data"].as_object_mut().unwrap().remove("username");
    secret
}

async fn by_an_agent(generation: Generation, name: &str) {
    let world = World::new(ControlPlane::shared().await, name).await;
    let (alice, bob, port) = (role("alice").await, role("bob").await, agent::port());
    workload(&world, "Deployment", &json!({"outrigger.dev/userlist-agent": port.to_string()})).await;
    world.apply(&[user("admin", ADMIN), secret("alice", &alice, "old"), secret("bob", &bob, "bob")]).await;
    world.list(&json!({"poolers": [{"name": "pooler"}]})).await;
    wait_for("the list is written", async || world.written().await.filter(|list| list.contains("\"old\"") && list.contains("\"bob\"")))
        .await;
    let folder = tempfile::tempdir().unwrap();
    agent::seed(&world, folder.path()).await;
    let pooler = Arc::new(Pooler::start_in(folder, generation, settings().await).await);
    let _agent = Agent::start(&world, &pooler, port);
    world.until("Applied", "True", "Applied").await;
    let sessions = [pooler.sign_in(&alice, "old").await.unwrap(), pooler.sign_in(&bob, "bob").await.unwrap()];
    let before = [sessions[0].backend().await.unwrap(), sessions[1].backend().await.unwrap()];

    let client = Client::start(pooler.clone(), alice.clone());
    client.until_for_a_while((true, false)).await;
    world.apply(&[secret("alice", &alice, "new")]).await;
    client.until_for_a_while((false, true)).await;
    client.end().await;
    assert_eq!([sessions[0].backend().await.unwrap(), sessions[1].backend().await.unwrap()], before, "sessions go on");
    assert!(pooler.sign_in(&bob, "bob").await.is_ok());
}

async fn by_a_mounted_secret(generation: Generation, name: &str) {
    let world = World::new(ControlPlane::shared().await, name).await;
    let (alice, bob) = (role("alice").await, role("bob").await);
    let pooler = Arc::new(Pooler::start(generation).await);
    workload(&world, "Deployment", &json!({})).await;
    world.apply(&[user("admin", ADMIN), secret("alice", &alice, "old"), secret("bob", &bob, "bob")]).await;
    world.list(&pooler.spec()).await;
    let list =
        wait_for("the list is written", async || world.written().await.filter(|list| list.contains("\"old\"") && list.contains("\"bob\"")))
            .await;
    pooler.renew(&list);
    world.until("Applied", "True", "Applied").await;
    let sessions = [pooler.sign_in(&alice, "old").await.unwrap(), pooler.sign_in(&bob, "bob").await.unwrap()];
    let before = [sessions[0].backend().await.unwrap(), sessions[1].backend().await.unwrap()];

    let client = Client::start(pooler.clone(), alice.clone());
    world.apply(&[secret("alice", &alice, "new")]).await;
    let list = wait_for("the list has the new password", async || world.written().await.filter(|list| list.contains("\"new\""))).await;
    // The kubelet takes its time; meanwhile the pooler is told to RELOAD again and again.
    client.until_for_a_while((true, false)).await;
    pooler.renew(&list);
    client.until_for_a_while((false, true)).await;
    client.end().await;
    assert_eq!([sessions[0].backend().await.unwrap(), sessions[1].backend().await.unwrap()], before, "sessions go on");
    assert!(pooler.sign_in(&bob, "bob").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_t37_each_second_of_a_rotation_by_an_agent_one_password_signs_in() {
    by_an_agent(Generation::Installed, "seconds-agent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_second_of_a_rotation_by_an_agent_one_password_signs_in_at_a_newer_pooler() {
    by_an_agent(Generation::Newer, "seconds-agent-newer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_g10_t34_each_second_of_a_rotation_by_reload_one_password_signs_in() {
    by_a_mounted_secret(Generation::Installed, "seconds-mounted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_second_of_a_rotation_by_reload_one_password_signs_in_at_a_newer_pooler() {
    by_a_mounted_secret(Generation::Newer, "seconds-mounted-newer").await;
}
