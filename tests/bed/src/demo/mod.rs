//! The demonstration: the product on a real node, or where that can't be had on a control plane, told step by step until a desktop
//! stands in a page. Each step is checked, so that the story can't be told of a product that does not do what is said.

mod comparison;
mod desktop;
mod screen;
mod written;

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::signal;

use self::comparison::Comparison;
use self::screen::Screen;
use self::written::WrittenPod;
use crate::control_plane::{ControlPlane, flag, free_port};
use crate::kubectl;
use crate::node::Node;
use crate::obtain::{self, command};

/// How long each thing we wait for may take on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The folder of the examples that must be refused, beside those that are applied.
const REFUSED: &str = "refused";

/// Each example that must be refused, and a part of the sentence that says why.
const REFUSALS: [(&str, &str); 3] = [
    ("bad-annotation.yaml", "vnc.outrigger.dev/geometry is \"1280\": it must be WIDTHxHEIGHT"),
    ("bad-pg-database.yaml", "postgres, template0 and template1 belong to the server, and outrigger to Outrigger; choose another name"),
    ("bad-session.yaml", "must be WIDTHxHEIGHT in pixels, each from 64 to 16384, such as 1280x800"),
];

/// Where kubectl keeps what was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Asks for a sidecar, to learn whether the API server calls the webhook yet; never stored.
const PROBE: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "annotations": {"outrigger.dev/inject": "vnc"}},
    "spec": {"containers": [{"name": "app", "image": "app"}]}}"#;

/// What is shown, and how long.
pub struct Demo {
    outrigger: PathBuf,
    examples: PathBuf,
    crds: PathBuf,
    picture: Option<PathBuf>,
    once: bool,
}

impl Demo {
    /// Reads the flags: `--outrigger PATH` (the program to show), `--examples DIR`, `--crds DIR`, and `--once` to look at the desktop
    /// itself and end without waiting for Ctrl-C; what it sees then is written to `--picture FILE`, as PNG.
    pub fn from_flags(flags: &[&str]) -> Result<Self> {
        let (mut outrigger, mut examples, mut crds, mut picture, mut once) = (None, None, None, None, false);
        let mut rest = flags.iter();
        while let Some(flag) = rest.next() {
            let mut value = || rest.next().map(PathBuf::from).with_context(|| format!("{flag} needs a path"));
            match *flag {
                "--outrigger" => outrigger = Some(value()?),
                "--examples" => examples = Some(value()?),
                "--crds" => crds = Some(value()?),
                "--picture" => picture = Some(value()?),
                "--once" => once = true,
                other => bail!("there is no flag {other}"),
            }
        }
        let outrigger = outrigger.context("--outrigger is missing")?;
        // Absolute: the program runs in a directory of its own.
        let outrigger = fs::canonicalize(&outrigger).with_context(|| format!("there is no program {}", outrigger.display()))?;
        let (examples, crds) = (examples.context("--examples is missing")?, crds.context("--crds is missing")?);
        Ok(Self { outrigger, examples, crds, picture, once })
    }

    /// Tells the story, then waits for Ctrl-C unless it is told once. Everything that was started has ended on return.
    pub async fn run(&self) -> Result<()> {
        let screen = Screen::of_this_terminal();
        tokio::select! {
            told = self.tell(&screen) => told?,
            interrupted = signal::ctrl_c() => {
                interrupted.context("cannot wait for Ctrl-C")?;
                ensure!(!self.once, "interrupted before the end");
            }
        }
        screen.heading("Everything has ended; nothing is left behind")?;
        Ok(())
    }

