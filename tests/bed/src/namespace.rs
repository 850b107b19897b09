//! A namespace for each test, so that tests of one cluster do not meet.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, ServiceAccount};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client, Config};

use crate::control_plane::ControlPlane;
use crate::progress;
use crate::supervise;

const ACCOUNT_DEADLINE: Duration = Duration::from_secs(90);
const DELETE_DEADLINE: Duration = Duration::from_secs(10);

/// A namespace whose deletion is asked for when this is dropped.
pub struct Namespace<'cluster> {
    cluster: &'cluster ControlPlane,
    name: String,
}

impl<'cluster> Namespace<'cluster> {
    pub(crate) async fn create(cluster: &'cluster ControlPlane, prefix: &str) -> Result<Self> {
        let name = format!("{prefix}-{:08x}", supervise::random() & 0xffff_ffff);
        let object =
            NamespaceObject { metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() }, ..NamespaceObject::default() };
        let client = cluster.client();
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
        let namespace = Self { cluster, name };
        // Pods are refused until the controller manager has made the account.
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &namespace.name);
        cluster.wait_until("the default service account exists", ACCOUNT_DEADLINE, async || Ok(accounts.get("default").await?)).await?;
        Ok(namespace)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client with all rights whose default namespace is this one.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        let client = self.cluster.config().and_then(|mut config| {
            config.default_namespace.clone_from(&self.name);
            Ok(Client::try_from(config)?)
        });
        crate::expect(client, "cannot make a client")
    }

    /// Sets a label of the namespace, such as `pod-security.kubernetes.io/enforce`.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub async fn label(&self, key: &str, value: &str) {
        let patch = serde_json::json!({"metadata": {"labels": {key: value}}});
        let namespaces: Api<NamespaceObject> = Api::all(self.cluster.client());
        let patched = namespaces.patch(&self.name, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(patch)).await;
        crate::expect(patched.map_err(anyhow::Error::from), "cannot label a namespace");
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.cluster.keep_logs();
        }
        match self.cluster.config() {
            Ok(config) => delete_apart(config, &self.name),
            Err(error) => progress::say(&format!("cannot delete namespace {}: {error:#}", self.name)),
        }
    }
}

/// On a thread and a runtime of its own: the test's runtime may have one thread, and that one waits here. To go on without waiting
/// would leave a handshake running while the last test's process exits, and the TLS library aborts a process that does.
fn delete_apart(config: Config, name: &str) {
    let deleted = std::thread::scope(|scope| {
        let deletion = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok::<_, std::io::Error>(runtime.block_on(delete(config, name)))
        });
        deletion.join()
    });
    match deleted {
        Ok(Ok(Err(kube::Error::Api(refusal)))) => progress::say(&format!("cannot delete namespace {name}: {refusal}")),
        Ok(Err(error)) => progress::say(&format!("cannot delete namespace {name}: {error}")),
        Err(_) => progress::say(&format!("cannot delete namespace {name}: its thread panicked")),
        // Otherwise it is being deleted, or the cluster has ended and the namespace with it.
        Ok(Ok(Ok(()) | Err(_))) => {}
    }
}

async fn delete(mut config: Config, name: &str) -> Result<(), kube::Error> {
    config.read_timeout = Some(DELETE_DEADLINE);
    let namespaces: Api<NamespaceObject> = Api::all(Client::try_from(config)?);
    namespaces.delete(name, &DeleteParams::background()).await.map(drop)
}
