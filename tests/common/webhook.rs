//! A control plane with the webhook registered: what `kubectl apply` meets.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use outrigger::cli::manifests::{Node, yaml_writer};
use outrigger_bed::{ControlPlane, free_port};
use tokio::{sync::OnceCell, time::Instant};

/// The product, serving one control plane.
pub(crate) struct Webhook {
    pub(crate) cluster: &'static ControlPlane,
    pub(crate) status_port: u16,
    pub(crate) https_port: u16,
    host: IpAddr,
}

static SHARED: OnceCell<Webhook> = OnceCell::const_new();

impl Webhook {
    /// The one that all tests of this test binary share.
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(|| async { Self::start(ControlPlane::shared().await).await }).await
    }

    /// One with a control plane of its own, for a test that counts.
    pub(crate) async fn alone() -> Self {
        // Leaked on purpose: it ends with the test binary, as the shared one does.
        Self::start(Box::leak(Box::new(ControlPlane::start().await))).await
    }

    async fn start(cluster: &'static ControlPlane) -> Self {
        Self::start_at(cluster, Ipv4Addr::LOCALHOST.into()).await
    }

    /// One at an address where this control plane reaches this machine.
    #[allow(dead_code, reason = "each test binary has its own copy of this file, and most need no node")]
    pub(crate) async fn start_at(cluster: &'static ControlPlane, host: IpAddr) -> Self {
        let (https_port, status_port) = (free_port().unwrap(), free_port().unwrap());
        let ca = cluster.path("outrigger-ca.crt");
        let crds = cluster.kubectl(&["apply", "--server-side", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/charts/outrigger/crds")]).await;
        assert!(crds.status.success(), "{}", crds.stderr);
        let mut serve = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        serve.arg("serve").arg("--kubeconfig").arg(cluster.kubeconfig_path()).arg("--ca-out").arg(&ca);
        serve.arg(format!("--https-address={}", SocketAddr::new(host, https_port))).arg(format!("--tls-name={host}"));
        serve.arg(format!("--status-address=127.0.0.1:{status_port}"));
        serve.args(["--drain-delay=0s", "--log=info,outrigger=debug"]);
        cluster.start_beside("outrigger", &serve);
        let webhook = Self { cluster, status_port, https_port, host };
        webhook.wait_until_ready().await;
        webhook.register(&std::fs::read_to_string(&ca).unwrap()).await;
        webhook
    }

    /// What a path of the plain port answers: status and text.
    pub(crate) async fn status(&self, path: &str) -> Option<(u16, String)> {
        let url = format!("127.0.0.1:{}", self.status_port);
        plain_get(&url, path).await.ok()
    }

    async fn wait_until_ready(&self) {
        wait_for("the webhook is ready", async || self.status("/readyz").await.filter(|(code, _)| *code == 200)).await;
    }

    async fn register(&self, ca: &str) {
        use outrigger::admission::registration::{Endpoint, manifests};
        let documents =
            manifests(&Endpoint::Url(format!("https://{}", SocketAddr::new(self.host, self.https_port))), Some(ca)).map(Node::from);
        let applied = self.cluster.kubectl_with_input(&["apply", "-f", "-"], &yaml_writer::write_all(documents.iter())).await;
        assert!(applied.status.success(), "{}", applied.stderr);
        // The API server learns of webhooks by a watch of its own.
        let probe = self.cluster.namespace("registered").await;
        wait_for("the API server calls the webhook", async || {
            let output =
                self.cluster.kubectl_with_input(&["-n", probe.name(), "create", "--dry-run=server", "-o", "json", "-f", "-"], PROBE).await;
            output.stdout.contains("outrigger-vnc").then_some(())
        })
        .await;
    }

    /// How many reviews were answered, by the labels of the metric.
    pub(crate) async fn reviews(&self) -> String {
        let (_, text) = self.status("/metrics").await.unwrap();
        text.lines().filter(|line| line.starts_with("outrigger_admission_reviews_total")).collect::<Vec<_>>().join("\n")
    }

    /// `kubectl apply` of a manifest in a namespace.
    pub(crate) async fn apply(&self, namespace: &str, manifest: &str) -> outrigger_bed::KubectlOutput {
        self.cluster.kubectl_with_input(&["-n", namespace, "apply", "-f", "-"], manifest).await
    }

    /// An object as the API server has it.
    pub(crate) async fn get(&self, namespace: &str, resource: &str) -> serde_json::Value {
        let output = self.cluster.kubectl(&["-n", namespace, "get", resource, "-o", "json"]).await;
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

const PROBE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: probe, annotations: {outrigger.dev/inject: vnc}}
spec: {containers: [{name: app, image: app}]}
";

/// Tries until something is there, with a deadline.
pub(crate) async fn wait_for<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    // Leases, pauses between attempts and other people's controllers take tens of seconds, and a busy machine makes more of them.
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A GET over plain HTTP.
pub(crate) async fn plain_get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let code = text.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((code, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
}
