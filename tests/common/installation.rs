//! An installation of the product in a namespace of its own, with the rights it needs and no others.

use std::{net::SocketAddr, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use kube::Client;
use outrigger::{
    admission::registration::{self, Endpoint},
    certificates::ring::SECRET_TYPE,
    cli::manifests::{Node, yaml_writer},
};
use outrigger_bed::{ControlPlane, Namespace};
use serde_json::{Value, json};

use super::{objects, process::Server, webhook::wait_for};

/// The Secret with the CA.
pub(crate) const SECRET: &str = "outrigger-ca";

/// One installation of the product in a namespace of its own, as the chart makes it.
pub(crate) struct Installation<'cluster> {
    pub(crate) cluster: &'cluster ControlPlane,
    pub(crate) namespace: Namespace<'cluster>,
    kubeconfig: PathBuf,
    client: Client,
}

impl<'cluster> Installation<'cluster> {
    /// A namespace, and an account that may do what the chart's accounts may together, about this namespace alone.
    pub(crate) async fn new(cluster: &'cluster ControlPlane, name: &str) -> Self {
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/outrigger/crds");
        drop(cluster.kubectl(&["apply", "--server-side", "-f", crds]).await.success());
        let namespace = cluster.namespace(name).await;
        let installation = Self { cluster, kubeconfig: cluster.kubeconfig_of(namespace.name()), client: cluster.client(), namespace };
        installation.apply(&installation.rights()).await;
        installation
    }

    pub(crate) async fn with_empty_secret(cluster: &'cluster ControlPlane, name: &str) -> Self {
        let installation = Self::new(cluster, name).await;
        installation.apply(&[installation.empty_secret()]).await;
        installation
    }

    pub(crate) fn empty_secret(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": self.name()}, "type": SECRET_TYPE})
    }

