//! A server that is away takes no pooler with it: probes succeed, clients wait and are served when it is back, and an alert says so meanwhile.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use outrigger_bed::{Generation, Postgres};
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::{helm::Helm, judges::prometheus, live::Live, monitoring, until::until};

/// The columns of `SHOW POOLS` that matter here, and what the exporter calls them.
const EXPORTED: [(&str, &str); 6] = [
    ("cl_waiting", "client_waiting_connections"),
    ("maxwait", "client_maxwait_seconds"),
    ("sv_active", "server_active_connections"),
    ("sv_idle", "server_idle_connections"),
    ("sv_used", "server_used_connections"),
    ("sv_tested", "server_testing_connections"),
];

/// A row of `SHOW POOLS`: the database, the user, and these columns.
type Pool = (String, String, [u64; EXPORTED.len()]);

async fn pools(console: &Client) -> Vec<Pool> {
    let answer = console.simple_query("SHOW POOLS").await.unwrap();
    let rows = answer.iter().filter_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None });
    let named = rows.map(|row| {
        let counts = EXPORTED.map(|(column, _)| row.get(column).unwrap().parse().unwrap());
        (row.get("database").unwrap().to_owned(), row.get("user").unwrap().to_owned(), counts)
    });
    named.collect()
}

/// The databases for which the alert is raised while the pools are so.
fn alerts(pools: &[Pool]) -> Vec<String> {
    let mut series = "load 1m\n".to_owned();
    for (database, user, counts) in pools {
        for ((_, metric), count) in EXPORTED.iter().zip(counts) {
            writeln!(
                series,
                "pgbouncer_pools_{metric}{{namespace=\"db\", pod=\"a\", database=\"{database}\", user=\"{user}\"}} {count}x40"
            )
            .unwrap();
        }
    }
    let expression = monitoring::expression("PgBouncerServerAway");
    let (complaints, answers) = prometheus(&json!({"questions": [{"series": series, "expression": expression, "minute": 30}]}));
    assert_eq!(complaints, "");
    let elements = answers[0].as_array().cloned().unwrap_or_default();
    elements.iter().map(|element: &Value| element["metric"]["database"].as_str().unwrap().to_owned()).collect()
}

async fn connect(config: &Config) -> Result<Client, String> {
    let (client, driver) = config.connect(NoTls).await.map_err(|error| format!("{error:?}"))?;
    // Its end shows in what is asked next.
    tokio::spawn(driver);
    Ok(client)
}

/// The address at which the server is found: while it is shut nobody listens there, as at a Service without endpoints.
struct Gate {
    task: JoinHandle<()>,
    port: u16,
}

impl Gate {
    async fn open(port: u16, server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            // Those who came in go with the gate.
            let mut inside = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                inside.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { task, port }
    }

    async fn shut(self) -> u16 {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        self.port
    }
}

/// Looks at both probes again and again.
struct Kubelet {
    looked: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Kubelet {
    fn start(live: Arc<Live>) -> Self {
        let (looked, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (looks, failures) = (looked.clone(), failed.clone());
        let task = tokio::spawn(async move {
            loop {
                for probe in ["readinessProbe", "livenessProbe"] {
                    let looked_at = live.clone();
                    let succeeds = tokio::task::spawn_blocking(move || looked_at.probe(probe)).await.unwrap();
                    failures.fetch_add(usize::from(!succeeds), Ordering::SeqCst);
                }
                looks.fetch_add(1, Ordering::SeqCst);
                sleep(Duration::from_millis(20)).await;
            }
        });
        Self { looked, failed, task }
    }

    /// How often a probe failed, after some more looks.
    async fn failures(&self) -> usize {
        let before = self.looked.load(Ordering::SeqCst);
        until("the probes are looked at", async || match self.looked.load(Ordering::SeqCst) {
            now if now >= before + 20 => Ok(()),
            now => Err(now.to_string()),
        })
        .await;
        self.failed.load(Ordering::SeqCst)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn a_server_that_is_away(generation: Generation, test: &str) {
    let Some(helm) = Helm::obtain(test) else { return };
    let server = Postgres::start().await;
    let gate = Gate::open(0, server.port()).await;
    let (user, first_timer) = (server.database("patient"), server.database("first"));
    let more = [
        "instances.one.databases.app.host=127.0.0.1".to_owned(),
        format!("instances.one.databases.app.port={}", gate.port),
        "instances.one.databases.app.dbname=postgres".to_owned(),
        "defaults.config.server_login_retry=1".to_owned(),
        "defaults.config.default_pool_size=1".to_owned(),
    ];
    let live = Arc::new(Live::render(&helm, generation, "db", &more));
    live.write_list(&format!("\"{user}\" \"password\"\n\"{first_timer}\" \"password\"\n"));
    let _pooler = live.pooler().await;
    let console = connect(&live.exporters_connection().parse().unwrap()).await.unwrap();
    let config_of = |user: &str| {
        let mut config = Config::new();
        config.host("127.0.0.1").port(live.port()).dbname("app").user(user).password("password");
        config
    };
    let (config, config_of_first) = (config_of(&user), config_of(&first_timer));
    let (open, other) = (connect(&config).await.unwrap(), connect(&config).await.unwrap());
    let of_app = async || pools(&console).await.into_iter().filter(|(database, ..)| database == "app").collect::<Vec<_>>();
    let until_pools = async |what: &str, is_so: &dyn Fn(&[Pool]) -> bool| {
        until(what, async || match of_app().await {
            pools if is_so(&pools) => Ok(pools),
            pools => Err(format!("{pools:?}")),
        })
        .await
    };
    let waiting = |pools: &[Pool]| pools.iter().map(|(_, _, counts)| counts[0]).sum::<u64>();
    let for_long = |pools: &[Pool]| pools.iter().any(|(_, _, counts)| counts[1] > 5);

    // Clients wait for a pool that is busy, too, and nobody says that the server is away.
    open.batch_execute("BEGIN").await.unwrap();
    let second = tokio::spawn(async move { other.batch_execute("SELECT 1").await });
    let busy = until_pools("a client waits for long", &for_long).await;
    assert_eq!(alerts(&busy), Vec::<String>::new(), "{busy:?}");
    open.batch_execute("COMMIT").await.unwrap();
    second.await.unwrap().unwrap();

    let kubelet = Kubelet::start(live.clone());
    assert_eq!(kubelet.failures().await, 0);
    let port = gate.shut().await;
    server.kill();
    let with_session = tokio::spawn(async move { open.batch_execute("SELECT 1").await });
    let for_the_first_time =
        tokio::spawn(async move { connect(&config_of_first).await?.batch_execute("SELECT 1").await.map_err(|error| format!("{error:?}")) });
    let away = until_pools("both have waited for long", &|pools| waiting(pools) == 2 && for_long(pools)).await;
    assert_eq!(alerts(&away), ["app"], "{away:?}");
    assert_eq!(kubelet.failures().await, 0, "the pods stay ready and alive");

    server.restart();
    let _gate = Gate::open(port, server.port()).await;
    with_session.await.unwrap().unwrap();
    for_the_first_time.await.unwrap().unwrap();
    let back = of_app().await;
    assert_eq!(alerts(&back), Vec::<String>::new(), "{back:?}");
    assert_eq!(kubelet.failures().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_takes_no_pooler_with_it_and_an_alert_says_so() {
    a_server_that_is_away(Generation::Installed, "a_server_that_is_away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_takes_no_newer_pooler_with_it_and_an_alert_says_so() {
    a_server_that_is_away(Generation::Newer, "a_server_that_is_away_newer").await;
}
