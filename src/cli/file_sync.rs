//! `outrigger file-sync`: the file mirror.

use std::{collections::BTreeMap, env, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};

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
            settings::{self, Compat, Method, Row, Settings, TABLE, WITHOUT_EFFECT},
        },
        health::{self, Answer, Health},
    },
};

use super::{FOUND, NOTHING_FOUND, connection, console};

/// As long as the kubelet waits for a native sidecar.
const WAIT_LIMIT: Duration = Duration::from_secs(300);

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
    flags: Flags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum Action {
    /// Say what the first sync waits for; fails until it is complete.
    Probe,
    /// Wait until the first sync is complete, at most five minutes.
    Wait,
}

/// What flags say, by the rows of the table of settings.
#[derive(Debug, Default)]
struct Flags(BTreeMap<&'static str, String>);

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let rows = TABLE.iter().filter(|row| !row.is_secret());
        rows.fold(command, |command, row| {
            let help = row.default.map_or_else(|| row.meaning.to_owned(), |default| format!("{} [default: {default}]", row.meaning));
            command.arg(Arg::new(row.name).long(row.flag()).value_name("VALUE").help(help))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |row: &&Row| matches.try_get_one::<String>(row.name).ok().flatten().cloned();
        Ok(Self(TABLE.iter().filter_map(|row| Some((row.name, given(row)?))).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Flags {
    /// A flag counts for more than a variable, and a variable for more than its other name.
    fn given(&self, row: &Row) -> Option<String> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        self.0.get(row.name).cloned().or_else(|| set(row.name)).or_else(|| set(row.also?))
    }
}

impl FileSync {
    /// Mirrors until a signal ends it, or asks one that does.
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.action {
            None => self.mirror().map(|()| NOTHING_FOUND),
            Some(Action::Probe) => tell(self.port()?, health::ask_whether_started(self.port()?)),
            Some(Action::Wait) => tell(self.port()?, health::wait_until_started(self.port()?, WAIT_LIMIT)),
        }
    }

    fn port(&self) -> Result<u16> {
        Ok(settings::health_port(|row| self.flags.given(row))?)
    }

    fn mirror(self) -> Result<()> {
        let settings = settings::read(|row| self.flags.given(row))?;
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
        let (orphans, starts_programs) = (Orphans::default(), starts_programs(&config));
        let client = connection::connect(config)?;
        let sidecar = Sidecar::new(settings, client, &namespace, &orphans, &readiness, &pulses, &mut registry)?;
        if settings.method == Method::Once {
            // Nobody probes what ends by itself.
            return Ok(sidecar.run().await?);
        }
        let listener = server::bind(settings.health).await.with_context(|| format!("{} can't be listened on", settings.health))?;
        let router = health::router(Health { started: readiness.clone(), readiness, pulses, registry });
        tokio::select! {
            done = sidecar.run() => Ok(done?),
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

/// What the sidecar says is missing, for the kubelet's Event and for people.
fn tell(port: u16, answer: std::io::Result<Answer>) -> Result<ExitCode> {
    let Answer { is_good, report } = answer.with_context(|| format!("the sidecar does not answer at port {port}"))?;
    // What is well, or only waits for the others, would push what is to be done out of sight.
    let is_telling = |line: &&str| is_good || !(line.ends_with(": ok") || line.ends_with(": waiting"));
    let telling: Vec<&str> = report.lines().filter(is_telling).collect();
    let said = if telling.is_empty() { report } else { telling.join("\n") + "\n" };
    console::print(&said)?;
    Ok(if is_good { NOTHING_FOUND } else { FOUND })
}
