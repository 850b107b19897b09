//! What lists of users cost with a real API server, a real PostgreSQL and a real PgBouncer: a list of thousands of users from its object to
//! its Secret, one changed Secret among them, and how soon a changed password signs in at a pooler with our agent.
//!
//! `cargo bench --bench userlists` measures and prints a table. `cargo test` runs it once with few users, without measuring.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a bench that fails must say where")]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use outrigger_bed::{ControlPlane, PgBouncer, Postgres, free_port};
use serde_json::{Value, json};
use tokio_postgres::{Config, NoTls};

const MANY: usize = 6000;
const FEW: usize = 8;
const CHANGES: usize = 50;
/// Secrets are created by so many requests at a time.
const WRITERS: usize = 8;
const DEADLINE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let (users, changes) = if is_measured { (MANY, CHANGES) } else { (FEW, 2) };
    let bench = Bench::start().await;
    let product = bench.product();
    bench.create_users(users).await;
    let empty = memory(product.0.id());
    let built = bench.built(users).await;
    let one_by_one = bench.changed(users, changes.min(10)).await;
    let full = memory(product.0.id());
    let reactions = bench.reactions(changes).await;
    if is_measured {
        println!("| what | time |\n|---|---|");
        println!("| {users} users: from the UserList's creation to the written Secret | {} ms |", built.as_millis());
        println!(
            "| one of the {users} changed: to the written Secret, half of 10 below | {} ms |",
            percentile(&one_by_one, 50).as_millis()
        );
        for percent in [50, 99] {
            let time = percentile(&reactions, percent).as_millis();
            println!("| a changed Secret to a login with the new password at the pooler, {percent} % of {changes} below | {time} ms |");
        }
        println!("\nThe controllers have {empty} KiB of memory of their own without a list and {full} KiB with one of {users} Secrets.");
    }
}

/// A running process of ours, killed when it is dropped.
struct Product(Child);

impl Drop for Product {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

struct Bench {
    cluster: ControlPlane,
    postgres: Postgres,
    secrets: Api<Secret>,
}

impl Bench {
    async fn start() -> Self {
        let (cluster, postgres) = (ControlPlane::start().await, Postgres::start().await);
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/outrigger/crds");
        drop(cluster.kubectl(&["apply", "--server-side", "-f", crds]).await.success());
        drop(cluster.kubectl(&["wait", "--for=condition=Established", "crd/userlists.outrigger.dev"]).await.success());
        let secrets = Api::namespaced(cluster.client(), "default");
        Self { cluster, postgres, secrets }
    }

