//! What the bridge between browsers and desktops costs: bytes and CPU each way, time of a round trip and of a connection, and memory
//! for each viewer. The bridge runs in a process of its own, before a socket that sends or swallows as it is told.
//!
//! `cargo bench --bench vnc` measures for about ten seconds and prints a table. `cargo test` runs it once with few bytes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a bench that fails must say where")]
#![allow(clippy::cast_precision_loss, reason = "what is printed has few digits")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use outrigger::{
    runtime::{server, shutdown::Shutdown, telemetry},
    sidecars::vnc::{
        bridge::target::{Target, Targets},
        metrics::Metrics,
        router::{Desk, Protocol, Settings},
        viewers::Limits,
    },
};

/// Tells the process that it is the bridge, and where the desktop's socket is.
const SOCKET: &str = "OUTRIGGER_BENCH_VNC_SOCKET";
const MIB: usize = 1024 * 1024;
/// A browser's usual write.
const FRAME: usize = 64 * 1024;
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// What the desktop is told to do, followed by a number of bytes.
const SEND: u8 = b's';
const SWALLOW: u8 = b'w';
const ECHO: u8 = b'e';

fn main() {
    if let Some(socket) = std::env::var_os(SOCKET) {
        return serve(socket.into());
    }
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let (mebibytes, viewers, rounds) = if is_measured { (2048, 200u32, 5000) } else { (4, 10, 10) };

    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("rfb.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            thread::spawn(|| be_a_desktop(connection.unwrap()));
        }
    });
    let bridge = Bridge::start(&socket);
    bridge.viewer();
    let base = bridge.memory();

    let (seconds, processor) = bridge.cost(|viewer| viewer.download(mebibytes * MIB));
    println!("| figure | value |\n|---|---|");
    print_rate("download", mebibytes, seconds, processor);
    let (seconds, processor) = bridge.cost(|viewer| viewer.upload(mebibytes * MIB));
    print_rate("upload", mebibytes, seconds, processor);

    let mut viewer = bridge.viewer();
    viewer.command(ECHO, rounds * 10);
    let round_trips = (0..rounds).map(|_| viewer.round_trip()).collect();
    println!("| round trip of 10 bytes, median | {} us |", median(round_trips).as_micros());
    let connects = (0..rounds.min(500)).map(|_| bridge.connect()).collect();
    println!("| from connecting to the desktop's first bytes, median | {} us |", median(connects).as_micros());

    let before = bridge.memory();
    let idle: Vec<Viewer> = (0..viewers).map(|_| bridge.viewer()).collect();
    let after = bridge.memory();
    println!("| memory of the process with one viewer | {base} KiB |");
    println!("| memory for each idle viewer | {:.1} KiB |", after.saturating_sub(before) as f64 / f64::from(viewers));
    let grown = stalled(idle, &bridge);
    println!("| further memory for each viewer who does not read | {:.1} KiB |", grown as f64 / f64::from(viewers));
}

fn print_rate(direction: &str, mebibytes: usize, seconds: f64, processor: Duration) {
    println!("| {direction} | {:.0} MiB/s |", mebibytes as f64 / seconds);
    println!("| {direction}, CPU of the bridge | {:.2} ms/MiB |", processor.as_secs_f64() * 1000.0 / mebibytes as f64);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The bridge's own process.
fn serve(socket: PathBuf) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut settings = Settings::open(Targets::new(Target::Unix(socket)), Protocol::Opaque);
        settings.limits = Limits { total: 1000, of_user: 1000, of_address: 1000 };
        let shutdown = Shutdown::default();
        let desk = Desk::new(settings, Metrics::new(&mut telemetry::registry()), shutdown.clone());
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let parent_is_gone = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        tokio::select! {
            () = server::serve_plain(listener, desk.router(), shutdown) => {}
            _ = parent_is_gone => {}
        }
    });
    runtime.shutdown_background();
}

