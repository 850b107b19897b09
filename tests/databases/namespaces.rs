//! Namespaces that go with all that is in them.

use outrigger_bed::free_port;
use serde_json::json;

use super::{common::webhook::wait_for, world::World};

/// Kubernetes takes the objects and Secrets of such a namespace in any order, and nothing can be created there any more.
#[tokio::test(flavor = "multi_thread")]
async fn cnpg_10535_db_operator_453_a_namespace_goes_whatever_becomes_of_its_databases() {
    let mut world = World::quiet("db-tenant").await;
    let tenant = format!("{}-tenant", world.name());
    world.installation.kubectl(&["create", "namespace", &tenant]).await;
    let dead = format!("{}-dead", world.name());
    let server = |port: u16| {
        let spec = json!({"host": "127.0.0.1", "port": port, "credentials": {"name": "admin"}, "tls": {"mode": "VerifyFull", "ca": {"name": "ca"}},
            "allow": [{"namespaces": [tenant]}]});
        json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "PgServer", "metadata": {"name": dead}, "spec": spec})
    };
    let allow = json!([{"namespaces": [tenant]}]);
    world.apply_server(world.postgres.port(), json!({"allow": allow})).await;
    world.installation.apply(&[server(world.postgres.port())]).await;
    world.start(&[]);
    let names = ["retained", "dropped", "lost"].map(|name| (name, world.unique(name)));
    let [(_, retained), (_, dropped), (_, lost)] = &names;
    let objects = names.iter().map(|(object, name)| {
        let reclaim = if *object == "retained" { "Retain" } else { "Delete" };
        let fields = json!({"reclaimPolicy": reclaim, "owner": {"name": name, "create": true}, "connectionSecret": {"name": object}});
        let mut made = world.object(object, name, fields);
        made["metadata"]["namespace"] = json!(tenant);
        if *object == "lost" {
            made["spec"]["server"] = json!(dead);
        }
        made
    });
    world.installation.apply(&objects.collect::<Vec<_>>()).await;
    let until = async |object: &str, reason: &str| world.until_in(&tenant, object, "Ready", reason).await;
    for (object, _) in &names {
        until(object, "AsAsked").await;
    }
    // Nothing listens there any more.
    world.installation.apply(&[server(free_port().unwrap())]).await;
    world.installation.kubectl(&["delete", "namespace", &tenant, "--wait=false"]).await;
    for (object, _) in &names[..2] {
        wait_for("it is gone", async || world.get_in(&tenant, "pgdatabase", object).await.is_none().then_some(())).await;
    }
    assert!(world.exists(retained) && !world.exists(dropped));
    let role = |name: &str| world.sql(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{name}'"));
    assert_eq!((role(retained).as_str(), role(dropped).as_str()), ("1", "0"));
    let object = until("lost", "ServerUnreachable").await;
    assert_eq!((&object["status"]["phase"], &object["metadata"]["finalizers"]), (&json!("Deleting"), &json!(["outrigger.dev/database"])));
    wait_for("its Secret is gone before it", async || world.get_in(&tenant, "secret", "lost").await.is_none().then_some(())).await;
    let refused = world.installation.cluster.kubectl(&["-n", &tenant, "create", "secret", "generic", "late"]).await;
    assert!(refused.stderr.contains("being terminated"), "{refused:?}");

    // A namespace that is going takes no Event, and the object goes all the same.
    world.installation.kubectl(&["-n", &tenant, "annotate", "pgdatabase", "lost", "outrigger.dev/abandon-database=true"]).await;
    wait_for("the namespace is gone", async || world.get_in("default", "namespace", &tenant).await.is_none().then_some(())).await;
    assert!(world.exists(lost), "it stays as it is");
    world.installation.kubectl(&["delete", "pgserver", &dead]).await;
}
