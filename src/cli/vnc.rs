//! `outrigger vnc`: the desktop.

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder, File},
    future::pending,
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::{
        fs::{DirBuilderExt, MetadataExt},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    pin::pin,
    process::{ExitCode, ExitStatus},
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ColorChoice, Subcommand, ValueEnum};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    runtime::{
        complaint::with_causes,
        orphans::Orphans,
        pulse::Pulses,
        readiness::Readiness,
        server,
        shutdown::{Shutdown, Signals},
        telemetry,
    },
    sidecars::{
        health::{self, Health},
        vnc::{
            App, Desktop, End, OnEnd,
            bridge::target::{Target, Targets},
            metrics::Metrics,
            page::Page,
            probe,
            router::{self, Desk},
            settings::{self, Mode, Row, Settings, WITHOUT_EFFECT},
            x_server::display::Display,
        },
    },
};

use super::{
    FOUND, NOTHING_FOUND,
    console::{self, Console},
    flags::Flags,
    probe::{WAIT_LIMIT, tell},
};

/// Run an X server whose screen can be shown in a browser, or attach to the app's own.
#[derive(Debug, Args)]
#[command(
    after_help = "Each flag can be set as a variable of the environment instead, such as VNC_GEOMETRY for --geometry, unless a command is given. \
docs/desktop.md tells all.

Examples:
  outrigger vnc                                       # in a pod: serves the display :99 for the app
  outrigger vnc probe                                 # inside the sidecar: says what the app waits for
  outrigger vnc --geometry 1280x800 -- xterm -fa mono # on a developer's machine: a desktop for one command"
)]
pub(super) struct Vnc {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    flags: Flags<Row>,

    /// What becomes of the desktop when the command ends.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "end", requires = "command")]
    on_end: OnEndWord,

    /// Command to run on a desktop of its own, on a display that is free; variables of the environment then set nothing.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum Action {
    /// Ask the X server to let a client in; fails with the reason while it does not.
    Probe,
    /// Wait until the app may start, at most five minutes.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnEndWord {
    /// It ends with the command's status.
    End,
    /// The command is started again.
    Restart,
    /// It stays until it is interrupted.
    Keep,
}

impl From<OnEndWord> for OnEnd {
    fn from(word: OnEndWord) -> Self {
        match word {
            OnEndWord::End => Self::End,
            OnEndWord::Restart => Self::Restart,
            OnEndWord::Keep => Self::Keep,
        }
    }
}

impl Vnc {
    /// Runs the desktop until a signal or its command ends it, or asks one that runs.
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.action {
            Some(Action::Probe) => self.probe(),
            Some(Action::Wait) => tell(self.health_port()?, health::wait_until_started(self.health_port()?, WAIT_LIMIT)),
            None if self.command.is_empty() => self.serve_pod(),
            None => self.serve_command(),
        }
    }

    fn health_port(&self) -> Result<u16> {
        Ok(settings::health_port(|row| self.flags.or_environment(row))?)
    }

    /// The kubelet shows the one line of this in an Event.
    fn probe(&self) -> Result<ExitCode> {
        let settings = settings::read(|row| self.flags.or_environment(row))?;
        let port = settings.health.port();
        let Mode::Serve { authority, .. } = &settings.mode else {
            return tell(port, health::ask_whether_started(port));
        };
        let Err(error) = runtime()?.block_on(probe(settings.display, authority)) else { return Ok(NOTHING_FOUND) };
        // The supervisor may know more, if it is there.
        let known = health::ask_whether_started(port).map(|answer| answer.report).unwrap_or_default();
        console::print(&format!(
            "{}\n",
            [with_causes(&error), known.lines().collect::<Vec<_>>().join("; ")].join("; ").trim_end_matches("; ")
        ))?;
        Ok(FOUND)
    }

    fn serve_pod(self) -> Result<ExitCode> {
        let settings = settings::read(|row| self.flags.or_environment(row))?;
        telemetry::start_logging(&settings.log_level, settings.log_format)?;
        say_what_holds(&settings);
        let health = Some(settings.health);
        serve(settings, None, health)
    }

    fn serve_command(mut self) -> Result<ExitCode> {
        let wanted = settings::TABLE.iter().find(|row| row.name == "DISPLAY").and_then(|row| self.flags.given(row));
        let folder = OwnFolder::create(wanted.map(|display| display.parse()).transpose()?)?;
        // The display and the cookie in the environment are those of whoever types the command.
        let own = |row: &Row| match row.name {
            "DISPLAY" => Some(folder.display.to_string()),
            "XAUTHORITY" => Some(folder.path.join("cookie").display().to_string()),
            "VNC_FOLDER" => Some(folder.path.display().to_string()),
            "LOG_LEVEL" => Some("warn".to_owned()),
            _ => None,
        };
        let settings = settings::read(|row| self.flags.given(row).or_else(|| own(row)))?;
        telemetry::start_logging(&settings.log_level, settings.log_format)?;
        // Two desktops of one machine would want the same port, so there is none unless it is named.
        let names_port = settings::TABLE.iter().any(|row| row.name == "HEALTH_PORT" && self.flags.given(row).is_some());
        let health = names_port.then_some(settings.health);
        let program = self.command.remove(0);
        let app = App { program, arguments: self.command, on_end: self.on_end.into() };
        serve(settings, Some(app), health)
    }
}