    fn outrigger(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(arguments).arg("--kubeconfig").arg(self.cluster.kubeconfig_path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn product(&self) -> Product {
        let status = format!("--status-address=127.0.0.1:{}", free_port().unwrap());
        let serve = ["serve", "--roles=controllers", "--repair=off", "--namespace=default", "--log=warn", &status];
        Product(self.outrigger(&serve).spawn().unwrap())
    }

    async fn create_users(&self, count: usize) {
        let create = |number: usize| async move {
            let name = format!("user-{number:05}");
            self.secrets.create(&PostParams::default(), &user(&name, "many", &format!("password-{number}"))).await.map(drop)
        };
        stream::iter(0..count).map(create).buffer_unordered(WRITERS).try_collect::<Vec<()>>().await.unwrap();
    }

    async fn create_list(&self, name: &str) {
        let list = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "UserList", "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"of": name}}, "output": {"name": name}}});
        drop(self.cluster.kubectl_with_input(&["create", "-f", "-"], &list.to_string()).await.success());
    }

    async fn list(&self, name: &str) -> String {
        let secret = self.secrets.get_opt(name).await.unwrap();
        let list = secret.and_then(|secret| secret.data?.remove("userlist.txt"));
        list.map(|list| String::from_utf8(list.0).unwrap()).unwrap_or_default()
    }

    /// Until a list has something; since when is the caller's.
    async fn until(&self, name: &str, is_there: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        while !is_there(&self.list(name).await) {
            assert!(begun.elapsed() < DEADLINE, "the list {name} is as it should be in time");
            tokio::time::sleep(POLL).await;
        }
    }

    /// From the object to its Secret.
    async fn built(&self, users: usize) -> Duration {
        let begun = Instant::now();
        self.create_list("many").await;
        self.until("many", |list| list.lines().count() == users).await;
        begun.elapsed()
    }

    /// From a change of one of many Secrets to the list with it.
    async fn changed(&self, users: usize, changes: usize) -> Vec<Duration> {
        let mut times = Vec::new();
        for change in 0..changes {
            let (name, password) = (format!("user-{:05}", change * users / changes), format!("changed-{change}"));
            let begun = Instant::now();
            self.set_password(&name, &password).await;
            let line = format!("\"{name}\" \"{password}\"\n");
            self.until("many", |list| list.contains(&line)).await;
            times.push(begun.elapsed());
        }
        times
    }

    async fn set_password(&self, name: &str, password: &str) {
        let patch = Patch::Merge(json!({"stringData": {"password": password}}));
        self.secrets.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// From a change of a Secret to a login with the new password, at a pooler that our agent keeps.
    async fn reactions(&self, changes: usize) -> Vec<Duration> {
        let role = self.postgres.database("reaction");
        let name = role.replace('_', "-");
        let mut secret = user(&name, "few", "first");
        secret.string_data = Some([("username".to_owned(), role.clone()), ("password".to_owned(), "first".to_owned())].into());
        self.secrets.create(&PostParams::default(), &secret).await.unwrap();
        self.create_list("few").await;
        self.until("few", |list| list.contains("first")).await;
        let folder = tempfile::tempdir().unwrap();
        assert!(self.agent(folder.path()).env("METHOD", "once").status().unwrap().success());
        let pooler = PgBouncer::start(&self.postgres, &folder.path().join("userlist.txt")).await;
        let agent = self
            .agent(folder.path())
            .env("PGBOUNCER_HOST", pooler.socket_folder())
            .env("PGBOUNCER_PORT", pooler.port().to_string())
            .env("PGBOUNCER_AUTH_FILE", "userlist.txt")
            .env("HEALTH_PORT", free_port().unwrap().to_string())
            .spawn();
        let _agent = Product(agent.unwrap());
        until_signed_in(pooler.port(), &role, "first").await;
        let mut times = Vec::new();
        for change in 0..changes {
            let password = format!("changed-{change}");
            let begun = Instant::now();
            self.set_password(&name, &password).await;
            until_signed_in(pooler.port(), &role, &password).await;
            times.push(begun.elapsed());
        }
        times
    }

    fn agent(&self, folder: &Path) -> Command {
        let mut command = self.outrigger(&["file-sync"]);
        command.env("FOLDER", folder).env("NAMESPACE", "default").env("RESOURCE", "secret").env("RESOURCE_NAME", "few");
        command.env("LOG_LEVEL", "error");
        command
    }
}

fn user(name: &str, list: &str, password: &str) -> Secret {
    let secret: Value = json!({"metadata": {"name": name, "labels": {"of": list}}, "stringData": {"username": name, "password": password}});
    serde_json::from_value(secret).unwrap()
}

async fn until_signed_in(port: u16, role: &str, password: &str) {
    let begun = Instant::now();
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).dbname(role).user(role).password(password);
    loop {
        if let Ok((client, connection)) = config.connect(NoTls).await {
            tokio::select! {
                answer = client.simple_query("SELECT 1") => drop(answer.unwrap()),
                ended = connection => panic!("{ended:?}"),
            }
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{role} signs in in time");
        tokio::time::sleep(POLL).await;
    }
}

/// The time that this part of them is not above.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100) - 1]
}

/// Memory of its own, in KiB: `RssAnon` of proc(5), without the pages of its program file.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
