//! The program is killed between any two messages to the server; the next one brings what it was at to its end.

use outrigger_bed::Postgres;
use serde_json::json;

use super::{
    common::webhook::wait_for,
    proxy::Proxy,
    world::{ADMIN, World, condition_of},
};

/// Every so many messages, unless `OUTRIGGER_KILLS` says otherwise: `make soak` takes every one.
const STEP: usize = 12;
/// More messages than the life of one database takes.
const MOST_MESSAGES: i64 = 200;

/// Kills the program if a message waits, and waits until the server is done with what came before.
async fn kill_if_held(world: &mut World, proxy: &Proxy) -> bool {
    let is_held = proxy.is_held();
    if is_held {
        world.kill().await;
        proxy.end_connections();
        let busy = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{ADMIN}'");
        wait_for("the server has noticed", async || (world.sql(&busy) == "0").then_some(())).await;
    }
    proxy.let_go();
    is_held
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_before_any_message_is_followed_by_one_that_goes_on() {
    let step = std::env::var("OUTRIGGER_KILLS").map_or(STEP, |step| step.parse().unwrap());
    let mut world = World::on("db-kills", Postgres::start().await).await;
    let proxy = Proxy::start(world.postgres.port()).await;
    world.apply_server(proxy.port, json!({"tls": {"mode": "Disable", "ca": null}})).await;
    // Looks of its own would be counted as well.
    let start = |world: &mut World| world.start(&["--databases-interval=10m"]);
    start(&mut world);
    world.apply_object("first", "first", json!({})).await;
    world.until_ready("first").await;
    let (mut kills, mut strangers) = (0, 0);
    for messages in (0..MOST_MESSAGES).step_by(step) {
        let name = format!("kill{messages}");
        let grace = if messages % 2 == 0 { "0s" } else { "1h" };
        let fields = |connections: i32| {
            json!({
                "reclaimPolicy": "Delete", "owner": {"name": name, "create": true}, "connectionSecret": {"name": name},
                "connectionLimit": connections, "schemas": [{"name": "app"}], "drop": {"gracePeriod": grace},
            })
        };
        proxy.hold_after(messages);
        world.apply_object(&name, &name, fields(5)).await;
        wait_for("a message waits, or the end", async || {
            let found = world.get("pgdatabase", &name).await?;
            (proxy.is_held() || condition_of(&found, "Ready")["reason"] == "AsAsked").then_some(())
        })
        .await;
        let was_killed = kill_if_held(&mut world, &proxy).await;
        let oid = |world: &World| world.sql(&format!("SELECT oid FROM pg_database WHERE datname = '{name}'"));
        let made = oid(&world);
        let mut connections = 5;
        if was_killed {
            // Where there is none yet, somebody else makes one.
            let is_theirs = made.is_empty() && messages % 2 == 0;
            if is_theirs {
                world.sql(&format!("CREATE DATABASE {name}"));
            }
            start(&mut world);
            if is_theirs {
                let theirs = oid(&world);
                world.until(&name, "Claimed", "AlreadyExists").await;
                assert_eq!(oid(&world), theirs, "{messages}");
                assert!(!world.claims(&name).ends_with(" held"), "{messages}: {}", world.claims(&name));
                world.sql(&format!("DROP DATABASE {name}"));
                strangers += 1;
                connections = 6;
                world.apply_object(&name, &name, fields(connections)).await;
            }
        }
        let ready = world.until_ready(&name).await;
        let found = oid(&world);
        assert_eq!(ready["status"]["oid"].to_string(), found, "{messages}");
        assert!(made.is_empty() || made == found, "{messages}: what was made is dropped and made again");
        assert_eq!(world.claims(&name), format!("{} held", ready["metadata"]["uid"].as_str().unwrap()), "{messages}");
        assert_eq!(world.sql(&format!("SELECT datconnlimit FROM pg_database WHERE oid = {found}")), connections.to_string());

        proxy.hold_after(messages);
        world.delete("pgdatabase", &name).await;
        wait_for("a message waits, or the end", async || (proxy.is_held() || world.get("pgdatabase", &name).await.is_none()).then_some(()))
            .await;
        let was_killed_at_the_end = kill_if_held(&mut world, &proxy).await;
        if was_killed_at_the_end {
            start(&mut world);
        }
        world.until_gone("pgdatabase", &name).await;
        let (left, role) = if grace == "0s" { (String::new(), "0") } else { (format!("{name}~dropped-{found}"), "1") };
        assert_eq!(world.sql(&format!("SELECT datname FROM pg_database WHERE oid = {found} OR datname = '{name}'")), left, "{messages}");
        assert_eq!(world.sql(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{name}'")), role, "{messages}");
        kills += i32::from(was_killed) + i32::from(was_killed_at_the_end);
        if !was_killed && !was_killed_at_the_end {
            break;
        }
    }
    eprintln!("killed {kills} times");
    assert!(kills >= 3 && strangers >= 1, "{kills} {strangers}");
    let orphans = "SELECT count(*) FROM outrigger.claims c LEFT JOIN pg_database d USING (oid) WHERE d.oid IS NULL OR stage = 'intended'";
    assert_eq!(world.postgres.query_as_owner("outrigger", orphans), "0");
    assert!(world.exists("first"));
}
