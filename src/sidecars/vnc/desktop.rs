//! Keeps a desktop running, and ends it in order.

use std::{
    cell::RefCell,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use prometheus_client::registry::Registry;
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    app::{self, App, AppError},
    attach::{self, AttachError, Stillness},
    attempts::Attempts,
    health::Health,
    program::ProgramError,
    router::Protocol,
    settings::{Mode, Settings},
    window_manager,
    x_server::{
        self, Plan, XServer, XServerError,
        authority::Cookie,
        client::{self, Answer, ConnectError},
        clients::Clients,
        cookie::{self, CookieError},
        display::Display,
        flags::Features,
    },
};
use crate::runtime::{
    complaint::Complaint,
    orphans::Orphans,
    pulse::{Pulse, Pulses},
    readiness::{Gate, Readiness},
};

/// Between two looks at an X server that is there, and at one that is not there yet.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
const WAIT_INTERVAL: Duration = Duration::from_millis(200);
/// How long the app waits for the window manager, which is there in a tenth of a second.
const WINDOW_MANAGER_LIMIT: Duration = Duration::from_secs(5);
/// `sun_path` of `unix(7)` has 108 bytes, of which the last is zero, and the socket in the folder has a name.
const LONGEST_FOLDER: usize = 107 - "/".len() - RFB_SOCKET.len();
const RFB_SOCKET: &str = "rfb.sock";
/// Nothing that is waited for here takes as long.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);

