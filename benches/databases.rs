//! What databases cost on a real PostgreSQL with a real API server: many new objects until all are Ready, beside CREATE DATABASE and the
//! same writes to the API done by hand; and a steady state with twice as many, in which nothing changes.
//!
//! `cargo bench --bench databases` measures and prints a table; `OUTRIGGER_BENCH_DATABASES` says of how many (1000). Each takes 8 MB of
//! the disk. `cargo test` runs it once with few objects, without measuring.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a bench that fails must say where")]

use std::{
    ops::Range,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::ApiResource,
};
use outrigger_bed::{ControlPlane, Postgres, free_port};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::NoTls;

const MANY: usize = 1000;
const FEW: usize = 8;
/// As many connections as the product uses.
const LANES: usize = 4;
/// Objects are created by so many requests at a time.
const WRITERS: usize = 8;
const IDLE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(900);
const LOOKS: &str = "outrigger_databases_looks_total";

#[tokio::main]
async fn main() {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let many = std::env::var("OUTRIGGER_BENCH_DATABASES").ok().and_then(|count| count.parse().ok()).unwrap_or(MANY);
    let count = if is_measured { many } else { FEW };
    let bench = Bench::start().await;

    // Half before and half after, since a server changes while it is used.
    let mut by_hand = bench.by_hand(0..count / 2).await;
    let product = bench.product();
    bench.until_ready_server().await;
    let before = bench.statements();
    let made = bench.made(&product, 0..count).await;
    let statements = bench.statements() - before;
    by_hand += bench.by_hand(count / 2..count).await;
    bench.fsync("off");
    bench.made(&product, count..2 * count).await;
    let idle = bench.idle(&product, 2 * count, if is_measured { IDLE } else { Duration::from_secs(2) }).await;
    if is_measured {
        println!("| {count} databases | time | a second | statements for each |\n|---|---|---|---|");
        println!("| by hand | {:.1} s | {:.0} | 1 |", by_hand.as_secs_f64(), rate(count, by_hand));
        let each = statements / i64::try_from(count).unwrap();
        println!("| objects to Ready | {:.1} s | {:.0} | {each} |", made.as_secs_f64(), rate(count, made));
        println!("\nThe product reaches {:.0} % of what is done by hand.", 100.0 * by_hand.as_secs_f64() / made.as_secs_f64());
        println!("{idle}");
    }
}

fn rate(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / time.as_secs_f64()
}

struct Bench {
    cluster: ControlPlane,
    postgres: Postgres,
    client: Client,
}

/// The running product, killed when it is dropped.
struct Product {
    child: Child,
    status: u16,
}

