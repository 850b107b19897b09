//! A bridge alone, before a desktop that does as it is told.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use outrigger_bed::free_port;

use super::{
    process::{Process, until_listening},
    stand_in::{BANNER, Order, PIECE, StandIn, THANKS},
    table::{Better, Figure},
    websocket::{self, Reader, Writer},
    words::median,
};

const MIB: usize = 1024 * 1024;
/// A key, as RFB writes it.
const KEY: usize = 8;
/// Keys of a viewer who does not read.
const KEYS: usize = 25;
/// How long they may take.
const KEYS_LIMIT: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_millis(10);

/// The figure of a viewer who does not read, but types.
pub(crate) const ARRIVED: &str = "of 200 bytes that this viewer types, arrive";

/// What is told of a bridge.
pub(crate) const FIGURES: &[Figure] = &[
    Figure { name: "upload", unit: "MiB/s", digits: 0, better: Better::More },
    Figure { name: "download", unit: "MiB/s", digits: 0, better: Better::More },
    Figure { name: "CPU of an upload", unit: "ms/MiB", digits: 2, better: Better::Less },
    Figure { name: "CPU of a download", unit: "ms/MiB", digits: 2, better: Better::Less },
    Figure { name: "round trip of 10 bytes, median", unit: "µs", digits: 0, better: Better::Less },
    Figure { name: "from connecting to the desktop's first bytes, median", unit: "ms", digits: 2, better: Better::Less },
    Figure { name: "memory without viewers", unit: "KiB", digits: 0, better: Better::Less },
    Figure { name: "memory for each viewer", unit: "KiB", digits: 1, better: Better::Less },
    Figure { name: "further memory for a viewer who does not read", unit: "KiB", digits: 0, better: Better::Less },
    Figure { name: ARRIVED, unit: "", digits: 0, better: Better::More },
];

/// How much is done.
pub(crate) struct Work {
    mebibytes: usize,
    round_trips: usize,
    connections: usize,
    viewers: usize,
    /// How long a viewer does not read.
    stall: Duration,
}

impl Work {
    pub(crate) const MEASURED: Self =
        Self { mebibytes: 512, round_trips: 5000, connections: 200, viewers: 50, stall: Duration::from_secs(5) };
    pub(crate) const SHORT: Self = Self { mebibytes: 1, round_trips: 3, connections: 2, viewers: 2, stall: Duration::from_millis(50) };
}

/// Starts a bridge to the socket of a desktop.
pub(crate) type Start = fn(&Path) -> Bridge;

/// Those that are compared, ours first.
pub(crate) const CONTENDERS: [(&str, Start); 2] = [("Outrigger", Bridge::ours), ("websockify", Bridge::websockify)];

/// A running bridge.
pub(crate) struct Bridge {
    process: Process,
    port: u16,
}

impl Bridge {
    /// Our own, whose target is a socket.
    fn ours(socket: &Path) -> Self {
        Self::start(|port| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg(super::BRIDGE).arg(socket).arg(port.to_string());
            command
        })
    }

    /// What most use.
    fn websockify(socket: &Path) -> Self {
        Self::start(|port| {
            let mut command = Command::new("websockify");
            command.arg(format!("--unix-target={}", socket.display())).arg(format!("127.0.0.1:{port}"));
            command
        })
    }

    fn start(command: impl FnOnce(u16) -> Command) -> Self {
        let port = free_port().unwrap();
        let process = Process::start(&mut command(port));
        until_listening(port);
        Self { process, port }
    }

    /// One who has heard of the desktop.
    fn viewer(&self) -> Viewer {
        let (mut reader, writer) = websocket::connect(self.port).unwrap();
        assert_eq!(&reader.take().unwrap(), BANNER);
        Viewer { reader, writer }
    }

    /// MiB a second, and milliseconds of CPU for each.
    fn rates(&self, mebibytes: usize, work: impl FnOnce(&mut Viewer)) -> [f64; 2] {
        let mut viewer = self.viewer();
        let (cpu, begun) = (self.process.cpu(), Instant::now());
        work(&mut viewer);
        let (took, cpu) = (begun.elapsed(), self.process.cpu().saturating_sub(cpu));
        [mebibytes as f64 / took.as_secs_f64(), milliseconds(cpu) / mebibytes as f64]
    }
}

/// One turn of a bridge, as [`FIGURES`] names it.
pub(crate) fn measure(start: Start, stand_in: &StandIn, work: &Work) -> Vec<f64> {
    let bridge = start(&stand_in.socket());
    let empty = bridge.process.memory();
    let connects = (0..work.connections).map(|_| timed(|| drop(bridge.viewer()))).collect();
    let [upload, upload_cpu] = bridge.rates(work.mebibytes, |viewer| viewer.upload(work.mebibytes));
    let [download, download_cpu] = bridge.rates(work.mebibytes, |viewer| viewer.download(work.mebibytes));
    let round_trip = round_trip(&bridge, work.round_trips);
    let each = memory_for_each(&bridge, work.viewers);
    let (further, arrived) = stalled(&bridge, stand_in, work.stall);
    vec![
        upload,
        download,
        upload_cpu,
        download_cpu,
        milliseconds(round_trip) * 1e3,
        milliseconds(median(connects)),
        empty as f64,
        each,
        further,
        arrived as f64,
    ]
}

fn round_trip(bridge: &Bridge, times: usize) -> Duration {
    let mut viewer = bridge.viewer();
    let bytes = *b"0123456789";
    viewer.order(Order::Echo, times * bytes.len());
    let mut trip = || {
        viewer.writer.send(&bytes).unwrap();
        assert_eq!(viewer.reader.take().unwrap(), bytes);
    };
    median((0..times).map(|_| timed(&mut trip)).collect())
}

/// KiB for each viewer after the first, who costs what is loaded once.
fn memory_for_each(bridge: &Bridge, count: usize) -> f64 {
    let _first = bridge.viewer();
    let before = bridge.process.memory();
    let _viewers: Vec<Viewer> = (0..count).map(|_| bridge.viewer()).collect();
    bridge.process.memory().saturating_sub(before) as f64 / count as f64
}

/// By how many KiB a bridge grows while a viewer does not read what its desktop sends, and how many bytes of what the viewer then types
/// reach the desktop.
fn stalled(bridge: &Bridge, stand_in: &StandIn, stall: Duration) -> (f64, usize) {
    let viewer = bridge.viewer();
    let (memory, received) = (bridge.process.memory(), stand_in.received());
    viewer.order(Order::Flood, 0);
    thread::sleep(stall);
    let grown = bridge.process.memory().saturating_sub(memory);
    viewer.writer.repeat(&[0; KEY], KEYS).unwrap();
    let end = Instant::now() + KEYS_LIMIT;
    while stand_in.received() - received < KEY * KEYS && Instant::now() < end {
        thread::sleep(INTERVAL);
    }
    (grown as f64, stand_in.received() - received)
}

struct Viewer {
    reader: Reader,
    writer: Writer,
}

impl Viewer {
    fn order(&self, order: Order, bytes: usize) {
        self.writer.send(&order.of(bytes)).unwrap();
    }

    fn upload(&mut self, mebibytes: usize) {
        self.order(Order::Swallow, mebibytes * MIB);
        self.writer.repeat(&vec![0x55; PIECE], mebibytes * MIB / PIECE).unwrap();
        assert_eq!(&self.reader.take().unwrap(), THANKS);
    }

    fn download(&mut self, mebibytes: usize) {
        self.order(Order::Send, mebibytes * MIB);
        self.reader.skip((mebibytes * MIB) as u64).unwrap();
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.writer.close();
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
