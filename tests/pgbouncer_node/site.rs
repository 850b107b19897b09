//! A node with the images, a namespace that admits restricted pods alone, and the chart in it.

use std::fs;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Secret, Service},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use outrigger_bed::{
    Node, gaps,
    image::{
        dockerfile,
        pgbouncer::{self, Generation},
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio_postgres::{Client, NoTls};

use crate::{
    helm::{self, Helm, RELEASE},
    product_image::product_image,
    running::restricted,
    until::until,
};

pub(crate) const POSTGRES: &str = "localhost/postgres:17";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/pgbouncer");
/// What the agents answer with once they use the list.
const DIGEST: &str = "outrigger.dev/userlist-digest";
const DOCKERFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pgbouncer_node/postgres.Dockerfile");
pub(crate) const NAMESPACE: &str = "poolers";

/// Who initdb runs as, which asks for the user's name.
const NOBODY: u32 = 65534;
const SERVES: &str = "initdb --auth=trust --username=postgres --no-locale --encoding=UTF8 --no-sync --pgdata=/data/db > /dev/null \
    && printf 'local all all trust\\nhost all other all scram-sha-256\\nhost all all all trust\\n' > /data/db/pg_hba.conf \
    && exec postgres -D /data/db -c listen_addresses='*' -c unix_socket_directories=/data -c fsync=off";

pub(crate) struct Site {
    node: Node,
    pub(crate) helm: Helm,
    folder: TempDir,
}

impl Site {
    pub(crate) async fn start(test: &str) -> Option<Self> {
        let helm = Helm::obtain(test)?;
        let product = product_image().await?;
        let node = Node::start(test).await?;
        node.import_image(product).await;
        let folder = tempfile::tempdir().unwrap();
        let made = block_in_place(|| {
            let place = |name: &str| folder.path().join(name);
            let (current, old, postgres) = (place("current.tar"), place("old.tar"), place("postgres.tar"));
            pgbouncer::write(Generation::Current, &current)?;
            pgbouncer::write(Generation::Old, &old)?;
            dockerfile::write(DOCKERFILE.as_ref(), POSTGRES, &postgres)?;
            anyhow::Ok([current, old, postgres])
        });
        match made {
            Ok(images) => {
                for image in images {
                    node.import_image(&image).await;
                    fs::remove_file(image).unwrap();
                }
            }
            Err(why) => {
                gaps::skip(test, &why).unwrap();
                return None;
            }
        }
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        let created = node.cluster().kubectl_with_input(&["create", "-f", "-"], &namespace.to_string()).await;
        assert!(created.status.success(), "{}", created.stderr);
        let helm = helm.at(node.cluster());
        Some(Self { node, helm, folder })
    }

    /// Installs the operator, who may look after lists in the namespace of the poolers alone.
    pub(crate) fn operator(&self) {
        let values = ["admission.replicas=1", "controllers.replicas=1", &format!("userLists.namespaces[0]={NAMESPACE}")].map(str::to_owned);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let install = ["install", RELEASE, helm::CHART, "--namespace", RELEASE, "--create-namespace", "--wait"];
        block_in_place(|| self.helm.output(&[&install, &helm::set(&values)[..]].concat()));
    }

    /// The condition of an instance's `UserList`, once it has this status for the newest list.
    pub(crate) async fn until_condition(&self, list: &str, condition: &str, status: &str) {
        until(&format!("{condition} of {list} is {status}"), async || {
            let path = format!("jsonpath={{.status.conditions[?(@.type==\"{condition}\")].status}} {{.status.digest}}");
            let seen = self.kubectl(&["get", "userlist", list, "-o", &path]).await;
            let written = self.secrets().get(&format!("{list}-userlist")).await.unwrap().metadata.annotations.unwrap_or_default();
            if seen == format!("{status} {}", written[DIGEST]) { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    pub(crate) fn client(&self) -> kube::Client {
        self.node.cluster().client()
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client(), NAMESPACE)
    }

    fn pods_api(&self) -> Api<Pod> {
        Api::namespaced(self.client(), NAMESPACE)
    }

    pub(crate) async fn create_pod(&self, pod: Value) {
        self.pods_api().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).await.unwrap()
    }

    pub(crate) async fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.node.cluster().kubectl(&[&["--namespace", NAMESPACE], arguments].concat()).await;
        if output.status.success() { Ok(output.stdout) } else { Err(output.stderr) }
    }

    /// Starts PostgreSQL, and returns the address of its Service.
    pub(crate) async fn postgres(&self) -> String {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "postgres", "labels": {"app": "postgres"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": false,
                "securityContext": {"fsGroup": NOBODY},
                "containers": [{
                    "name": "postgres",
                    "image": POSTGRES,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", SERVES],
                    "securityContext": restricted(NOBODY),
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}],
                }],
                "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
            },
        });
        self.create_pod(pod).await;
        let service = json!({"metadata": {"name": "postgres"}, "spec": {"selector": {"app": "postgres"}, "ports": [{"port": 5432}]}});
        let services: Api<Service> = Api::namespaced(self.client(), NAMESPACE);
        services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
        until("the server answers", async || self.admin().await.map(drop)).await;
        self.service_address("postgres").await
    }

    async fn admin(&self) -> Result<Client, String> {
        connect(&self.address_if_any("postgres").await?, 5432, "postgres", "postgres", "").await
    }

    pub(crate) async fn pod_address(&self, name: &str) -> String {
        self.address_if_any(name).await.unwrap()
    }

    async fn address_if_any(&self, pod: &str) -> Result<String, String> {
        let pod = self.pods_api().get(pod).await.unwrap();
        pod.status.and_then(|status| status.pod_ip).ok_or_else(|| "it has no address".to_owned())
    }

    /// Runs SQL at the server itself.
    pub(crate) async fn sql(&self, sql: &str) {
        self.admin().await.unwrap().batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn service_address(&self, name: &str) -> String {
        let services: Api<Service> = Api::namespaced(self.client(), NAMESPACE);
        services.get(name).await.unwrap().spec.unwrap().cluster_ip.unwrap()
    }

    /// Installs or upgrades the chart.
    pub(crate) fn release(&self, action: &str, values: &Value, more: &[&str]) {
        let file = self.folder.path().join("values.json");
        fs::write(&file, values.to_string()).unwrap();
        let file = file.display().to_string();
        let release = [action, "pooler", CHART, "--namespace", NAMESPACE, "--values", &file];
        block_in_place(|| self.helm.output(&[&release, more].concat()));
    }

    /// Makes or changes a Secret.
    pub(crate) async fn put_secret(&self, name: &str, labels: &[(&str, &str)], data: &[(&str, &str)]) {
        let map =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>();
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": map(labels)},
            "stringData": map(data),
        });
        self.secrets().patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&secret)).await.unwrap();
    }

    pub(crate) async fn until_ready(&self, deployment: &str, replicas: i32) {
        let deployments: Api<Deployment> = Api::namespaced(self.client(), NAMESPACE);
        until(&format!("{deployment} is ready"), async || {
            let status = deployments.get(deployment).await.unwrap().status.unwrap_or_default();
            if status.ready_replicas == Some(replicas) { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }

    async fn pods_of(&self, instance: &str) -> Vec<Pod> {
        let labels = format!("app.kubernetes.io/name=pgbouncer,app.kubernetes.io/component={instance}");
        let pods = self.pods_api().list(&ListParams::default().labels(&labels)).await.unwrap();
        pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
    }

    /// The pods of an instance by their names, each with how often a container of it was started again.
    pub(crate) async fn pods(&self, instance: &str) -> Vec<(String, i32)> {
        let restarts = |pod: &Pod| {
            let status = pod.status.clone().unwrap_or_default();
            let all = status.container_statuses.into_iter().chain(status.init_container_statuses).flatten();
            all.map(|container| container.restart_count).sum()
        };
        let mut pods: Vec<_> = self.pods_of(instance).await.iter().map(|pod| (pod.metadata.name.clone().unwrap(), restarts(pod))).collect();
        pods.sort();
        pods
    }

    /// How many containers of this name were started.
    pub(crate) async fn started(&self, container: &str) -> usize {
        let pods = self.pods_api().list(&ListParams::default()).await.unwrap();
        let statuses = pods.into_iter().filter_map(|pod| pod.status);
        let statuses = statuses.flat_map(|status| status.container_statuses.into_iter().chain(status.init_container_statuses).flatten());
        statuses.filter(|status| status.name == container && status.started == Some(true)).count()
    }

    /// Waits until each of these pods says that it uses the list that its Secret has now.
    pub(crate) async fn until_applied(&self, pods: &[(String, i32)]) {
        for (name, _) in pods {
            let address = self.pod_address(name).await;
            until(&format!("{name} has applied the list"), async || {
                let secret = self.secrets().get("pooler-current-userlist").await.unwrap();
                let digest = secret.metadata.annotations.as_ref().map(|annotations| &annotations[DIGEST]);
                let expected = json!({"digest": digest, "remainingSessions": 0}).to_string();
                let answer = reqwest::get(format!("http://{address}:15801/applied")).await.map_err(|error| error.to_string())?;
                let text = answer.text().await.map_err(|error| error.to_string())?;
                // The list of before has a digest, too.
                let has_changed =
                    secret.data.is_some_and(|data| String::from_utf8_lossy(&data["userlist.txt"].0).contains("\"app\" \"second\""));
                if text == expected && has_changed { Ok(()) } else { Err(format!("{text}, not {expected}")) }
            })
            .await;
        }
    }

    pub(crate) async fn until_log(&self, instance: &str, container: &str, part: &str) {
        let pod = self.pods(instance).await.remove(0).0;
        until(&format!("{pod} says {part:?}"), async || {
            let log = self.kubectl(&["logs", &pod, "--container", container]).await;
            if log.contains(part) { Ok(()) } else { Err(log) }
        })
        .await;
    }

    /// A connection to one pod of a pooler, which it keeps.
    pub(crate) async fn connect_to_pod(&self, pod: &str, user: &str, password: &str) -> Result<Client, String> {
        connect(&self.address_if_any(pod).await?, 6432, "app", user, password).await
    }

    /// Whether a user signs in through a pooler and reaches the server.
    pub(crate) async fn signs_in(&self, service: &str, user: &str, password: &str) -> Result<(), String> {
        let client = connect(&self.service_address(service).await, 5432, "app", user, password).await?;
        client.simple_query("SELECT 1").await.map(drop).map_err(|error| format!("{error:?}"))
    }

    /// A pod that is deleted finishes what it does for its clients, and goes soon after, whoever is still connected.
    pub(crate) async fn ends_after_its_transactions(&self, instance: &str) {
        let pod = self.pods_of(instance).await.remove(0);
        let (name, address) = (pod.metadata.name.unwrap(), pod.status.unwrap().pod_ip.unwrap());
        let busy = connect(&address, 6432, "app", "app", "second").await.unwrap();
        let idle = connect(&address, 6432, "app", "app", "second").await.unwrap();
        idle.simple_query("SELECT 1").await.unwrap();
        let query = tokio::spawn(async move { busy.simple_query("SELECT pg_sleep(8)").await.map(drop) });
        until("the query runs", async || {
            let running = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
            let rows = self.admin().await?.query(running, &[]).await.unwrap();
            if rows.is_empty() { Err("it does not".to_owned()) } else { Ok(()) }
        })
        .await;
        self.pods_api().delete(&name, &DeleteParams::default()).await.unwrap();
        query.await.unwrap().unwrap_or_else(|error| panic!("{instance} dropped a transaction: {error:?}"));
        until(&format!("{name} is gone"), async || match self.pods_api().get_opt(&name).await.unwrap() {
            None => Ok(()),
            Some(pod) => Err(format!("{:?}", pod.status)),
        })
        .await;
        assert!(idle.simple_query("SELECT 1").await.is_err(), "its sessions end with it");
        until("another takes its place", async || self.signs_in(&format!("pooler-{instance}"), "app", "second").await).await;
    }
}

async fn connect(address: &str, port: u16, database: &str, user: &str, password: &str) -> Result<Client, String> {
    let mut config = tokio_postgres::Config::new();
    config.host(address).port(port).dbname(database).user(user).password(password).connect_timeout(std::time::Duration::from_secs(5));
    let (client, connection) = config.connect(NoTls).await.map_err(|error| format!("{error:?}"))?;
    tokio::spawn(connection);
    Ok(client)
}
