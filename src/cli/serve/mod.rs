//! `outrigger serve`: the roles of the installation, in one process or several.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, core::PartialObjectMeta};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    api::duration,
    cli::{connection, tasks::Tasks},
    cluster::{
        namespaces::{NamespaceProjection, Namespaces},
        snapshot::{Snapshot, snapshot},
        watch::{self, Projection, Scope},
    },
    events::{
        plan::HAPPENS_AGAIN,
        recorder::{self, Notes, Recorder},
    },
    injection::Settings,
    runtime::{
        patience::Limits,
        pulse::Pulses,
        readiness::{Gate, Readiness},
        server,
        shutdown::{Shutdown, Signals},
        status::{self, Status},
        telemetry::{self, LogFormat},
        traces::Traces,
    },
};

mod admission;
mod certificate;
mod controllers;
mod databases;
mod repair;
mod userlists;

use admission::AdmissionRole;
use certificate::CertificateArgs;
use controllers::ControllersArgs;

/// No client gets a request through in less.
const SHORTEST_REQUEST_DEADLINE: Duration = Duration::from_millis(100);
/// Threads for all but reviews, which have one of their own. One suffices, and the other is there while a credential plugin blocks it;
/// on a machine with many CPUs, more would only hold memory.
const WORKERS: usize = 2;
/// How long the threads of the runtime have for what they are in the middle of, once all tasks have ended.
const THREADS_PATIENCE: Duration = Duration::from_millis(500);

/// Run the admission webhook, the controllers, or both.
#[derive(Debug, Args)]
#[command(after_help = "Traces are sent by OTLP over HTTP when OTEL_EXPORTER_OTLP_ENDPOINT names a collector.

Examples:
  outrigger serve --tls-cert tls.crt --tls-key tls.key
  outrigger serve --roles admission,controllers --ca-secret outrigger-ca --tls-name outrigger-admission.outrigger.svc
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

    #[command(flatten)]
    certificate: CertificateArgs,

    #[command(flatten)]
    controllers: ControllersArgs,

    /// Namespace of the installation.
    #[arg(long, default_value = "outrigger", env = "OUTRIGGER_NAMESPACE")]
    namespace: String,

    /// Values with the installation's settings under `injection`; the chart's own values will do.
    #[arg(long, value_name = "FILE", env = "OUTRIGGER_VALUES")]
    values: Option<PathBuf>,

    /// How to reach the cluster; without it, as a pod does, or as kubectl does.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// How long a client may take to send one request, and again to read its answer.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration::at_least(SHORTEST_REQUEST_DEADLINE), env = "OUTRIGGER_REQUEST_DEADLINE")]
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
    /// Looks after what changes in the background; of several, one at a time does, the holder of the lease.
    Controllers,
}

impl Serve {
    /// Serves until a signal ends it.
    pub(super) fn run(self) -> Result<()> {
        telemetry::start_logging(&self.log, self.log_format)?;
        // The first random bytes take tens of milliseconds to gather; have them before the first handshake asks.
        let seeding = std::thread::spawn(|| aws_lc_rs::rand::fill(&mut [0; 1]));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
        let runtime = runtime.context("the runtime can't start")?;
        let result = runtime.block_on(self.serve());
        // No thread may be in a handshake when the process exits, see `end_now`; a start that was given up may block its own for ever.
        runtime.shutdown_timeout(THREADS_PATIENCE);
        seeding
            .join()
            .map_err(|_| anyhow!("gathering random bytes failed"))?
            .map_err(|_| anyhow!("there are no random bytes to be had"))?;
        result
    }

    async fn serve(self) -> Result<()> {
        // Before all else: a signal that nobody listens to ends the process in the middle of its start.
        let mut signals = Signals::listen().context("signals can't be listened to")?;
        let drain_delay = self.drain_delay;
        // A task of its own: a credential plugin that hangs blocks its thread, and signals are to be heard all the same.
        let start = AbortOnDropHandle::new(tokio::spawn(self.start()));
        let (tasks, alive, shutdown) = tokio::select! {
            started = start => started.context("the start panicked")??,
            () = signals.next() => {
                // Nobody sends work here yet, so there is nobody to wait for.
                tracing::info!("shutting down before the start was done");
                return Ok(());
            }
        };
        tasks.until_all_end(shutdown.on_signal(signals, alive, drain_delay)).await
    }

