//! In which form passwords are stored: whoever is in the list signs in to PgBouncer, and by it to a server that asks for the password.

use outrigger::postgres::scram::{Salt, Verifier};
use outrigger_bed::{ControlPlane, Generation, PoolerSettings, Postgres};
use serde_json::{Value, json};

use crate::{
    pooler::{ADMIN, Pooler, settings, workload},
    world::{World, controllers, user, wait_for},
};

/// A pooler before a server that asks for passwords, and roles of which different things are known.
struct Forms<'cluster> {
    world: World<'cluster>,
    pooler: Pooler,
    server: &'static Postgres,
}

impl Forms<'_> {
    async fn start(generation: Generation, auth_type: &'static str, name: &str) -> Self {
        let (world, server) = (World::new(ControlPlane::shared().await, name).await, Postgres::shared().await);
        let address = format!("host=127.0.0.1 port={}", server.port());
        let databases =
            format!("postgres = {address} pool_mode=transaction\nforced = {address} dbname=postgres user='forced-{}'", world.name());
        let pooler = Pooler::start_with(generation, PoolerSettings { auth_type, databases: Some(databases), ..settings().await }).await;
        workload(&world, "Deployment", &json!({})).await;
        Self { world, pooler, server }
    }

    fn name(&self, role: &str) -> String {
        format!("{role}-{}", self.world.name())
    }

    /// Gives a role a password or a verifier, and returns the verifier that the server keeps.
    fn set_password(&self, role: &str, password: &str) -> String {
        let role = self.name(role);
        let set = format!(
            "DO $do$ BEGIN CREATE ROLE \"{role}\" LOGIN; EXCEPTION WHEN duplicate_object THEN END $do$; ALTER ROLE \"{role}\" PASSWORD '{password}'"
        );
        self.server.query_as_owner("postgres", &set);
        self.server.query_as_owner("postgres", &format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"))
    }

    /// A Secret of the role, with a verifier where one is given.
    fn secret(&self, role: &str, password: &str, verifier: Option<&str>) -> Value {
        let mut secret = user(&self.name(role), password);
        if let Some(verifier) = verifier {
            secret["stringData"] = json!({"verifier": verifier});
        }
        secret
    }

    /// What the list has for a role.
    async fn stored(&self, role: &str) -> Option<String> {
        let (list, start) = (self.world.written().await?, format!("\"{}\" \"", self.name(role)));
        list.lines().find_map(|line| Some(line.strip_prefix(&start)?.strip_suffix('"')?.to_owned()))
    }

    async fn until_stored(&self, role: &str, expected: &str) {
        let mut seen = None;
        wait_for(&format!("{role} is stored as {expected}"), async || {
            seen = self.stored(role).await;
            (seen.as_deref() == Some(expected)).then_some(())
        })
        .await;
    }

    /// Waits until the pooler uses the newest list.
    async fn until_applied(&self) {
        wait_for("the newest list is in use", async || {
            let list = self.world.secrets().get("pooler-users").await.unwrap();
            let digest = list.metadata.annotations?.remove("outrigger.dev/userlist-digest")?;
            let status = self.world.status().await;
            (status["poolers"][0]["digests"][0]["digest"] == json!(digest)).then_some(())
        })
        .await;
    }

    async fn signs_in(&self, role: &str, password: &str) {
        if let Err(error) = self.pooler.sign_in(&self.name(role), password).await {
            panic!("{role} can't sign in: {error}");
        }
    }

    /// `PgBouncer` signs in to the server again by what it has, for a session that goes on and for a new one.
    async fn outlives_the_loss_of_connections(&self, role: &str) {
        let name = self.name(role);
        let session = self.pooler.sign_in(&name, "secret").await.unwrap();
        let mut before = session.backend().await.unwrap();
        for loss in ["terminated", "RECONNECT"] {
            if loss == "RECONNECT" {
                self.pooler.bouncer.query("pgbouncer", "admin", ADMIN, loss).unwrap();
            } else {
                let ended = format!("SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE usename = '{name}'");
                self.server.query_as_owner("postgres", &ended);
            }
            wait_for("the pooler has no connection of before", async || {
                let connections = self.pooler.bouncer.query("pgbouncer", "admin", ADMIN, "SHOW SERVERS").unwrap();
                let is_of_before = |line: &&str| line.contains(&name) && line.split('|').any(|field| field == before.to_string());
                connections.lines().find(is_of_before).is_none().then_some(())
            })
            .await;
            let now = session.backend().await.unwrap_or_else(|error| panic!("{loss}: the session of {role} is over: {error}"));
            assert_ne!(now, before, "{loss}");
            self.signs_in(role, "secret").await;
            before = now;
        }
    }

    async fn ready_message(&self) -> String {
        let status = self.world.until("Ready", "True", "Written").await;
        status["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == "Ready").unwrap()["message"].to_string()
    }
}

async fn verifiers_where_they_sign_in(generation: Generation, auth_type: &'static str, name: &str) {
    let mut forms = Forms::start(generation, auth_type, name).await;
    let _kubelet = forms.pooler.kubelet(&forms.world);
    let takes_verifiers = auth_type != "plain";
    let [given, offered] = ["given", "offered"].map(|role| forms.set_password(role, "secret"));
    for role in ["misfit", "unknown", "forced"] {
        forms.set_password(role, "secret");
    }
    let secrets = [
        user("admin", ADMIN),
        forms.secret("given", &given, None),
        forms.secret("offered", "secret", Some(&offered)),
        forms.secret("misfit", "secret", Some(Verifier::new("another", Salt::random().unwrap()).as_str())),
        forms.secret("unknown", "secret", None),
        forms.secret("forced", "secret", None),
    ];
    forms.world.apply(&secrets).await;
    let mut spec = forms.pooler.spec();
    spec["storedForm"] = json!("Verifier");
    spec["authType"] = json!(auth_type);
    spec["forcedUsers"] = json!([forms.name("forced")]);
    forms.world.list(&spec).await;

    let or_plain = |verifier: &str| if takes_verifiers { verifier.to_owned() } else { "secret".to_owned() };
    let expected = [
        ("given", given.clone()),
        ("offered", or_plain(&offered)),
        ("misfit", "secret".to_owned()),
        ("unknown", "secret".to_owned()),
        ("forced", "secret".to_owned()),
    ];
    for (role, stored) in &expected {
        forms.until_stored(role, stored).await;
    }
    let message = forms.ready_message().await;
    assert!(message.contains(&forms.name("unknown")) && message.contains("stays in plain text"), "{message}");
    assert!(!message.contains(&forms.name("forced")), "nobody wonders about this one: {message}");
    forms.until_applied().await;
    for (role, _) in &expected {
        // By a verifier nobody signs in to a server who has not proved themselves to PgBouncer by SCRAM.
        if takes_verifiers || *role != "given" {
            forms.signs_in(role, "secret").await;
        }
        assert!(forms.pooler.sign_in(&forms.name(role), "wrong").await.is_err(), "{role} with another password");
    }
    if takes_verifiers {
        forms.outlives_the_loss_of_connections("given").await;
        forms.outlives_the_loss_of_connections("offered").await;
    }
    let forced = forms.pooler.sign_in_to("forced", &forms.name("offered"), "secret").await.unwrap();
    let row = forced.client.query_one("SELECT current_user::text", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), forms.name("forced"));

    // Neither another holder of the lease nor other users give anybody another salt.
    forms.world.server = controllers(&forms.world.installation);
    forms.set_password("later", "secret");
    forms.world.apply(&[forms.secret("later", "secret", None)]).await;
    forms.until_stored("later", "secret").await;
    for (role, stored) in &expected {
        assert_eq!(forms.stored(role).await.as_ref(), Some(stored), "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_t35_verifiers_are_stored_where_they_sign_in_by_scram() {
    verifiers_where_they_sign_in(Generation::Installed, "scram-sha-256", "forms-scram").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_t35_verifiers_are_stored_where_they_sign_in_by_scram_at_a_newer_pooler() {
    verifiers_where_they_sign_in(Generation::Newer, "scram-sha-256", "forms-scram-newer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiers_are_stored_where_md5_becomes_scram() {
    verifiers_where_they_sign_in(Generation::Installed, "md5", "forms-md5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiers_are_stored_where_md5_becomes_scram_at_a_newer_pooler() {
    verifiers_where_they_sign_in(Generation::Newer, "md5", "forms-md5-newer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_stay_plain_where_clients_send_them_in_clear() {
    verifiers_where_they_sign_in(Generation::Installed, "plain", "forms-plain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_stay_plain_where_clients_send_them_in_clear_to_a_newer_pooler() {
    verifiers_where_they_sign_in(Generation::Newer, "plain", "forms-plain-newer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_signs_in_whatever_is_known_of_its_verifier_and_comes_to_rest_as_one() {
    let forms = Forms::start(Generation::Newer, "scram-sha-256", "forms-changed").await;
    let _kubelet = forms.pooler.kubelet(&forms.world);
    let first = forms.set_password("app", "first");
    forms.world.apply(&[user("admin", ADMIN), forms.secret("app", "first", Some(&first))]).await;
    let mut spec = forms.pooler.spec();
    spec["storedForm"] = json!("Verifier");
    forms.world.list(&spec).await;
    forms.until_stored("app", &first).await;

    // The verifier of before says nothing of the new password.
    let second = forms.set_password("app", "second");
    forms.world.apply(&[forms.secret("app", "second", Some(&first))]).await;
    forms.until_stored("app", "second").await;
    forms.until_applied().await;
    forms.signs_in("app", "second").await;
    let message = forms.ready_message().await;
    assert!(message.contains("not one of its password"), "{message}");
    forms.world.apply(&[forms.secret("app", "second", Some(&second))]).await;
    forms.until_stored("app", &second).await;
    forms.until_applied().await;
    forms.signs_in("app", "second").await;

    // A Secret that no longer says it leaves what fits.
    forms.world.delete("secret", &forms.name("app")).await;
    wait_for("the user is removed", async || forms.stored("app").await.filter(|stored| *stored != second)).await;
    forms.world.apply(&[forms.secret("app", "second", Some(&second))]).await;
    forms.until_stored("app", &second).await;
    let patch = json!({"data": {"verifier": null}}).to_string();
    forms.world.installation.kubectl(&["patch", "secret", &forms.name("app"), "--type=merge", "-p", &patch]).await;
    forms.world.apply(&[user("marker", "one")]).await;
    wait_for("the change is seen", async || forms.world.written().await.filter(|list| list.contains("\"marker\""))).await;
    assert_eq!(forms.stored("app").await, Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_md5_hash_is_refused_where_nobody_signs_in_by_it_and_used_elsewhere() {
    let world = World::new(ControlPlane::shared().await, "forms-hash").await;
    let hash = format!("md5{}", "0".repeat(32));
    world.apply(&[user("old", &hash), user("good", "one")]).await;
    world.list(&json!({"authType": "scram-sha-256"})).await;
    wait_for("the others have their list", async || world.written().await.filter(|list| list == "\"good\" \"one\"\n")).await;
    let status = world.until("Ready", "True", "Written").await;
    assert!(status["skipped"][0]["reason"].as_str().unwrap().contains("set authType: md5"), "{status}");
    world.list(&json!({"authType": "md5"})).await;
    wait_for("the hash is used", async || world.written().await.filter(|list| list.contains(&hash))).await;
}
