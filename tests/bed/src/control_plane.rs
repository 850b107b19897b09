//! A real control plane: etcd, kube-apiserver and kube-controller-manager as a stock cluster has them. Needs no root.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::{Client, Config};
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use crate::kubectl::{self, KubectlOutput};
use crate::namespace::Namespace;
use crate::obtain::{self, ControlPlanePrograms};
use crate::pki::{self, Authority, Identity};
use crate::supervise::{self, Run};
use crate::versions;

const READY_DEADLINE: Duration = Duration::from_secs(60);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const API_SERVER: &str = "kube-apiserver";
/// How often other ports are tried when somebody else was quicker.
const ATTEMPTS: usize = 3;

static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();

/// A running control plane. It ends when this is dropped or when the process ends, however that happens.
pub struct ControlPlane {
    pub(crate) run: Run,
    pub(crate) programs: ControlPlanePrograms,
    pub(crate) authority: Authority,
    pub(crate) placement: Placement,
    administrator: Identity,
    kubeconfig: PathBuf,
}

/// Where a control plane listens, and the addresses it hands out.
pub(crate) struct Placement {
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) etcd_port: u16,
    /// Cluster addresses of services, such as `10.96.0.0/16`.
    pub(crate) services: String,
    /// The first of them: the API server's own service.
    pub(crate) service_address: Ipv4Addr,
    /// The network namespace to run in, unless it is the machine's own.
    pub(crate) network: Option<String>,
}

