//! `outrigger vnc`: the desktop.

mod browser;
mod farewell;
mod own_folder;
mod port;

use std::{
    env,
    ffi::OsString,
    future::pending,
    iter,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::Path,
    pin::pin,
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, ColorChoice, Subcommand, ValueEnum};
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
        setting::Row,
        vnc::{
            App, Desktop, End, OnEnd,
            bridge::target::{Target, Targets},
            guacamole,
            metrics::Metrics,
            page::Page,
            probe,
            rfb_port::{RfbPort, passwords::PasswordFile},
            router::{self, Desk, Protocol},
            settings::{self, Mode, Settings, WITHOUT_EFFECT},
        },
    },
};

use super::{
    FOUND, NOTHING_FOUND,
    console::{self, Console},
    flags::Flags,
    probe::{WAIT_LIMIT, missing, tell},
    skew,
};
use own_folder::OwnFolder;
use port::{Place, Port};

/// The X server is up, so that the app may start in a moment: the kubelet would only ask again after a second.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// As shells tell that somebody did not want to wait.
const INTERRUPTED: u8 = 130;

/// Run an X server whose screen can be shown in a browser, or attach to the app's own.
#[derive(Debug, Args)]
#[command(
    after_help = "Each flag can be set as a variable of the environment instead, such as VNC_GEOMETRY for --geometry, unless a command is given. \
docs/desktop.md tells all.

Examples:
  outrigger vnc                                       # in a pod: serves the display :99 for the app
  outrigger vnc probe                                 # inside the sidecar: says what the app waits for
  outrigger vnc --geometry 1280x800 -- xterm -fa mono # on a developer's machine: a desktop for one command
  outrigger vnc --open -- xterm                       # the same, and its page in your browser"
)]
pub(super) struct Vnc {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    flags: Flags<settings::Table>,

    /// What becomes of the desktop when the command ends.
    #[arg(long, value_enum, value_name = "WHAT", default_value = "end", requires = "command")]
    on_end: OnEndWord,

    /// Open the page in the browser that BROWSER names, or that the system knows.
    #[arg(long, requires = "command")]
    open: bool,

    /// Command to run on a desktop of its own, on a display that is free; variables of the environment then set nothing.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum Action {
    /// Ask the X server to let a client in, and whether windows are managed; fails with the reason while that is not so.
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
            Some(Action::Wait) => tell(health::wait_until_started(self.health_address()?, WAIT_LIMIT)),
            None if self.command.is_empty() => self.serve_pod(),
            None => self.serve_command(),
        }
    }

    fn health_address(&self) -> Result<SocketAddr> {
        let set = self.flags.or_environment()?;
        Ok(settings::health_address(|row| set.text(row), |row| set.name(row))?)
    }

    /// What flags and variables say.
    fn settings(&self) -> Result<Settings> {
        let set = self.flags.or_environment()?;
        Ok(settings::read(|row| set.text(row), |row| set.name(row))?)
    }

    /// The kubelet shows the one line of this in an Event.
    fn probe(&self) -> Result<ExitCode> {
        let settings = self.settings()?;
        let Mode::Serve { authority, .. } = &settings.mode else {
            return tell(health::ask_whether_started(settings.health));
        };
        let Err(error) = runtime()?.block_on(probe(settings.display, authority)) else {
            return tell(health::wait_until_started(settings.health, PROBE_PATIENCE));
        };
        // The supervisor may know more, if it is there.
        let known = health::ask_whether_ready(settings.health).map(|answer| answer.report).unwrap_or_default();
        let reason = with_causes(&error);
        let said: Vec<&str> = iter::once(reason.as_str()).chain(missing(&known)).collect();
        console::print(&format!("{}\n", said.join("; ")))?;
        Ok(FOUND)
    }

    fn serve_pod(self) -> Result<ExitCode> {
        let settings = self.settings()?;
        telemetry::start_logging(&settings.log_level, settings.log_format)?;
        say_what_holds(&settings);
        let _lock = own_folder::lock_of_pod(&settings.folder)?;
        let health = Some(settings.health);
        serve(settings, None, health, Place::Pod, false)
    }

    fn serve_command(mut self) -> Result<ExitCode> {
        let folder = OwnFolder::create(settings::wanted_display(|row| self.flags.given(row))?)?;
        // The display and the cookie in the environment are those of whoever types the command.
        let name = self.command.first().and_then(|program| Path::new(program).file_name());
        let own = |row: &Row| match row.name {
            "VNC_NAME" => name.map(|name| name.to_string_lossy().into_owned()),
            "DISPLAY" => Some(folder.display.to_string()),
            "XAUTHORITY" => Some(folder.path.join("cookie").display().to_string()),
            "VNC_FOLDER" => Some(folder.path.display().to_string()),
            "LOG_LEVEL" => Some("warn".to_owned()),
            _ => None,
        };
        let settings = settings::read_for_command(|row| self.flags.given(row).or_else(|| own(row)))?;
        telemetry::start_logging(&settings.log_level, settings.log_format)?;
        // Two desktops of one machine would want the same port, so there is none unless it is named.
        let is_given = |name: &str| settings::TABLE.iter().any(|row| row.name == name && self.flags.given(row).is_some());
        let health = is_given("HEALTH_PORT").then_some(settings.health);
        let place = Place::Machine { is_asked_for: is_given("VNC_PORT") || is_given("WEBSOCKET_PORT") };
        let program = self.command.remove(0);
        let app = App { program, arguments: self.command, on_end: self.on_end.into() };
        serve(settings, Some(app), health, place, self.open)
    }
}

