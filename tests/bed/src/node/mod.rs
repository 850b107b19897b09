//! A real node: a control plane and, in a network namespace of its own, scheduler, containerd, kubelet and kube-proxy. Needs root.

mod control_group;
mod network;
mod settings;

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::Api;
use tokio::sync::OnceCell;

use self::network::Network;
use crate::control_plane::{ControlPlane, Placement, flag};
use crate::gaps;
use crate::image;
use crate::obtain::command::output;
use crate::obtain::{self, NodePrograms, cache};
use crate::supervise::Run;

const RUNTIME_DEADLINE: Duration = Duration::from_secs(30);
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// containerd's namespace for what the kubelet runs.
const CONTAINERD_NAMESPACE: &str = "k8s.io";
const CONTAINERD: &str = "containerd";
const KUBELET: &str = "kubelet";

static SHARED: OnceCell<Option<Node>> = OnceCell::const_new();

/// A running one-node cluster. It ends when this is dropped or when the process ends, however that happens.
pub struct Node {
    cluster: ControlPlane,
    programs: NodePrograms,
    network: Network,
}

impl Node {
    /// Starts a node and waits until it is ready. `None`: it cannot be had here, and `name` was noted as skipped.
    ///
    /// # Panics
    /// When it cannot be started, or cannot be had although nothing may be skipped (`CI=true`).
    pub async fn start(name: &str) -> Option<Self> {
        match Self::obtain().await {
            Ok(programs) => Some(crate::expect(Self::start_with(programs).await, "cannot start a node")),
            Err(why) => {
                crate::expect(gaps::skip(name, &why), "cannot obtain a node");
                None
            }
        }
    }

