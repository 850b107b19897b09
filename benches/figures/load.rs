//! The load generator: keep-alive connections over TLS, each on a thread of its own, in a closed or an open loop.
//!
//! In an open loop each request has a time at which it is due, and its latency counts from then, not from when it was
//! sent: a server that stalls is charged for all that should have been sent meanwhile (coordinated omission).

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    num::NonZero,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::process::{Process, own_cpu};

/// Longer than any webhook may take.
const LONGEST: Duration = Duration::from_secs(60);
/// Requests of each connection before it is measured: handshakes and first allocations are no part of the rate.
const WARM_UP: u32 = 50;
/// How far the kernel may round the end of a sleep.
const TIMER_SLACK: u64 = 1_000;

/// What is sent, and how.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) target: Target,
    pub(crate) request: Arc<[u8]>,
    pub(crate) connections: u32,
    pub(crate) pace: Pace,
    pub(crate) lasts: Duration,
    /// After this a client gives up, closes and connects again, as an API server does.
    pub(crate) patience: Duration,
}

/// Where it is sent.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Arc<ClientConfig>,
}

/// When the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// When the answer to the last has arrived.
    Closed,
    /// When it is due, whatever became of others.
    Open { per_second: u32 },
}

/// What came of it.
pub(crate) struct Outcome {
    /// Of answers, from when each request was due, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    /// The same from when it was sent: what the server alone is charged for.
    pub(crate) once_sent: Histogram<u64>,
    /// Answered with a status that says so, such as 503.
    pub(crate) refused: u64,
    /// Not answered.
    pub(crate) failed: u64,
    pub(crate) took: Duration,
    pub(crate) server_cpu: Duration,
    pub(crate) generator_cpu: Duration,
}

impl Outcome {
    /// Answers for each second of the server's CPU.
    #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.latencies.len() as f64 / self.server_cpu.as_secs_f64()
    }

    /// Answers for each second.
    #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latencies.value_at_quantile(quantile))
    }

    pub(crate) fn latency_once_sent(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.once_sent.value_at_quantile(quantile))
    }
}

impl Load {
    /// Sends it all, and measures this process and the server.
    pub(crate) fn run(&self, server: &Process) -> Outcome {
        let (tickets, ready) = (AtomicU32::new(0), Barrier::new(self.connections as usize + 1));
        thread::scope(|scope| {
            let clients: Vec<_> = (0..self.connections).map(|_| scope.spawn(|| self.client(&tickets, &ready))).collect();
            ready.wait();
            let (start, server_before, own_before) = (Instant::now(), server.cpu(), own_cpu());
            let mut total = Tally::new();
            for client in clients {
                total.add(client.join().unwrap());
            }
            Outcome {
                latencies: total.latencies,
                once_sent: total.once_sent,
                refused: total.refused,
                failed: total.failed,
                took: start.elapsed(),
                server_cpu: server.cpu().saturating_sub(server_before),
                generator_cpu: own_cpu().saturating_sub(own_before),
            }
        })
    }

    fn client(&self, tickets: &AtomicU32, ready: &Barrier) -> Tally {
        rustix::thread::set_current_timer_slack(NonZero::new(TIMER_SLACK)).unwrap();
        let mut client = Client { load: self, connection: None, answer: Vec::new() };
        for _ in 0..WARM_UP {
            // A server that is overwhelmed on purpose may fail here already; what counts is what is measured.
            let _ = client.ask();
        }
        ready.wait();
        let start = Instant::now();
        let mut tally = Tally::new();
        while let Some(due) = self.next(start, tickets) {
            let sent = Instant::now();
            match client.ask() {
                Ok(200) => tally.record(due.elapsed(), sent.elapsed()),
                Ok(_) => tally.refused += 1,
                Err(_) => tally.failed += 1,
            }
        }
        tally
    }

    /// Waits until the next request is due, and says when that was.
    fn next(&self, start: Instant, tickets: &AtomicU32) -> Option<Instant> {
        let due = match self.pace {
            Pace::Closed => Instant::now(),
            Pace::Open { per_second } => start + Duration::from_secs(1) * tickets.fetch_add(1, Ordering::Relaxed) / per_second,
        };
        thread::sleep(due.saturating_duration_since(Instant::now()));
        (due < start + self.lasts).then_some(due)
    }
}

struct Tally {
    latencies: Histogram<u64>,
    once_sent: Histogram<u64>,
    refused: u64,
    failed: u64,
}