impl ControlPlane {
    /// The control plane that all tests of this test binary share: started by the first that asks, ended with the binary.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// Starts a control plane of one's own.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn start() -> Self {
        crate::expect(Self::try_start().await, "cannot start a control plane")
    }

    /// Starts a control plane, for callers that report errors themselves.
    pub async fn try_start() -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::start_at(Run::create()?, Placement::loopback()?).await {
                Err(error) if attempt < ATTEMPTS && format!("{error:#}").contains("address already in use") => attempt += 1,
                result => return result,
            }
        }
    }

    /// A client with all rights. It belongs to the caller's runtime: make one in each test.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        crate::expect(self.try_client(), "cannot make a client")
    }

    /// Makes a namespace with a unique name that begins with `prefix`, and waits for its default service account.
    ///
    /// # Panics
    /// When the API server refuses it or the account does not appear.
    pub async fn namespace(&self, prefix: &str) -> Namespace<'_> {
        crate::expect(Namespace::create(self, prefix).await, "cannot make a namespace")
    }

    /// Runs the real kubectl with all rights.
    ///
    /// # Panics
    /// When it cannot be run or does not end; what it says of the cluster is in the result.
    pub async fn kubectl(&self, arguments: &[&str]) -> KubectlOutput {
        self.kubectl_with_input(arguments, "").await
    }

    /// Runs the real kubectl with text on its standard input, as in `kubectl apply -f -`.
    ///
    /// # Panics
    /// When it cannot be run or does not end; what it says of the cluster is in the result.
    pub async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> KubectlOutput {
        crate::expect(kubectl::run(self, arguments, input).await, "cannot run kubectl")
    }

    /// A kubeconfig with all rights, for programs of other people.
    #[must_use]
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubeconfig for a user who has no rights but those the test grants.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        crate::expect(self.component_kubeconfig(user, user, None), "cannot make a user")
    }

    /// The kubectl of this cluster's version.
    #[must_use]
    pub fn kubectl_path(&self) -> &Path {
        &self.programs.kubectl
    }

    /// The certificate of the authority that signed the API server's certificate, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> String {
        self.authority.certificate_pem()
    }

    /// Where the API server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.placement.address, self.placement.port))
    }

    /// Starts a program of one's own that ends when the control plane does, however that happens. Its output goes to a log
    /// beside the others.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_beside(&self, name: &str, command: &Command) {
        crate::expect(self.run.start(name, command), "cannot start a program beside the control plane");
    }

    /// Kills the API server, as a crash would, starts it again on its port, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not come back.
    pub async fn restart_api_server(&self) {
        let restarted = self.run.kill(API_SERVER).and_then(|()| self.start_api_server());
        crate::expect(restarted, "cannot restart the API server");
        crate::expect(self.api_server_is_ready().await, "cannot restart the API server");
    }

    /// Takes from etcd all that is older than now, as happens every few minutes in a cluster.
    ///
    /// # Panics
    /// When etcd refuses it.
    pub async fn compact(&self) {
        crate::expect(self.try_compact().await, "cannot compact etcd's history");
    }

    /// Over etcd's JSON gateway.
    async fn try_compact(&self) -> Result<()> {
        let now: serde_json::Value = self.ask_etcd("/v3/kv/range", &serde_json::json!({"key": "AA==", "count_only": true})).await?;
        let revision = now.pointer("/header/revision").context("etcd does not tell its revision")?;
        self.ask_etcd("/v3/kv/compaction", &serde_json::json!({"revision": revision, "physical": true})).await.map(drop)
    }

    async fn ask_etcd(&self, path: &str, question: &serde_json::Value) -> Result<serde_json::Value> {
        let client = Client::try_from(Config::new(self.etcd_url().parse()?))?;
        let request = http::Request::post(path).header("content-type", "application/json").body(serde_json::to_vec(question)?)?;
        Ok(client.request(request).await?)
    }

    /// A path for a file that ends with the control plane.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.run.path(relative)
    }

    /// Keeps the logs of all components when the run ends, and says where they are.
    pub fn keep_logs(&self) {
        self.run.keep_logs();
    }

    /// Client settings with all rights.
    pub(crate) fn config(&self) -> Result<Config> {
        let mut config = Config::new(format!("https://{}", self.address()).parse()?);
        config.root_cert = Some(vec![self.authority.certificate_der()]);
        config.auth_info.client_certificate = Some(self.administrator.certificate_file.display().to_string());
        config.auth_info.client_key = Some(self.administrator.key_file.display().to_string());
        config.connect_timeout = Some(CONNECT_DEADLINE);
        Ok(config)
    }

    fn try_client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config()?)?)
    }

    /// Starts a control plane at a place and waits until it is ready.
    pub(crate) async fn start_at(run: Run, placement: Placement) -> Result<Self> {
        let starting = tokio::task::spawn_blocking(move || Self::launch(run, placement));
        let cluster = starting.await.context("starting a control plane was interrupted")??;
        match cluster.become_ready().await {
            Ok(()) => Ok(cluster),
            Err(error) => {
                cluster.run.keep_logs();
                Err(error)
            }
        }
    }

    fn launch(run: Run, placement: Placement) -> Result<Self> {
        let programs = obtain::control_plane()?;
        let authority = Authority::create()?;
        let administrator = authority.issue(&run, "administrator", "kubernetes-admin", Some("system:masters"), vec![])?;
        let kubeconfig = write_kubeconfig(&run, "administrator", &placement, &administrator)?;
        let cluster = Self { run, programs, authority, placement, administrator, kubeconfig };
        cluster.authority.write(&cluster.run)?;
        pki::write_service_account_keys(&cluster.run)?;
        cluster.start_etcd()?;
        cluster.start_api_server()?;
        Ok(cluster)
    }

    fn start_etcd(&self) -> Result<()> {
        let mut etcd = self.program(&self.programs.etcd);
        let client = self.etcd_url();
        etcd.arg(flag("data-dir", self.run.path("etcd").display()))
            .arg(flag("listen-client-urls", &client))
            .arg(flag("advertise-client-urls", &client))
            // It has no peers: any free port will do.
            .arg(flag("listen-peer-urls", "http://127.0.0.1:0"))
            // The data dies with the run; waiting for the disk would only cost time.
            .arg("--unsafe-no-fsync");
        self.run.start("etcd", &etcd)
    }

    fn start_api_server(&self) -> Result<()> {
        let Placement { address, port, services, service_address, network, .. } = &self.placement;
        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
        let mut names = names.map(str::to_owned).to_vec();
        names.extend([address.to_string(), service_address.to_string()]);
        let serving = self.authority.issue(&self.run, "kube-apiserver", "kube-apiserver", None, names)?;
        let mut server = self.program(&self.programs.kube_apiserver);
        server
            .arg(flag("etcd-servers", self.etcd_url()))
            .arg(flag("bind-address", address))
            .arg(flag("advertise-address", address))
            .arg(flag("secure-port", port))
            .arg(flag("tls-cert-file", serving.certificate_file.display()))
            .arg(flag("tls-private-key-file", serving.key_file.display()))
            .arg(flag("client-ca-file", self.run.path(pki::CA_CERTIFICATE).display()))
            .arg(flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"))
            .arg(flag("service-account-key-file", self.run.path(pki::SERVICE_ACCOUNT_PUBLIC_KEY).display()))
            .arg(flag("service-account-signing-key-file", self.run.path(pki::SERVICE_ACCOUNT_KEY).display()))
            .arg(flag("service-cluster-ip-range", services))
            .arg(flag("authorization-mode", "Node,RBAC"))
            .arg(flag("enable-admission-plugins", "NodeRestriction"))
            .arg(flag("allow-privileged", true))
            .arg(flag("kubelet-client-certificate", self.administrator.certificate_file.display()))
            .arg(flag("kubelet-client-key", self.administrator.key_file.display()))
            .arg(flag("kubelet-preferred-address-types", "InternalIP"));
        if network.is_none() {
            // Endpoints must not be loopback addresses, and nothing here would follow them.
            server.arg(flag("endpoint-reconciler-type", "none"));
        }
        if let Some(version) = versions::mutating_policies_on_request(&versions::kubernetes()?) {
            server.arg("--feature-gates=MutatingAdmissionPolicy=true");
            server.arg(flag("runtime-config", format!("admissionregistration.k8s.io/{version}=true")));
        }
        self.run.start(API_SERVER, &server)
    }

    fn start_controller_manager(&self) -> Result<()> {
        let kubeconfig = self.component_kubeconfig("kube-controller-manager", "system:kube-controller-manager", None)?;
        let mut manager = self.program(&self.programs.kube_controller_manager);
        manager
            .arg(flag("kubeconfig", kubeconfig.display()))
            .arg(flag("root-ca-file", self.run.path(pki::CA_CERTIFICATE).display()))
            .arg(flag("cluster-signing-cert-file", self.run.path(pki::CA_CERTIFICATE).display()))
            .arg(flag("cluster-signing-key-file", self.run.path(pki::CA_KEY).display()))
            .arg(flag("service-account-private-key-file", self.run.path(pki::SERVICE_ACCOUNT_KEY).display()))
            .arg("--use-service-account-credentials")
            // Its controllers start one after the other, and wait for the default limit of 20 requests a second all the while.
            .arg("--kube-api-qps=1000")
            .arg("--kube-api-burst=1000")
            .arg("--leader-elect=false")
            .arg("--secure-port=0");
        self.run.start("kube-controller-manager", &manager)
    }

    /// A kubeconfig for a component that the control plane knows by user and group.
    pub(crate) fn component_kubeconfig(&self, file: &str, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let identity = self.authority.issue(&self.run, file, user, group, vec![])?;
        write_kubeconfig(&self.run, file, &self.placement, &identity)
    }

    fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.placement.etcd_port)
    }

    /// A command that runs where the control plane runs.
    pub(crate) fn program(&self, program: &Path) -> Command {
        let Some(network) = &self.placement.network else { return Command::new(program) };
        // Not `ip netns exec`: it mounts another /sys, which hides the control groups.
        let mut command = Command::new("nsenter");
        command.arg(flag("net", format!("/run/netns/{network}"))).arg(program);
        command
    }

    async fn become_ready(&self) -> Result<()> {
        self.api_server_is_ready().await?;
        // It gives up on an API server that is not there within seconds, so it comes second.
        self.start_controller_manager()
    }

    async fn api_server_is_ready(&self) -> Result<()> {
        let ready = self.wait_until("the API server is ready", READY_DEADLINE, async || {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(self.try_client()?.request_text(request).await?)
        });
        ready.await.map(drop)
    }

    /// Tries until it succeeds, a program of the run ends, or the deadline is over.
    pub(crate) async fn wait_until<T>(&self, what: &str, deadline: Duration, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
        let end = Instant::now() + deadline;
        loop {
            self.run.check()?;
            let error = match timeout_at(end, attempt()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => error,
                Err(elapsed) => elapsed.into(),
            };
            if Instant::now() >= end {
                return Err(error.context(format!("waited {} s until {what}", deadline.as_secs())));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

impl Placement {
    /// On the machine's loopback interface, at ports that are free now.
    fn loopback() -> Result<Self> {
        Ok(Self {
            address: Ipv4Addr::LOCALHOST,
            port: free_port()?,
            etcd_port: free_port()?,
            services: "10.96.0.0/16".to_owned(),
            service_address: Ipv4Addr::new(10, 96, 0, 1),
            network: None,
        })
    }
}

/// A port that is free now, from below the range (32768 and up) out of which the kernel serves outgoing connections.
pub fn free_port() -> Result<u16> {
    loop {
        let port = 20_000 + u16::try_from(supervise::random() % 12_000)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}

pub(crate) fn flag(name: &str, value: impl Display) -> String {
    format!("--{name}={value}")
}

fn write_kubeconfig(run: &Run, file: &str, placement: &Placement, identity: &Identity) -> Result<PathBuf> {
    let name = "outrigger-bed";
    let server = format!("https://{}:{}", placement.address, placement.port);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority": run.path(pki::CA_CERTIFICATE)}}],
        "users": [{"name": name, "user": {"client-certificate": identity.certificate_file, "client-key": identity.key_file}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    });
    // JSON is YAML.
    run.write(&format!("{file}.kubeconfig"), serde_json::to_vec_pretty(&config)?)
}
