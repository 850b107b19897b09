//! A server, an installation with its controllers, and what tests ask of both.

use std::sync::OnceLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use outrigger_bed::{ControlPlane, Postgres};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::common::{installation::Installation, process::Server, webhook::wait_for};

/// Who does the work on the shared server: no superuser.
pub(crate) const ADMIN: &str = "database_admin";
pub(crate) const PASSWORD: &str = "the admin's password";

/// An installation whose controllers look after the databases of one server.
pub(crate) struct World {
    pub(crate) installation: Installation<'static>,
    pub(crate) postgres: &'static Postgres,
    pub(crate) controllers: Option<Server>,
}

impl World {
    /// On the server that all tests share.
    pub(crate) async fn new(name: &str) -> Self {
        let mut world = Self::quiet(name).await;
        let port = world.postgres.port();
        world.apply_server(port, json!({})).await;
        world.start(&[]);
        world
    }

    /// The same, without a `PgServer` and with nobody at work yet.
    pub(crate) async fn quiet(name: &str) -> Self {
        static ADMIN_IS_THERE: OnceLock<()> = OnceLock::new();
        let postgres = Postgres::shared().await;
        ADMIN_IS_THERE.get_or_init(|| make_admin(postgres));
        let installation = installation(ControlPlane::shared().await, name).await;
        let world = Self { installation, postgres, controllers: None };
        world.apply_credentials().await;
        world
    }

    /// On a server of its own, which lives as long as the test program.
    pub(crate) async fn on(name: &str, postgres: Postgres) -> Self {
        let mut world = Self::quiet(name).await;
        world.postgres = Box::leak(Box::new(postgres));
        make_admin(world.postgres);
        world.apply_credentials().await;
        world.apply_server(world.postgres.port(), json!({})).await;
        world
    }

    /// The Secrets in the namespace of the installation.
    pub(crate) async fn apply_credentials(&self) {
        let ca = std::fs::read_to_string(self.postgres.authority_file()).unwrap();
        let admin = secret("admin", &json!({"username": ADMIN, "password": format!("{PASSWORD}\n")}));
        self.apply(&[admin, secret("ca", &json!({"ca.crt": ca}))]).await;
    }

    /// A `PgServer` of the installation's own name, at this port.
    pub(crate) async fn apply_server(&self, port: u16, changes: Value) {
        let mut server = json!({
            "apiVersion": "outrigger.dev/v1alpha1", "kind": "PgServer", "metadata": {"name": self.name()},
            "spec": {
                "host": "127.0.0.1", "port": port, "credentials": {"name": "admin"}, "tls": {"mode": "VerifyFull", "ca": {"name": "ca"}},
                "allow": [{"namespaces": [self.name()], "adoption": "IfUnclaimed"}],
            },
        });
        json_patch::merge(&mut server["spec"], &changes);
        self.installation.apply(&[server]).await;
    }

    /// Starts the controllers, which look at the catalogue once a second.
    pub(crate) fn start(&mut self, arguments: &[&str]) {
        // The tests of this binary share a cluster, and each looks after its own servers.
        let servers = format!("--databases-servers={0},{0}-dead", self.name());
        let mut all = vec![servers.as_str(), "--roles=controllers", "--repair=off", "--databases"];
        if !arguments.iter().any(|argument| argument.starts_with("--databases-interval")) {
            all.push("--databases-interval=1s");
        }
        self.controllers = Some(self.installation.process(&[&all[..], arguments].concat()));
    }

    /// Kills the controllers. Who follows need not wait until their lease has run out.
    pub(crate) async fn kill(&mut self) {
        let mut killed = self.controllers.take().unwrap();
        killed.signal(Signal::KILL);
        killed.exit().await;
        let free = json!({"spec": {"holderIdentity": ""}}).to_string();
        self.installation.kubectl(&["patch", "lease", "outrigger-controllers", "--type=merge", "-p", &free]).await;
    }

    pub(crate) fn name(&self) -> &str {
        self.installation.name()
    }

    /// A name for a database that no other test uses.
    pub(crate) fn unique(&self, name: &str) -> String {
        format!("{name} of {}", self.name())
    }

    /// Applies objects in the namespace of the installation.
    pub(crate) async fn apply(&self, manifests: &[Value]) {
        let placed = manifests.iter().cloned().map(|mut manifest| {
            manifest["metadata"]["namespace"] = json!(self.name());
            manifest
        });
        self.installation.apply(&placed.collect::<Vec<_>>()).await;
    }

    /// A `PgDatabase` of this name for this database.
    pub(crate) fn object(&self, name: &str, database: &str, changes: Value) -> Value {
        let mut object = json!({
            "apiVersion": "outrigger.dev/v1alpha1", "kind": "PgDatabase", "metadata": {"name": name},
            "spec": {"server": self.name(), "name": database},
        });
        json_patch::merge(&mut object["spec"], &changes);
        object
    }

    pub(crate) async fn apply_object(&self, name: &str, database: &str, changes: Value) {
        self.apply(&[self.object(name, database, changes)]).await;
    }

