//! What is written, when, and when not.

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use outrigger::postgres::scram::{Salt, Verifier};
use outrigger_bed::ControlPlane;
use serde_json::json;

use crate::world::{OUTPUT, World, controllers, list, text, user, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn qs_pgbouncer_p6_p14_labelled_secrets_become_a_sorted_list_that_follows_them_and_is_owned() {
    let world = World::new(ControlPlane::shared().await, "list-made").await;
    world.apply(&[user("bob", "two"), user("alice", r"o\ne")]).await;
    world.list(&json!({})).await;
    world.until_written(&text(&[("alice", r"o\ne"), ("bob", "two")])).await;
    let status = world.until("Ready", "True", "Written").await;
    assert_eq!((&status["users"], &status["skippedSecrets"], &status["observedGeneration"]), (&json!(2), &json!(0), &json!(1)));
    world.apply(&[user("alice", "three"), user("carol", "four")]).await;
    world.until_written(&text(&[("alice", "three"), ("bob", "two"), ("carol", "four")])).await;

    let secret = world.secrets().get(OUTPUT).await.unwrap();
    assert_eq!(secret.owner_references()[0].kind, "UserList");
    let digest = &secret.annotations()["outrigger.dev/userlist-digest"];
    assert_eq!(digest.len(), 64);
    assert!(!secret.annotations().values().any(|value| value.contains("three")), "no copy of a password: {:?}", secret.annotations());
    wait_for("the status has the digest", async || (world.status().await["digest"] == json!(digest)).then_some(())).await;
    let columns = world.installation.kubectl(&["get", "userlists", "--no-headers"]).await;
    let columns: Vec<&str> = columns.split_whitespace().collect();
    assert_eq!(columns[..6], ["users", "3", "0", OUTPUT, "True", "Written"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_t30_an_unchanged_world_causes_no_write_and_a_new_holder_of_the_lease_changes_nothing() {
    let mut world = World::new(ControlPlane::shared().await, "list-still").await;
    world.apply(&[user("alice", "one")]).await;
    world.list(&json!({"admin": {"user": "alice", "secret": {"name": "console"}}})).await;
    world.until("Ready", "True", "Written").await;
    let before = versions(&world).await;
    // It looks again when anything that it may use changes, and at a label's change there is nothing to do.
    world.installation.kubectl(&["label", "secret", "alice", "color=red"]).await;
    world.server = controllers(&world.installation);
    let metric = "outrigger_userlists_watched";
    wait_for("another process holds the lease", async || (world.server.metric(metric).await? > 0).then_some(())).await;
    world.apply(&[user("bob", "two")]).await;
    world.until_written(&text(&[("alice", "one"), ("bob", "two")])).await;
    let counter = "outrigger_userlists_secret_writes_total";
    let writes = wait_for("the write is counted", async || world.server.metric(counter).await.filter(|writes| *writes > 0)).await;
    assert_eq!(writes, 1, "bob's is its first: {}", world.server.log());
    let after = versions(&world).await;
    assert_eq!(after[2], before[2]);
    assert_ne!(after[1], before[1]);
}

/// The versions of the list, of its Secret and of the console's.
async fn versions(world: &World<'_>) -> [String; 3] {
    let list = world.installation.kubectl(&["get", "userlist", "users", "-o", "jsonpath={.metadata.resourceVersion}"]).await;
    let secrets = world.secrets();
    let [output, console] = [secrets.get(OUTPUT).await.unwrap(), secrets.get("console").await.unwrap()];
    [list, output.resource_version().unwrap(), console.resource_version().unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_or_changed_target_is_rebuilt_at_once_with_the_same_digest() {
    let world = World::new(ControlPlane::shared().await, "list-rebuilt").await;
    world.apply(&[user("alice", "one"), user("bob", "two")]).await;
    world.list(&json!({})).await;
    let digest = world.until("Ready", "True", "Written").await["digest"].clone();
    world.delete("secret", "bob").await;
    let tombstone = wait_for("bob is removed", async || world.written().await.filter(|list| !list.contains("two"))).await;
    assert!(tombstone.contains("\"bob\" \""), "{tombstone}");

    world.delete("secret", OUTPUT).await;
    world.until_written(&tombstone).await;
    let patch = json!({"stringData": {"userlist.txt": "\"mallory\" \"x\"\n"}});
    world.secrets().patch(OUTPUT, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let undone = wait_for("the change is undone", async || world.written().await.filter(|list| list.contains("\"alice\" \"one\""))).await;
    assert!(!undone.contains("\"mallory\" \"x\""), "{undone}");
    assert_ne!(world.status().await["digest"], digest);

    // Without its label it is not shown among ours.
    world.installation.kubectl(&["label", "secret", OUTPUT, "outrigger.dev/userlist-"]).await;
    world.apply(&[user("alice", "three")]).await;
    wait_for("it follows all the same", async || world.written().await.filter(|list| list.contains("\"alice\" \"three\""))).await;
    let label = world.installation.kubectl(&["get", "secret", OUTPUT, "-o", "jsonpath={.metadata.labels.outrigger\\.dev/userlist}"]).await;
    assert_eq!(label, "list");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_goes_to_another_secret_forgets_nobody() {
    let world = World::new(ControlPlane::shared().await, "list-moved").await;
    world.apply(&[user("alice", "one"), user("bob", "two"), user("carol", "three")]).await;
    world.list(&json!({})).await;
    world.until_written(&text(&[("alice", "one"), ("bob", "two"), ("carol", "three")])).await;
    world.delete("secret", "carol").await;
    world.apply(&[user("bob", "")]).await;
    wait_for("bob's Secret is left out", async || (world.status().await["skippedSecrets"] == 1).then_some(())).await;
    let list = wait_for("carol is removed", async || world.written().await.filter(|list| !list.contains("three"))).await;
    let digest = world.secrets().get(OUTPUT).await.unwrap().annotations()["outrigger.dev/userlist-digest"].clone();
    wait_for("the status has the digest", async || (world.status().await["digest"] == json!(digest)).then_some(())).await;
    world.list(&json!({"output": {"name": "other-users"}})).await;
    let moved = wait_for("the other Secret is written", async || world.data("other-users").await).await;
    assert_eq!(moved["userlist.txt"], list, "bob has his password still, and carol is a tombstone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_s_secret_is_left_alone_until_it_is_gone() {
    let world = World::new(ControlPlane::shared().await, "list-foreign").await;
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": OUTPUT}, "stringData": {"userlist.txt": "theirs"}});
    world.apply(&[theirs, user("alice", "one")]).await;
    world.list(&json!({})).await;
    let status = world.until("Ready", "False", "SecretNotOurs").await;
    assert!(status.to_string().contains("delete it"), "{status}");
    assert_eq!(world.written().await.as_deref(), Some("theirs"));
    world.delete("secret", OUTPUT).await;
    world.apply(&[user("bob", "two")]).await;
    world.until_written(&text(&[("alice", "one"), ("bob", "two")])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_lists_with_one_secret_the_first_has_it_and_goes_on_alone() {
    let world = World::new(ControlPlane::shared().await, "list-twice").await;
    world.apply(&[user("alice", "one")]).await;
    world.list(&json!({})).await;
    world.until_written(&text(&[("alice", "one")])).await;
    let mut other = list("others", &json!({}));
    other["spec"]["selector"] = json!({"matchLabels": {"pooler": "other"}});
    let mut bob = user("bob", "two");
    bob["metadata"]["labels"] = json!({"pooler": "other"});
    world.apply(&[bob, other]).await;
    wait_for("the second list says so", async || {
        let path = "jsonpath={.status.conditions[?(@.type=='Ready')].reason}";
        let reason = world.installation.kubectl(&["get", "userlist", "others", "-o", path]).await;
        (reason == "SecretNotOurs").then_some(())
    })
    .await;
    world.apply(&[user("carol", "three")]).await;
    world.until_written(&text(&[("alice", "one"), ("carol", "three")])).await;
    world.delete("userlist", "others").await;
    world.apply(&[user("dave", "four")]).await;
    world.until_written(&text(&[("alice", "one"), ("carol", "three"), ("dave", "four")])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qs_pgbouncer_p16_too_few_users_never_take_the_place_of_a_good_list() {
    let world = World::new(ControlPlane::shared().await, "list-few").await;
    world.list(&json!({})).await;
    world.until("Ready", "False", "TooFewUsers").await;
    assert_eq!(world.written().await, None, "nothing is written for nobody");
    world.apply(&[user("alice", "one")]).await;
    world.until_written(&text(&[("alice", "one")])).await;
    world.delete("secret", "alice").await;
    let status = world.until("Ready", "False", "TooFewUsers").await;
    assert!(status.to_string().contains("left as it is"), "{status}");
    assert_eq!(world.written().await, Some(text(&[("alice", "one")])));
    world.list(&json!({"minimumUsers": 0})).await;
    wait_for("it is told to", async || world.written().await.filter(|list| !list.contains("one"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qs_pgbouncer_p4_p5_the_console_s_secret_follows_its_user_and_is_never_empty() {
    let world = World::new(ControlPlane::shared().await, "list-admin").await;
    let hash = Verifier::new("secret", Salt::random().unwrap());
    world.apply(&[user("alice", "one"), user("ops", hash.as_str())]).await;
    world.list(&json!({})).await;
    world.until_written(&text(&[("alice", "one"), ("ops", hash.as_str())])).await;
    world.list(&json!({"admin": {"user": "ops", "secret": {"name": "console"}}})).await;
    let status = world.until("Ready", "False", "AdminMissing").await;
    assert!(status["conditions"].to_string().contains("which a hash is not"), "{status}");
    assert_eq!(world.data("console").await, None, "by a hash nobody signs in");
    world.delete("secret", "ops").await;
    world.list(&json!({"admin": {"user": "pgbouncer", "secret": {"name": "console"}}, "reloadPolicy": "Restart"})).await;
    world.until_written(&text(&[("alice", "one")])).await;
    world.until("Ready", "False", "AdminMissing").await;
    assert_eq!(world.data("console").await, None);
    assert_eq!(world.written().await, Some(text(&[("alice", "one")])), "the others have their list");
    for password in ["first", "second"] {
        world.apply(&[user("pgbouncer", password)]).await;
        wait_for("the console's Secret has the password", async || {
            let data = world.data("console").await?;
            (data["adminUser"] == "pgbouncer" && data["adminPassword"] == password).then_some(())
        })
        .await;
    }
    world.until("Ready", "True", "Written").await;
}