impl Drop for Product {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Bench {
    async fn start() -> Self {
        let (cluster, postgres) = (ControlPlane::start().await, Postgres::start().await);
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/outrigger/crds");
        drop(cluster.kubectl(&["apply", "--server-side", "-f", crds]).await.success());
        // As a server has it whose data matters; and one that counts the statements of each role.
        postgres.query_as_owner("postgres", "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'");
        postgres.kill();
        postgres.restart();
        postgres.query_as_owner("postgres", "CREATE EXTENSION pg_stat_statements");
        postgres.query_as_owner("postgres", "CREATE ROLE bench LOGIN CREATEDB CREATEROLE PASSWORD 'password'");
        let server = json!({
            "apiVersion": "outrigger.dev/v1alpha1", "kind": "PgServer", "metadata": {"name": "main"},
            "spec": {"host": "127.0.0.1", "port": postgres.port(), "credentials": {"name": "admin"}, "tls": {"mode": "Disable"},
                "allow": [{"namespaces": ["*"]}]},
        });
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "admin", "namespace": "default"},
            "stringData": {"username": "bench", "password": "password"}});
        for object in [server, secret] {
            drop(cluster.kubectl_with_input(&["apply", "-f", "-"], &object.to_string()).await.success());
        }
        let client = cluster.client();
        let bench = Self { cluster, postgres, client };
        bench.fsync("on");
        bench
    }

    /// Whether the server waits for its disk.
    fn fsync(&self, is_on: &str) {
        self.postgres.query_as_owner("postgres", &format!("ALTER SYSTEM SET fsync = {is_on}"));
        self.postgres.query_as_owner("postgres", "SELECT pg_reload_conf()");
    }

    fn databases(&self) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("outrigger.dev", "v1alpha1", "PgDatabase"), "pgdatabases");
        Api::namespaced_with(self.client.clone(), "default", &resource)
    }

    fn object(name: &str, server: &str) -> DynamicObject {
        let object = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "PgDatabase", "metadata": {"name": name}, "spec": {"server": server, "name": name}});
        serde_json::from_value(object).unwrap()
    }

    /// Each object, its database and its status, by as many hands as the product has, who do nothing else.
    async fn by_hand(&self, numbers: Range<usize>) -> Duration {
        let api = self.databases();
        let begun = Instant::now();
        let hands = (0..LANES).map(|hand| {
            let (api, numbers) = (api.clone(), numbers.clone());
            let config = format!("host=127.0.0.1 port={} user=bench password=password dbname=postgres", self.postgres.port());
            async move {
                let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
                let work = async {
                    for number in numbers.skip(hand).step_by(LANES) {
                        let name = format!("hand{number}");
                        api.create(&PostParams::default(), &Self::object(&name, "nobody")).await.unwrap();
                        client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 STRATEGY WAL_LOG")).await.unwrap();
                        let condition = |type_: &str, reason: &str| {
                            json!({"type": type_, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1})
                        };
                        let conditions = [condition("Ready", "AsAsked"), condition("Claimed", "Claimed"), condition("Drifted", "AsAsked")];
                        let status = json!({"status": {"conditions": conditions, "phase": "Ready", "oid": 1, "observedGeneration": 1}});
                        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
                    }
                };
                tokio::select! {
                    () = work => {}
                    ended = connection => panic!("{ended:?}"),
                }
            }
        });
        futures::future::join_all(hands).await;
        let time = begun.elapsed();
        let delete = |number: usize| {
            let api = api.clone();
            async move { api.delete(&format!("hand{number}"), &DeleteParams::default()).await.map(drop) }
        };
        stream::iter(numbers.clone()).map(delete).buffer_unordered(WRITERS).try_collect::<Vec<()>>().await.unwrap();
        self.fsync("off");
        for number in numbers {
            self.postgres.query_as_owner("postgres", &format!("DROP DATABASE hand{number}"));
        }
        self.fsync("on");
        self.postgres.query_as_owner("postgres", "CHECKPOINT");
        time
    }

    fn product(&self) -> Product {
        let status = free_port().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(["serve", "--roles=controllers", "--repair=off", "--databases", "--databases-interval=10s", "--namespace=default"]);
        command.arg("--kubeconfig").arg(self.cluster.kubeconfig_path()).arg(format!("--status-address=127.0.0.1:{status}"));
        command.arg("--log=warn").stdin(Stdio::null()).stdout(Stdio::null());
        Product { child: command.spawn().unwrap(), status }
    }

    /// From the first object that is created until all are Ready.
    async fn made(&self, product: &Product, numbers: Range<usize>) -> Duration {
        let api = self.databases();
        let (begun, count, end) = (Instant::now(), numbers.len(), numbers.end);
        let create = |number: usize| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), &Self::object(&format!("made{number}"), "main")).await.map(drop) }
        };
        stream::iter(numbers).map(create).buffer_unordered(WRITERS).try_collect::<Vec<()>>().await.unwrap();
        loop {
            assert!(begun.elapsed() < DEADLINE, "{count} databases are made in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
            // The list is asked for once its answer is likely to be the last: it would keep the API server from its other work.
            if product.metric("outrigger_databases_jobs_total{outcome=\"settled\"}").await < end {
                continue;
            }
            let list = api.list(&ListParams::default()).await.unwrap();
            let is_ready = |object: &&DynamicObject| {
                let conditions = object.data["status"]["conditions"].as_array();
                conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            };
            if list.items.iter().filter(is_ready).count() == end {
                return begun.elapsed();
            }
        }
    }

    async fn until_ready_server(&self) {
        let wait = ["wait", "--for=condition=Ready", "pgserver/main", "--timeout=60s"];
        drop(self.cluster.kubectl(&wait).await.success());
    }

    /// What the product has asked the server so far.
    fn statements(&self) -> i64 {
        let sql = "SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements WHERE userid = 'bench'::regrole";
        self.postgres.query_as_owner("postgres", sql).parse().unwrap()
    }

    /// What a while without a change costs.
    async fn idle(&self, product: &Product, count: usize, time: Duration) -> String {
        let process = product.child.id();
        let (cpu, looks, statements) = (cpu_ticks(process), product.metric(LOOKS).await, self.statements());
        tokio::time::sleep(time).await;
        let (cpu, looks) = (cpu_ticks(process) - cpu, product.metric(LOOKS).await - looks);
        format!(
            "{count} databases that nobody changes, for {time:?}: {looks} looks, {} statements, {} ms of CPU, {} KiB resident",
            self.statements() - statements,
            cpu * 10,
            memory(process)
        )
    }
}

impl Product {
    /// What it counts under this name.
    async fn metric(&self, name: &str) -> usize {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.status)).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        value.trim().parse().unwrap()
    }
}

/// User and system time, in hundredths of a second.
fn cpu_ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
