//! Asking an X server whether it lets clients in.

use std::{
    io::{self, ErrorKind},
    path::Path,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::{
    authority::Cookie,
    display::Display,
    handshake::{self, HEADER_LENGTH, HandshakeError, Setup},
};

/// How long a server may take that has nothing else to do; one that a client has grabbed answers nobody else.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Why a server did not let us in.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error("no X server listens at {display} ({path})")]
    Absent {
        /// The display.
        display: Display,
        /// Its socket.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It does not answer.
    #[error("the X server at {display} does not answer within {} s", ANSWER_LIMIT.as_secs())]
    Silent {
        /// The display.
        display: Display,
    },
    /// It ended the connection.
    #[error("the X server at {display} hangs up")]
    HungUp {
        /// The display.
        display: Display,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It answers, but does not let us in.
    #[error("the X server at {display} does not let us in")]
    Handshake {
        /// The display.
        display: Display,
        /// What it says.
        #[source]
        source: HandshakeError,
    },
}

impl ConnectError {
    /// Whether nobody listens there.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}

/// A connection to a server that let us in.
#[derive(Debug)]
pub struct Connection {
    /// What carries requests, and what it sends.
    pub stream: UnixStream,
    /// What it says of itself.
    pub setup: Setup,
}

/// A server that let us in.
#[derive(Debug)]
pub struct Answer {
    /// What it says of itself.
    pub setup: Setup,
    /// Its process, as seen from here; `None` if it can't be seen.
    pub process: Option<i32>,
}

impl From<Connection> for Answer {
    fn from(Connection { stream, setup }: Connection) -> Self {
        Self { setup, process: stream.peer_cred().ok().and_then(|peer| peer.pid()).filter(|process| *process > 0) }
    }
}

/// Asks the server of a display, at its socket.
///
/// # Errors
/// It does not let us in.
pub async fn ask(display: Display, cookie: Option<&Cookie>) -> Result<Answer, ConnectError> {
    Ok(connect(display, cookie).await?.into())
}

/// Connects to the server of a display, at its socket.
///
/// # Errors
/// It does not let us in.
pub async fn connect(display: Display, cookie: Option<&Cookie>) -> Result<Connection, ConnectError> {
    let path = display.socket();
    connect_at(&path, path.display().to_string(), display, cookie).await
}

/// Asks the server that listens for a display at the abstract socket, which clients prefer and which needs no volume to be reached.
///
/// # Errors
/// It does not let us in.
pub async fn ask_abstract(display: Display, cookie: Option<&Cookie>) -> Result<Answer, ConnectError> {
    let path = display.socket().display().to_string();
    // An abstract name begins with a zero byte (`unix(7)`).
    Ok(connect_at(Path::new(&format!("\0{path}")), format!("@{path}"), display, cookie).await?.into())
}

async fn connect_at(socket: &Path, name: String, display: Display, cookie: Option<&Cookie>) -> Result<Connection, ConnectError> {
    let connected = timeout(ANSWER_LIMIT, UnixStream::connect(socket)).await.map_err(|_| ConnectError::Silent { display })?;
    let stream = connected.map_err(|source| match source.kind() {
        // Somebody listens, and so many wait already that there is no room for us.
        ErrorKind::WouldBlock => ConnectError::Silent { display },
        _ => ConnectError::Absent { display, path: name, source },
    })?;
    shake(stream, display, cookie).await
}

async fn shake(mut stream: UnixStream, display: Display, cookie: Option<&Cookie>) -> Result<Connection, ConnectError> {
    let conversation = async {
        stream.write_all(&handshake::request(cookie)).await?;
        let mut header = [0; HEADER_LENGTH];
        stream.read_exact(&mut header).await?;
        let mut body = vec![0; handshake::body_length(header)];
        stream.read_exact(&mut body).await?;
        io::Result::Ok((header, body))
    };
    let (header, body) = timeout(ANSWER_LIMIT, conversation)
        .await
        .map_err(|_| ConnectError::Silent { display })?
        .map_err(|source| ConnectError::HungUp { display, source })?;
    let setup = handshake::read_reply(header, &body).map_err(|source| ConnectError::Handshake { display, source })?;
    Ok(Connection { stream, setup })
}
