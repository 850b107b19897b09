//! TLS towards clients and towards the server: certificates in Secrets, the agent that keeps them as files, and the `PgBouncer` that serves them.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use outrigger::postgres::{
    failure::Failure,
    session::{Session, Target},
    tls::{Tls, TlsMode},
};
use outrigger_bed::{ControlPlane, Generation, Namespace, PgBouncer, Postgres};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::{
    helm::Helm,
    live::{Agent, Live},
    until::until,
};

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// The data of a Secret with a certificate for this machine.
    fn front(&self) -> Value {
        let (certificate, key) = self.issue("localhost");
        json!({"tls.crt": certificate, "tls.key": key, "ca.crt": self.0.pem()})
    }
}

/// A pooler whose certificates are Secrets.
struct Secured<'cluster> {
    live: Live,
    namespace: Namespace<'cluster>,
    pooler: PgBouncer,
    agent: Agent,
    user: String,
}

impl<'cluster> Secured<'cluster> {
    async fn start(helm: &Helm, generation: Generation, user: &str, (front, back): (Value, Value), more: &[&str]) -> Self {
        let (cluster, server) = (ControlPlane::shared().await, Postgres::shared().await);
        let namespace: Namespace<'cluster> = cluster.namespace("pooler-tls").await;
        let values = [
            "defaults.tls.client.secretName=front",
            "defaults.tls.server.mode=verify-full",
            "defaults.tls.server.secretName=back",
            "instances.one.databases.app.host=127.0.0.1",
            "instances.one.databases.app.dbname=postgres",
            &format!("instances.one.databases.app.port={}", server.port()),
            // Who can't be served is told soon.
            "defaults.config.server_login_retry=1",
            "defaults.config.query_wait_timeout=2",
        ];
        let values: Vec<String> = values.into_iter().chain(more.iter().copied()).map(str::to_owned).collect();
        let live = Live::render(helm, generation, namespace.name(), &values);
        put(&namespace, "users", &json!({"userlist.txt": format!("\"{user}\" \"password\"\n")})).await;
        put(&namespace, "front", &front).await;
        put(&namespace, "back", &back).await;
        let agent = live.agent(cluster);
        until("the files are there", async || match live.ask_agent("/startupz").await {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}; {}", agent.log())),
        })
        .await;
        let pooler = live.pooler().await;
        Self { live, namespace, pooler, agent, user: user.to_owned() }
    }

    /// What the server says to a client that asks for this much TLS.
    fn ask(&self, tls: &str, sql: &str) -> Result<String, String> {
        let connection = format!("dbname=app host=localhost {tls}");
        self.pooler.query(&connection, &self.user, "password", sql).map_err(|error| format!("{error:#}"))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.live.folder().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The words of a client that trusts this authority alone.
    fn trusting(&self, name: &str, authority: &Authority) -> String {
        format!("sslmode=verify-full sslrootcert={}", self.file(&format!("authority-{name}.crt"), &authority.0.pem()).display())
    }

    async fn put(&self, name: &str, data: &Value) {
        put(&self.namespace, name, data).await;
    }

    async fn until_answered(&self, what: &str, tls: &str) {
        until(what, async || self.ask(tls, "SELECT 1").map_err(|error| format!("{error}; {}", self.agent.log()))).await;
    }
}

async fn put(namespace: &Namespace<'_>, name: &str, data: &Value) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    let secrets: Api<Secret> = Api::default_namespaced(namespace.client());
    secrets.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&secret)).await.unwrap();
}

