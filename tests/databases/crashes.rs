//! The connection, or the program, ends at the worst moment: what follows must neither lose a database nor take one over.

use std::time::{Duration, Instant};

use futures::future::join_all;
use outrigger_bed::Postgres;
use rustix::process::Signal;
use serde_json::json;

use super::{
    common::{process::Server, webhook::wait_for},
    proxy::Proxy,
    world::{ADMIN, STATEMENTS, World, condition_of},
};

/// More messages than the life of one database takes.
const MOST_MESSAGES: i64 = 200;
/// So many servers are cut off at the same time.
const STRANDS: i64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn cnpg_4_a_cut_after_any_statement_is_recovered_from() {
    // Most of the time somebody waits before they try again, so several go on at once.
    let cuts: i32 = join_all((1..=STRANDS).map(cuts_of_a_strand)).await.into_iter().sum();
    assert!(cuts > 20, "{cuts}");
}

/// A server is cut off after so many messages, and after each `STRANDS` more, until nothing is left to cut. How often it was.
async fn cuts_of_a_strand(first: i64) -> i32 {
    let mut world = World::quiet(&format!("db-cut{first}")).await;
    let proxy = Proxy::start(world.postgres.port()).await;
    world.apply_server(proxy.port, json!({"tls": {"mode": "Disable", "ca": null}})).await;
    // Looks of its own would be counted as well.
    world.start(&["--databases-interval=10m"]);
    let mut cuts = 0;
    for messages in (first..MOST_MESSAGES).step_by(usize::try_from(STRANDS).unwrap()) {
        let (object, name) = (format!("cut{messages}"), world.unique(&format!("cut{messages}")));
        let server = world.get("pgserver", world.name()).await.unwrap();
        assert!(messages == first || condition_of(&server, "Ready")["status"].is_string(), "{server}");
        proxy.cut_after(messages);
        let fields = json!({
            "reclaimPolicy": "Delete", "owner": {"name": name, "create": true}, "connectionSecret": {"name": object},
            "connectionLimit": 5, "schemas": [{"name": "app"}], "drop": {"gracePeriod": "1h"},
        });
        world.apply_object(&object, &name, fields).await;
        wait_for("the cut or the end", async || {
            let found = world.get("pgdatabase", &object).await?;
            (proxy.is_cut() || condition_of(&found, "Ready")["reason"] == "AsAsked").then_some(())
        })
        .await;
        let was_cut = proxy.is_cut();
        proxy.heal();
        let ready = world.until_ready(&object).await;
        let oid = ready["status"]["oid"].to_string();
        assert_eq!(world.claims(&name), format!("{} held", ready["metadata"]["uid"].as_str().unwrap()));
        assert_eq!(world.sql(&format!("SELECT datconnlimit FROM pg_database WHERE datname = '{name}'")), "5");

        proxy.cut_after(messages);
        world.delete("pgdatabase", &object).await;
        wait_for("the cut or the end", async || (proxy.is_cut() || world.get("pgdatabase", &object).await.is_none()).then_some(())).await;
        let was_cut_at_the_end = proxy.is_cut();
        proxy.heal();
        world.until_gone("pgdatabase", &object).await;
        assert_eq!(world.sql(&format!("SELECT datname FROM pg_database WHERE oid = {oid}")), format!("{name}~dropped-{oid}"));
        cuts += i32::from(was_cut) + i32::from(was_cut_at_the_end);
        if !was_cut && !was_cut_at_the_end {
            break;
        }
    }
    cuts
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_ever_sent_to_the_server() {
    let mut world = World::quiet("db-wire").await;
    let proxy = Proxy::start(world.postgres.port()).await;
    world.apply_server(proxy.port, json!({"tls": {"mode": "Disable", "ca": null}})).await;
    world.start(&[]);
    let name = world.unique("wire");
    world.apply_object("wire", &name, json!({"owner": {"name": name, "create": true}, "connectionSecret": {"name": "wire"}})).await;
    world.until_ready("wire").await;
    let (seen, password) = (proxy.seen(), world.secret_value("wire", "password").await.unwrap());
    let has = |text: &str| seen.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("SCRAM-SHA-256$4096:") && has("CREATE DATABASE"));
    assert!(!has(&password) && !has(super::world::PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_somebody_makes_between_intent_and_creation_is_not_taken_over() {
    let mut world = World::quiet("db-between").await;
    let (name, uid) = (world.unique("between"), "a-crash-ago");
    world.apply_server(world.postgres.port(), json!({})).await;
    world.start(&[]);
    world.apply_object("first", &world.unique("first"), json!({})).await;
    world.until_ready("first").await;
    drop(world.controllers.take());
    world.apply_object("between", &name, json!({"reclaimPolicy": "Delete"})).await;
    let object = world.get("pgdatabase", "between").await.unwrap();
    let uid = object["metadata"]["uid"].as_str().unwrap_or(uid);
    let cluster = world.installation.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"]).await;
    // What is left of a program that died after it had written down what it was about to do.
    world.postgres.query_as_owner(
        "outrigger",
        &format!(
            "INSERT INTO outrigger.claims VALUES (4000000001, '{name}', '{cluster}', '{uid}', '{}', 'between', 'intended')",
            world.name()
        ),
    );
    world.sql(&format!("CREATE DATABASE \"{name}\""));
    world.start(&[]);
    world.until("between", "Claimed", "AlreadyExists").await;
    world.delete("pgdatabase", "between").await;
    world.until_gone("pgdatabase", "between").await;
    assert!(world.exists(&name));

    // One that it made itself bears the number that was written down.
    let name = world.unique("made");
    drop(world.controllers.take());
    world.apply_object("made", &name, json!({})).await;
    let object = world.get("pgdatabase", "made").await.unwrap();
    let uid = object["metadata"]["uid"].as_str().unwrap();
    world.postgres.query_as_owner(
        "outrigger",
        &format!(
            "INSERT INTO outrigger.claims VALUES (4000000002, '{name}', '{cluster}', '{uid}', '{}', 'made', 'intended')",
            world.name()
        ),
    );
    world.sql(&format!("CREATE DATABASE \"{name}\" OID 4000000002"));
    world.start(&[]);
    let object = world.until_ready("made").await;
    assert_eq!(object["status"]["oid"], 4_000_000_002_u32);

    // A server that died while it created it has left a folder behind, whose number nothing can be created with any more.
    let name = world.unique("halfway");
    drop(world.controllers.take());
    world.apply_object("halfway", &name, json!({})).await;
    let object = world.get("pgdatabase", "halfway").await.unwrap();
    let uid = object["metadata"]["uid"].as_str().unwrap();
    world.postgres.query_as_owner(
        "outrigger",
        &format!(
            "INSERT INTO outrigger.claims VALUES (4000000003, '{name}', '{cluster}', '{uid}', '{}', 'halfway', 'intended')",
            world.name()
        ),
    );
    std::fs::create_dir(format!("{}/base/4000000003", world.sql("SHOW data_directory"))).unwrap();
    world.start(&[]);
    let object = world.until_ready("halfway").await;
    assert_ne!(object["status"]["oid"], 4_000_000_003_u32);
    assert_eq!(world.claims(&name), format!("{uid} held"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_program_is_followed_by_one_that_goes_on() {
    let mut world = World::new("db-kill").await;
    let names: Vec<String> = (0..12).map(|index| world.unique(&format!("k{index}"))).collect();
    let objects: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| world.object(&format!("k{index}"), name, json!({"reclaimPolicy": "Delete"})))
        .collect();
    world.apply(&objects).await;
    wait_for("some are made", async || names.iter().any(|name| world.exists(name)).then_some(())).await;
    let killed = world.controllers.take().unwrap();
    killed.signal(Signal::KILL);
    drop(killed);
    world.start(&[]);
    for index in 0..names.len() {
        world.until_ready(&format!("k{index}")).await;
    }
    for index in 0..names.len() {
        world.delete("pgdatabase", &format!("k{index}")).await;
    }
    for (index, name) in names.iter().enumerate() {
        world.until_gone("pgdatabase", &format!("k{index}")).await;
        assert!(!world.exists(name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kopf_k13_of_two_controllers_one_leads_and_the_other_follows_when_it_dies() {
    let mut world = World::new("db-pair").await;
    let first = world.controllers.take().unwrap();
    world.start(&[]);
    let second = world.controllers.take().unwrap();
    let leading = async |server: &Server| server.metric("outrigger_leading").await;
    // The count changes whenever another process begins to lead.
    let state = async || {
        let lease = world.get("lease", "outrigger-controllers").await?;
        let does_first_lead = match (leading(&first).await?, leading(&second).await?) {
            (1, 0) => true,
            (0, 1) => false,
            (0, 0) => return None,
            both => panic!("both lead: {both:?}"),
        };
        Some((does_first_lead, lease["spec"]["leaseTransitions"].to_string()))
    };
    let before = wait_for("one of both leads", async || state().await).await;
    let mut early: Vec<_> = (0..12).map(|number| (format!("p{number}"), world.unique(&format!("p{number}")))).collect();
    let late = early.split_off(6);
    let manifests = |world: &World, of: &[(String, String)]| {
        of.iter().map(|(object, name)| world.object(object, name, json!({"reclaimPolicy": "Delete"}))).collect::<Vec<_>>()
    };
    world.apply(&manifests(&world, &early)).await;
    for (object, _) in &early {
        world.until_ready(object).await;
    }
    let statements = async |server: &Server| server.metric(STATEMENTS).await.unwrap_or_default();
    let after = wait_for("one of both leads", async || state().await).await;
    let (leader, mut follower) = if after.0 { (first, second) } else { (second, first) };
    if after == before {
        assert_eq!((statements(&leader).await > 0, statements(&follower).await), (true, 0), "{}", follower.log());
    }

    world.controllers = Some(leader);
    world.kill().await;
    wait_for("the other leads", async || (leading(&follower).await? == 1).then_some(())).await;
    world.apply(&manifests(&world, &late)).await;
    for (object, name) in early.iter().chain(&late) {
        let ready = world.until_ready(object).await;
        assert_eq!(world.claims(name), format!("{} held", ready["metadata"]["uid"].as_str().unwrap()));
        world.delete("pgdatabase", object).await;
    }
    for (object, name) in early.iter().chain(&late) {
        world.until_gone("pgdatabase", object).await;
        assert!(!world.exists(name), "{name}");
    }
    follower.signal(Signal::KILL);
    follower.exit().await;
}

/// A process that stood still may find out that another leads only after it has gone on with what it was at.
#[tokio::test(flavor = "multi_thread")]
async fn who_stood_still_until_another_led_writes_nothing() {
    let mut world = World::on("db-stopped", Postgres::start().await).await;
    world.start(&["--databases-interval=10m"]);
    world.apply_object("before", "before", json!({})).await;
    world.until_ready("before").await;
    let uri = format!("host={} port={} user=postgres dbname=outrigger", world.postgres.socket_folder().display(), world.postgres.port());
    let (client, connection) = tokio_postgres::connect(&uri, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE outrigger.claims IN ACCESS EXCLUSIVE MODE").await.unwrap();
    world.apply_object("after", "after", json!({})).await;
    let waiting = format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = '{ADMIN}' AND wait_event_type = 'Lock'");
    wait_for("the program looks at claims", async || (world.sql(&waiting) == "t").then_some(())).await;
    let program = world.controllers.as_ref().unwrap();
    program.signal(Signal::STOP);
    let stopped = Instant::now();
    let lead = async |who: &str, renewed: &str| {
        let spec = json!({"spec": {"holderIdentity": who, "renewTime": renewed, "leaseDurationSeconds": 3600}}).to_string();
        let lease = world.installation.kubectl(&["get", "lease", "-o", "name"]).await;
        world.installation.kubectl(&["patch", lease.trim(), "--type=merge", "-p", &spec]).await;
    };
    lead("another", "2026-01-01T00:00:00.000000Z").await;
    wait_for("its claim has run out", async || (stopped.elapsed() > Duration::from_secs(8)).then_some(())).await;
    client.batch_execute("COMMIT").await.unwrap();
    program.signal(Signal::CONT);
    wait_for("it knows that another leads", async || (program.metric("outrigger_leading").await? == 0).then_some(())).await;
    assert!(!world.exists("after"));
    assert_eq!(world.claims("after"), "");
    lead("", "2026-01-01T00:00:01.000000Z").await;
    world.until_ready("after").await;
    drop(client);
    connection.await.unwrap().unwrap();
}
