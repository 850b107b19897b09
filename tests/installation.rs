//! The product installed as its users install it: its own image, by Helm, on a real node.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "common/helm.rs"]
mod helm;
#[path = "common/load.rs"]
mod load;
#[path = "common/product_image.rs"]
mod product_image;
#[path = "common/readme.rs"]
mod readme;

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::future::join_all;
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Pod, Secret},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use outrigger_bed::{ControlPlane, Namespace, Node, image};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::{Mutex, MutexGuard},
    time,
};

use helm::{CHART, Helm, RELEASE, set};
use load::{Load, Outcome};
use product_image::product_image;

/// As long as Helm waits.
const DEADLINE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(100);
/// Fewer pods than this say little of an upgrade, which takes half a minute.
const ENOUGH_PODS: usize = 100;
/// Loads at once.
const MANY: usize = 4;

/// Two installations at once take as long as one after the other, and get in each other's way.
static TURN: Mutex<()> = Mutex::const_new(());

/// As the README says, with the defaults: the program makes its certificates itself. Then it is made to fail closed.
#[tokio::test(flavor = "multi_thread")]
async fn an_installation_with_its_own_ca_is_upgraded_and_uninstalled_without_a_refused_pod() {
    let name = "an_installation_with_its_own_ca";
    let Some(installation) = Installation::start(name).await else { return };
    let slipped_by = installation.slips_by().await;
    let [install, test] = &readme::examples("### On a cluster of your own")[..] else { panic!("the README installs and tests") };
    install.check(&mut installation.shell(), "");
    installation.gives_sidecars().await;
    test.check(&mut installation.shell(), "");
    let ca = installation.ca().await;
    installation.is_upgraded_under_load().await;
    assert_eq!(installation.ca().await, ca, "an upgrade leaves the CA alone");
    is_repaired(&slipped_by).await;
    installation.is_uninstalled(false).await;
}

/// The certificate comes from elsewhere, in a Secret as cert-manager writes it.
#[tokio::test(flavor = "multi_thread")]
async fn an_installation_with_a_certificate_of_ones_own_is_upgraded_and_uninstalled_without_a_refused_pod() {
    let name = "an_installation_with_a_certificate_of_ones_own";
    let Some(installation) = Installation::start(name).await else { return };
    let slipped_by = installation.slips_by().await;
    let bundle = installation.bring_certificate("own").await;
    let bundle = format!("certificates.caBundle={}", bundle.display());
    let values = "certificates.mode=files,certificates.secretName=own,webhooks.failurePolicy=Fail,guard.enabled=true";
    let install = ["install", RELEASE, CHART, "--namespace", RELEASE, "--wait", "--set", values, "--set-file", &bundle];
    installation.helm.output(&install);
    installation.gives_sidecars().await;
    installation.helm.output(&["test", RELEASE, "--namespace", RELEASE]);
    installation.is_upgraded_under_load().await;
    is_repaired(&slipped_by).await;
    installation.is_uninstalled(true).await;
}