    fn rights(&self) -> [Value; 4] {
        let name = self.name();
        let subjects = json!([{"kind": "User", "name": name}]);
        let here = json!({"name": name, "namespace": name});
        let rbac = "rbac.authorization.k8s.io/v1";
        [
            json!({"apiVersion": rbac, "kind": "Role", "metadata": here, "rules": [
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [SECRET], "verbs": ["get", "list", "watch", "patch"]},
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
                {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["outrigger-controllers"], "verbs": ["get", "patch"]},
            ]}),
            json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": here, "subjects": subjects,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}}),
            json!({"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": name}, "rules": [
                {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": ["outrigger.dev"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
                {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
                {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
                {"apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get"]},
                {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]},
                {"apiGroups": ["admissionregistration.k8s.io"], "resourceNames": [name], "verbs": ["get", "list", "watch", "patch"],
                    "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]},
            ]}),
            json!({"apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": name}, "subjects": subjects,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}}),
        ]
    }

    /// Gives the account more rights, in all namespaces.
    pub(crate) async fn grant(&self, rules: Value) {
        let (account, name) = (self.name(), format!("{}-more", self.name()));
        let rbac = "rbac.authorization.k8s.io/v1";
        self.apply(&[
            json!({"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}),
            json!({"apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": name}, "subjects": [{"kind": "User", "name": account}],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}}),
        ])
        .await;
    }

    pub(crate) fn name(&self) -> &str {
        self.namespace.name()
    }

    /// The kubeconfig of its account.
    pub(crate) fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// A replica of this installation.
    pub(crate) fn replica(&self, arguments: &[&str]) -> Server {
        let secret = format!("--ca-secret={SECRET}");
        self.process(&[&[secret.as_str()], arguments].concat())
    }

    /// A process of this installation, with a CA of its own unless the arguments name one.
    pub(crate) fn process(&self, arguments: &[&str]) -> Server {
        let (namespace, webhooks) = (format!("--namespace={}", self.name()), format!("--webhooks={}", self.name()));
        let all = [&[namespace.as_str(), &webhooks, "--drain-delay=3s"], arguments].concat();
        Server::start(&self.kubeconfig, &all)
    }

    /// A webhook with a CA of its own, registered and asked by the API server.
    pub(crate) async fn webhook(&self, arguments: &[&str]) -> Server {
        let server = self.process(arguments);
        server.until_status("/readyz", 200).await;
        self.register(server.https, Some(&server.ca())).await;
        self.until_asked().await;
        server
    }

    /// Both webhook configurations under this installation's name, for this namespace, failing closed so that a lost review shows.
    pub(crate) async fn register(&self, address: SocketAddr, ca_bundle: Option<&str>) {
        let endpoint = Endpoint::Url(format!("https://{address}"));
        let configurations = registration::manifests(&endpoint, ca_bundle).map(|mut configuration| {
            configuration["metadata"]["name"] = json!(self.name());
            for webhook in configuration["webhooks"].as_array_mut().unwrap() {
                webhook["failurePolicy"] = json!("Fail");
                let here = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": [self.name()]});
                match webhook["namespaceSelector"]["matchExpressions"].as_array_mut() {
                    Some(expressions) => expressions.push(here),
                    None => webhook["namespaceSelector"] = json!({"matchExpressions": [here]}),
                }
            }
            configuration
        });
        self.apply(&configurations).await;
    }

    pub(crate) async fn apply(&self, manifests: &[Value]) {
        let text = yaml_writer::write_all(manifests.iter().cloned().map(Node::from).collect::<Vec<_>>().iter());
        let applied = self.cluster.kubectl_with_input(&["apply", "-f", "-"], &text).await;
        assert!(applied.status.success(), "{}", applied.stderr);
    }

    /// An object of this namespace as it is stored; none if it isn't there.
    pub(crate) async fn stored(&self, kind: &str, name: &str) -> Option<Value> {
        self.stored_in(self.name(), kind, name).await
    }

    pub(crate) async fn stored_in(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        objects::stored(&self.client, namespace, kind, name).await
    }

    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.cluster.kubectl(&[&["-n", self.name()], arguments].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {}", output.stderr);
        output.stdout
    }

    /// A key of the Secret in plain text; empty if it is not there.
    pub(crate) async fn secret(&self, key: &str) -> String {
        let path = format!("jsonpath={{.data.{}}}", key.replace('.', "\\."));
        let encoded = self.kubectl(&["get", "secret", SECRET, "-o", &path]).await;
        String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
    }

    /// Waits until another CA signs.
    pub(crate) async fn rotated(&self) {
        let before = self.secret("tls.crt").await;
        wait_for("another CA signs", async || (self.secret("tls.crt").await != before).then_some(())).await;
    }

    /// The bundle of each webhook of a configuration.
    pub(crate) async fn bundles(&self, kind: &str) -> Vec<String> {
        let path = "jsonpath={range .webhooks[*]}{.clientConfig.caBundle}{\"\\n\"}{end}";
        let text = self.kubectl(&["get", kind, self.name(), "-o", path]).await;
        text.lines().map(|line| String::from_utf8(STANDARD.decode(line).unwrap()).unwrap()).collect()
    }

    /// Waits until the API server asks the webhook about a pod, which it does once it has seen the configuration.
    pub(crate) async fn until_asked(&self) {
        let run = ["run", "probe", "--image=app", "--annotations=outrigger.dev/inject=vnc", "--dry-run=server", "-o", "yaml"];
        wait_for("the API server asks the webhook", async || {
            let output = self.cluster.kubectl(&[&["-n", self.name()], &run[..]].concat()).await;
            output.stdout.contains("outrigger-vnc").then_some(())
        })
        .await;
    }

    /// Waits until all webhooks trust what the Secret says is to be trusted, and returns that.
    pub(crate) async fn published(&self) -> String {
        wait_for("the CA is published", async || {
            let trusted = self.secret("ca.crt").await;
            let mut bundles = self.bundles("mutatingwebhookconfigurations").await;
            bundles.extend(self.bundles("validatingwebhookconfigurations").await);
            (!trusted.is_empty() && bundles.iter().all(|bundle| bundle.ends_with(&trusted))).then_some(trusted)
        })
        .await
    }
}

impl Drop for Installation<'_> {
    fn drop(&mut self) {
        // Of the whole cluster, and failing closed: it must not outlive its servers.
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            let mut kubectl = std::process::Command::new(self.cluster.kubectl_path());
            kubectl.arg("--kubeconfig").arg(self.cluster.kubeconfig_path());
            let status =
                kubectl.args(["delete", "--ignore-not-found", "--wait=false", kind, self.name()]).output().map(|output| output.status);
            if !status.is_ok_and(|status| status.success()) {
                eprintln!("{kind} {} could not be deleted", self.name());
            }
        }
    }
}