/// Why the desktop ends before it is told to.
#[derive(Debug, thiserror::Error)]
pub enum DesktopError {
    /// The folder of its socket can't be used.
    #[error("VNC_FOLDER {folder} can't be used: mount a volume there that user {user} may write to")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Who we are.
        user: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The path of its socket is longer than a socket's may be.
    #[error("VNC_FOLDER {folder} has {length} bytes, and its sockets can be reached by at most {LONGEST_FOLDER}: choose a shorter one")]
    LongFolder {
        /// The folder.
        folder: PathBuf,
        /// Its length.
        length: usize,
    },
    /// There is no X server.
    #[error(transparent)]
    XServer(#[from] XServerError),
    /// The app's X server can't be shown.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A program is missing.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// What shows the desktop keeps ending.
    #[error("the desktop was started {attempts} times in a row, and ended each time: see why below, or allow more with VNC_X_RESTARTS")]
    TooOften {
        /// How often.
        attempts: u32,
        /// The last time.
        #[source]
        source: Box<Self>,
    },
    /// There is no window manager.
    #[error("there is no window manager: set {setting}=none to go without one")]
    WindowManager {
        /// By which name it is set here.
        setting: &'static str,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// The command does not run.
    #[error(transparent)]
    App(#[from] AppError),
}

impl DesktopError {
    /// Whether another attempt would meet the same.
    const fn is_lasting(&self) -> bool {
        match self {
            Self::XServer(error) => error.is_lasting(),
            Self::Attach(AttachError::Program(error)) | Self::Program(error) => matches!(error, ProgramError::Missing { .. }),
            Self::Attach(AttachError::Left { .. })
            | Self::Folder { .. }
            | Self::LongFolder { .. }
            | Self::TooOften { .. }
            | Self::WindowManager { .. }
            | Self::App(_) => true,
            Self::Attach(AttachError::Unready | AttachError::Frozen) => false,
        }
    }
}

/// Why an X server can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no cookie for it.
    #[error(transparent)]
    Cookie(#[from] CookieError),
    /// It does not let us in.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl ProbeError {
    /// Whether nobody listens there.
    fn is_absent(&self) -> bool {
        matches!(self, Self::Connect(error) if error.is_absent())
    }
}

/// How a desktop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As it was told to.
    Told,
    /// With its command.
    App(ExitStatus),
}

/// A desktop that is ready to run.
#[derive(Debug)]
pub struct Desktop {
    settings: Settings,
    app: Option<App>,
    orphans: Orphans,
    health: Health,
    started: Option<Gate>,
    pulse: Pulse,
    features: OnceCell<Features>,
}

impl Desktop {
    /// Gets ready. `started` is opened when the app may start; to an X server that it brings itself there is nothing to wait for.
    #[must_use]
    pub fn new(
        settings: Settings,
        app: Option<App>,
        orphans: &Orphans,
        started: &Readiness,
        readiness: &Readiness,
        pulses: &Pulses,
        registry: &mut Registry,
    ) -> Self {
        let serves = matches!(settings.mode, Mode::Serve { .. });
        let display = if serves { "Xtigervnc" } else { "x11vnc" };
        let started = serves.then(|| started.gate("desktop"));
        if let Some(started) = started.as_ref().filter(|_| settings.window_manager.is_some()) {
            started.close_with("waiting for the window manager");
        }
        Self {
            health: Health::new(display, settings.window_manager.is_some(), readiness, registry),
            started,
            pulse: pulses.pulse("desktop", SILENCE_LIMIT),
            orphans: orphans.clone(),
            features: OnceCell::new(),
            settings,
            app,
        }
    }

    /// The Unix socket by which viewers reach the screen, in RFB and without a password. It comes and goes with the program behind it.
    #[must_use]
    pub fn rfb_socket(&self) -> PathBuf {
        self.settings.folder.join(RFB_SOCKET)
    }

    /// What viewers are to speak at that socket.
    ///
    /// # Errors
    /// The X server can't be asked.
    pub async fn protocol(&self) -> Result<Protocol, DesktopError> {
        let knows_more_buttons = match self.settings.mode {
            Mode::Serve { .. } => self.features().await?.knows_more_buttons,
            Mode::Attach { .. } => false,
        };
        Ok(Protocol::Rfb { knows_more_buttons })
    }

    /// What the X server can do, which is asked once.
    async fn features(&self) -> Result<Features, DesktopError> {
        Ok(*self.features.get_or_try_init(|| x_server::features(&self.orphans)).await?)
    }

    /// Runs until `stop`, or until the end of its command is its own.
    ///
    /// # Errors
    /// It can't be shown, or not for long.
    pub async fn run(&self, stop: &CancellationToken) -> Result<End, DesktopError> {
        match &self.settings.mode {
            Mode::Serve { authority, cookie_mode } => self.serve(authority, *cookie_mode, stop).await,
            Mode::Attach { authority } => self.attach(authority.as_deref(), stop).await,
        }
    }

    /// Makes the folder, unless it is there.
    fn check_folder(&self) -> Result<(), DesktopError> {
        let folder = &self.settings.folder;
        let length = folder.as_os_str().len();
        if length > LONGEST_FOLDER {
            return Err(DesktopError::LongFolder { folder: folder.clone(), length });
        }
        let failed = |source| DesktopError::Folder { folder: folder.clone(), user: rustix::process::geteuid().as_raw(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).map_err(|error| failed(error.into()))
    }

    async fn serve(&self, authority: &Path, cookie_mode: u32, stop: &CancellationToken) -> Result<End, DesktopError> {
        let plan =
            Plan { settings: &self.settings, authority, cookie_mode, rfb_socket: self.rfb_socket(), features: self.features().await? };
        let mut attempts = Attempts::new(self.settings.restarts);
        loop {
            let begun = Instant::now();
            match self.serve_once(&plan, stop).await {
                Ok(end) => return Ok(end),
                Err(error) => self.pause_or_give_up(error, begun.elapsed(), &mut attempts, stop).await?,
            }
            if stop.is_cancelled() {
                return Ok(End::Told);
            }
        }
    }

    /// Runs one X server with its clients, until it dies or all is to end.
    async fn serve_once(&self, plan: &Plan<'_>, stop: &CancellationToken) -> Result<End, DesktopError> {
        self.check_folder()?;
        let Some(mut server) = XServer::start(plan, stop, &self.orphans).await? else { return Ok(End::Told) };
        self.health.display.up();
        let clients =
            Clients { display: self.settings.display, authority: plan.authority, cookie: &server.cookie, home: &self.settings.folder };
        let (windows_are_managed, clients_end, client_ended) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let watch = async {
            let end = tokio::select! {
                () = stop.cancelled() => Ok(()),
                () = client_ended.cancelled() => Ok(()),
                error = server.program.ended() => Err(XServerError::from(error)),
                // Whatever it answers: its windows live as long as it does.
                () = self.watch(async || Ok(self.ask(Some(&server.cookie)).await?), |_| false) => Ok(()),
            };
            clients_end.cancel();
            end
        };
        let window_manager = async {
            let Some(kind) = self.settings.window_manager else {
                windows_are_managed.cancel();
                return Ok(());
            };
            let health = &self.health.window_manager;
            let kept = window_manager::keep(kind, &clients, &windows_are_managed, &clients_end, &self.orphans, health).await;
            client_ended.cancel();
            let setting = if self.app.is_some() { "--window-manager" } else { "VNC_WINDOW_MANAGER" };
            kept.map_err(|source| DesktopError::WindowManager { setting, source })
        };
        let app = async {
            tokio::select! {
                () = clients_end.cancelled() => return Ok(None),
                () = wait_for_window_manager(&windows_are_managed) => {}
            }
            if let Some(started) = &self.started {
                started.open();
            }
            let Some(app) = &self.app else { return Ok(None) };
            let ended = app::run(app, &clients, &clients_end, &self.orphans).await;
            client_ended.cancel();
            ended
        };
        let (watched, window_manager, app) = tokio::join!(watch, window_manager, app);
        watched?;
        server.stop(plan).await;
        window_manager?;
        Ok(app?.map_or(End::Told, End::App))
    }

    /// Asks the X server from time to time whether it still lets clients in. One that does not may just be busy, so it goes on until an
    /// answer is the end.
    async fn watch(&self, ask: impl AsyncFn() -> Result<Answer, ProbeError>, is_end: impl Fn(&ProbeError) -> bool) {
        let mut complaint = Complaint::default();
        loop {
            match ask().await {
                Ok(_) if complaint.is_open() => {
                    complaint.settle();
                    tracing::info!("the X server lets clients in again");
                    self.health.display.up();
                }
                Ok(_) => {}
                Err(error) if is_end(&error) => return,
                Err(error) => {
                    if complaint.is_new(&error) {
                        tracing::warn!("{error}");
                        self.health.display.wait(&error);
                    }
                }
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    async fn attach(&self, authority: Option<&Path>, stop: &CancellationToken) -> Result<End, DesktopError> {
        let mut attempts = Attempts::new(self.settings.restarts);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(End::Told),
                () = self.app_server(authority) => {}
            }
            let begun = Instant::now();
            let Err(error) = self.attach_once(authority, stop).await else { continue };
            // Without the X server it can't live, and is not to blame.
            if self.ask_app_server(authority).await.is_ok() {
                self.pause_or_give_up(error, begun.elapsed(), &mut attempts, stop).await?;
            }
        }
    }

    /// Waits until the app's X server lets us in.
    async fn app_server(&self, authority: Option<&Path>) {
        let mut complaint = Complaint::default();
        while let Err(error) = self.ask_app_server(authority).await {
            if complaint.is_new(&error) {
                tracing::info!("waiting for the app: {error}");
                self.health.display.wait(&error);
            }
            sleep(WAIT_INTERVAL).await;
        }
    }

    /// Shows the app's X server until it is gone, or all is to end.
    async fn attach_once(&self, authority: Option<&Path>, stop: &CancellationToken) -> Result<(), DesktopError> {
        self.check_folder()?;
        let socket = self.rfb_socket();
        let mut program = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            program = attach::start(&self.settings, authority, &socket, &self.orphans) => program?,
        };
        self.health.display.up();
        let (turns, stillness, frozen) = (program.turns(), RefCell::new(Stillness::default()), CancellationToken::new());
        let ask = async || {
            let answer = self.ask_app_server(authority).await?;
            // While that server is silent, x11vnc waits for it.
            if stillness.borrow_mut().is_frozen(turns()) {
                frozen.cancel();
            }
            Ok(answer)
        };
        tokio::select! {
            () = stop.cancelled() => {}
            error = program.ended() => return Err(AttachError::from(error).into()),
            () = frozen.cancelled() => {
                // Where it is killed, it leaves the memory that it has shared with the app's X server.
                program.resume();
                program.stop().await;
                return Err(AttachError::Frozen.into());
            }
            () = self.watch(ask, ProbeError::is_absent) => {}
        }
        program.stop().await;
        // It leaves its socket behind.
        let _ = fs::remove_file(&socket);
        Ok(())
    }

    async fn ask_app_server(&self, authority: Option<&Path>) -> Result<Answer, ProbeError> {
        let cookie = authority.map(|path| cookie::read(path, self.settings.display)).transpose()?;
        Ok(self.ask(cookie.as_ref()).await?)
    }

    async fn ask(&self, cookie: Option<&Cookie>) -> Result<Answer, ConnectError> {
        self.pulse.beat();
        let begun = Instant::now();
        let answer = client::ask(self.settings.display, cookie).await?;
        self.health.handshakes.observe(begun.elapsed().as_secs_f64());
        Ok(answer)
    }

    /// After a failure: waits for the next attempt, or says that there is none.
    async fn pause_or_give_up(
        &self,
        error: DesktopError,
        life: Duration,
        attempts: &mut Attempts,
        stop: &CancellationToken,
    ) -> Result<(), DesktopError> {
        // What runs on the desktop is no fault of what shows it.
        if matches!(error, DesktopError::WindowManager { .. } | DesktopError::App(_)) {
            return Err(error);
        }
        let pause = if error.is_lasting() { None } else { attempts.pause_after(life) };
        self.health.display.down(&error, pause);
        let Some(pause) = pause else {
            let is_lasting = error.is_lasting();
            let too_often = |error| DesktopError::TooOften { attempts: self.settings.restarts + 1, source: Box::new(error) };
            return Err(if is_lasting { error } else { too_often(error) });
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(pause) => {}
        }
        Ok(())
    }
}

/// Waits until windows are managed, since one that is mapped just before may not be shown, but not for long: an app is of use without a
/// window manager, too.
async fn wait_for_window_manager(windows_are_managed: &CancellationToken) {
    if timeout(WINDOW_MANAGER_LIMIT, windows_are_managed.cancelled()).await.is_err() {
        let limit = WINDOW_MANAGER_LIMIT.as_secs();
        tracing::warn!("the window manager does not answer within {limit} s, and the app is started without it");
    }
}

/// Asks the X server of a display to let a client in, as the app will: with the cookie of this file.
///
/// # Errors
/// It does not, or there is no cookie.
pub async fn probe(display: Display, authority: &Path) -> Result<(), ProbeError> {
    let cookie = cookie::read(authority, display)?;
    client::ask(display, Some(&cookie)).await?;
    Ok(())
}
