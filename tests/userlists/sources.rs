//! Where users come from, and who may not be used.

use base64::{Engine, engine::general_purpose::STANDARD};
use kube::api::{Patch, PatchParams};
use outrigger_bed::ControlPlane;
use serde_json::{Value, json};

use crate::world::{OUTPUT, World, grant, text, user, wait_for};

fn elsewhere(mut secret: Value, namespace: &str, shared_with: Option<&str>) -> Value {
    secret["metadata"]["namespace"] = json!(namespace);
    if let Some(shared_with) = shared_with {
        secret["metadata"]["annotations"] = json!({"outrigger.dev/userlist-namespaces": shared_with});
    }
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_another_namespace_are_used_only_where_they_name_this_one() {
    let cluster = ControlPlane::shared().await;
    let (world, team) = (World::new(cluster, "sources-own").await, cluster.namespace("sources-team").await);
    grant(&world.installation, team.name()).await;
    let shared = elsewhere(user("shared", "two"), team.name(), Some(&format!("other, {}", world.name())));
    let hidden = elsewhere(user("hidden", "three"), team.name(), None);
    world.apply(&[user("own", "one"), hidden.clone()]).await;
    world.list(&json!({"namespaces": [world.name(), team.name()]})).await;
    let status = world.until("Ready", "True", "Written").await;
    let ready = status["conditions"].to_string();
    assert!(ready.contains("outrigger.dev/userlist-namespaces") && !status.to_string().contains("hidden"), "{status}");
    world.apply(&[shared]).await;
    world.until_written(&text(&[("own", "one"), ("shared", "two")])).await;
    world.apply(&[elsewhere(user("hidden", "three"), team.name(), Some(world.name()))]).await;
    world.until_written(&text(&[("hidden", "three"), ("own", "one"), ("shared", "two")])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qs_pgbouncer_p8_a_namespace_that_can_not_be_read_harms_only_itself_and_is_said() {
    let cluster = ControlPlane::shared().await;
    let (world, team) = (World::new(cluster, "sources-shut").await, cluster.namespace("sources-shut-team").await);
    world.apply(&[user("own", "one")]).await;
    world.list(&json!({"namespaces": [world.name(), team.name()]})).await;
    world.until_written(&text(&[("own", "one")])).await;
    let status = world.until("Ready", "False", "SourcesUnreadable").await;
    assert!(status.to_string().contains(team.name()), "{status}");
    world.apply(&[user("later", "two")]).await;
    world.until_written(&text(&[("later", "two"), ("own", "one")])).await;
    world.delete("secret", "own").await;
    world.apply(&[user("last", "three")]).await;
    world.until_written(&text(&[("last", "three"), ("later", "two"), ("own", "one")])).await;
    grant(&world.installation, team.name()).await;
    let list = wait_for("all can be read", async || world.written().await.filter(|list| !list.contains("\"own\" \"one\""))).await;
    assert!(list.contains("\"own\" \""), "who is gone is removed now: {list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_withdrawn_later_is_said_and_removes_nobody() {
    // Its API server is restarted.
    let cluster = ControlPlane::start().await;
    let (world, team) = (World::new(&cluster, "sources-lost").await, cluster.namespace("sources-lost-team").await);
    grant(&world.installation, team.name()).await;
    world.apply(&[user("own", "one"), elsewhere(user("shared", "two"), team.name(), Some(world.name()))]).await;
    world.list(&json!({"namespaces": [world.name(), team.name()]})).await;
    world.until_written(&text(&[("own", "one"), ("shared", "two")])).await;
    let binding = format!("userlists-of-{}", world.name());
    world.installation.kubectl(&["delete", "rolebinding", &binding, "--namespace", team.name()]).await;
    // Watches last for minutes; this one is cut.
    cluster.restart_api_server().await;
    // An API server that starts may refuse other Secrets for a moment, too.
    wait_for("that namespace is named", async || {
        world.until("Ready", "False", "SourcesUnreadable").await.to_string().contains(team.name()).then_some(())
    })
    .await;
    assert_eq!(world.written().await, Some(text(&[("own", "one"), ("shared", "two")])));
    world.installation.kubectl(&["delete", "secret", "shared", "--namespace", team.name()]).await;
    grant(&world.installation, team.name()).await;
    world.until("Ready", "True", "Written").await;
    assert!(!world.written().await.unwrap().contains("two"), "what happened meanwhile is seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_over_a_user_of_another_namespace_while_its_secret_is_away() {
    let cluster = ControlPlane::shared().await;
    let world = World::new(cluster, "sources-rival").await;
    let (rival, team) = (cluster.namespace("sources-rival-a").await, cluster.namespace("sources-rival-b").await);
    grant(&world.installation, rival.name()).await;
    grant(&world.installation, team.name()).await;
    // Older than the other's, and for another user at first.
    world.apply(&[user("own", "one"), elsewhere(user("rival", "x"), rival.name(), Some(world.name()))]).await;
    world.apply(&[elsewhere(user("app", "two"), team.name(), Some(world.name()))]).await;
    world.list(&json!({"namespaces": [world.name(), rival.name(), team.name()]})).await;
    world.until_written(&text(&[("app", "two"), ("own", "one"), ("rival", "x")])).await;
    let mut taking = elsewhere(user("app", "theirs"), rival.name(), Some(world.name()));
    taking["metadata"]["name"] = json!("rival");
    world.apply(&[taking]).await;
    wait_for("it is left out", async || world.status().await["skipped"].to_string().contains("is of namespace").then_some(())).await;
    // Whoever edits the list does not change whose its users are.
    let list = wait_for("the rival is removed", async || world.written().await.filter(|list| !list.contains("\"x\""))).await;
    let lines: Vec<&str> = list.lines().rev().collect();
    for edited in [text(&[("own", "one")]), lines.join("\n") + "\n"] {
        let patch = json!({"stringData": {"userlist.txt": edited}});
        world.secrets().patch(OUTPUT, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        let undone = wait_for("the edit is undone", async || world.written().await.filter(|list| *list != edited)).await;
        assert_eq!(undone, list);
    }
    world.installation.kubectl(&["delete", "secret", "app", "--namespace", team.name()]).await;
    let list = wait_for("its Secret is missed", async || world.written().await.filter(|list| !list.contains("two"))).await;
    assert!(list.contains("\"app\" \"") && !list.contains("theirs"), "only a tombstone has its name: {list}");
    world.apply(&[elsewhere(user("app", "three"), team.name(), Some(world.name()))]).await;
    wait_for("it is back", async || world.written().await.filter(|list| list.contains("\"app\" \"three\"\n"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qs_pgbouncer_p7_the_seed_s_and_cloudnativepg_s_secrets_are_chosen_by_their_labels() {
    let world = World::new(ControlPlane::shared().await, "sources-labels").await;
    let labelled = |name: &str, labels: Value, data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}, "stringData": data});
    let seed = json!({"app.kubernetes.io/name": "qs-postgresql-cluster", "qs-postgresql-cluster/name": "cluster-pharia"});
    let cloud_native = json!({"cnpg.io/cluster": "orders", "cnpg.io/userType": "app"});
    world
        .apply(&[
            labelled("access-a", seed.clone(), json!({"user": "a", "password": "one", "host": "h"})),
            labelled("access-b", seed, json!({"username": "b", "user": "not-b", "password": "two"})),
            labelled("orders-app", cloud_native, json!({"username": "c", "user": "c", "password": "three", "pgpass": "x"})),
        ])
        .await;
    world.list(&json!({"selector": {"matchLabels": {"pooler": null, "qs-postgresql-cluster/name": "cluster-pharia"}}})).await;
    world.until_written(&text(&[("a", "one"), ("b", "two")])).await;
    let both = json!({"selector": {"matchLabels": null, "matchExpressions": [{"key": "cnpg.io/userType", "operator": "Exists"}]}});
    world.list(&both).await;
    world.until("Ready", "True", "Written").await;
    let list = world.written().await.unwrap();
    assert!(list.contains("\"c\" \"three\"\n") && !list.contains("one"), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stackgres_bad_secrets_are_left_out_alone_and_their_author_reads_why() {
    let world = World::new(ControlPlane::shared().await, "sources-bad").await;
    let mut keyless = user("keyless", "x");
    keyless["data"] = json!({"name": "eA=="});
    world
        .apply(&[
            user("good", "one"),
            user("newline", "hush\n"),
            user("empty", ""),
            user("long", &"p".repeat(2048)),
            user("inner", "hu\nsh"),
            keyless,
        ])
        .await;
    world.list(&json!({})).await;
    world.until_written(&text(&[("good", "one")])).await;
    let status = world.until("Ready", "True", "Written").await;
    assert_eq!(status["skippedSecrets"], 5);
    let reasons: Vec<String> =
        status["skipped"].as_array().unwrap().iter().map(|skipped| format!("{}: {}", skipped["name"], skipped["reason"])).collect();
    for (name, part) in
        [("newline", "printf"), ("empty", "is empty"), ("long", "2048 bytes"), ("inner", "line break"), ("keyless", "none of the keys")]
    {
        assert!(reasons.iter().any(|reason| reason.contains(name) && reason.contains(part)), "{name}: {reasons:?}");
    }
    assert!(!status.to_string().contains("hush") && !world.server.log().contains("hush"));
    wait_for("an Event says so", async || {
        let events = world
            .installation
            .kubectl(&["get", "events", "--field-selector=reason=UsersSkipped", "-o", "jsonpath={.items[*].message}"])
            .await;
        events.contains("left out: 5 in all").then_some(())
    })
    .await;
    // Who was in the list before keeps their password.
    world.apply(&[user("good", "")]).await;
    wait_for("it is left out", async || (world.status().await["skippedSecrets"] == 6).then_some(())).await;
    assert_eq!(world.written().await, Some(text(&[("good", "one")])));
}

#[tokio::test(flavor = "multi_thread")]
async fn extra_users_come_from_one_secret_line_by_line() {
    let world = World::new(ControlPlane::shared().await, "sources-extra").await;
    let extra =
        |lines: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "more"}, "stringData": {"userlist.txt": lines}});
    world.apply(&[user("alice", "one"), extra("; by hand\n\"carol\" \"th\"\"ree\"\nbroken\n\"alice\" \"extra\"\n")]).await;
    world.list(&json!({"extraUsers": {"name": "more"}})).await;
    world.until_written("\"alice\" \"extra\"\n\"carol\" \"th\"\"ree\"\n").await;
    let status = world.until("Ready", "True", "Written").await;
    assert!(status["skipped"].to_string().contains("line 3"), "{status}");
    let mut spoilt = extra("");
    spoilt["stringData"] = json!(null);
    spoilt["data"] = json!({"userlist.txt": STANDARD.encode(b"\"carol\" \"four\"\n\xff")});
    world.apply(&[spoilt]).await;
    wait_for("it is said", async || world.status().await["skipped"].to_string().contains("line 2").then_some(())).await;
    assert_eq!(world.written().await.as_deref(), Some("\"alice\" \"extra\"\n\"carol\" \"four\"\n"), "nobody loses their login");
    world.delete("secret", "more").await;
    let status = world.until("Ready", "False", "SourcesUnreadable").await;
    assert!(status.to_string().contains("more"), "{status}");
    assert!(world.written().await.unwrap().contains("carol"), "nobody is removed by mistake");
}
