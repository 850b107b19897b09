//! `outrigger file-sync`: the file mirror.

use std::{env, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::{
    runtime::{
        orphans::Orphans,
        pulse::Pulses,
        readiness::Readiness,
        server,
        shutdown::{Shutdown, Signals},
        telemetry,
    },
    sidecars::{
        file_sync::{
            FileSync as Sidecar,
            settings::{self, Compat, Method, Settings, WITHOUT_EFFECT},
        },
        health::{self, Health},
    },
};

use super::{
    NOTHING_FOUND, connection,
    flags::Flags,
    probe::{WAIT_LIMIT, tell},
    skew,
};

/// Mirror ConfigMaps and Secrets into a folder, and tell the app of changes.
#[derive(Debug, Args)]
#[command(
    after_help = "Each flag can be set as a variable of the environment instead, such as FOLDER for --folder. docs/file-sync.md tells all.

Examples:
  outrigger file-sync --folder /srv/files --label dashboards
  outrigger file-sync --kubeconfig ~/.kube/config --namespace team --folder ./files --label dashboards --method once
  outrigger file-sync probe   # inside the sidecar: says what the app waits for"
)]
pub(super) struct FileSync {
    #[command(subcommand)]
    action: Option<Action>,

    /// How to reach the cluster; without it, as a pod does, or as kubectl does.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags<settings::Table>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum Action {
    /// Say what the first sync waits for; fails until it is complete.
    Probe,
    /// Wait until the first sync is complete, at most five minutes.
    Wait,
}

impl FileSync {
    /// Mirrors until a signal ends it, or asks one that does.
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.action {
            None => self.mirror().map(|()| NOTHING_FOUND),
            Some(Action::Probe) => tell(health::ask_whether_started(self.health_address()?)),
            Some(Action::Wait) => tell(health::wait_until_started(self.health_address()?, WAIT_LIMIT)),
        }
    }

    fn health_address(&self) -> Result<SocketAddr> {
        let set = self.flags.or_environment()?;
        Ok(settings::health_address(|row| set.text(row))?)
    }

    fn mirror(self) -> Result<()> {
        let set = self.flags.or_environment()?;
        let settings = settings::read(|row| set.text(row))?;
        telemetry::start_logging(&settings.log_level, settings.log_format)?;
        say_what_holds(&settings);
        // One thread: there is little to do at a time, and each further one takes memory.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime can't start")?;
        let done = runtime.block_on(self.until_signalled(&settings));
        runtime.shutdown_background();
        done
    }

    async fn until_signalled(&self, settings: &Settings) -> Result<()> {
        let mut signals = Signals::listen().context("signals can't be listened to")?;
        tokio::select! {
            // Whatever is being done can end at any moment: the next start goes on from there.
            () = signals.next() => {
                tracing::info!("shutting down");
                Ok(())
            }
            done = self.serve(settings) => done,
        }
    }

    async fn serve(&self, settings: &Settings) -> Result<()> {
        let mut config = connection::config(self.kubeconfig.as_deref()).await?;
        config.accept_invalid_certs |= settings.pace.skip_tls_verify;
        let namespace = config.default_namespace.clone();
        let (readiness, pulses, mut registry) = (Readiness::default(), Pulses::default(), telemetry::registry());
        readiness.register(&mut registry);
        skew::report(&mut registry);
        let (orphans, starts_programs) = (Orphans::default(), starts_programs(&config));
        let client = connection::connect(config)?;
        let sidecar = Sidecar::new(settings, client, &namespace, &orphans, &readiness, &pulses, &mut registry)?;
        if settings.method == Method::Once {
            // Nobody probes what ends by itself.
            return Ok(Box::pin(sidecar.run()).await?);
        }
        let listener = server::bind(settings.health).await.with_context(|| format!("{} can't be listened on", settings.health))?;
        let router = health::router(Health { started: readiness.clone(), readiness, pulses, registry }).merge(sidecar.routes());
        tokio::select! {
            done = Box::pin(sidecar.run()) => Ok(done?),
            () = server::serve_plain(listener, router, Shutdown::default()) => Ok(()),
            () = orphans.reap(), if !starts_programs => Ok(()),
        }
    }
}

/// Whether programs are run for credentials: the client waits for these itself, and would not learn how one ended that we have reaped.
const fn starts_programs(config: &kube::Config) -> bool {
    config.auth_info.exec.is_some() || config.auth_info.auth_provider.is_some()
}

/// The first lines of the log: whose meaning the words have, and which change nothing.
fn say_what_holds(settings: &Settings) {
    let whose = match settings.compat {
        Compat::Gsidecar => "words mean what k8s-gsidecar's documents say",
        Compat::Kiwigrid => "words mean what kiwigrid/k8s-sidecar makes of them",
    };
    tracing::info!(
        method = %settings.method, namespaces = %settings.selection.namespaces, folder = settings.rules.roots.first(),
        version = env!("CARGO_PKG_VERSION"), "{whose}"
    );
    for (name, why) in WITHOUT_EFFECT {
        if env::var_os(name).is_some() {
            tracing::warn!("{name} changes nothing: {why}");
        }
    }
}
