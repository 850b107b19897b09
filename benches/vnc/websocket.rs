//! A browser's WebSocket, without a browser.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex},
};

use super::{masked, process};

const BINARY: u8 = 0x82;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// As much as a browser reads at once.
const READ: usize = 256 * 1024;

/// Says that the server's answer has no WebSocket: it may have one later.
const NO_WEBSOCKET: &str = "the server gives no WebSocket";

/// What the server says, as a stream of bytes.
pub(crate) struct Reader {
    stream: BufReader<TcpStream>,
    /// Bytes of the frame that are still to come.
    left: u64,
    /// Bytes that were read.
    received: u64,
    writer: Writer,
}

/// What the server is told. Clones share the connection, which ends when one says so.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Mutex<TcpStream>>);

/// Connects as noVNC does.
pub(crate) fn connect(port: u16) -> io::Result<(Reader, Writer)> {
    let mut stream = process::connect(port)?;
    let request = format!(
        "GET /websockify HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: binary\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let writer = Writer(Arc::new(Mutex::new(stream.try_clone()?)));
    let mut stream = BufReader::with_capacity(READ, stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    if lines.first().is_none_or(|line| !line.starts_with("HTTP/1.1 101 ")) {
        return Err(io::Error::new(ErrorKind::ConnectionRefused, NO_WEBSOCKET));
    }
    Ok((Reader { stream, left: 0, received: 0, writer: writer.clone() }, writer))
}

impl Reader {
    /// How many bytes were read.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Reads so many bytes and forgets them.
    pub(crate) fn skip(&mut self, mut bytes: u64) -> io::Result<()> {
        while bytes > 0 {
            self.begin()?;
            let length = (self.stream.fill_buf()?.len() as u64).min(self.left).min(bytes);
            if length == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.stream.consume(usize::try_from(length).unwrap());
            self.left -= length;
            self.received += length;
            bytes -= length;
        }
        Ok(())
    }

    /// Reads so many bytes.
    pub(crate) fn take<const LENGTH: usize>(&mut self) -> io::Result<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Goes on to a frame with bytes to read.
    fn begin(&mut self) -> io::Result<()> {
        while self.left == 0 {
            let [first, short] = self.head()?;
            let length = match short {
                126 => u16::from_be_bytes(self.head()?).into(),
                127 => u64::from_be_bytes(self.head()?),
                short => short.into(),
            };
            match first {
                BINARY => self.left = length,
                PING => {
                    let mut payload = vec![0; usize::try_from(length).unwrap()];
                    self.stream.read_exact(&mut payload)?;
                    self.writer.frame(PONG, &payload)?;
                }
                other => return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("a frame that begins with {other:#x}"))),
            }
        }
        Ok(())
    }

    fn head<const LENGTH: usize>(&mut self) -> io::Result<[u8; LENGTH]> {
        let mut bytes = [0; LENGTH];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for Reader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.begin()?;
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let length = self.stream.read(&mut bytes[..length])?;
        self.left -= length as u64;
        self.received += length as u64;
        Ok(length)
    }
}

impl Writer {
    /// Says something, in one message.
    pub(crate) fn send(&self, payload: &[u8]) -> io::Result<()> {
        self.frame(BINARY, payload)
    }

    /// Says the same many times; a browser masks without being measured, so that is done once.
    pub(crate) fn repeat(&self, payload: &[u8], times: usize) -> io::Result<()> {
        let frame = masked::frame(BINARY, payload);
        let mut stream = self.0.lock().unwrap();
        (0..times).try_for_each(|_| stream.write_all(&frame))
    }

    /// Ends the connection, both ways.
    pub(crate) fn close(&self) {
        // It may have ended already.
        let _ = self.0.lock().unwrap().shutdown(Shutdown::Both);
    }

    fn frame(&self, first: u8, payload: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().write_all(&masked::frame(first, payload))
    }
}