    async fn tell(&self, screen: &Screen) -> Result<()> {
        let stage = Stage { ground: Ground::start(screen).await?, screen };
        let told = self.perform(&stage).await;
        if told.is_err() {
            stage.cluster().keep_logs();
        }
        told?;
        if !self.once {
            screen.line("\nCtrl-C ends everything.")?;
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn perform(&self, stage: &Stage<'_>) -> Result<()> {
        tokio::try_join!(self.rig_pods(stage), stage.bring_images(&self.outrigger, &self.examples))?;
        stage.say_how_to_look_around()?;
        let address = stage.show_desktop(&self.outrigger, &self.examples).await?;
        match address {
            Some(address) if self.once => stage.look(address, self.picture.as_deref()).await,
            _ => Ok(()),
        }
    }

    async fn rig_pods(&self, stage: &Stage<'_>) -> Result<()> {
        stage.define_kinds(&self.crds).await?;
        let server = stage.start_webhook_server(&self.outrigger).await?;
        stage.register_webhooks(&self.outrigger, &server).await?;
        let pods = stage.apply_examples(&self.examples).await?;
        let mut compared = Vec::new();
        for pod in &pods {
            compared.push((pod, stage.what_was_added(pod).await?));
        }
        // One in full says it all.
        let shortest = compared.iter().filter(|(_, added)| !added.lines.is_empty()).min_by_key(|(_, added)| added.lines.len());
        let shortest = shortest.map(|(pod, _)| pod.name.as_str());
        for (pod, added) in &compared {
            stage.show_what_was_added(pod, added, shortest == Some(pod.name.as_str()))?;
        }
        stage.show_refusals(&self.examples.join(REFUSED)).await
    }
}

/// What the product is shown on.
enum Ground {
    Node(Box<Node>),
    ControlPlane(Box<ControlPlane>),
}

impl Ground {
    async fn start(screen: &Screen) -> Result<Self> {
        let obtained = tokio::task::spawn_blocking(obtain::node).await.context("obtaining a node was interrupted")?;
        let start = Instant::now();
        let ground = match obtained {
            Ok(_) => {
                screen
                    .heading("A node: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, containerd, kubelet and kube-proxy")?;
                Self::Node(Box::new(Node::try_start().await?))
            }
            Err(why) => {
                screen.heading("A control plane: etcd, kube-apiserver and kube-controller-manager")?;
                screen.line(&format!("pods will not run: {why:#}"))?;
                Self::ControlPlane(Box::new(ControlPlane::try_start().await?))
            }
        };
        screen.line(&format!("ready at https://{} after {:.1} s", ground.cluster().address(), start.elapsed().as_secs_f64()))?;
        Ok(ground)
    }

    fn cluster(&self) -> &ControlPlane {
        match self {
            Self::Node(node) => node.cluster(),
            Self::ControlPlane(cluster) => cluster,
        }
    }

    /// Where the cluster finds this machine.
    fn machine_address(&self) -> IpAddr {
        match self {
            Self::Node(node) => node.machine_address().into(),
            Self::ControlPlane(_) => Ipv4Addr::LOCALHOST.into(),
        }
    }
}

/// Where the webhook server answers.
struct WebhookServer {
    reviews: SocketAddr,
    ca: PathBuf,
}

/// Where the story happens and who watches it.
struct Stage<'screen> {
    ground: Ground,
    screen: &'screen Screen,
}

impl Stage<'_> {
    fn cluster(&self) -> &ControlPlane {
        self.ground.cluster()
    }

    async fn define_kinds(&self, crds: &Path) -> Result<()> {
        self.screen.heading("The kinds are defined")?;
        self.show_kubectl(&["apply", "--server-side", "--filename", path(crds)?]).await
    }

    async fn start_webhook_server(&self, outrigger: &Path) -> Result<WebhookServer> {
        self.screen.heading("The webhook server starts")?;
        let host = self.ground.machine_address();
        let (reviews, status) = (SocketAddr::new(host, free_port()?), loopback(free_port()?));
        let ca = self.cluster().path("outrigger-ca.crt");
        let mut serve = Command::new(outrigger);
        serve.arg("serve").arg(flag("kubeconfig", self.cluster().kubeconfig_path().display())).arg(flag("ca-out", ca.display()));
        serve.arg(flag("https-address", reviews)).arg(flag("status-address", status)).arg("--drain-delay=0s");
        serve.arg(flag("tls-name", host));
        self.screen.command(&format!("outrigger serve --https-address={reviews} --status-address={status} ..."))?;
        let start = Instant::now();
        self.cluster().run.start("outrigger", &serve)?;
        self.cluster().wait_until("the webhook server is ready", DEADLINE, async || ensure_ready(status).await).await?;
        self.screen.line(&format!("ready after {} ms", start.elapsed().as_millis()))?;
        Ok(WebhookServer { reviews, ca })
    }

    async fn register_webhooks(&self, outrigger: &Path, server: &WebhookServer) -> Result<()> {
        self.screen.heading("The webhooks are registered")?;
        let url = format!("https://{}", server.reviews);
        self.screen.command(&format!("outrigger export webhooks --url {url} --ca-file ca.crt | kubectl apply -f -"))?;
        let mut export = Command::new(outrigger);
        let registration = command::output(export.args(["export", "webhooks", "--url", &url, "--ca-file"]).arg(&server.ca))?;
        let applied = self.kubectl(&["apply", "--filename", "-"], &registration).await?;
        self.screen.line(&applied)?;
        // The API server learns of webhooks by a watch of its own, and a pod needs its namespace's account, which is made late.
        let probe = ["create", "--dry-run=server", "--output", "json", "--filename", "-"];
        self.cluster()
            .wait_until("the API server calls the webhook", DEADLINE, async || {
                let answer = self.kubectl(&probe, PROBE).await?;
                ensure!(answer.contains("outrigger-vnc"), "the API server answered without the webhook");
                Ok(())
            })
            .await
    }

    /// Applies the examples and returns the pods that they ask for.
    async fn apply_examples(&self, examples: &Path) -> Result<Vec<WrittenPod>> {
        self.screen.heading("The examples are applied")?;
        // An installation has a namespace of its own, and there what its controllers sign in with.
        self.show_kubectl(&["create", "namespace", "outrigger"]).await?;
        self.show_kubectl(&["apply", "--filename", path(examples)?]).await?;
        let written = self.kubectl(&["create", "--dry-run=client", "--output", "json", "--filename", path(examples)?], "").await?;
        let pods = written::pods(&written)?;
        ensure!(!pods.is_empty(), "there is no pod in {}", examples.display());
        Ok(pods)
    }

