//! A real PgBouncer that a list's pods stand for, and what a kubelet would do for it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use outrigger_bed::{Generation, PgBouncer, PoolerSettings, Postgres};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use crate::world::{World, wait_for};

/// The password of the console's user.
pub(crate) const ADMIN: &str = "of-the-pooler";

/// A pooler whose list of users is a file.
pub(crate) struct Pooler {
    pub(crate) bouncer: PgBouncer,
    file: PathBuf,
    folder: TempDir,
}

/// A connection, which ends with this.
pub(crate) struct Session {
    pub(crate) client: Client,
    driver: JoinHandle<()>,
}

/// What renews the pooler's file, as the kubelet does for a mounted Secret.
pub(crate) struct Kubelet(JoinHandle<()>);

/// There is no database of the probe's name, so nobody has to ask the server, which has refused it before: by default that takes a quarter of a
/// minute.
pub(crate) async fn settings() -> PoolerSettings {
    let server = Postgres::shared().await;
    let databases = format!("postgres = host={} port={}", server.socket_folder().display(), server.port());
    PoolerSettings { databases: Some(databases), login_retry: Duration::from_secs(1), ..PoolerSettings::default() }
}

impl Pooler {
    /// It begins with the console's user alone.
    pub(crate) async fn start(generation: Generation) -> Self {
        Self::start_with(generation, settings().await).await
    }

    pub(crate) async fn start_with(generation: Generation, settings: PoolerSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("userlist.txt"), format!("\"admin\" \"{ADMIN}\"\n")).unwrap();
        Self::start_in(folder, generation, settings).await
    }

    /// It begins with the list that the folder has.
    pub(crate) async fn start_in(folder: TempDir, generation: Generation, settings: PoolerSettings) -> Self {
        let file = folder.path().join("userlist.txt");
        let bouncer = PgBouncer::start_with(generation, Postgres::shared().await, &file, settings).await;
        Self { bouncer, file, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The part of a list's spec that names it.
    pub(crate) fn spec(&self) -> Value {
        json!({"admin": {"user": "admin", "port": self.bouncer.port()}, "poolers": [{"name": "pooler"}], "probeUser": "outrigger-probe"})
    }

    /// Gives it another list, as the kubelet does: a new file in the place of the old one.
    pub(crate) fn renew(&self, list: &str) {
        renew(&self.file, list);
    }

    /// Renews the file whenever the Secret changes.
    pub(crate) fn kubelet(&self, world: &World<'_>) -> Kubelet {
        let (file, secrets) = (self.file.clone(), world.secrets());
        Kubelet(tokio::spawn(async move {
            let mut known = String::new();
            loop {
                let secret = secrets.get_opt(crate::world::OUTPUT).await.ok().flatten();
                let list = secret.and_then(|secret| String::from_utf8(secret.data?.remove("userlist.txt")?.0).ok());
                if let Some(list) = list.filter(|list| *list != known) {
                    renew(&file, &list);
                    known = list;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }))
    }

    /// Signs in and asks PostgreSQL something.
    pub(crate) async fn sign_in(&self, user: &str, password: &str) -> Result<Session, String> {
        self.sign_in_to("postgres", user, password).await
    }

    pub(crate) async fn sign_in_to(&self, database: &str, user: &str, password: &str) -> Result<Session, String> {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.bouncer.port()).dbname(database).user(user).password(password);
        let (client, connection) = config.connect(NoTls).await.map_err(|error| format!("{error:?}"))?;
        let driver = tokio::spawn(async move {
            // Its end shows in what is asked next.
            let _ = connection.await;
        });
        let session = Session { client, driver };
        session.backend().await?;
        Ok(session)
    }
}

impl Session {
    /// The process of PostgreSQL that serves it.
    pub(crate) async fn backend(&self) -> Result<i32, String> {
        // In transaction mode an older pooler takes no prepared statements.
        let answer = self.client.simple_query("SELECT pg_backend_pid()").await.map_err(|error| format!("{error:?}"))?;
        let row = answer.iter().find_map(|message| if let SimpleQueryMessage::Row(row) = message { row.get(0) } else { None });
        row.and_then(|id| id.parse().ok()).ok_or_else(|| format!("{answer:?}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn renew(file: &Path, list: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, list).unwrap();
    std::fs::rename(&next, file).unwrap();
}

/// A role who may sign in; PostgreSQL trusts the pooler's socket.
pub(crate) async fn role(prefix: &str) -> String {
    Postgres::shared().await.database(prefix)
}

/// A workload named `pooler` whose one pod is where the pooler listens.
pub(crate) async fn workload(world: &World<'_>, kind: &str, annotations: &Value) {
    workload_for(world, kind, annotations, "").await;
}

/// The same, whose pod has this digest among its annotations.
pub(crate) async fn workload_for(world: &World<'_>, kind: &str, annotations: &Value, digest: &str) {
    let labels = json!({"app": "pooler"});
    let template = json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": [{"name": "pgbouncer", "image": "app"}]}});
    let mut spec = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template});
    if kind == "StatefulSet" {
        spec["serviceName"] = json!("pooler");
    }
    world.apply(&[json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "pooler"}, "spec": spec})]).await;
    run(world, digest).await;
}

/// Waits for a pod of the workload that is made for this list, and lets it run as a kubelet would.
pub(crate) async fn run(world: &World<'_>, digest: &str) -> String {
    run_annotated(world, "outrigger.dev/userlist-digest", digest).await
}

/// Waits for a pod of the workload with this annotation's value, and lets it run as a kubelet would.
pub(crate) async fn run_annotated(world: &World<'_>, annotation: &str, value: &str) -> String {
    let pods: Api<Pod> = Api::default_namespaced(world.installation.namespace.client());
    let status = json!({"status": {
        "phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}], "conditions": [{"type": "Ready", "status": "True"}],
    }});
    wait_for("the workload has a pod", async || {
        let list = pods.list(&ListParams::default().labels("app=pooler")).await.unwrap();
        let pod = list.items.iter().find(|pod| {
            let found = pod.annotations().get(annotation).map_or("", String::as_str);
            found == value && pod.metadata.deletion_timestamp.is_none()
        });
        let name = pod.map(ResourceExt::name_any)?;
        // It may be gone by now.
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.ok()?;
        Some(name)
    })
    .await
}