/// A node that has the product's image, and a namespace for it that allows restricted pods alone.
struct Installation {
    node: Node,
    helm: Helm,
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Installation {
    async fn start(test: &str) -> Option<Self> {
        let helm = Helm::obtain(test)?;
        let product = product_image().await?;
        let turn = TURN.lock().await;
        let node = Node::start(test).await?;
        node.import_image(product).await;
        let folder = tempfile::tempdir().unwrap();
        node.import_image(&image::answer(folder.path()).unwrap()).await;
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": RELEASE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        });
        let created = node.cluster().kubectl_with_input(&["create", "-f", "-"], &namespace.to_string()).await;
        assert!(created.status.success(), "{}", created.stderr);
        let helm = helm.at(node.cluster());
        Some(Self { node, helm, folder, _turn: turn })
    }

    fn cluster(&self) -> &ControlPlane {
        self.node.cluster()
    }

    /// Makes a certificate and the Secret with it. Returns the file of its CA.
    async fn bring_certificate(&self, secret: &str) -> PathBuf {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec![format!("outrigger-admission.{RELEASE}.svc")];
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret},
            "type": "kubernetes.io/tls",
            // Signed by itself, it is its own CA.
            "stringData": {"tls.crt": certificate, "tls.key": key.serialize_pem(), "ca.crt": certificate},
        });
        let secrets: Api<Secret> = Api::namespaced(self.cluster().client(), RELEASE);
        secrets.create(&PostParams::default(), &serde_json::from_value(manifest).unwrap()).await.unwrap();
        let bundle = self.folder.path().join("ca.crt");
        fs::write(&bundle, certificate).unwrap();
        bundle
    }

    /// A shell in the repository, with Helm for this cluster.
    fn shell(&self) -> Command {
        let mut shell = Command::new("sh");
        shell.current_dir(env!("CARGO_MANIFEST_DIR")).env("KUBECONFIG", self.cluster().kubeconfig_path());
        shell.env("PATH", self.helm.path());
        shell
    }

    /// The API server reaches us by our Service, and trusts us.
    async fn gives_sidecars(&self) {
        let namespace = self.cluster().namespace("app").await;
        let pods: Api<Pod> = Api::default_namespaced(namespace.client());
        // It learns of webhooks by a watch of its own, and of the CA a moment later still.
        until("a pod is given its sidecar", async || {
            let dry = PostParams { dry_run: true, ..PostParams::default() };
            pods.create(&dry, &asking("first")).await.is_ok_and(|stored| sidecars(&stored) == ["outrigger-vnc"])
        })
        .await;
        let opted_out = pods.create(&PostParams::default(), &pod("opted-out", &json!({"outrigger.dev/inject": "none"}))).await.unwrap();
        assert_eq!(sidecars(&opted_out), Vec::<&str>::new());
    }

    /// A `ReplicaSet` of pods that ask, in a namespace of its own. Made before the installation, its pod has no sidecar.
    async fn slips_by(&self) -> Namespace<'_> {
        let namespace = self.cluster().namespace("slipped").await;
        let mut template = serde_json::to_value(asking("ignored")).unwrap();
        template["metadata"]["labels"] = json!({"app": "web"});
        let manifest = json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template}});
        let sets: Api<ReplicaSet> = Api::default_namespaced(namespace.client());
        sets.create(&PostParams::default(), &serde_json::from_value(manifest).unwrap()).await.unwrap();
        until("its pod is there, without a sidecar", async || sidecars_of_all(&namespace).await == [Vec::<String>::new()]).await;
        namespace
    }

    /// The CA's Secret and what the webhooks trust.
    async fn ca(&self) -> (Value, String) {
        let secrets: Api<Secret> = Api::namespaced(self.cluster().client(), RELEASE);
        let data = secrets.get("outrigger-ca").await.unwrap().data.unwrap();
        let configurations = "mutatingwebhookconfiguration,validatingwebhookconfiguration";
        let bundles = ["get", configurations, RELEASE, "-o=jsonpath={.items[*].webhooks[*].clientConfig.caBundle}"];
        let bundles = self.cluster().kubectl(&bundles).await.success();
        let kinds: Vec<&str> = bundles.split(' ').collect();
        assert!(kinds.len() == 4 && kinds.iter().all(|bundle| !bundle.is_empty()), "{bundles}");
        assert!(String::from_utf8(STANDARD.decode(kinds[0]).unwrap()).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
        (serde_json::to_value(data).unwrap(), bundles)
    }

    /// All pods of ours are replaced while pods are made all the time, and each of those gets its sidecar.
    async fn is_upgraded_under_load(&self) {
        let before = self.names_of_our_pods().await;
        let namespace = self.cluster().namespace("load").await;
        let load = Load::start(namespace.client());
        let upgrade = ["upgrade", RELEASE, CHART, "--namespace", RELEASE, "--reuse-values", "--wait"];
        tokio::task::block_in_place(|| {
            let values =
                ["webhooks.failurePolicy=Fail", "log.format=text", "repair.mode=evict", "repair.interval=1s", "repair.minimumAge=1s"];
            self.helm.output(&[&upgrade, &set(&values)[..]].concat())
        });
        until("the pods of before are gone", async || {
            let now = self.names_of_our_pods().await;
            !before.iter().any(|pod| now.contains(pod))
        })
        .await;
        let outcome = load.end().await;
        assert_none_failed(&outcome);
        assert!(outcome.accepted.len() > ENOUGH_PODS, "the upgrade took {} pods", outcome.accepted.len());
    }

    async fn names_of_our_pods(&self) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.cluster().client(), RELEASE);
        let ours = pods.list(&kube::api::ListParams::default().labels("app.kubernetes.io/name=outrigger")).await.unwrap();
        let names: Vec<String> = ours.into_iter().filter_map(|pod| pod.metadata.name).collect();
        assert!(!names.is_empty());
        names
    }

    /// Two objects that can't be deleted without the product, of which one was.
    async fn has_finalizers(&self, namespace: &str) {
        let template = |name: &str| {
            json!({
                "apiVersion": "outrigger.dev/v1alpha1",
                "kind": "SessionTemplate",
                "metadata": {"name": name, "namespace": namespace, "finalizers": ["outrigger.dev/session"]},
                "spec": {"app": {"image": "app"}},
            })
        };
        let both = json!({"apiVersion": "v1", "kind": "List", "items": [template("stays"), template("goes")]});
        let _ = self.cluster().kubectl_with_input(&["create", "-f", "-"], &both.to_string()).await.success();
        let _ = self.cluster().kubectl(&["delete", "sessiontemplates", "-n", namespace, "goes", "--wait=false"]).await.success();
    }

    /// No pod is refused meanwhile, nothing is left that could refuse one, and pods that ask start without sidecars.
    async fn is_uninstalled(&self, is_guarded: bool) {
        // Whatever goes wrong here does so within a tenth of a second.
        let namespaces = join_all((0..MANY).map(|_| self.cluster().namespace("last"))).await;
        let templates = namespaces[0].name();
        self.has_finalizers(templates).await;
        let loads: Vec<Load> = namespaces.iter().filter(|_| !is_guarded).map(|namespace| Load::start(namespace.client())).collect();
        tokio::task::block_in_place(|| self.helm.output(&["uninstall", RELEASE, "--namespace", RELEASE]));
        for outcome in loads.iter().map(Load::outcome) {
            assert_none_failed(&outcome);
            assert!(!outcome.accepted.is_empty(), "pods were made meanwhile");
        }
        let left = self
            .cluster()
            .kubectl(&[
                "get",
                "sessiontemplates",
                "-n",
                templates,
                "-o",
                "jsonpath={range .items[*]}{.metadata.name} \
             {.metadata.finalizers} {end}",
            ])
            .await
            .success();
        assert_eq!(left.trim(), "stays", "no finalizer is left, and what was deleted is gone");
        let kinds = "mutatingwebhookconfigurations,validatingwebhookconfigurations,validatingadmissionpolicies,\
                     validatingadmissionpolicybindings,clusterroles,clusterrolebindings,deployments,services,secrets,configmaps,\
                     serviceaccounts,roles,rolebindings,poddisruptionbudgets";
        let ours = ["get", kinds, "--all-namespaces", "--selector=app.kubernetes.io/name=outrigger", "-o", "name"];
        assert_eq!(self.cluster().kubectl(&ours).await.success(), "");
        let kinds = self.cluster().kubectl(&["get", "customresourcedefinitions", "-o", "name"]).await.success();
        assert!(kinds.contains("pgdatabases.outrigger.dev"), "the kinds stay, and their objects with them: {kinds}");

        let namespace = self.cluster().namespace("after").await;
        let pods: Api<Pod> = Api::default_namespaced(namespace.client());
        // The API server judges by policies for a second longer than they exist.
        until("a pod is made", async || pods.create(&PostParams::default(), &starting("after")).await.is_ok()).await;
        assert_eq!(sidecars(&pods.get("after").await.unwrap()), Vec::<&str>::new());
        until("it starts", async || {
            let status = pods.get("after").await.unwrap().status.unwrap_or_default();
            status.phase.as_deref() == Some("Running")
        })
        .await;
    }
}