/// Runs a desktop to its end.
fn serve(settings: Settings, app: Option<App>, health: Option<SocketAddr>) -> Result<ExitCode> {
    let runtime = runtime()?;
    let ended = runtime.block_on(until_ended(settings, app, health));
    runtime.shutdown_background();
    Ok(match ended? {
        End::Told => NOTHING_FOUND,
        End::App(status) => exit_code(status),
    })
}

/// One thread: there is little to do at a time, and each further one takes memory.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime can't start")
}

async fn until_ended(settings: Settings, app: Option<App>, health: Option<SocketAddr>) -> Result<End> {
    let mut signals = Signals::listen().context("signals can't be listened to")?;
    let (started, readiness, pulses, mut registry) = (Readiness::default(), Readiness::default(), Pulses::default(), telemetry::registry());
    readiness.register(&mut registry);
    let (orphans, stop) = (Orphans::default(), CancellationToken::new());
    let (place, control, page) = (place(&settings, app.is_some()), settings.policy(), Page::new(settings.web.clone()));
    let desktop = Desktop::new(settings, app, &orphans, &started, &readiness, &pulses, &mut registry);
    let shown =
        router::Settings { control, ..router::Settings::open(Targets::new(Target::Unix(desktop.rfb_socket())), desktop.protocol().await?) };
    let shutdown = Shutdown::default();
    let router = Desk::new(shown, Metrics::new(&mut registry), shutdown.clone()).router().merge(page.router());
    let viewers = listen(place).await?;
    let mut viewers = pin!(server::serve_plain(viewers, router, shutdown.clone()));
    let listener = match health {
        Some(address) => Some(server::bind(address).await.with_context(|| format!("HEALTH_PORT {address} can't be listened on"))?),
        None => None,
    };
    let router = health::router(Health { started, readiness, pulses, registry });
    let answering = async {
        match listener {
            Some(listener) => server::serve_plain(listener, router, Shutdown::default()).await,
            None => pending().await,
        }
    };
    let signalled = async {
        signals.next().await;
        tracing::info!("shutting down");
        shutdown.close();
        pending::<()>().await;
    };
    let running = async {
        let mut running = pin!(desktop.run(&stop));
        let end = tokio::select! {
            end = &mut running => Some(end),
            // They were told that the desktop goes; then it does.
            () = &mut viewers => None,
        };
        if let Some(end) = end {
            shutdown.close();
            viewers.await;
            return end;
        }
        stop.cancel();
        running.await
    };
    // None of the others ends.
    tokio::select! {
        end = running => Ok(end?),
        () = answering => Ok(End::Told),
        () = orphans.reap() => Ok(End::Told),
        () = signalled => Ok(End::Told),
    }
}