impl Tally {
    fn new() -> Self {
        let longest = u64::try_from(LONGEST.as_nanos()).unwrap();
        let empty = Histogram::new_with_bounds(1_000, longest, 3).unwrap();
        Self { latencies: empty.clone(), once_sent: empty, refused: 0, failed: 0 }
    }

    fn record(&mut self, since_due: Duration, since_sent: Duration) {
        for (latencies, latency) in [(&mut self.latencies, since_due), (&mut self.once_sent, since_sent)] {
            latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap());
        }
    }

    fn add(&mut self, other: Self) {
        self.latencies.add(other.latencies).unwrap();
        self.once_sent.add(other.once_sent).unwrap();
        self.refused += other.refused;
        self.failed += other.failed;
    }
}

/// One connection, made again when it breaks.
struct Client<'load> {
    load: &'load Load,
    connection: Option<StreamOwned<ClientConnection, TcpStream>>,
    answer: Vec<u8>,
}

impl Client<'_> {
    /// Sends one request; the status of its answer.
    fn ask(&mut self) -> io::Result<u16> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.load.target.connect(self.load.patience)?,
        };
        connection.write_all(&self.load.request)?;
        let (status, goes_on) = read_answer(&mut connection, &mut self.answer)?;
        self.connection = goes_on.then_some(connection);
        Ok(status)
    }
}

impl Target {
    fn connect(&self, patience: Duration) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let connection = ClientConnection::new(self.tls.clone(), self.address.ip().into()).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, stream))
    }

    /// Sends one request on a connection of its own; status and body of the answer.
    pub(crate) fn ask(&self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let mut connection = self.connect(LONGEST)?;
        connection.write_all(request)?;
        let mut answer = Vec::new();
        let (status, _) = read_answer(&mut connection, &mut answer)?;
        let head = Head::parse(&answer)?.ok_or(ErrorKind::UnexpectedEof)?;
        Ok((status, head.body(&answer)?))
    }
}

/// Reads one answer whole: its status, and whether the connection goes on.
fn read_answer(stream: &mut impl Read, answer: &mut Vec<u8>) -> io::Result<(u16, bool)> {
    answer.clear();
    let mut piece = [0; 16 * 1024];
    let mut head = None;
    loop {
        let size = stream.read(&mut piece)?;
        if size == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(piece.get(..size).unwrap_or_default());
        if head.is_none() {
            head = Head::parse(answer)?;
        }
        if let Some(head) = head.as_ref().filter(|head| head.is_whole(answer)) {
            return Ok((head.status, !head.closes));
        }
    }
}

/// What of an answer's head matters here.
struct Head {
    status: u16,
    size: usize,
    body: Body,
    closes: bool,
}

enum Body {
    Sized(usize),
    Chunked,
}

impl Head {
    fn parse(answer: &[u8]) -> io::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(size) = response.parse(answer).map_err(io::Error::other)? else { return Ok(None) };
        let value = |name: &str| {
            let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let body = value("content-length").map_or(Some(Body::Chunked), |length| length.parse().ok().map(Body::Sized));
        Ok(Some(Self {
            status: response.code.unwrap_or_default(),
            size,
            body: body.ok_or(ErrorKind::InvalidData)?,
            closes: value("connection") == Some("close"),
        }))
    }

    fn is_whole(&self, answer: &[u8]) -> bool {
        match self.body {
            Body::Sized(length) => answer.len() >= self.size + length,
            Body::Chunked => answer.ends_with(b"\r\n0\r\n\r\n"),
        }
    }

    /// The body of a whole answer.
    fn body(&self, answer: &[u8]) -> io::Result<Vec<u8>> {
        let mut rest = answer.get(self.size..).unwrap_or_default();
        if matches!(self.body, Body::Sized(_)) {
            return Ok(rest.to_vec());
        }
        let mut body = Vec::new();
        loop {
            let Ok(httparse::Status::Complete((begins, length))) = httparse::parse_chunk_size(rest) else {
                return Err(ErrorKind::InvalidData.into());
            };
            let length = usize::try_from(length).map_err(io::Error::other)?;
            if length == 0 {
                return Ok(body);
            }
            body.extend_from_slice(rest.get(begins..begins + length).ok_or(ErrorKind::InvalidData)?);
            // Each piece ends with CR LF.
            rest = rest.get(begins + length + 2..).unwrap_or_default();
        }
    }
}
