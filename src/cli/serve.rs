//! `outrigger serve`: the roles of the installation, in one process or several.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    core::{DynamicObject, PartialObjectMeta},
    discovery::ApiResource,
};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    admission::{Admission, Metrics, Objects, Pods, router},
    api::{duration, inventory::Inventory},
    cluster::{
        namespaces::{NamespaceProjection, Namespaces},
        objects::{InventoryWriter, PgDatabases, PgServers, SessionTemplates, Sessions},
        snapshot::{Snapshot, snapshot},
        watch::{self, Projection},
    },
    injection::Settings,
    runtime::{
        certificate::{self, CertificateFiles, Served},
        patience::Limits,
        readiness::{Gate, Readiness},
        server,
        shutdown::Shutdown,
        status,
        telemetry::{self, LogFormat},
    },
};

/// Run the admission webhook (controllers and gateway are roles of their own).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger serve --tls-cert tls.crt --tls-key tls.key
  outrigger serve --kubeconfig ~/.kube/config --tls-name localhost --ca-out ca.crt   # makes its own certificate")]
pub(super) struct Serve {
    /// Which roles this process has.
    #[arg(long, value_delimiter = ',', default_value = "admission", env = "OUTRIGGER_ROLES")]
    roles: Vec<Role>,

    /// Where reviews are answered over TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:10250", env = "OUTRIGGER_HTTPS_ADDRESS")]
    https_address: SocketAddr,

    /// Where /livez, /readyz and /metrics are answered.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080", env = "OUTRIGGER_STATUS_ADDRESS")]
    status_address: SocketAddr,

    /// Certificate chain in PEM; it is loaded again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "OUTRIGGER_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// Its key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "OUTRIGGER_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// How often those files are looked at.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse, env = "OUTRIGGER_TLS_INTERVAL")]
    tls_interval: Duration,

    /// Names and addresses of the certificate that is made at start when none is given.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "localhost,127.0.0.1", conflicts_with = "tls_cert")]
    tls_name: Vec<String>,

    /// Where the CA of that certificate is written, for the webhooks' caBundle.
    #[arg(long, value_name = "FILE", conflicts_with = "tls_cert")]
    ca_out: Option<PathBuf>,

    /// Values with the installation's settings under `injection`; the chart's own values will do.
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_VALUES")]
    values: Option<PathBuf>,

    /// How to reach the cluster; without it, as a pod does, or as kubectl does.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// How long a client may take to send one request, and again to read its answer.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration::parse, env = "OUTRIGGER_REQUEST_DEADLINE")]
    request_deadline: Duration,

    /// How long to serve on after SIGTERM, until all endpoints have noticed.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse, env = "OUTRIGGER_DRAIN_DELAY")]
    drain_delay: Duration,

    /// Level (error, warn, info, debug, trace) or directives such as `outrigger=debug,kube=info`.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "OUTRIGGER_LOG")]
    log: String,

    /// How log lines are written.
    #[arg(long, value_enum, default_value = "text", env = "OUTRIGGER_LOG_FORMAT")]
    log_format: LogFormat,
}

/// The parts of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Answers admission reviews; needs no leader.
    Admission,
}

impl Serve {
    /// Serves until a signal ends it.
    pub(super) fn run(self) -> Result<()> {
        telemetry::start_logging(&self.log, self.log_format)?;
        // The first random bytes take tens of milliseconds to gather; have them before the first handshake asks.
        let seeding = std::thread::spawn(|| aws_lc_rs::rand::fill(&mut [0; 1]));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("the runtime can't start")?;
        let result = runtime.block_on(self.serve());
        seeding
            .join()
            .map_err(|_| anyhow!("gathering random bytes failed"))?
            .map_err(|_| anyhow!("there are no random bytes to be had"))?;
        result
    }

    async fn serve(self) -> Result<()> {
        if self.roles.is_empty() {
            bail!("no role is left to run: give --roles at least one");
        }
        let settings = self.settings()?;
        let readiness = Readiness::default();
        let (alive, certificate_gate, listening) = (readiness.gate("process"), readiness.gate("certificate"), readiness.gate("listener"));
        let gates = Gates::new(&readiness);
        alive.open();
        let mut registry = telemetry::registry();
        let metrics = Metrics::new(&mut registry);
        let shutdown = Shutdown::default();
        let mut tasks = Tasks::new(shutdown.clone());

        let https = bind(self.https_address).await?;
        let plain = bind(self.status_address).await?;
        listening.open();

        let (certificate, files) = self.certificate(&mut registry)?;
        certificate_gate.open();
        if let Some(files) = files {
            tasks.spawn("certificate", certificate.clone().follow(files, self.tls_interval, shutdown.clone()));
        }
        tasks.spawn("status", server::serve_plain(plain, status::router(status::Status { readiness, registry }), shutdown.clone()));

        let client = self.client().await?;
        let (namespaces, objects) = Watches { client, gates, shutdown: shutdown.clone(), tasks: &mut tasks }.start();
        let admission = Admission::new(Pods { settings, namespaces }, Objects { inventory: objects }, metrics);
        let limits = Limits { request: self.request_deadline, ..Limits::default() };
        let serving = server::serve_tls(https, certificate, router(admission), limits, shutdown.clone());
        tasks.spawn("admission", async { report("admission", serving.await) });
        let signals = shutdown.on_signal(alive, self.drain_delay);
        tracing::info!(https = %self.https_address, status = %self.status_address, version = env!("CARGO_PKG_VERSION"), "serving");
        tasks.until_all_end(signals).await
    }

