//! A server that is killed and comes back at random, under objects that come and go: in the end all is as a model says it should be.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_bed::Postgres;
use serde_json::json;

use super::{
    common::webhook::wait_for,
    world::{World, condition_of},
};

const SEEDS: u64 = 20;
const STEPS: usize = 12;
const NAMES: u64 = 8;

/// Numbers that follow from a seed (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What should be there.
#[derive(Default)]
struct Model {
    /// Objects that are there, and whether their database goes with them.
    objects: BTreeMap<String, bool>,
    /// Names that are not used again: their objects may still be on their way out.
    spent: BTreeSet<String>,
    /// Databases that nobody knows about: made and then deleted while the server was away, with `Retain`.
    uncertain: BTreeSet<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_the_end_is_as_the_model_says() {
    let mut world = World::on("db-chaos", Postgres::start().await).await;
    let own = world.postgres;
    world.apply_server(own.port(), json!({"allow": [{"namespaces": [world.name()]}]})).await;
    own.query_as_owner("postgres", "CREATE DATABASE theirs");
    world.start(&[]);
    for seed in 0..SEEDS {
        eprintln!("seed {seed}");
        one(&world, own, seed).await;
    }
}

async fn one(world: &World, postgres: &Postgres, seed: u64) {
    let (mut numbers, mut model, mut is_up) = (Numbers(seed), Model::default(), true);
    // One of the names is taken before, by somebody else.
    let taken = format!("s{seed}n{}", numbers.below(NAMES));
    postgres.query_as_owner("postgres", &format!("CREATE DATABASE {taken}"));
    for _ in 0..STEPS {
        let name = format!("s{seed}n{}", numbers.below(NAMES));
        match (numbers.below(6), model.objects.get(&name).copied()) {
            (0, _) if is_up => {
                postgres.kill();
                is_up = false;
            }
            (1, _) if !is_up => {
                postgres.restart();
                is_up = true;
            }
            (_, None) if !model.spent.contains(&name) => {
                let goes = numbers.below(2) == 0;
                world.apply_object(&name, &name, json!({"reclaimPolicy": if goes { "Delete" } else { "Retain" }})).await;
                model.objects.insert(name, goes);
            }
            (_, Some(goes)) => {
                world.delete("pgdatabase", &name).await;
                model.objects.remove(&name);
                model.spent.insert(name.clone());
                if !goes && name != taken {
                    // Nothing says whether it was made before.
                    model.uncertain.insert(name);
                }
            }
            _ => {}
        }
    }
    if !is_up {
        postgres.restart();
    }
    wait_for(&format!("seed {seed}: all is settled"), async || {
        let prefix = format!("s{seed}n");
        let list = world.installation.kubectl(&["get", "pgdatabases", "-o", "json"]).await;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let objects: Vec<_> =
            list["items"].as_array()?.iter().filter(|object| object["metadata"]["name"].as_str().unwrap().starts_with(&prefix)).collect();
        let is_settled = |object: &&serde_json::Value| {
            let expected = if object["spec"]["name"] == taken.as_str() { "AlreadyExists" } else { "AsAsked" };
            condition_of(object, "Ready")["reason"] == expected && object["metadata"]["deletionTimestamp"].is_null()
        };
        (objects.len() == model.objects.len() && objects.iter().all(is_settled)).then_some(())
    })
    .await;
    let found = postgres.query_as_owner("postgres", &format!("SELECT datname FROM pg_database WHERE datname LIKE 's{seed}n%'"));
    let found: BTreeSet<String> = found.lines().map(ToOwned::to_owned).collect();
    let certain: BTreeSet<String> = found.difference(&model.uncertain).cloned().collect();
    let expected: BTreeSet<String> = model.objects.keys().chain([&taken]).cloned().collect();
    assert_eq!(certain, expected, "seed {seed}");
    let orphans = "SELECT count(*) FROM outrigger.claims c LEFT JOIN pg_database d USING (oid) WHERE d.oid IS NULL AND c.stage = 'held'";
    assert_eq!(postgres.query_as_owner("outrigger", orphans), "0", "seed {seed}: no claim to what isn't there");
    let unowned = format!("SELECT count(*) FROM outrigger.claims WHERE database IN ('{taken}', 'theirs')");
    assert_eq!(postgres.query_as_owner("outrigger", &unowned), "0", "seed {seed}: nobody's database is claimed");
    for object in model.objects.keys() {
        world.delete("pgdatabase", object).await;
    }
}