    async fn what_was_added(&self, written: &WrittenPod) -> Result<Comparison> {
        let WrittenPod { name, expected, .. } = written;
        let stored = self.stored_pod(written).await?;
        let compared = self.compare(written, &stored).await?;
        ensure!(!compared.has_removals, "something of the pod {name} was changed or taken away:\n{}", compared.lines.join("\n"));
        ensure!(added(&stored) == *expected, "the pod {name} was to get {expected:?}, but got {:?}", added(&stored));
        let is_unwanted = expected.is_empty() && !compared.lines.is_empty();
        ensure!(!is_unwanted, "the pod {name} asked for nothing, but was changed:\n{}", compared.lines.join("\n"));
        Ok(compared)
    }

    fn show_what_was_added(&self, written: &WrittenPod, added: &Comparison, in_full: bool) -> Result<()> {
        let WrittenPod { name, namespace, expected, .. } = written;
        if expected.is_empty() {
            return Ok(self.screen.heading(&format!("Nothing was added to {name} in namespace {namespace}"))?);
        }
        let names = expected.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.screen.heading(&format!("What was added to {name} in namespace {namespace}: {names}"))?;
        if in_full {
            added.lines.iter().try_for_each(|line| self.screen.difference(line))?;
        }
        Ok(())
    }

    /// The pod as the API server has it. That of a Deployment is made by a controller, a moment later.
    async fn stored_pod(&self, written: &WrittenPod) -> Result<Value> {
        let arguments = ["get", "pods", "--namespace", &written.namespace, &written.selection, "--output", "json"];
        let what = format!("there is a pod of {}", written.name);
        self.cluster()
            .wait_until(&what, DEADLINE, async || {
                let mut found: Value = serde_json::from_str(&self.kubectl(&arguments, "").await?)?;
                found.pointer_mut("/items/0").map(Value::take).context("there is none yet")
            })
            .await
    }

    /// Compares a stored pod with what the API server makes of the same pod when it is opted out: the rest is our doing.
    async fn compare(&self, written: &WrittenPod, stored: &Value) -> Result<Comparison> {
        let dry_run = ["create", "--dry-run=server", "--output", "json", "--filename", "-"];
        let opted_out = self.kubectl(&dry_run, &written.opted_out().to_string()).await?;
        let mut without: Value = serde_json::from_str(&opted_out)?;
        if let Some(annotations) = without.pointer_mut("/metadata/annotations") {
            *annotations = written.annotations().clone();
        }
        let mut stored = stored.clone();
        if let Some(annotations) = stored.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
        Comparison::new(&written.name, &without, &stored)
    }

    async fn show_refusals(&self, refused: &Path) -> Result<()> {
        for (file, sentence) in REFUSALS {
            let manifest = refused.join(file);
            self.screen.heading(&format!("{file} is refused"))?;
            self.screen.command(&format!("kubectl apply --filename {}", manifest.display()))?;
            let output = kubectl::run(self.cluster(), &["apply", "--filename", path(&manifest)?], "").await?;
            self.screen.line(&output.stderr)?;
            ensure!(!output.status.success(), "{} was to be refused, but was stored", manifest.display());
            ensure!(output.stderr.contains(sentence), "the refusal of {} does not say: {sentence}", manifest.display());
        }
        Ok(())
    }

    fn say_how_to_look_around(&self) -> Result<()> {
        self.screen.heading("Look around, in another terminal")?;
        let (kubectl, kubeconfig) = (self.cluster().kubectl_path().display(), self.cluster().kubeconfig_path().display());
        self.screen.line(&format!("alias kubectl='{kubectl} --kubeconfig {kubeconfig}'"))?;
        self.screen.line("kubectl get pods --all-namespaces")?;
        let why = match self.ground {
            Ground::Node(_) => "The pods of these examples wait for their images, which no registry brings here.",
            Ground::ControlPlane(_) => "The pods stay Pending: a control plane stores and checks them, but has no node to run them on.",
        };
        Ok(self.screen.line(&format!("\n{why}"))?)
    }

    /// Runs kubectl before the audience's eyes.
    async fn show_kubectl(&self, arguments: &[&str]) -> Result<()> {
        self.screen.command(&format!("kubectl {}", arguments.join(" ")))?;
        Ok(self.screen.line(&self.kubectl(arguments, "").await?)?)
    }

    /// What a kubectl that must succeed prints.
    async fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = kubectl::run(self.cluster(), arguments, input).await?;
        ensure!(output.status.success(), "kubectl {} failed: {}", arguments.join(" "), output.stderr.trim_end());
        Ok(output.stdout)
    }
}

/// The names of our containers in a pod. Their order is the product's affair.
fn added(pod: &Value) -> BTreeSet<String> {
    let lists = ["/spec/initContainers", "/spec/containers"].into_iter().filter_map(|list| pod.pointer(list)?.as_array());
    let names = lists.flatten().filter_map(|container| container.get("name")?.as_str());
    names.filter(|name| name.starts_with("outrigger-")).map(str::to_owned).collect()
}

/// Succeeds when `/readyz` says so.
async fn ensure_ready(status: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(status).await?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {status}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "it is not ready: {answer}");
    Ok(())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
