//! The connection provisioner as a sidecar of pods that really run.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "common/product_image.rs"]
mod product_image;
#[path = "common/running.rs"]
mod running;
#[path = "common/until.rs"]
mod until;

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use outrigger_bed::{Namespace, Node, gaps, image};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_postgres::{Client, NoTls};

use product_image::product_image;
use running::{create, pods, restricted, until_phase};
use until::until;

const HEALTH_PORT: u16 = 15802;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_app_is_the_database_gets_its_connections() {
    let name = "a_pod_whose_app_is_the_database";
    let Some(product) = product_image().await else { return };
    let Some(node) = Node::start(name).await else { return };
    node.import_image(product).await;
    let folder = tempfile::tempdir().unwrap();
    match image::postgres::postgres(folder.path()) {
        Ok(image) => node.import_image(&image).await,
        Err(why) => return gaps::skip(name, &why).unwrap(),
    }
    let namespace = node.cluster().namespace("guacamole").await;
    namespace.label("pod-security.kubernetes.io/enforce", "restricted").await;
    put(&namespace, "office", "connection.yaml", &connection("Office")).await;
    put(&namespace, "properties", "guacamole.properties", "postgresql-password: unused\n").await;

    create(&namespace, &pod("guacamole", &database(), "Always")).await;
    // The sidecar starts first, and the database is no sooner there than the sidecar lets the app start.
    until_phase(&namespace, "guacamole", "Running").await;
    let address = pods(&namespace).get("guacamole").await.unwrap().status.unwrap().pod_ip.unwrap();
    let client = until("the database answers", async || connect(&address, "postgres", "postgres").await).await;
    client.batch_execute("CREATE ROLE guacamole LOGIN").await.unwrap();
    client.batch_execute("CREATE DATABASE guacamole_db OWNER guacamole").await.unwrap();
    let guacamole = connect(&address, "guacamole_db", "guacamole").await.unwrap();
    let schema = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/guacamole/schema.sql")).unwrap();
    guacamole.batch_execute(&schema).await.unwrap();
    until_connections(&guacamole, &["Office"]).await;
    until("nothing is left to look at", async || ready(&address).await).await;

    put(&namespace, "office", "connection.yaml", &connection("Office 2")).await;
    // The kubelet looks at a pod's Secrets about once a minute, and when the pod changes.
    let touched = Patch::Merge(json!({"metadata": {"annotations": {"touched": "yes"}}}));
    pods(&namespace).patch("guacamole", &PatchParams::default(), &touched).await.unwrap();
    until_connections(&guacamole, &["Office 2"]).await;

    let ends = json!({"name": "app", "image": image::product::REFERENCE, "imagePullPolicy": "IfNotPresent", "command": ["outrigger", "--version"], "securityContext": restricted(1000)});
    create(&namespace, &pod("job", &ends, "Never")).await;
    until_phase(&namespace, "job", "Succeeded").await;
}

fn connection(name: &str) -> String {
    format!("name: {name}\nprotocol: ssh\nparameters: {{hostname: office, port: 22}}\nusers: [alice]\n")
}

/// The app.
fn database() -> Value {
    json!({
        "name": "database",
        "image": image::postgres::REFERENCE,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": restricted(1000),
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    })
}

fn pod(name: &str, app: &Value, restart_policy: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {
            "outrigger.dev/inject": "guacamole",
            "guacamole.outrigger.dev/connections": "office",
            "guacamole.outrigger.dev/configuration": "properties",
            "guacamole.outrigger.dev/interval": "1h",
        }},
        "spec": {
            "restartPolicy": restart_policy,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 5,
            "containers": [app],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    })
}

/// Makes or replaces a Secret with one key.
async fn put(namespace: &Namespace<'_>, name: &str, key: &str, text: &str) {
    let secrets: Api<Secret> = Api::default_namespaced(namespace.client());
    let secret: Secret = serde_json::from_value(json!({"metadata": {"name": name}, "stringData": {key: text}})).unwrap();
    if secrets.get_opt(name).await.unwrap().is_some() {
        secrets.replace(name, &PostParams::default(), &secret).await.unwrap();
    } else {
        secrets.create(&PostParams::default(), &secret).await.unwrap();
    }
}

async fn connect(address: &str, database: &str, user: &str) -> Result<Client, String> {
    let mut config = tokio_postgres::Config::new();
    config.host(address).dbname(database).user(user).connect_timeout(Duration::from_secs(5));
    let (client, connection) = config.connect(NoTls).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(client)
}

async fn until_connections(client: &Client, expected: &[&str]) {
    until(&format!("the connections are {expected:?}"), async || {
        let rows = client.query("SELECT connection_name FROM guacamole_connection ORDER BY 1", &[]).await.unwrap();
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        if names == expected { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
}

/// What the sidecar says of itself.
async fn ready(address: &str) -> Result<(), String> {
    let mut stream = TcpStream::connect((address, HEALTH_PORT)).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut report = String::new();
    stream.read_to_string(&mut report).await.unwrap();
    if report.contains("connections: ok") { Ok(()) } else { Err(report) }
}
