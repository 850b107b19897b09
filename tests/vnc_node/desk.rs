//! One node for all of these tests, a namespace for each, and how a desktop is looked at.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use outrigger_bed::{Browser, Namespace, Node, Page, gaps, image};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::{
    product_image::desktop_image,
    running::{create, pods, restricted, until_phase},
    until::until,
};

pub(crate) const APP: &str = "app";
pub(crate) const SIDECAR: &str = "outrigger-vnc";
/// What the page says when all is well.
pub(crate) const CONNECTED: &str = "document.getElementById('status').textContent === 'Connected'";
const PORT: u16 = 6080;
/// Who the apps run as.
pub(crate) const USER: u32 = 1234;

/// They restart what the others need.
static TURN: Mutex<()> = Mutex::const_new(());

/// The node with its images.
static NODE: OnceCell<Option<&Node>> = OnceCell::const_new();

/// The desktop of one pod, in a namespace that enforces the strictest Pod Security Standard.
pub(crate) struct Desk {
    pub(crate) node: &'static Node,
    pub(crate) namespace: Namespace<'static>,
    pub(crate) pod: &'static str,
    _turn: MutexGuard<'static, ()>,
}

impl Desk {
    /// None yet, and the place for one. `None`: what it needs can't be had here, and `test` was noted as skipped.
    pub(crate) async fn place(test: &str, pod: &'static str) -> Option<Self> {
        let turn = TURN.lock().await;
        let node = (*NODE.get_or_init(|| ready_node(test)).await)?;
        let namespace = node.cluster().namespace(pod).await;
        namespace.label("pod-security.kubernetes.io/enforce", "restricted").await;
        Some(Self { node, namespace, pod, _turn: turn })
    }

    /// Creates the pod with this app, as the webhook would hand it on, and waits until it runs.
    pub(crate) async fn run(&self, annotations: &[(&str, &str)], app: &Value) {
        create(&self.namespace, &pod(self.pod, annotations, app)).await;
        until_phase(&self.namespace, self.pod, "Running").await;
    }

    /// Where the page is.
    pub(crate) async fn address(&self) -> String {
        let address: IpAddr = self.status().await.pod_ip.unwrap().parse().unwrap();
        format!("http://{address}:{PORT}/")
    }

    pub(crate) async fn status(&self) -> PodStatus {
        pods(&self.namespace).get(self.pod).await.unwrap().status.unwrap_or_default()
    }

    pub(crate) async fn container(&self, name: &str) -> ContainerStatus {
        let status = self.status().await;
        let all = [status.init_container_statuses, status.container_statuses].into_iter().flatten().flatten();
        all.into_iter().find(|container| container.name == name).unwrap()
    }

    pub(crate) async fn restarts(&self, container: &str) -> i32 {
        self.container(container).await.restart_count
    }

    pub(crate) async fn until_restarted(&self, container: &str) {
        until(&format!("{container} was started again"), async || {
            let status = self.container(container).await;
            let runs = status.state.as_ref().is_some_and(|state| state.running.is_some());
            if status.restart_count > 0 && runs { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }

    /// Kills a program of a container, or its first process.
    pub(crate) async fn kill(&self, container: &str, program: Option<&str>) {
        let id = self.container(container).await.container_id.unwrap();
        let processes = self.node.processes(id.strip_prefix("containerd://").unwrap());
        let is_wanted = |name: &str| program.is_none_or(|program| name == program);
        let process = processes.iter().find(|process| is_wanted(&process.name)).unwrap_or_else(|| panic!("{program:?}: {processes:?}"));
        kill(process.id);
    }

    /// What a container has printed.
    pub(crate) async fn log(&self, container: &str) -> String {
        self.node.cluster().kubectl(&["-n", self.namespace.name(), "logs", self.pod, "-c", container]).await.success()
    }
}

async fn ready_node(test: &str) -> Option<&'static Node> {
    let desktop = desktop_image().await?;
    let node = Node::shared(test).await?;
    node.import_image(desktop).await;
    for write in [image::window::window, image::window::served_window] {
        let folder = tempfile::tempdir().unwrap();
        match write(folder.path()) {
            Ok(app) => node.import_image(&app).await,
            Err(why) => {
                gaps::skip(test, &why).unwrap();
                return None;
            }
        }
    }
    Some(node)
}

/// Ends a process as a crash would. It may have ended by now, with one that was killed before it.
pub(crate) fn kill(process: u32) {
    let killed = kill_process(Pid::from_raw(process.try_into().unwrap()).unwrap(), Signal::KILL);
    assert!(matches!(killed, Ok(()) | Err(Errno::SRCH)), "{killed:?}");
}

pub(crate) fn pod(name: &str, annotations: &[(&str, &str)], app: &Value) -> Value {
    let mut all = json!({"outrigger.dev/inject": "vnc"});
    for (key, value) in annotations {
        all[*key] = json!(value);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": all}, "spec": {"containers": [app]}})
}

/// An app with a green window that fills the screen, in an image that knows nothing of desktops.
pub(crate) fn window() -> Value {
    json!({"name": APP, "image": image::window::REFERENCE, "imagePullPolicy": "IfNotPresent", "securityContext": restricted(USER)})
}

/// Opens the page, and has it note all that it says from now on.
pub(crate) fn open(browser: &Browser, address: &str) -> Page {
    let page = browser.open(address);
    page.until(CONNECTED);
    page.evaluate(
        "((status) => { window.said = []; new MutationObserver(() => said.push(status.textContent)).observe(status, {childList: true}); })(document.getElementById('status'))",
    );
    page
}

/// Waits until the page has lost its desktop and found it again.
pub(crate) fn until_back(page: &Page) {
    page.until("window.said.some((said) => said.includes('connecting again'))");
    page.until(CONNECTED);
    until_window(page);
}

/// Waits until the green window is on the screen.
pub(crate) fn until_window(page: &Page) {
    let colour = "Array.from(document.querySelector('canvas').getContext('2d').getImageData(200, 200, 1, 1).data).slice(0, 3).join()";
    page.until(&format!("{colour} === '32,192,64'"));
}