/// The controllers evict the pod that slipped by, and its replacement has its sidecar.
async fn is_repaired(namespace: &Namespace<'_>) {
    until("the pod that slipped by is replaced", async || sidecars_of_all(namespace).await == [["outrigger-vnc"]]).await;
}

async fn sidecars_of_all(namespace: &Namespace<'_>) -> Vec<Vec<String>> {
    let pods: Api<Pod> = Api::default_namespaced(namespace.client());
    let pods = pods.list(&ListParams::default()).await.unwrap();
    pods.iter().map(|pod| sidecars(pod).into_iter().map(str::to_owned).collect()).collect()
}

fn assert_none_failed(outcome: &Outcome) {
    assert!(outcome.unreviewed.is_empty() && outcome.unanswered.is_empty(), "{:?} {:?}", outcome.unreviewed, outcome.unanswered);
}

/// A pod that nobody schedules: it is judged by what is stored.
fn pod(name: &str, annotations: &Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "app", "image": "localhost/answer:1"}]},
    }))
    .unwrap()
}

fn asking(name: &str) -> Pod {
    pod(name, &json!({"outrigger.dev/inject": "vnc"}))
}

/// One that asks, and starts without what it asked for.
fn starting(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": {"outrigger.dev/inject": "vnc"}},
        "spec": {"containers": [{"name": "app", "image": "localhost/answer:1", "imagePullPolicy": "IfNotPresent", "args": ["8080"]}]},
    }))
    .unwrap()
}

fn sidecars(pod: &Pod) -> Vec<&str> {
    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).map(|container| container.name.as_str()).collect()
}

/// Tries until it is so, with a deadline.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited {} s until {what}", DEADLINE.as_secs());
        time::sleep(POLL).await;
    }
}