    /// An object as it is stored; none if it isn't there.
    pub(crate) async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.get_in(self.name(), kind, name).await
    }

    pub(crate) async fn get_in(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        self.installation.stored_in(namespace, kind, name).await
    }

    /// Waits until the condition of a `PgDatabase` speaks of its newest spec and has this reason, and returns the object.
    pub(crate) async fn until(&self, name: &str, condition: &str, reason: &str) -> Value {
        self.until_in(self.name(), name, condition, reason).await
    }

    pub(crate) async fn until_in(&self, namespace: &str, name: &str, condition: &str, reason: &str) -> Value {
        let what = format!("{condition} of {name} is {reason}");
        let mut last = None;
        let found = tokio::time::timeout(std::time::Duration::from_secs(60), async {
            loop {
                if let Some(object) = self.get_in(namespace, "pgdatabase", name).await {
                    if condition_of(&object, condition)["reason"] == reason
                        && condition_of(&object, condition)["observedGeneration"] == object["metadata"]["generation"]
                    {
                        return object;
                    }
                    last = Some(object["status"].clone());
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
        found.unwrap_or_else(|_| {
            panic!("waited for: {what}; it is {last:?}\n{}", self.controllers.as_ref().map(Server::log).unwrap_or_default())
        })
    }

    pub(crate) async fn until_ready(&self, name: &str) -> Value {
        self.until(name, "Ready", "AsAsked").await
    }

    /// Deletes an object without waiting for its end.
    pub(crate) async fn delete(&self, kind: &str, name: &str) {
        self.installation.kubectl(&["delete", kind, name, "--wait=false"]).await;
    }

    /// Waits until an object is gone.
    pub(crate) async fn until_gone(&self, kind: &str, name: &str) {
        wait_for(&format!("{kind} {name} is gone"), async || self.get(kind, name).await.is_none().then_some(())).await;
    }

    /// What the server's owner sees.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.postgres.query_as_owner("postgres", sql)
    }

    pub(crate) fn exists(&self, database: &str) -> bool {
        self.sql(&format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", database.replace('\'', "''"))) == "1"
    }

    /// The claims to a database: cluster's part left out, uid and stage.
    pub(crate) fn claims(&self, database: &str) -> String {
        let sql = format!("SELECT uid || ' ' || stage FROM outrigger.claims WHERE database = '{}'", database.replace('\'', "''"));
        self.postgres.query_as_owner("outrigger", &sql)
    }

    /// The value of a Secret's key.
    pub(crate) async fn secret_value(&self, name: &str, key: &str) -> Option<String> {
        let secret = self.get("secret", name).await?;
        Some(String::from_utf8(STANDARD.decode(secret["data"][key].as_str()?).unwrap()).unwrap())
    }

    /// Waits until the controllers have looked at the catalogue this often after now.
    pub(crate) async fn more_looks(&self, count: u64) {
        let server = self.controllers.as_ref().unwrap();
        let before = server.metric(LOOKS).await.unwrap_or_default();
        wait_for("more looks", async || (server.metric(LOOKS).await? >= before + count).then_some(())).await;
    }

    pub(crate) async fn metric(&self, name: &str) -> u64 {
        self.controllers.as_ref().unwrap().metric(name).await.unwrap_or_default()
    }
}

pub(crate) const LOOKS: &str = "outrigger_databases_looks_total";
pub(crate) const STATEMENTS: &str = "outrigger_databases_statements_total";
pub(crate) const STATUS_WRITES: &str = "outrigger_databases_status_writes_total";

pub(crate) fn make_admin(postgres: &Postgres) {
    let sql = format!("CREATE ROLE {ADMIN} LOGIN CREATEDB CREATEROLE PASSWORD '{}'", PASSWORD.replace('\'', "''"));
    postgres.query_as_owner("postgres", &sql);
}

pub(crate) fn secret(name: &str, data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
}

pub(crate) fn condition_of<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == type_).unwrap_or(&Value::Null)
}

/// The message of a condition.
pub(crate) fn message<'a>(object: &'a Value, type_: &str) -> &'a str {
    condition_of(object, type_)["message"].as_str().unwrap_or_default()
}

/// Whether somebody can log in with this URI, and what SQL says there.
pub(crate) async fn login(uri: &str, sql: &str) -> Result<String, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(uri, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let row = client.query_one(sql, &[]).await;
    drop(client);
    connection.await.unwrap()?;
    row.map(|row| row.get(0))
}

/// An installation whose account may look after databases.
pub(crate) async fn installation(cluster: &'static ControlPlane, name: &str) -> Installation<'static> {
    let installation = Installation::new(cluster, name).await;
    let kinds = ["pgdatabases", "pgdatabases/status", "pgservers/status"];
    let rules = json!([
        {"apiGroups": ["outrigger.dev"], "resources": kinds, "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "create", "patch"]},
    ]);
    installation.grant(rules).await;
    installation
}
