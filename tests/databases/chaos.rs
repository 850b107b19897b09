//! Servers and the program are killed at random under many objects that come and go: in the end all is as a model says it should be.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
    core::DynamicObject,
};
use outrigger::{api::pg_database::PgDatabase, databases::objects::Followed};
use outrigger_bed::Postgres;
use rustix::process::Signal;
use serde_json::json;
use tokio_postgres::NoTls;

use super::world::{World, condition_of, login, make_admin};

/// So many of the seeds, unless `OUTRIGGER_CHAOS_SEEDS` says otherwise: `make soak` takes twenty.
const SEEDS: u64 = 2;
/// So many objects in each.
const OBJECTS: usize = 200;
const SERVERS: usize = 2;
/// How often a server is killed and comes back.
const OUTAGES: usize = 4;
/// The length of a seed, in moments at which something may happen.
const LENGTH: u64 = 1_000_000;
const DEADLINE: Duration = Duration::from_secs(150);

/// Numbers that follow from a seed (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// One of so many times.
    fn is_one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }

    fn server(&mut self) -> usize {
        usize::try_from(self.below(SERVERS as u64)).unwrap()
    }
}

/// What becomes of one object.
#[allow(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
#[derive(Debug, Clone)]
struct Fate {
    name: String,
    server: usize,
    /// Whether its database goes with it.
    drops: bool,
    /// Whether somebody else has a database of its name.
    is_taken: bool,
    /// Whether it is deleted before the end.
    goes: bool,
    /// Whether an owner with a Secret is made for it.
    is_owned: bool,
    /// Whether its database is closed and renamed before it is dropped.
    has_grace: bool,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Create(usize),
    Delete(usize),
    Kill(usize),
    Restart(usize),
    KillTheProgram,
}

fn fates(seed: u64, numbers: &mut Numbers) -> Vec<Fate> {
    let fate = |number| {
        let drops = !numbers.is_one_in(5);
        Fate {
            name: format!("s{seed}-n{number}"),
            server: numbers.server(),
            drops,
            is_taken: numbers.is_one_in(20),
            goes: numbers.is_one_in(4),
            is_owned: drops && numbers.is_one_in(4),
            has_grace: drops && numbers.is_one_in(8),
        }
    };
    (0..OBJECTS).map(fate).collect()
}

/// What happens, in this order. Who goes, goes after it has come, and so do servers.
fn events(fates: &[Fate], numbers: &mut Numbers) -> Vec<Event> {
    let mut events = vec![(numbers.below(LENGTH), Event::KillTheProgram)];
    for (index, fate) in fates.iter().enumerate() {
        let comes = numbers.below(LENGTH);
        events.push((comes, Event::Create(index)));
        if fate.goes {
            events.push((comes + 1 + numbers.below(LENGTH), Event::Delete(index)));
        }
    }
    for _ in 0..OUTAGES {
        let (server, begins) = (numbers.server(), numbers.below(LENGTH));
        events.push((begins, Event::Kill(server)));
        events.push((begins + 1 + numbers.below(LENGTH / 4), Event::Restart(server)));
    }
    events.sort_by_key(|(moment, _)| *moment);
    events.into_iter().map(|(_, event)| event).collect()
}