/// Does what each viewer tells it.
fn be_a_desktop(mut stream: UnixStream) {
    stream.write_all(b"ready").unwrap();
    let mut command = [0; 9];
    while stream.read_exact(&mut command).is_ok() {
        let mut left = usize::try_from(u64::from_be_bytes(command[1..].try_into().unwrap())).unwrap();
        let mut bytes = vec![0x55; FRAME];
        while left > 0 {
            let piece = left.min(bytes.len());
            let done = match command[0] {
                SEND => stream.write_all(&bytes[..piece]).map(|()| piece),
                SWALLOW => stream.read(&mut bytes[..piece]),
                ECHO => stream.read(&mut bytes[..piece]).and_then(|length| stream.write_all(&bytes[..length]).map(|()| length)),
                other => panic!("no command: {other}"),
            };
            // A viewer who leaves in the middle ends it.
            let Some(length) = done.ok().filter(|length| *length > 0) else { return };
            left -= length;
        }
        if command[0] == SWALLOW {
            stream.write_all(b"!").unwrap();
        }
    }
}

struct Bridge {
    process: Child,
    address: SocketAddr,
}

impl Bridge {
    fn start(socket: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut process = command.env(SOCKET, socket).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, address: line.trim().parse().unwrap() }
    }

    /// A viewer who has heard of the desktop.
    fn viewer(&self) -> Viewer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET /websockify HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", head.escape_ascii());
        let mut viewer = Viewer { stream };
        assert_eq!(viewer.read(5), 5);
        viewer
    }

    fn connect(&self) -> Duration {
        let begun = Instant::now();
        self.viewer();
        begun.elapsed()
    }

    /// Seconds that something takes, and the bridge's processor time.
    fn cost(&self, work: impl FnOnce(&mut Viewer)) -> (f64, Duration) {
        let mut viewer = self.viewer();
        let (processor, begun) = (self.processor(), Instant::now());
        work(&mut viewer);
        (begun.elapsed().as_secs_f64(), self.processor().saturating_sub(processor))
    }

    fn processor(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.process.id())).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }

    /// KiB of memory of its own.
    fn memory(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id())).unwrap();
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok());
        value("Pss_Anon:").unwrap()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Viewer {
    stream: TcpStream,
}

impl Viewer {
    fn command(&mut self, command: u8, bytes: usize) {
        let message = [&[command][..], &(bytes as u64).to_be_bytes()].concat();
        self.stream.write_all(&frame(&message)).unwrap();
    }

    fn download(&mut self, bytes: usize) {
        self.command(SEND, bytes);
        assert_eq!(self.read(bytes), bytes);
    }

    fn upload(&mut self, bytes: usize) {
        self.command(SWALLOW, bytes);
        let frame = frame(&vec![0x55; FRAME]);
        for _ in 0..bytes / FRAME {
            self.stream.write_all(&frame).unwrap();
        }
        assert_eq!(self.read(1), 1);
    }

    fn round_trip(&mut self) -> Duration {
        let begun = Instant::now();
        self.stream.write_all(&frame(b"0123456789")).unwrap();
        assert_eq!(self.read(10), 10);
        begun.elapsed()
    }

    /// Reads so many bytes of the desktop, and gives their number.
    fn read(&mut self, bytes: usize) -> usize {
        let (mut read, mut payload) = (0, vec![0; 65536]);
        while read < bytes {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head).unwrap();
            assert_eq!(head[0], 0x82);
            let length = if head[1] == 126 {
                self.stream.read_exact(&mut head).unwrap();
                usize::from(u16::from_be_bytes(head))
            } else {
                usize::from(head[1])
            };
            self.stream.read_exact(&mut payload[..length]).unwrap();
            read += length;
        }
        read
    }
}

/// By how many KiB the bridge grows while viewers do not read what their desktops send.
fn stalled(mut viewers: Vec<Viewer>, bridge: &Bridge) -> u64 {
    let before = bridge.memory();
    for viewer in &mut viewers {
        viewer.command(SEND, 64 * MIB);
    }
    // Until nothing moves any more.
    let mut processor = Duration::MAX;
    while bridge.processor() != processor {
        processor = bridge.processor();
        thread::sleep(Duration::from_millis(300));
    }
    bridge.memory().saturating_sub(before)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=65535 => {
            frame.push(0xfe);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0xff);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