/// Runs a desktop to its end.
fn serve(settings: Settings, app: Option<App>, health: Option<SocketAddr>, place: Place, opens_page: bool) -> Result<ExitCode> {
    // The first random bytes take tens of milliseconds to gather; have them before there is a cookie to make.
    let seeding = std::thread::spawn(|| aws_lc_rs::rand::fill(&mut [0; 1]));
    let runtime = runtime()?;
    let ended = runtime.block_on(until_ended(settings, app, health, place, opens_page));
    runtime.shutdown_background();
    // Whoever needs some says what is wrong.
    let _ = seeding.join();
    ended
}

/// One thread: there is little to do at a time, and each further one takes memory.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime can't start")
}

async fn until_ended(
    mut settings: Settings,
    app: Option<App>,
    health: Option<SocketAddr>,
    place: Place,
    opens_page: bool,
) -> Result<ExitCode> {
    let mut signals = Signals::listen().context("signals can't be listened to")?;
    let (started, readiness, pulses, mut registry) = (Readiness::default(), Readiness::default(), Pulses::default(), telemetry::registry());
    readiness.register(&mut registry);
    skew::report(&mut registry);
    let serving = readiness.gate("process");
    serving.open();
    let (orphans, stop, is_for_command) = (Orphans::default(), CancellationToken::new(), app.is_some());
    let port = Port::open(&settings, place, &readiness, &mut registry).await?;
    let page_address = opens_page.then(|| port.page()).transpose()?;
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    settings.name.get_or_insert_with(|| host_name.clone());
    let desktop = Desktop::new(settings.clone(), app, &orphans, &started, &readiness, &pulses, &mut registry);
    let protocol = tokio::select! {
        protocol = desktop.protocol() => protocol?,
        () = signals.next() => return Ok(NOTHING_FOUND),
    };
    let target = Target::Unix(desktop.rfb_socket());
    let shutdown = Shutdown::default();
    let desk = Desk::new(shown(&settings, &host_name, target, protocol), Metrics::new(&mut registry), shutdown.clone());
    let rfb_port = rfb_port(settings.rfb, &desk).await?;
    let page = Page::new(settings.web);
    if let Some(lack) = page.lack().filter(|_| is_for_command) {
        Console::new(ColorChoice::Auto).warning(&lack);
    }
    let router = desk.router().merge(page.router());
    let mut viewers = pin!(async {
        let over_rfb = async {
            if let Some((port, listener)) = rfb_port {
                port.serve(listener).await;
            }
        };
        let (served, ()) = tokio::join!(port.serve(router, shutdown.clone()), over_rfb);
        served
    });
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
        serving.close();
        if is_for_command {
            desk.set_farewell(farewell::interrupted());
        }
        shutdown.close();
        signals.next().await;
        tracing::warn!("second signal: ending now");
    };
    let running = async {
        let mut running = pin!(desktop.run(&stop));
        let end = tokio::select! {
            end = &mut running => Some(end),
            // They were told that the desktop goes; then it does.
            served = &mut viewers => {
                served?;
                None
            }
        };
        if let Some(end) = end {
            if let Some(close) = farewell::of(&end, is_for_command) {
                desk.set_farewell(close);
            }
            shutdown.close();
            viewers.await?;
            return anyhow::Ok(end?);
        }
        stop.cancel();
        Ok(running.await?)
    };
    let opening = async {
        if let Some(address) = page_address
            && let Err(error) = browser::open(&address, &orphans).await
        {
            Console::new(ColorChoice::Auto).warning(&format!("{error:#}"));
        }
        pending::<()>().await;
    };
    tokio::select! {
        end = running => Ok(match end? {
            End::Told => NOTHING_FOUND,
            End::App(status) => exit_code(status),
        }),
        // Whatever runs is killed as it is dropped.
        () = signalled => Ok(ExitCode::from(INTERRUPTED)),
        // None of the others ends.
        () = answering => Ok(NOTHING_FOUND),
        () = orphans.clone().reap() => Ok(NOTHING_FOUND),
        () = opening => Ok(NOTHING_FOUND),
    }
}