async fn certificates_are_served_verified_and_renewed(generation: Generation, test: &str) {
    let Some(helm) = Helm::obtain(test) else { return };
    let server = Postgres::shared().await;
    let (user, first, second) = (server.database("secured"), Authority::new("first"), Authority::new("second"));
    let servers_authority = json!({"ca.crt": fs::read_to_string(server.authority_file()).unwrap()});
    let pair = (first.front(), servers_authority.clone());
    let secured = Secured::start(&helm, generation, &user, pair, &["defaults.tls.client.mode=require"]).await;
    let [by_first, by_second] = [secured.trusting("first", &first), secured.trusting("second", &second)];

    let is_secured = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    secured.until_answered("the server is reached", &by_first).await;
    assert_eq!(secured.ask(&by_first, is_secured).as_deref(), Ok("t"), "the server is reached by TLS, too");
    let refused = secured.ask("sslmode=disable", "SELECT 1").unwrap_err();
    assert!(refused.contains("SSL required"), "{refused}");
    assert!(secured.ask(&by_second, "SELECT 1").unwrap_err().contains("certificate verify failed"));

    // A renewed certificate is in use without a restart: a session goes on.
    let target = Target {
        host: "localhost".to_owned(),
        port: secured.live.port(),
        database: "app".to_owned(),
        user: user.clone(),
        password: Some("password".into()),
        tls: Tls { mode: TlsMode::Require, ..Tls::default() },
        options: None,
    };
    let mut session = Session::open(&target).await.unwrap();
    secured.put("front", &second.front()).await;
    secured.until_answered("the renewed certificate is served", &by_second).await;
    assert!(secured.ask(&by_first, "SELECT 1").unwrap_err().contains("certificate verify failed"), "and the other no more");
    session.run(async |client| Ok::<_, Failure>(client.batch_execute("SELECT 1").await?)).await.unwrap();

    // So is another authority of the server's: one that has not signed its certificate lets nobody through.
    secured.put("back", &json!({"ca.crt": second.0.pem()})).await;
    until("the server's certificate is refused", async || {
        let ended = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{user}'");
        server.query_as_owner("postgres", &ended);
        match secured.ask(&by_second, "SELECT 1") {
            Err(refused) if !refused.contains("terminating connection") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    secured.put("back", &servers_authority).await;
    secured.until_answered("the server's certificate is taken again", &by_second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_t29_certificates_are_served_verified_and_renewed_by_the_same_reload() {
    certificates_are_served_verified_and_renewed(Generation::Installed, "certificates_are_served").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_t29_certificates_are_served_verified_and_renewed_by_the_same_reload_of_a_newer_pooler() {
    certificates_are_served_verified_and_renewed(Generation::Newer, "certificates_are_served_newer").await;
}

async fn both_ends_say_who_they_are(generation: Generation, test: &str) {
    let Some(helm) = Helm::obtain(test) else { return };
    let (server, ours, other) = (Postgres::shared().await, Authority::new("ours"), Authority::new("another"));
    let create = "DO $do$ BEGIN CREATE ROLE certified LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $do$";
    server.query_as_owner("postgres", create);
    let (certificate, key) = server.client_identity();
    let back = json!({"ca.crt": fs::read_to_string(server.authority_file()).unwrap(), "tls.crt": certificate, "tls.key": key});
    let both = ["defaults.tls.client.mode=verify-full", "defaults.tls.client.hasAuthority=true", "defaults.tls.server.hasCertificate=true"];
    // The server lets this role in by its certificate alone.
    let secured = Secured::start(&helm, generation, "certified", (ours.front(), back), &both).await;

    let trusting = secured.trusting("ours", &ours);
    let with = |name: &str, authority: &Authority| {
        let (certificate, key) = authority.issue("client");
        let [certificate, key] = [("crt", certificate), ("key", key)].map(|(end, text)| secured.file(&format!("{name}.{end}"), &text));
        format!("{trusting} sslcert={} sslkey={}", certificate.display(), key.display())
    };
    let question = "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let words = with("ours", &ours);
    secured.until_answered("the server is reached", &words).await;
    assert_eq!(secured.ask(&words, question).as_deref(), Ok("/CN=certified"));
    for (who, words) in [("who has no certificate", trusting.clone()), ("who has another authority's", with("other", &other))] {
        let refused = secured.ask(&words, "SELECT 1").unwrap_err();
        assert!(refused.contains("SSL") || refused.contains("closed the connection"), "{who}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_pooler_say_who_they_are_by_certificates() {
    both_ends_say_who_they_are(Generation::Installed, "clients_and_pooler_say_who_they_are").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_a_newer_pooler_say_who_they_are_by_certificates() {
    both_ends_say_who_they_are(Generation::Newer, "clients_and_a_newer_pooler_say_who_they_are").await;
}