/// The program, its servers, and the objects.
struct Stage {
    world: World,
    servers: [&'static Postgres; SERVERS],
    names: [String; SERVERS],
    api: Api<DynamicObject>,
}

impl Stage {
    async fn set_up() -> Self {
        let world = World::on("db-chaos", Postgres::start().await).await;
        let other: &'static Postgres = Box::leak(Box::new(Postgres::start().await));
        make_admin(other);
        let (servers, names) = ([world.postgres, other], [world.name().to_owned(), format!("{}-other", world.name())]);
        for (name, server) in names.iter().zip(servers) {
            let spec = json!({"host": "127.0.0.1", "port": server.port(), "credentials": {"name": "admin"}, "tls": {"mode": "Require", "ca": null},
                "allow": [{"namespaces": [world.name()]}]});
            let server = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "PgServer", "metadata": {"name": name}, "spec": spec});
            world.installation.apply(&[server]).await;
        }
        let api = Api::namespaced_with(world.installation.cluster.client(), world.name(), &PgDatabase::resource());
        let mut stage = Self { world, servers, names, api };
        stage.start();
        stage
    }

    fn start(&mut self) {
        let other = format!("--databases-servers={}", self.names[1]);
        self.world.start(&[other.as_str()]);
    }

    async fn create(&self, fate: &Fate) {
        let policy = if fate.drops { "Delete" } else { "Retain" };
        let mut object = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "PgDatabase", "metadata": {"name": fate.name},
            "spec": {"server": self.names[fate.server], "reclaimPolicy": policy}});
        if fate.is_owned {
            object["spec"]["owner"] = json!({"name": fate.name, "create": true});
            object["spec"]["connectionSecret"] = json!({"name": fate.name});
        }
        if fate.has_grace {
            object["spec"]["drop"] = json!({"gracePeriod": "1s"});
        }
        self.api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    async fn delete(&self, fate: &Fate) {
        self.api.delete(&fate.name, &DeleteParams::default()).await.unwrap();
    }

    async fn play(&mut self, fates: &[Fate], events: &[Event]) {
        let mut is_up = [true; SERVERS];
        for event in events {
            match *event {
                Event::Create(index) => self.create(&fates[index]).await,
                Event::Delete(index) => self.delete(&fates[index]).await,
                Event::Kill(server) if is_up[server] => {
                    self.servers[server].kill();
                    is_up[server] = false;
                }
                Event::Restart(server) if !is_up[server] => {
                    self.servers[server].restart();
                    is_up[server] = true;
                }
                Event::KillTheProgram => {
                    let program = self.world.controllers.take().unwrap();
                    program.signal(Signal::KILL);
                    drop(program);
                    self.start();
                }
                Event::Kill(_) | Event::Restart(_) => {}
            }
        }
        for (server, _) in self.servers.iter().zip(is_up).filter(|(_, is_up)| !is_up) {
            server.restart();
        }
    }

    /// Waits until these objects are there, no others, and each as it should be.
    async fn until_settled(&self, seed: u64, fates: &[&Fate]) {
        let begun = Instant::now();
        loop {
            let list = self.api.list(&ListParams::default()).await.unwrap().items;
            let reason = |fate: &Fate| {
                let object = list.iter().find(|object| object.metadata.name.as_ref() == Some(&fate.name))?;
                Some(condition_of(&json!({"status": object.data["status"]}), "Ready")["reason"].as_str()?.to_owned())
            };
            let expected = |fate: &Fate| if fate.is_taken { "AlreadyExists" } else { "AsAsked" };
            let open: Vec<_> = fates
                .iter()
                .map(|fate| (&fate.name, reason(fate), expected(fate)))
                .filter(|(_, is, be)| is.as_deref() != Some(*be))
                .collect();
            if open.is_empty() && list.len() == fates.len() {
                return;
            }
            let log = || self.world.controllers.as_ref().unwrap().log();
            assert!(begun.elapsed() < DEADLINE, "seed {seed}: {} objects of {}, and {open:?}\n{}", list.len(), fates.len(), log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until no database waits to be dropped any more.
    async fn until_swept(&self, seed: u64) {
        let waiting = format!("SELECT count(*) FROM outrigger.claims WHERE stage = 'retired' AND database LIKE 's{seed}-n%'");
        let begun = Instant::now();
        while self.servers.iter().any(|server| server.query_as_owner("outrigger", &waiting) != "0") {
            assert!(
                begun.elapsed() < DEADLINE,
                "seed {seed}: databases wait to be dropped\n{}",
                self.world.controllers.as_ref().unwrap().log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The databases of a seed, by server.
    fn found(&self, seed: u64) -> BTreeSet<(usize, String)> {
        let sql = format!("SELECT datname FROM pg_database WHERE datname LIKE 's{seed}-n%'");
        let names = |server: usize| self.servers[server].query_as_owner("postgres", &sql);
        (0..SERVERS).flat_map(|server| names(server).lines().map(|name| (server, name.to_owned())).collect::<Vec<_>>()).collect()
    }

    async fn one(&mut self, seed: u64) {
        let mut numbers = Numbers(seed);
        let fates = fates(seed, &mut numbers);
        let events = events(&fates, &mut numbers);
        let taken: Vec<&Fate> = fates.iter().filter(|fate| fate.is_taken).collect();
        for fate in &taken {
            self.statement(fate.server, &format!("CREATE DATABASE \"{}\" TEMPLATE template0 STRATEGY WAL_LOG", fate.name)).await;
        }
        self.play(&fates, &events).await;

        let stay: Vec<&Fate> = fates.iter().filter(|fate| !fate.goes).collect();
        self.until_settled(seed, &stay).await;
        self.until_swept(seed).await;
        let key = |fate: &&Fate| (fate.server, fate.name.clone());
        let expected: BTreeSet<_> = stay.iter().chain(&taken).map(key).collect();
        // Nothing says whether it was made before its object was deleted.
        let unknown: BTreeSet<_> = fates.iter().filter(|fate| fate.goes && !fate.drops && !fate.is_taken).map(|fate| key(&fate)).collect();
        let certain: BTreeSet<_> = self.found(seed).difference(&unknown).cloned().collect();
        assert_eq!(certain, expected, "seed {seed}: what is there");
        self.assert_claims(seed, &fates);
        self.assert_owners(seed, &stay).await;

        // All go, and with them what was made for them alone.
        for fate in &stay {
            self.delete(fate).await;
        }
        self.until_settled(seed, &[]).await;
        self.until_swept(seed).await;
        let kept = fates.iter().filter(|fate| fate.is_taken || !fate.goes && !fate.drops).map(|fate| key(&fate)).collect();
        let left = self.found(seed);
        assert_eq!(left.difference(&unknown).cloned().collect::<BTreeSet<_>>(), kept, "seed {seed}: what is left");
        self.assert_claims(seed, &fates);
        self.assert_owners(seed, &[]).await;
        for (server, name) in left {
            self.statement(server, &format!("DROP DATABASE \"{name}\"")).await;
        }
    }

    /// No claim is to what isn't there, or to what somebody else has made.
    fn assert_claims(&self, seed: u64, fates: &[Fate]) {
        for (number, server) in self.servers.iter().enumerate() {
            // Claims of those that go and keep their database are nobody's any more, whatever becomes of it.
            let orphans =
                "SELECT count(*) FROM outrigger.claims c LEFT JOIN pg_database d USING (oid) WHERE d.oid IS NULL AND c.stage = 'held'";
            let of_seed = format!("{orphans} AND c.database LIKE 's{seed}-n%'");
            assert_eq!(server.query_as_owner("outrigger", &of_seed), "0", "seed {seed}: claims to nothing");
            // Only who has no finalizer can go in the middle of it.
            let may_be_left = fates.iter().filter(|fate| fate.goes && !fate.drops).map(|fate| format!("'{}'", fate.name));
            let may_be_left = may_be_left.chain(["''".to_owned()]).collect::<Vec<_>>().join(", ");
            let intents = format!(
                "SELECT count(*) FROM outrigger.claims WHERE stage = 'intended' AND database LIKE 's{seed}-n%' AND database NOT IN ({may_be_left})"
            );
            assert_eq!(server.query_as_owner("outrigger", &intents), "0", "seed {seed}: intents of nobody");
            let theirs = fates.iter().filter(|fate| fate.is_taken && fate.server == number).map(|fate| format!("'{}'", fate.name));
            let theirs = theirs.chain(["''".to_owned()]).collect::<Vec<_>>().join(", ");
            let unowned = format!("SELECT count(*) FROM outrigger.claims WHERE database IN ({theirs})");
            assert_eq!(server.query_as_owner("outrigger", &unowned), "0", "seed {seed}: somebody's database is claimed");
        }
    }

    /// There are these objects' owners and no others, on the server and in what is known of them, and each can log in with its Secret.
    async fn assert_owners(&self, seed: u64, fates: &[&Fate]) {
        let expected = |number: usize| -> BTreeSet<String> {
            let owned = fates.iter().filter(|fate| fate.is_owned && !fate.is_taken && fate.server == number);
            owned.map(|fate| fate.name.clone()).collect()
        };
        for (number, server) in self.servers.iter().enumerate() {
            for sql in ["SELECT rolname FROM pg_roles WHERE rolname", "SELECT role FROM outrigger.roles WHERE role"] {
                // The sweep forgets a database before it drops the owner.
                super::common::webhook::wait_for(&format!("seed {seed}: {sql} {:?}", expected(number)), async || {
                    let found = server.query_as_owner("outrigger", &format!("{sql} LIKE 's{seed}-n%'"));
                    (found.lines().map(ToOwned::to_owned).collect::<BTreeSet<_>>() == expected(number)).then_some(())
                })
                .await;
            }
            for name in expected(number) {
                let uri = self.world.secret_value(&name, "uri").await.unwrap();
                assert_eq!(login(&uri, "SELECT current_user::text").await.unwrap(), name, "seed {seed}");
            }
        }
    }

    async fn statement(&self, server: usize, sql: &str) {
        let server = self.servers[server];
        let uri = format!("host={} port={} user=postgres dbname=postgres", server.socket_folder().display(), server.port());
        let (client, connection) = tokio_postgres::connect(&uri, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_the_end_is_as_the_model_says() {
    let seeds = std::env::var("OUTRIGGER_CHAOS_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let mut stage = Stage::set_up().await;
    for seed in 0..seeds {
        let begun = Instant::now();
        stage.one(seed).await;
        eprintln!("seed {seed}: {:.1} s", begun.elapsed().as_secs_f64());
    }
}