/// How viewers are met.
fn shown(settings: &Settings, host_name: &str, target: Target, protocol: Protocol) -> router::Settings {
    let access = &settings.access;
    router::Settings {
        control: settings.policy(),
        origins: access.origins(),
        admittance: access.admittance(host_name),
        limits: access.limits,
        trusts_forwarded_address: access.forwarded_headers,
        administrator: access.administrator(),
        largest_picture: settings.largest(),
        ..router::Settings::open(Targets::new(target), protocol)
    }
}

/// The port for viewers that are no browsers, if there is to be one.
async fn rfb_port(settings: Option<settings::Rfb>, desk: &Desk) -> Result<Option<(RfbPort, TcpListener)>> {
    let Some(settings) = settings else { return Ok(None) };
    let address = settings.address;
    let made = settings.connection.as_ref().map(|_| guacamole::keep_or_make_password(&settings.password_file)).transpose()?;
    let passwords = PasswordFile::new(settings.password_file);
    // Somebody who waits for the first viewer would hear of it late.
    passwords.read().await?;
    let listener = server::bind(address).await.with_context(|| format!("VNC_RFB_PORT {address} can't be listened on"))?;
    if let (Some(connection), Some(password)) = (&settings.connection, &made) {
        guacamole::register(connection, address.port(), password)?;
    }
    tracing::info!(%address, "viewers who know the password may come over RFB");
    Ok(Some((RfbPort::new(desk.clone(), passwords), listener)))
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
    let access = &settings.access;
    let files = [("VNC_CLAIMS_KEYS_FILE", &access.claims_keys), ("VNC_ADMINISTRATOR_TOKEN_FILE", &access.administrator_token)];
    for (name, file) in files {
        if let Some(file) = file.as_ref().filter(|file| !file.exists()) {
            tracing::warn!("{name} {} is not there: this way in is shut until it is", file.display());
        }
    }
    if let Some(lack) = Page::new(settings.web.clone()).lack() {
        tracing::warn!("{lack}");
    }
    for (name, why) in WITHOUT_EFFECT {
        if env::var_os(name).is_some_and(|value| !value.is_empty()) {
            tracing::warn!("{name} changes nothing: {why}");
        }
    }
}
