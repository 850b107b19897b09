//! A whole desktop: an X server, what shows it, and a viewer.

use std::{
    ffi::OsStr,
    os::unix::net::UnixStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use outrigger_bed::{Display, free_port};
use tempfile::TempDir;

use super::{
    process::{Process, until, until_listening},
    rfb,
    table::{Better, Figure},
    terminal,
    viewer::{Frame, Viewer},
};

const WIDTH: u16 = 1920;
const HEIGHT: u16 = 1080;
/// Within the terminal, which so has the keys.
const INSIDE: (u16, u16) = (100, 100);
const KEY: u8 = b'x';
/// Between two keys; what is added to it keeps them out of step with the desktop's own clock.
const PAUSE: Duration = Duration::from_millis(40);
const ODD: Duration = Duration::from_micros(1_700);

/// What is told of a desktop.
pub(crate) const FIGURES: &[Figure] = &[
    Figure { name: "a terminal that scrolls: frames", unit: "/s", digits: 1, better: Better::More },
    Figure { name: "a terminal that scrolls: bandwidth", unit: "Mbit/s", digits: 1, better: Better::Less },
    Figure { name: "a terminal that scrolls: CPU", unit: "%", digits: 1, better: Better::Less },
    Figure { name: "a terminal that scrolls: CPU of a frame", unit: "ms", digits: 2, better: Better::Less },
    Figure { name: "from a key to the update, median", unit: "ms", digits: 1, better: Better::Less },
    Figure { name: "from a key to the update, p95", unit: "ms", digits: 1, better: Better::Less },
    Figure { name: "CPU when idle, with a viewer", unit: "%", digits: 2, better: Better::Less },
    Figure { name: "memory with a viewer", unit: "MiB", digits: 1, better: Better::Less },
    Figure { name: "from exec to the first bytes of RFB", unit: "ms", digits: 0, better: Better::Less },
];

/// How much is done.
pub(crate) struct Work {
    idle: Duration,
    /// Until the terminal is full: then it scrolls.
    fill: Duration,
    scroll: Duration,
    keys: u32,
}

impl Work {
    pub(crate) const MEASURED: Self =
        Self { idle: Duration::from_secs(4), fill: Duration::from_secs(2), scroll: Duration::from_secs(5), keys: 60 };
    pub(crate) const SHORT: Self =
        Self { idle: Duration::from_millis(50), fill: Duration::ZERO, scroll: Duration::from_millis(300), keys: 3 };
}

/// Starts a desktop.
pub(crate) type Start = fn() -> Desktop;

/// Those that are compared, ours first.
pub(crate) const CONTENDERS: [(&str, Start); 3] =
    [("Outrigger", Desktop::ours), ("Xvfb, x11vnc, websockify", Desktop::usual), ("Outrigger, attached to Xvfb", Desktop::attached)];

/// A display for a desktop, and its files.
struct Site {
    display: Display,
    folder: TempDir,
}

/// A desktop that has been started, and may not be ready. It ends with this: first what shows it, then the X server.
pub(crate) struct Desktop {
    processes: Vec<Process>,
    port: u16,
    begun: Instant,
    site: Site,
}

impl Desktop {
    /// Ours, with the X server that it brings.
    fn ours() -> Self {
        let (site, port, begun) = (Site::new(), free_port().unwrap(), Instant::now());
        let outrigger = Process::start(&mut site.outrigger(port, "serve"));
        Self { processes: vec![outrigger], port, begun, site }
    }

    /// Ours, before an X server that the app brings.
    fn attached() -> Self {
        let (site, port, begun) = (Site::new(), free_port().unwrap(), Instant::now());
        let xvfb = site.xvfb();
        let outrigger = Process::start(&mut site.outrigger(port, "attach"));
        Self { processes: vec![outrigger, xvfb], port, begun, site }
    }

    /// What most use, as they start it.
    fn usual() -> Self {
        let (site, port, rfb, begun) = (Site::new(), free_port().unwrap(), free_port().unwrap(), Instant::now());
        let websockify = Process::start(Command::new("websockify").arg(format!("127.0.0.1:{port}")).arg(format!("127.0.0.1:{rfb}")));
        let xvfb = site.xvfb();
        let mut x11vnc = Command::new("x11vnc");
        x11vnc.args(["-display", &site.display.name(), "-forever", "-shared", "-nopw", "-localhost", "-rfbport", &rfb.to_string()]);
        let x11vnc = Process::start(&mut x11vnc);
        until_listening(rfb);
        until_listening(port);
        Self { processes: vec![websockify, x11vnc, xvfb], port, begun, site }
    }

    fn cpu(&self) -> Duration {
        self.processes.iter().map(Process::cpu).sum()
    }

    /// KiB.
    fn memory(&self) -> u64 {
        self.processes.iter().map(Process::memory).sum()
    }

    fn terminal(&self, program: &[impl AsRef<OsStr>]) -> Process {
        let mut xterm = Command::new("xterm");
        xterm.args(["-geometry", terminal::GEOMETRY, "-e"]).args(program);
        xterm.env("DISPLAY", self.site.display.name()).env("XAUTHORITY", self.site.folder.path().join("cookie"));
        Process::start(&mut xterm)
    }
}

impl Site {
    fn new() -> Self {
        Self { display: Display::free(), folder: tempfile::tempdir().unwrap() }
    }

    /// Neither has a window manager.
    fn outrigger(&self, port: u16, mode: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command.args(["vnc", "--window-manager=none", "--log-level=error", "--health-host=127.0.0.1", "--mode", mode]);
        command.args(["--port", &port.to_string(), "--health-port", &free_port().unwrap().to_string()]);
        command.args(["--display", &self.display.name(), "--geometry", &format!("{WIDTH}x{HEIGHT}")]);
        command.arg("--folder").arg(self.folder.path().join("desk"));
        if mode == "serve" {
            command.arg("--xauthority").arg(self.folder.path().join("cookie"));
        } else {
            command.env_remove("XAUTHORITY");
        }
        command
    }

    /// Xvfb, once it listens.
    fn xvfb(&self) -> Process {
        let mut command = Command::new("Xvfb");
        command.args([&self.display.name(), "-screen", "0", &format!("{WIDTH}x{HEIGHT}x24"), "-nolisten", "tcp"]);
        let xvfb = Process::start(&mut command);
        until("Xvfb", || UnixStream::connect(self.display.socket()).ok());
        xvfb
    }
}

/// One turn of a desktop, as [`FIGURES`] names it.
pub(crate) fn measure(start: Start, work: &Work) -> Vec<f64> {
    let desktop = start();
    let (reader, writer) = until("the first byte of RFB", || rfb::connect(desktop.port).ok());
    let ready = milliseconds(desktop.begun.elapsed());
    let viewer = Viewer::begin(reader, writer);
    viewer.send(&rfb::pointer(INSIDE.0, INSIDE.1));
    viewer.until_still();

    let echo = desktop.terminal(terminal::ECHO);
    viewer.frame();
    viewer.until_still();
    let memory = desktop.memory() as f64 / 1024.0;
    let (idle, _) = cost(&desktop, || thread::sleep(work.idle));
    let mut keys: Vec<Duration> = (0..work.keys).map(|count| key_to_update(&viewer, count)).collect();
    keys.sort_unstable();
    let quantile = |percent: usize| milliseconds(keys[keys.len() * percent / 100]);
    drop(echo);
    viewer.until_still();

    let scrolling = scrolling(&desktop, &viewer, work);
    [&scrolling[..], &[quantile(50), quantile(95), idle, memory, ready]].concat()
}

/// Frames a second, Mbit a second, and the CPU of all and of each, while a terminal scrolls.
fn scrolling(desktop: &Desktop, viewer: &Viewer, work: &Work) -> [f64; 4] {
    let exe = std::env::current_exe().unwrap();
    let _lines = desktop.terminal(&[exe.as_os_str(), super::LINES.as_ref()]);
    viewer.frame();
    viewer.frames(work.fill);
    let mut frames: Vec<Frame> = Vec::new();
    let (cpu, took) = cost(desktop, || {
        frames = viewer.frames(work.scroll);
        frames.push(viewer.frame());
    });
    let bytes: u64 = frames.iter().map(|frame| frame.bytes).sum();
    let per_second = frames.len() as f64 / took.as_secs_f64();
    [per_second, bytes as f64 * 8.0 / 1e6 / took.as_secs_f64(), cpu, cpu / 100.0 * 1e3 / per_second]
}

/// The part of one CPU that a desktop takes while something is done, in hundredths, and how long that took.
fn cost(desktop: &Desktop, work: impl FnOnce()) -> (f64, Duration) {
    let (cpu, begun) = (desktop.cpu(), Instant::now());
    work();
    let (cpu, took) = (desktop.cpu().saturating_sub(cpu), begun.elapsed());
    (100.0 * cpu.as_secs_f64() / took.as_secs_f64(), took)
}

/// Types a letter, and waits until it is seen.
fn key_to_update(viewer: &Viewer, count: u32) -> Duration {
    viewer.frames(PAUSE + ODD * (count % 20));
    let begun = Instant::now();
    viewer.send(&rfb::key_press(KEY));
    viewer.frame().at.saturating_duration_since(begun)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