/// Where viewers connect: in a pod from everywhere, on a developer's machine from this machine alone.
fn place(settings: &Settings, is_for_command: bool) -> Place {
    if is_for_command { Place::Near(settings.port) } else { Place::Everywhere(settings.port) }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Everywhere(u16),
    /// A desktop that was begun before may have the port; then any will do.
    Near(u16),
}

async fn listen(place: Place) -> Result<TcpListener> {
    let (Place::Everywhere(port) | Place::Near(port)) = place;
    let refused = || format!("VNC_PORT {port} can't be listened on: choose another one");
    match place {
        Place::Everywhere(port) => server::bind((Ipv6Addr::UNSPECIFIED, port).into()).await.with_context(refused),
        Place::Near(port) => {
            let near = |port| server::bind((Ipv4Addr::LOCALHOST, port).into());
            let listener = match near(port).await {
                Err(error) if error.kind() == ErrorKind::AddrInUse => near(0).await,
                bound => bound,
            };
            let listener = listener.with_context(refused)?;
            let said = format!("http://{}/ shows the desktop to everybody on this machine", listener.local_addr()?);
            // What the command prints is the command's.
            Console::new(ColorChoice::Auto).note(&said);
            Ok(listener)
        }
    }
}

/// As shells tell the end of a command: its own code, or that of the signal that ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The first lines of the log.
fn say_what_holds(settings: &Settings) {
    let mode = if matches!(settings.mode, Mode::Serve { .. }) { "serving a display" } else { "attaching to the app's display" };
    tracing::info!(display = %settings.display, version = env!("CARGO_PKG_VERSION"), "{mode}");
    for (name, why) in WITHOUT_EFFECT {
        if env::var_os(name).is_some_and(|value| !value.is_empty()) {
            tracing::warn!("{name} changes nothing: {why}");
        }
    }
}

/// The folder of a desktop that has no pod. It goes when this is dropped; what a killed process has left is used again, so that what
/// it has left running is known by its cookie.
struct OwnFolder {
    display: Display,
    path: PathBuf,
    _lock: File,
}

impl OwnFolder {
    /// For this display, or for one that is free.
    fn create(wanted: Option<Display>) -> Result<Self> {
        let base = runtime_folder()?;
        if let Some(display) = wanted {
            return Self::of(&base, display)?
                .with_context(|| format!("another outrigger vnc has the display {display}: choose another one"));
        }
        for display in Display::all() {
            let is_known = base.join(folder_name(display)).exists();
            if (is_known || !display.seems_taken())
                && let Some(folder) = Self::of(&base, display)?
            {
                return Ok(folder);
            }
        }
        bail!("all displays are taken: name one with --display")
    }

    /// The folder of a display, unless another process has it.
    fn of(base: &Path, display: Display) -> Result<Option<Self>> {
        let path = base.join(folder_name(display));
        private_folder(&path)?;
        let lock = File::open(&path).with_context(|| format!("{} can't be opened", path.display()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { display, path, _lock: lock })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{} can't be locked", path.display())),
        }
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a folder is left behind");
        }
    }
}

fn folder_name(display: Display) -> String {
    format!("desktop-{}", display.number())
}

/// Where this user's programs keep sockets ("XDG Base Directory Specification"), or a folder among the temporary files.
fn runtime_folder() -> Result<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    let given = env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()).map(|folder| PathBuf::from(folder).join("outrigger"));
    let folder = given.unwrap_or_else(|| env::temp_dir().join(format!("outrigger-desktops-{own}")));
    private_folder(&folder)?;
    let owner = fs::symlink_metadata(&folder)?;
    ensure!(
        owner.is_dir() && owner.uid() == own,
        "{} belongs to somebody else: set XDG_RUNTIME_DIR to a folder of your own",
        folder.display()
    );
    Ok(folder)
}

fn private_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("{} can't be made", path.display()))
}
