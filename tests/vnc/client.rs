//! A WebSocket client of the tests' own, which can break each rule of the protocol.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::masked;

/// Longer than anything takes, shorter than a hanging test.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// An answer that is no upgrade.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// One HTTP request, whose answer ends with the connection.
pub(crate) async fn request(address: SocketAddr, head: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("{head}\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    answer(stream).await
}

async fn answer(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    timeout(LONG, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// A viewer.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) head: String,
}

impl Client {
    /// A viewer of the pod's own desktop.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address, "/websockify", "Sec-WebSocket-Protocol: binary\r\n").await.unwrap()
    }

    /// Asks for a WebSocket with further header lines, each with its end.
    pub(crate) async fn try_connect(address: SocketAddr, path: &str, lines: &str) -> Result<Self, Answer> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        );
        Self::ask(address, head).await
    }

    /// Sends a request as it stands there.
    pub(crate) async fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Result<Self, Answer> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(request.as_ref()).await.unwrap();
        let mut first = [0; 12];
        timeout(LONG, stream.peek(&mut first)).await.unwrap().unwrap();
        if !first.starts_with(b"HTTP/1.1 101") {
            stream.shutdown().await.unwrap();
            return Err(answer(stream).await);
        }
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(timeout(LONG, stream.read_u8()).await.unwrap().unwrap().into());
        }
        Ok(Self { stream, head: head.to_ascii_lowercase() })
    }

    pub(crate) async fn send(&mut self, first: u8, payload: &[u8]) {
        timeout(LONG, self.stream.write_all(&masked::frame(first, payload))).await.expect("the bridge takes it in time").unwrap();
    }

    /// The next frame: its first byte, and its payload. None at the end of the connection.
    pub(crate) async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        timeout(LONG, self.receive_at_leisure()).await.expect("a frame comes in time")
    }

    async fn receive_at_leisure(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await.ok()?;
        let length = match self.stream.read_u8().await.ok()? {
            126 => self.stream.read_u16().await.ok()?.into(),
            127 => usize::try_from(self.stream.read_u64().await.ok()?).unwrap(),
            length @ 0..=125 => length.into(),
            _ => panic!("a server masks nothing"),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((first, payload))
    }

    /// So many bytes of the desktop; whatever frames they come in, and pings in between, which are answered.
    pub(crate) async fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            match self.receive().await.expect("the conversation goes on") {
                (BINARY, payload) => bytes.extend(payload),
                (PING, payload) => self.send(PONG, &payload).await,
                (first, payload) => panic!("{first:#x} after {} of {length} bytes: {}", bytes.len(), payload.escape_ascii()),
            }
        }
        bytes
    }

    /// The close code and reason with which the server ends the conversation.
    pub(crate) async fn end(&mut self) -> (u16, String) {
        timeout(LONG, self.end_at_leisure()).await.expect("the conversation ends in time")
    }

    async fn end_at_leisure(&mut self) -> (u16, String) {
        loop {
            match self.receive().await.expect("the conversation ends with a close frame") {
                (CLOSE, payload) if payload.is_empty() => return (1005, String::new()),
                (CLOSE, payload) => {
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    return (code, String::from_utf8(payload[2..].to_vec()).unwrap());
                }
                _ => {}
            }
        }
    }
}