    /// The node that all tests of this test binary share: started by the first that asks, ended with the binary. `None` as in
    /// [`Self::start`].
    pub async fn shared(name: &str) -> Option<&'static Self> {
        SHARED.get_or_init(|| Self::start(name)).await.as_ref()
    }

    /// Starts a node, for callers that report errors themselves.
    pub async fn try_start() -> Result<Self> {
        Self::start_with(Self::obtain().await?).await
    }

    async fn obtain() -> Result<NodePrograms> {
        tokio::task::spawn_blocking(obtain::node).await.context("obtaining a node was interrupted")?
    }

    /// The control plane, for clients, namespaces and kubectl.
    #[must_use]
    pub fn cluster(&self) -> &ControlPlane {
        &self.cluster
    }

    /// The node's name in the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        self.cluster.run.name()
    }

    /// The node's address. Pods and services are reachable from this machine at their own addresses.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        IpAddr::V4(self.network.node())
    }

    /// Where the node sees this machine: the address for a server that runs in the test itself.
    #[must_use]
    pub fn machine_address(&self) -> Ipv4Addr {
        self.network.machine()
    }

    /// Gives the node an image from its tar.
    ///
    /// # Panics
    /// When containerd refuses it.
    pub async fn import_image(&self, tar: &Path) {
        crate::expect(self.try_import_image(tar).await, "cannot import an image");
    }

    /// The same for those who report what goes wrong themselves.
    pub(crate) async fn try_import_image(&self, tar: &Path) -> Result<()> {
        let mut import = self.ctr();
        import.args(["images", "import"]).arg(tar);
        tokio::task::spawn_blocking(move || output(&mut import)).await.context("importing was interrupted")?.map(drop)
    }

    /// The processes of a container, given its id without `containerd://`: its first process comes first.
    ///
    /// # Panics
    /// When the machine does not tell.
    #[must_use]
    pub fn processes(&self, container: &str) -> Vec<Process> {
        let mut processes = crate::expect(processes_of(container), "cannot look at processes");
        processes.sort_by_key(|process| process.id_inside);
        processes
    }

    /// Kills containerd and the kubelet, as a crash of both would, and starts them again. Pods are to go on meanwhile. Whether the
    /// kubelet answers again is for the caller to find out.
    ///
    /// # Panics
    /// When they can't be started again.
    pub async fn restart_runtime(&self) {
        let run = &self.cluster.run;
        let killed = run.kill(KUBELET).and_then(|()| run.kill(CONTAINERD));
        crate::expect(killed.and_then(|()| self.start_containerd()), "cannot restart containerd");
        let answers = self.cluster.wait_until("containerd answers", RUNTIME_DEADLINE, async || output(self.ctr().args(["images", "list"])));
        crate::expect(answers.await, "cannot restart containerd");
        crate::expect(self.start_kubelet(), "cannot restart the kubelet");
    }

    async fn start_with(programs: NodePrograms) -> Result<Self> {
        let run = Run::create()?;
        let network = Network::create(&run)?;
        control_group::create(run.name())?;
        let placement = placement(run.name(), &network);
        let cluster = ControlPlane::start_at(run, placement).await?;
        let node = Self { cluster, programs, network };
        match node.become_ready().await {
            Ok(()) => Ok(node),
            Err(error) => {
                node.cluster.keep_logs();
                Err(error)
            }
        }
    }

    async fn become_ready(&self) -> Result<()> {
        self.start_containerd()?;
        self.start_scheduler()?;
        self.start_kube_proxy()?;
        let pause = image::pause(&self.cluster.run.path(""))?;
        self.cluster
            .wait_until("containerd answers", RUNTIME_DEADLINE, async || output(self.ctr().args(["images", "import"]).arg(&pause)))
            .await?;
        // A kubelet's socket for device plugins has one path on the whole machine: two that start at once take it from each other, and one fails.
        let _one_at_a_time = tokio::task::spawn_blocking(|| cache::lock("kubelet")).await.context("waiting was interrupted")??;
        self.start_kubelet()?;
        self.cluster.wait_until("the node is ready", READY_DEADLINE, async || self.check_ready().await).await
    }

    fn start_containerd(&self) -> Result<()> {
        let run = &self.cluster.run;
        settings::pod_network(run, &self.network)?;
        let mut containerd = self.cluster.program(&self.programs.containerd);
        containerd.arg("--config").arg(settings::containerd(run, &self.programs)?).env("PATH", self.path()?);
        run.start(CONTAINERD, &containerd)
    }

    fn start_scheduler(&self) -> Result<()> {
        let kubeconfig = self.cluster.component_kubeconfig("kube-scheduler", "system:kube-scheduler", None)?;
        let mut scheduler = self.cluster.program(&self.programs.kube_scheduler);
        scheduler.arg(flag("kubeconfig", kubeconfig.display())).arg("--leader-elect=false").arg("--secure-port=0");
        self.cluster.run.start("kube-scheduler", &scheduler)
    }

    fn start_kube_proxy(&self) -> Result<()> {
        let kubeconfig = self.cluster.component_kubeconfig("kube-proxy", "system:kube-proxy", None)?;
        let mut proxy = self.cluster.program(&self.programs.kube_proxy);
        proxy.arg(flag("config", settings::kube_proxy(&self.cluster.run, &self.network, &kubeconfig)?.display()));
        self.cluster.run.start("kube-proxy", &proxy)
    }

    fn start_kubelet(&self) -> Result<()> {
        let run = &self.cluster.run;
        let user = format!("system:node:{}", self.name());
        let kubeconfig = self.cluster.component_kubeconfig("kubelet", &user, Some("system:nodes"))?;
        let names = vec![self.name().to_owned(), self.address().to_string()];
        let serving = self.cluster.authority.issue(run, "kubelet-serving", &user, Some("system:nodes"), names)?;
        let mut kubelet = self.cluster.program(&self.programs.kubelet);
        kubelet
            .arg(flag("config", settings::kubelet(run, &self.network, &serving)?.display()))
            .arg(flag("kubeconfig", kubeconfig.display()))
            .arg(flag("hostname-override", self.name()))
            .arg(flag("node-ip", self.address()))
            .arg(flag("root-dir", run.path("kubelet").display()));
        run.start(KUBELET, &kubelet)
    }

    async fn check_ready(&self) -> Result<()> {
        let nodes: Api<NodeObject> = Api::all(self.cluster.client());
        let node = nodes.get(self.name()).await?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        ensure!(
            conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            "its condition Ready is not true"
        );
        let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
        ensure!(taints.is_empty(), "it is tainted: {taints:?}");
        Ok(())
    }

    fn ctr(&self) -> Command {
        let mut ctr = Command::new(&self.programs.ctr);
        ctr.arg("--address").arg(self.cluster.run.path(settings::CONTAINERD_SOCKET)).args(["--namespace", CONTAINERD_NAMESPACE]);
        ctr
    }

    /// `PATH` with the folder of containerd's shim in front.
    fn path(&self) -> Result<OsString> {
        let shim = self.programs.containerd_shim.parent().context("containerd's shim has no folder")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let for_root = ["/usr/sbin", "/sbin"].map(Into::into);
        Ok(std::env::join_paths([shim.to_owned()].into_iter().chain(std::env::split_paths(&path)).chain(for_root))?)
    }
}

/// A process of a container.
#[derive(Debug)]
pub struct Process {
    /// Its id on this machine.
    pub id: u32,
    /// Its id in the container; 1 is the first process.
    pub id_inside: u32,
    /// The name of its program, of which the kernel keeps 15 bytes.
    pub name: String,
}

fn processes_of(container: &str) -> Result<Vec<Process>> {
    let folders = fs::read_dir("/proc")?.collect::<std::io::Result<Vec<_>>>()?;
    let processes = folders.iter().filter_map(|folder| {
        // Processes come and go while we look, and not all folders there are processes.
        let read = |file: &str| fs::read_to_string(folder.path().join(file)).ok();
        read("cgroup").filter(|groups| groups.contains(container))?;
        let status = read("status")?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let mut ids = field("NSpid")?.split_whitespace().map(str::parse::<u32>);
        let id = ids.next()?.ok()?;
        Some(Process { id, id_inside: ids.next_back()?.ok()?, name: field("Name")?.trim().to_owned() })
    });
    Ok(processes.collect())
}

/// A control plane in a node's network, where all ports are free.
fn placement(name: &str, network: &Network) -> Placement {
    Placement {
        address: network.node(),
        port: 6443,
        etcd_port: 2379,
        services: network.services(),
        service_address: network.api_service(),
        network: Some(name.to_owned()),
    }
}
