//! PgBouncer, whose list of users is a mirrored Secret.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use kube::api::DeleteParams;

use outrigger_bed::{ControlPlane, Generation, PgBouncer, Postgres};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::{
    sidecar::{Sidecar, Site, put, secret},
    until::until,
};

const LIST: &str = "userlist.txt";
const ADMIN: &str = "\"admin\" \"of-the-pooler\"\n";
const UNTOLD: &str = "PgBouncer has not read its files anew";

/// A sidecar that mirrors the list, and knows the admin's password from a file.
struct Mirrored<'cluster> {
    site: Site<'cluster>,
    sidecar: Sidecar,
    pooler: PgBouncer,
    password: TempDir,
}

impl<'cluster> Mirrored<'cluster> {
    async fn start(cluster: &'cluster ControlPlane, name: &str, server: &Postgres, is_by_socket: bool) -> Self {
        Self::start_with(cluster, name, server, is_by_socket, &|_| Vec::new()).await
    }

    async fn start_with(
        cluster: &'cluster ControlPlane,
        name: &str,
        server: &Postgres,
        is_by_socket: bool,
        tls: &dyn Fn(&PgBouncer) -> Vec<(&'static str, String)>,
    ) -> Self {
        let site = Site::new(cluster, name).await;
        put_list(&site, ADMIN).await;
        let pooler = {
            // It must find a list when it starts.
            let (status, log) = site.once(&[("RESOURCE", "secret")]).await;
            assert!(status.success(), "{log}");
            PgBouncer::start(server, &site.path().join(LIST)).await
        };
        let password = tempfile::tempdir().unwrap();
        let file = password.path().join("password");
        fs::write(&file, "of-the-pooler\n").unwrap();
        let host = if is_by_socket { pooler.socket_folder().display().to_string() } else { "127.0.0.1".to_owned() };
        let (port, file, tls) = (pooler.port().to_string(), file.display().to_string(), tls(&pooler));
        let mut variables = vec![
            ("RESOURCE", "secret"),
            ("PGBOUNCER_HOST", &host),
            ("PGBOUNCER_PORT", &port),
            ("PGBOUNCER_USERNAME", "admin"),
            ("PGBOUNCER_PASSWORD_FILE", &file),
            ("REQ_RETRY_BACKOFF_FACTOR", "100ms"),
        ];
        variables.extend(tls.iter().map(|(name, value)| (*name, value.as_str())));
        let sidecar = site.ready(&variables).await;
        Self { site, sidecar, pooler, password }
    }

    fn set_password(&self, text: &str) {
        fs::write(self.password.path().join("password"), text).unwrap();
    }

    fn is_welcome(&self, user: &str) -> Result<(), String> {
        self.pooler.query(user, user, "password", "SELECT 1").map(drop).map_err(|error| format!("{error:#}"))
    }

    async fn until_welcome(&self, user: &str) {
        until(&format!("{user} can sign in"), async || self.is_welcome(user).map_err(|error| format!("{error}; {}", self.sidecar.log())))
            .await;
    }
}

async fn put_list(site: &Site<'_>, text: &str) {
    put(&site.secrets(), secret("users", &[(LIST, text.as_bytes())])).await;
}

/// The list with these users beside the admin.
fn list(users: &[&str]) -> String {
    users.iter().fold(ADMIN.to_owned(), |list, user| list + &format!("\"{user}\" \"password\"\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_was_added_can_sign_in_while_the_pooler_goes_on() {
    let (cluster, server) = (ControlPlane::shared().await, Postgres::shared().await);
    for (name, is_by_socket) in [("pooler-tcp", false), ("pooler-socket", true)] {
        let mirrored = Mirrored::start(cluster, name, server, is_by_socket).await;
        let user = server.database("added");
        assert!(mirrored.is_welcome(&user).unwrap_err().contains("authentication failed"));
        put_list(&mirrored.site, &list(&[&user])).await;
        mirrored.until_welcome(&user).await;
        mirrored.sidecar.until_told().await;
        assert!(!mirrored.sidecar.log().contains(UNTOLD), "{}", mirrored.sidecar.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_is_down_when_its_users_change_is_told_when_it_is_back() {
    let (cluster, server) = (ControlPlane::shared().await, Postgres::shared().await);
    let mirrored = Mirrored::start(cluster, "pooler-down", server, false).await;
    let user = server.database("added");
    mirrored.pooler.kill();
    put_list(&mirrored.site, &list(&[&user])).await;
    mirrored.sidecar.until_log(UNTOLD).await;
    assert_eq!(mirrored.sidecar.metric("outrigger_file_sync_pending_notifications").await, 1);
    mirrored.pooler.restart();
    mirrored.sidecar.until_told().await;
    mirrored.until_welcome(&user).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_the_pooler_refuses_is_named_and_tried_again_as_its_file_has_it_then() {
    let (cluster, server) = (ControlPlane::shared().await, Postgres::shared().await);
    let mirrored = Mirrored::start(cluster, "pooler-password", server, false).await;
    let user = server.database("added");
    mirrored.sidecar.until_told().await;
    mirrored.set_password("of-somebody-else");
    put_list(&mirrored.site, &list(&[&user])).await;
    mirrored.sidecar.until_log("authentication failed").await;
    let log = mirrored.sidecar.log();
    let line = log.lines().find(|line| line.contains("authentication failed")).unwrap();
    assert!(line.contains(UNTOLD) && line.contains("pgbouncer at 127.0.0.1") && line.contains("as admin"), "{line}");
    assert!(!log.contains("of-somebody-else"), "{log}");
    assert!(mirrored.is_welcome(&user).is_err(), "it does not know of the new user yet");
    mirrored.set_password("of-the-pooler");
    mirrored.until_welcome(&user).await;
    mirrored.sidecar.until_told().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_poolers_certificate_is_verified_as_asked() {
    let (cluster, server) = (ControlPlane::shared().await, Postgres::shared().await);
    let authority = |pooler: &PgBouncer| {
        vec![("PGBOUNCER_TLS_MODE", "verify-full".to_owned()), ("PGBOUNCER_CA_FILE", pooler.authority_file().display().to_string())]
    };
    let trusted = Mirrored::start_with(cluster, "pooler-trusted", server, false, &authority).await;
    let user = server.database("added");
    put_list(&trusted.site, &list(&[&user])).await;
    trusted.until_welcome(&user).await;
    trusted.sidecar.until_told().await;

    let stranger = |_: &PgBouncer| {
        vec![("PGBOUNCER_TLS_MODE", "verify-full".to_owned()), ("PGBOUNCER_CA_FILE", server.authority_file().display().to_string())]
    };
    let strange = Mirrored::start_with(cluster, "pooler-strange", server, false, &stranger).await;
    put_list(&strange.site, &list(&[&user])).await;
    strange.sidecar.until_log("certificate").await;
    let log = strange.sidecar.log();
    assert!(log.contains(UNTOLD) && strange.is_welcome(&user).is_err(), "{log}");
}

const DIGEST: &str = "outrigger.dev/userlist-digest";

/// A list as its writer stores it, with the digest that stands for it.
async fn put_digested(site: &Site<'_>, text: &str, digest: &str) {
    put_keys(site, &[(LIST, text)], digest).await;
}

async fn put_keys(site: &Site<'_>, keys: &[(&str, &str)], digest: &str) {
    let keys: Vec<_> = keys.iter().map(|(key, text)| (*key, text.as_bytes())).collect();
    let mut list = secret("users", &keys);
    list.metadata.annotations = Some(BTreeMap::from([(DIGEST.to_owned(), digest.to_owned())]));
    put(&site.secrets(), list).await;
}

/// An agent as poolers have it: it mirrors one Secret by its name, reaches the console by the socket, and says which list is in use.
fn agent(site: &Site<'_>, socket: &str, port: &str) -> Sidecar {
    site.start(&[
        ("RESOURCE", "secret"),
        ("RESOURCE_NAME", "users"),
        ("PGBOUNCER_HOST", socket),
        ("PGBOUNCER_PORT", port),
        ("PGBOUNCER_AUTH_FILE", LIST),
        ("APPLIED_ANNOTATION", DIGEST),
        ("REQ_RETRY_BACKOFF_FACTOR", "100ms"),
    ])
}

async fn until_applied(agent: &Sidecar, digest: &str) {
    until_applied_with(agent, digest, 0).await;
}

async fn until_applied_with(agent: &Sidecar, digest: &str, sessions: usize) {
    let expected = serde_json::json!({"digest": digest, "remainingSessions": sessions}).to_string();
    until(&format!("{digest} is applied"), async || match agent.status("/applied").await {
        Ok((200, text)) if text == expected => Ok(()),
        other => Err(format!("{other:?}; {}", agent.log())),
    })
    .await;
}

/// The agent's whole life: it waits for a list that can be used, says which one PgBouncer has loaded, and never writes one that would lock
/// people out.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_waits_for_a_list_and_says_which_one_is_in_use() {
    let (cluster, server) = (ControlPlane::shared().await, Postgres::shared().await);
    let site = Site::new(cluster, "pooler-agent").await;
    let (first, second) = (server.database("first"), server.database("second"));
    // The socket's folder must be known before there is a pooler.
    let pooler = {
        put_list(&site, ADMIN).await;
        let (status, log) = site.once(&[("RESOURCE", "secret")]).await;
        assert!(status.success(), "{log}");
        let pooler = PgBouncer::start(server, &site.path().join(LIST)).await;
        pooler.kill();
        site.secrets().delete("users", &DeleteParams::default()).await.unwrap();
        fs::remove_file(site.path().join(LIST)).unwrap();
        pooler
    };
    let (socket, port) = (pooler.socket_folder().display().to_string(), pooler.port().to_string());
    let running = agent(&site, &socket, &port);

    let waits = running.until_status("/startupz", 503).await;
    until("it waits for a list", async || match running.status("/startupz").await {
        Ok((503, text)) if text.contains("no object has the list of users yet") => Ok(()),
        other => Err(format!("{other:?}, and before {waits}")),
    })
    .await;
    assert_eq!(running.status("/applied").await.unwrap().0, 503);
    put_digested(&site, "\"admin\" \"of-the-pooler\"\n\"broken\n", "broken").await;
    running.until_log("line 2 of the list of users has a quote that is not closed").await;
    assert!(!site.path().join(LIST).exists(), "a list that PgBouncer can't read isn't written");

    put_digested(&site, &list(&[&first]), "one").await;
    running.until_status("/startupz", 200).await;
    let (code, why) = running.status("/applied").await.unwrap();
    assert_eq!(code, 503, "nobody runs who could have loaded it: {why}");
    pooler.restart();
    until_applied(&running, "one").await;
    pooler.query(&first, &first, "password", "SELECT 1").unwrap();

    put_digested(&site, &list(&[&first, &second]), "two").await;
    until_applied(&running, "two").await;
    pooler.query(&second, &second, "password", "SELECT 1").unwrap();
    // The same list again, whose writer has another key for its digests.
    put_digested(&site, &list(&[&first, &second]), "three").await;
    until_applied(&running, "three").await;

    for (unusable, said) in
        [("", "the list of users is empty"), ("; nobody\n", "the list of users is empty"), ("# a\n", "line 1 of the list")]
    {
        put_digested(&site, unusable, "unusable").await;
        running.until_log(said).await;
        let ready = running.status("/readyz").await.unwrap();
        assert!(ready.1.contains("what was there stays"), "{ready:?}");
        until_applied(&running, "three").await;
    }
    site.secrets().delete("users", &DeleteParams::default()).await.unwrap();
    running.until_log("no object has this list of users any more; the last one stays").await;
    assert_eq!(fs::read_to_string(site.path().join(LIST)).unwrap(), list(&[&first, &second]));
    pooler.kill();
    pooler.restart();
    pooler.query(&second, &second, "password", "SELECT 1").unwrap();

    // One that comes after it can't know what was loaded, and so lets it be loaded again.
    running.kill().await;
    put_digested(&site, &list(&[&first, &second]), "three").await;
    let next = agent(&site, &socket, &port);
    until_applied(&next, "three").await;
    put(&site.secrets(), secret("users", &[(LIST, list(&[&first]).as_bytes())])).await;
    let why = next.until_status("/applied", 503).await;
    assert_eq!(why, format!("the object has no annotation {DIGEST}\n"));
}

/// A session through the pooler, which ends with what is returned.
async fn session(pooler: &PgBouncer, user: &str) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(pooler.port()).dbname(user).user(user).password("password");
    let (client, connection) = config.connect(NoTls).await.unwrap();
    // Its end shows in what is asked next.
    tokio::spawn(connection);
    client.batch_execute("SELECT 1").await.unwrap();
    client
}

/// A pooler with its agent and two users signed in, of whom one is then removed.
async fn removed(generation: Generation, name: &str, check: impl AsyncFnOnce(&Sidecar, tokio_postgres::Client)) {
    let (cluster, server) = (ControlPlane::shared().await, Postgres::shared().await);
    let site = Site::new(cluster, name).await;
    let (gone, stays) = (server.database("gone"), server.database("stays"));
    put_digested(&site, &list(&[&gone, &stays]), "one").await;
    let (status, log) = site.once(&[("RESOURCE", "secret")]).await;
    assert!(status.success(), "{log}");
    let pooler = PgBouncer::start_of(generation, server, &site.path().join(LIST)).await;
    let agent = agent(&site, &pooler.socket_folder().display().to_string(), &pooler.port().to_string());
    until_applied(&agent, "one").await;
    let (leaving, staying) = (session(&pooler, &gone).await, session(&pooler, &stays).await);

    let tombstone = list(&[&stays]) + &format!("\"{gone}\" \"nobody knows\"\n");
    put_keys(&site, &[(LIST, &tombstone), ("outrigger.removed-users", &gone)], "two").await;
    check(&agent, leaving).await;
    staying.batch_execute("SELECT 1").await.unwrap();
    for password in ["", "password"] {
        assert!(pooler.query(&gone, &gone, password, "SELECT 1").is_err());
    }
}

/// Neither the operator's way to the console nor a password of it matters.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_ends_the_sessions_of_removed_users_and_of_nobody_else() {
    removed(Generation::Newer, "pooler-removed-newer", async |agent, leaving| {
        until_applied(agent, "two").await;
        assert!(leaving.batch_execute("SELECT 1").await.is_err());
        assert!(agent.log().contains("sessions of removed users were ended"), "{}", agent.log());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_says_how_many_sessions_of_removed_users_an_older_pooler_can_not_end_until_they_have_ended() {
    removed(Generation::Installed, "pooler-removed-older", async |agent, leaving| {
        until_applied_with(agent, "two", 1).await;
        leaving.batch_execute("SELECT 1").await.unwrap();
        drop(leaving);
        until_applied(agent, "two").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_key_is_gone_from_its_secret_stays_the_one_that_is_in_use() {
    let (cluster, server) = (ControlPlane::shared().await, Postgres::shared().await);
    let site = Site::new(cluster, "pooler-moved").await;
    put_digested(&site, ADMIN, "one").await;
    let (status, log) = site.once(&[("RESOURCE", "secret")]).await;
    assert!(status.success(), "{log}");
    let pooler = PgBouncer::start(server, &site.path().join(LIST)).await;
    let agent = agent(&site, &pooler.socket_folder().display().to_string(), &pooler.port().to_string());
    until_applied(&agent, "one").await;

    put_keys(&site, &[("moved.txt", ADMIN)], "two").await;
    agent.until_log("no object has this list of users any more").await;
    agent.until_told().await;
    until_applied(&agent, "one").await;
    put_digested(&site, ADMIN, "three").await;
    until_applied(&agent, "three").await;
}

/// A pooler of a generation with its agent and these users, whose list has the digest `one`.
async fn with_agent(generation: Generation, site: &Site<'_>, users: &str) -> (PgBouncer, Sidecar) {
    put_digested(site, users, "one").await;
    let (status, log) = site.once(&[("RESOURCE", "secret")]).await;
    assert!(status.success(), "{log}");
    let pooler = PgBouncer::start_of(generation, Postgres::shared().await, &site.path().join(LIST)).await;
    let agent = agent(site, &pooler.socket_folder().display().to_string(), &pooler.port().to_string());
    until_applied(&agent, "one").await;
    (pooler, agent)
}

async fn a_list_that_is_away(generation: Generation, name: &str) {
    let (site, server) = (Site::new(ControlPlane::shared().await, name).await, Postgres::shared().await);
    let (first, second, third) = (server.database("first"), server.database("second"), server.database("third"));
    let (pooler, agent) = with_agent(generation, &site, &list(&[&first])).await;
    let file = site.path().join(LIST);
    let reload = || pooler.query("pgbouncer", "admin", "of-the-pooler", "RELOAD").unwrap();
    let signs_in = |user: &str| pooler.query(user, user, "password", "SELECT 1").unwrap();

    fs::remove_file(&file).unwrap();
    reload();
    signs_in(&first);
    until_applied(&agent, "one").await;
    put_digested(&site, &list(&[&first, &second]), "two").await;
    until_applied(&agent, "two").await;
    for user in [&first, &second] {
        signs_in(user);
    }

    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    reload();
    for user in [&first, &second] {
        signs_in(user);
    }
    until_applied(&agent, "two").await;
    put_digested(&site, &list(&[&first, &second, &third]), "three").await;
    until_applied(&agent, "three").await;
    for user in [&first, &second, &third] {
        signs_in(user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_g8_a_list_that_is_away_or_can_not_be_read_at_a_reload_locks_nobody_out() {
    a_list_that_is_away(Generation::Installed, "pooler-away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_g8_a_list_that_is_away_or_can_not_be_read_at_a_reload_of_a_newer_pooler_locks_nobody_out() {
    a_list_that_is_away(Generation::Newer, "pooler-away-newer").await;
}

/// `PgBouncer` does not read a file again that has the inode, the size and, in whole seconds, the time of the one that it has read.
async fn lists_of_one_size_within_one_second(generation: Generation, name: &str) {
    const ROUNDS: u32 = 60;
    let (site, server) = (Site::new(ControlPlane::shared().await, name).await, Postgres::shared().await);
    let user = server.database("twin");
    let with = |password: &str| format!("{ADMIN}\"{user}\" \"{password}\"\n");
    let (pooler, agent) = with_agent(generation, &site, &with("password-0000")).await;
    let file = site.path().join(LIST);
    let (mut before, mut of_one_second) = (fs::metadata(&file).unwrap(), 0);
    for round in 1..=ROUNDS {
        let digest = format!("round-{round}");
        put_digested(&site, &with(&format!("password-{round:04}")), &digest).await;
        until_applied(&agent, &digest).await;
        let now = fs::metadata(&file).unwrap();
        assert_eq!(now.size(), before.size());
        assert!(
            now.mtime() > before.mtime(),
            "its inode may be used again, so its time alone tells it from one before: {before:?}, {now:?}"
        );
        // When it was renamed nobody can change.
        of_one_second += usize::from(now.ctime() == before.ctime());
        before = now;
        // A login takes its time, which is not to come between each two of them.
        if round % 10 == 0 {
            pooler.query(&user, &user, &format!("password-{round:04}"), "SELECT 1").unwrap();
            assert!(pooler.query(&user, &user, &format!("password-{:04}", round - 1), "SELECT 1").is_err(), "{round}");
        }
    }
    assert!(of_one_second > 4, "{of_one_second}");

    // Nor is one lost that came while PgBouncer was still told of another.
    for round in 100..200 {
        put_digested(&site, &with(&format!("password-{round:04}")), &format!("round-{round}")).await;
    }
    until_applied(&agent, "round-199").await;
    pooler.query(&user, &user, "password-0199", "SELECT 1").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_g9_of_lists_of_one_size_within_one_second_each_is_live() {
    lists_of_one_size_within_one_second(Generation::Installed, "pooler-twins").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_g9_of_lists_of_one_size_within_one_second_each_is_live_at_a_newer_pooler() {
    lists_of_one_size_within_one_second(Generation::Newer, "pooler-twins-newer").await;
}