    fn settings(&self) -> Result<Settings> {
        let Some(path) = &self.values else { return Ok(Settings::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
        Settings::from_values(&text).with_context(|| format!("{} can't be used", path.display()))
    }

    fn certificate(&self, registry: &mut Registry) -> Result<(Arc<Served>, Option<CertificateFiles>)> {
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
            return Ok((Served::from_files(&files, registry)?, Some(files)));
        }
        let made = certificate::make(self.tls_name.clone())?;
        if let Some(path) = &self.ca_out {
            std::fs::write(path, &made.ca_pem).with_context(|| format!("{} can't be written", path.display()))?;
        }
        Ok((Served::self_made(made, registry)?, None))
    }

    async fn client(&self) -> Result<Client> {
        let config = match &self.kubeconfig {
            None => kube::Config::infer().await.context("no cluster is in reach: run in a pod, or give --kubeconfig")?,
            Some(path) => {
                let kubeconfig = kube::config::Kubeconfig::read_from(path).with_context(|| format!("{} can't be read", path.display()))?;
                let options = kube::config::KubeConfigOptions::default();
                let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
                config.with_context(|| format!("{} can't be used", path.display()))?
            }
        };
        Client::try_from(config).context("the cluster's credentials can't be used")
    }
}

/// What readiness waits for of each watch.
struct Gates {
    namespaces: Gate,
    pg_servers: Gate,
    pg_databases: Gate,
    session_templates: Gate,
    sessions: Gate,
}

impl Gates {
    fn new(readiness: &Readiness) -> Self {
        Self {
            namespaces: readiness.gate(NamespaceProjection::NAME),
            pg_servers: readiness.gate(PgServers::NAME),
            pg_databases: readiness.gate(PgDatabases::NAME),
            session_templates: readiness.gate(SessionTemplates::NAME),
            sessions: readiness.gate(Sessions::NAME),
        }
    }
}

/// The watches of the admission role.
struct Watches<'a> {
    client: Client,
    gates: Gates,
    shutdown: Shutdown,
    tasks: &'a mut Tasks,
}

impl Watches<'_> {
    fn start(mut self) -> (Snapshot<Namespaces>, Snapshot<Inventory>) {
        let (writer, namespaces) = snapshot(Namespaces::default());
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let run = watch::run(NamespaceProjection(writer), api, self.gates.namespaces.clone(), self.shutdown.clone());
        self.tasks.spawn(NamespaceProjection::NAME, run);

        let (writer, inventory) = snapshot(Inventory::default());
        let writer = InventoryWriter::new(writer);
        self.objects(PgServers(writer.clone()), &PgServers::resource(), self.gates.pg_servers.clone());
        self.objects(PgDatabases(writer.clone()), &PgDatabases::resource(), self.gates.pg_databases.clone());
        self.objects(SessionTemplates(writer.clone()), &SessionTemplates::resource(), self.gates.session_templates.clone());
        self.objects(Sessions(writer), &Sessions::resource(), self.gates.sessions.clone());
        (namespaces, inventory)
    }

    fn objects<P: Projection<Object = DynamicObject>>(&mut self, projection: P, resource: &ApiResource, gate: Gate) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        self.tasks.spawn(P::NAME, watch::run(projection, api, gate, self.shutdown.clone()));
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{address} can't be listened on"))
}

fn report<E: std::error::Error + 'static>(task: &'static str, result: Result<(), E>) {
    if let Err(error) = result {
        tracing::error!(task, error = &error as &dyn std::error::Error, "a task failed");
    }
}

/// The tasks of the process. One that ends before shutdown ends the process: half of it must not live on.
struct Tasks {
    running: JoinSet<&'static str>,
    shutdown: Shutdown,
}

impl Tasks {
    fn new(shutdown: Shutdown) -> Self {
        Self { running: JoinSet::new(), shutdown }
    }

    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            task.await;
            name
        });
    }

    /// Waits for the signal and then for all tasks; fails if a task ends before the signal.
    async fn until_all_end(mut self, signals: impl Future<Output = std::io::Result<()>>) -> Result<()> {
        tokio::pin!(signals);
        let mut early = None;
        loop {
            let ended = tokio::select! {
                ended = self.running.join_next() => ended,
                // Signals are watched until the end: the second one ends the process.
                failed = &mut signals => return failed.context("signals can't be listened to"),
            };
            let Some(ended) = ended else { return early.map_or(Ok(()), Err) };
            if self.shutdown.is_closing() {
                continue;
            }
            early = Some(match ended {
                Ok(name) => anyhow!("the task {name} ended early"),
                Err(error) => anyhow!(error).context("a task panicked"),
            });
            self.shutdown.close();
        }
    }
}
