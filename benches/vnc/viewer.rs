//! One who looks at a desktop as noVNC does, and types.

use std::{
    io,
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    process::DEADLINE,
    rfb::{self, Message, Size},
    websocket::{Reader, Writer},
};

/// When nothing has changed for so long, nothing is going on.
const STILL: Duration = Duration::from_millis(300);

/// A viewer, whose reader has a thread of its own.
pub(crate) struct Viewer {
    writer: Writer,
    frames: Receiver<Frame>,
    listening: Option<JoinHandle<()>>,
}

/// An update with pixels.
pub(crate) struct Frame {
    /// When the last of it came.
    pub(crate) at: Instant,
    /// Bytes since the last one.
    pub(crate) bytes: u64,
}

impl Viewer {
    /// For a desktop that has said its version.
    pub(crate) fn begin(mut reader: Reader, writer: Writer) -> Self {
        let size = rfb::begin(&mut reader, &writer).unwrap();
        let (sender, frames) = mpsc::channel();
        let answers = writer.clone();
        let listening = thread::spawn(move || {
            let end = listen(&mut reader, &answers, size, &sender);
            // That is how it ends; another end shows in the frames that are missing.
            if let Err(error) = end
                && error.kind() == io::ErrorKind::InvalidData
            {
                eprintln!("{error}");
            }
        });
        Self { writer, frames, listening: Some(listening) }
    }

    pub(crate) fn send(&self, message: &[u8]) {
        self.writer.send(message).unwrap();
    }

    /// The next frame.
    pub(crate) fn frame(&self) -> Frame {
        self.frame_within(DEADLINE).unwrap_or_else(|| panic!("no frame within {} s", DEADLINE.as_secs()))
    }

    /// All frames from now on, for so long.
    pub(crate) fn frames(&self, lasts: Duration) -> Vec<Frame> {
        let end = Instant::now() + lasts;
        std::iter::from_fn(|| self.frame_within(end.saturating_duration_since(Instant::now()))).collect()
    }

    /// Waits until nothing changes any more.
    pub(crate) fn until_still(&self) {
        let end = Instant::now() + DEADLINE;
        while self.frame_within(STILL).is_some() {
            assert!(Instant::now() < end, "the desktop is not still after {} s", DEADLINE.as_secs());
        }
    }

    fn frame_within(&self, limit: Duration) -> Option<Frame> {
        match self.frames.recv_timeout(limit) {
            Ok(frame) => Some(frame),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the desktop ended the connection"),
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.writer.close();
        let _ = self.listening.take().map(JoinHandle::join);
    }
}

/// Hears messages, and answers as noVNC does: an update is followed by the request for the next, unless they come by themselves.
fn listen(reader: &mut Reader, writer: &Writer, size: Size, frames: &Sender<Frame>) -> io::Result<()> {
    let (mut are_continuous, mut received) = (false, 0);
    loop {
        match rfb::read(reader)? {
            Message::Update { has_pixels } => {
                if !are_continuous {
                    writer.send(&rfb::update_request(size, true))?;
                }
                if has_pixels {
                    // Nobody waits for the last ones.
                    let _ = frames.send(Frame { at: Instant::now(), bytes: reader.received() - received });
                    received = reader.received();
                }
            }
            Message::Fence { flags, payload } => writer.send(&rfb::fence(flags, &payload))?,
            Message::OffersContinuousUpdates if !are_continuous => {
                are_continuous = true;
                writer.send(&rfb::enable_continuous_updates(size))?;
            }
            Message::OffersContinuousUpdates | Message::Other => {}
        }
    }
}
