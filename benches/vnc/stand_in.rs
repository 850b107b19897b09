//! What stands for a desktop before a bridge: it does what its viewer tells it.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tempfile::TempDir;

/// What it says first.
pub(crate) const BANNER: &[u8; 5] = b"ready";
/// What it says when it has swallowed all.
pub(crate) const THANKS: &[u8; 1] = b"!";
/// As much as it reads and writes at once.
pub(crate) const PIECE: usize = 64 * 1024;

/// What it is told, followed by a number of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    Send,
    Swallow,
    Echo,
    /// Without an end, and whatever is said to it meanwhile.
    Flood,
}

impl Order {
    const ALL: [Self; 4] = [Self::Send, Self::Swallow, Self::Echo, Self::Flood];
    const LENGTH: usize = 9;

    pub(crate) fn of(self, bytes: usize) -> Vec<u8> {
        [&[self as u8][..], &(bytes as u64).to_be_bytes()].concat()
    }

    fn read(bytes: [u8; Self::LENGTH]) -> (Self, usize) {
        let [order, number @ ..] = bytes;
        (Self::ALL[usize::from(order)], u64::from_be_bytes(number).try_into().unwrap())
    }
}

/// A Unix socket with such a desktop behind it, as long as the process lives.
pub(crate) struct StandIn {
    folder: TempDir,
    received: Arc<AtomicUsize>,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        let stand_in = Self { folder: tempfile::tempdir().unwrap(), received: Arc::default() };
        let listener = UnixListener::bind(stand_in.socket()).unwrap();
        let received = stand_in.received.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let received = received.clone();
                // A viewer who leaves in the middle ends it.
                thread::spawn(move || obey(&connection.unwrap(), &received));
            }
        });
        stand_in
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("rfb.sock")
    }

    /// Bytes that it was told while it flooded its viewers.
    pub(crate) fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }
}

fn obey(mut stream: &UnixStream, received: &AtomicUsize) -> std::io::Result<()> {
    stream.write_all(BANNER)?;
    let (mut order, mut bytes) = ([0; Order::LENGTH], vec![0x55; PIECE]);
    loop {
        stream.read_exact(&mut order)?;
        let (order, mut left) = Order::read(order);
        if matches!(order, Order::Flood) {
            return flood(stream, received);
        }
        while left > 0 {
            let piece = &mut bytes[..left.min(PIECE)];
            let length = if matches!(order, Order::Send) { piece.len() } else { stream.read(piece)? };
            if matches!(order, Order::Send | Order::Echo) {
                stream.write_all(&piece[..length])?;
            }
            if length == 0 {
                return Ok(());
            }
            left -= length;
        }
        if matches!(order, Order::Swallow) {
            stream.write_all(THANKS)?;
        }
    }
}

/// Writes without an end, and counts what it reads.
fn flood(mut stream: &UnixStream, received: &AtomicUsize) -> std::io::Result<()> {
    thread::scope(|scope| {
        scope.spawn(|| {
            let bytes = vec![0x55; PIECE];
            while (&*stream).write_all(&bytes).is_ok() {}
        });
        let mut bytes = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            received.fetch_add(length, Ordering::Relaxed);
        }
        stream.shutdown(Shutdown::Both)
    })
}