    /// Starts all tasks. The gate keeps the process ready until it is closed.
    async fn start(self) -> Result<(Tasks, Gate, Shutdown)> {
        if self.roles.is_empty() {
            bail!("no role is left to run: give --roles at least one");
        }
        let settings = self.settings()?;
        let mut process = Process::new(connection::config(self.kubeconfig.as_deref()).await?)?;
        let alive = process.readiness.gate("process");
        let plain = bind(self.status_address).await?;

        let authority = self.certificate.shared_authority(&mut process, &self.namespace)?;
        if self.roles.contains(&Role::Admission) {
            let listening = process.readiness.gate("listener");
            let listener = bind(self.https_address).await?;
            let served = self.certificate.serve(&mut process, authority.as_ref())?;
            let limits = Limits { request: self.request_deadline, ..Limits::default() };
            let traces = Self::traces(&mut process)?;
            AdmissionRole { listener, served, settings: settings.clone(), limits, traces }.start(&mut process);
            listening.open();
        }
        if self.roles.contains(&Role::Controllers) {
            self.controllers.start(&mut process, &self.namespace, authority, settings)?;
        }
        alive.open();

        let Process { readiness, registry, shutdown, mut tasks, .. } = process;
        let status = status::router(Status { readiness, pulses: Pulses::default(), registry });
        tasks.spawn("status", server::serve_plain(plain, status, shutdown.clone()));
        tracing::info!(
            roles = ?self.roles, https = %self.https_address, status = %self.status_address, version = env!("CARGO_PKG_VERSION"), "serving"
        );
        Ok((tasks, alive, shutdown))
    }

    fn traces(process: &mut Process) -> Result<Traces> {
        let (traces, export) = Traces::from_environment(&mut process.registry)?;
        if let Some(export) = export {
            process.tasks.spawn("traces", export.run(process.shutdown.clone()));
        }
        Ok(traces)
    }

    fn settings(&self) -> Result<Settings> {
        let Some(path) = &self.values else { return Ok(Settings::default()) };
        let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
        Settings::from_values(&text).with_context(|| format!("{} can't be used", path.display()))
    }
}

/// What all roles of a process share.
struct Process {
    cluster: kube::Config,
    client: Client,
    readiness: Readiness,
    registry: Registry,
    shutdown: Shutdown,
    tasks: Tasks,
    namespaces: Option<Snapshot<Namespaces>>,
    events: Option<recorder::Metrics>,
}

impl Process {
    fn new(cluster: kube::Config) -> Result<Self> {
        let client = connection::connect(cluster.clone())?;
        let shutdown = Shutdown::default();
        let tasks = Tasks::new(shutdown.clone());
        let (readiness, mut registry) = (Readiness::default(), telemetry::registry());
        readiness.register(&mut registry);
        Ok(Self { cluster, client, readiness, registry, shutdown, tasks, namespaces: None, events: None })
    }

    /// A client that tries again by itself when the API server tells it to come later. The one that all share passes on each
    /// answer as it comes.
    fn client_with_retries(&self) -> Result<Client> {
        let mut cluster = self.cluster.clone();
        cluster.default_retry = true;
        connection::connect(cluster)
    }

    /// What is known of namespaces, by one watch for all roles.
    fn namespaces(&mut self) -> Snapshot<Namespaces> {
        if let Some(namespaces) = &self.namespaces {
            return namespaces.clone();
        }
        let (writer, namespaces) = snapshot(Namespaces::new(HashMap::new()));
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        self.watch(NamespaceProjection(writer), api, Scope::All);
        self.namespaces.insert(namespaces).clone()
    }

    /// Where owners of pods are told something by those who need no lease for it.
    fn notes(&mut self) -> Notes {
        let (notes, recorder) = Recorder::new(self.client.clone(), self.events(), HAPPENS_AGAIN);
        self.tasks.spawn("events", recorder.run(self.shutdown.clone()));
        notes
    }

    /// What is counted of Events, for all roles.
    fn events(&mut self) -> recorder::Metrics {
        self.events.get_or_insert_with(|| recorder::Metrics::new(&mut self.registry)).clone()
    }

    /// Starts a watch, which readiness waits for.
    fn watch<P: Projection>(&mut self, projection: P, api: Api<P::Object>, scope: Scope)
    where
        <P::Object as kube::Resource>::DynamicType: Clone + Send,
    {
        let gate = self.readiness.gate(P::NAME);
        self.tasks.spawn(P::NAME, watch::run(projection, api, scope, gate, self.shutdown.clone()));
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    server::bind(address).await.with_context(|| format!("{address} can't be listened on"))
}
