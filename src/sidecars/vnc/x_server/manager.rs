//! Whether a window manager manages windows already, asked of it as any X client may.
//!
//! That it has taken the screen is no sign of that, and neither is `_NET_SUPPORTING_WM_CHECK`: openbox sets it first of all. Windows that are
//! mapped while it goes on starting are told to it, and it then sleeps on what it was told until something else happens: such a window
//! is not shown, perhaps for ever. What its main loop alone does is to answer, and each further question wakes it up.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::{
    authority::Cookie,
    client::{self, ANSWER_LIMIT, ConnectError, Connection},
    display::Display,
    requests::{self, Heard, Said, TooLong},
};

/// By these a client asks for the size of the frame that a window would get, and is answered (EWMH, `_NET_REQUEST_FRAME_EXTENTS`).
const QUESTION: &str = "_NET_REQUEST_FRAME_EXTENTS";
const ANSWER: &str = "_NET_FRAME_EXTENTS";

/// Why it can't be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The X server does not let us in.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection has ended, or hangs.
    #[error("the X server stops answering")]
    Lost(#[from] io::Error),
    /// The X server refuses what we ask of it.
    #[error("the X server refuses a request with the error {0}")]
    Refused(u8),
    /// What it sends makes no sense.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

/// Waits until the window manager of a display manages windows.
///
/// # Errors
/// The X server can't be used.
pub(crate) async fn answers(display: Display, cookie: &Cookie) -> Result<(), AskError> {
    ask(client::connect(display, Some(cookie)).await?).await
}

async fn ask(Connection { mut stream, setup }: Connection) -> Result<(), AskError> {
    let mut heard = Heard::default();
    let request = [requests::intern_atom(QUESTION), requests::intern_atom(ANSWER)].concat();
    let atoms = async {
        stream.write_all(&request).await?;
        Ok::<_, AskError>((atom(&mut stream, &mut heard).await?, atom(&mut stream, &mut heard).await?))
    };
    let (question, answer) = timeout(ANSWER_LIMIT, atoms).await.map_err(io::Error::from)??;
    let mut asked = 0;
    loop {
        asked += 1;
        // A window for each question: when the last one is answered, none is open that is about a window which goes with us.
        let window = setup.id(asked);
        let request = [requests::create_window(window, setup.root), requests::tell_manager(setup.root, window, question)].concat();
        timeout(ANSWER_LIMIT, stream.write_all(&request)).await.map_err(io::Error::from)??;
        let is_answer = |said| (said == Said::PropertyChanged { window, property: answer }).then_some(());
        if let Ok(heard) = timeout(pause_after(asked), until_said(&mut stream, &mut heard, is_answer)).await {
            return heard;
        }
    }
}

/// How long to wait for the answer to a question: openbox starts in a tenth of a second. One that is silent for long is asked less often.
const fn pause_after(asked: u32) -> Duration {
    if asked < 100 { Duration::from_millis(100) } else { Duration::from_secs(10) }
}

async fn atom(stream: &mut UnixStream, heard: &mut Heard) -> Result<u32, AskError> {
    until_said(stream, heard, |said| if let Said::Atom(atom) = said { Some(atom) } else { None }).await
}

/// Reads until that is said which is waited for. What was read stays if this is dropped.
async fn until_said<T>(stream: &mut UnixStream, heard: &mut Heard, find: impl Fn(Said) -> Option<T>) -> Result<T, AskError> {
    loop {
        match heard.take()? {
            Some(Said::Error(code)) => return Err(AskError::Refused(code)),
            Some(said) => {
                if let Some(found) = find(said) {
                    return Ok(found);
                }
            }
            None if stream.read_buf(heard.buffer()).await? == 0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::handshake::Setup, *};

    const ROOT: u32 = 0x519;

    fn connection(stream: UnixStream) -> Connection {
        Connection { stream, setup: Setup { vendor: String::new(), root: ROOT, size: (0, 0), ids: (0x20_0000, 0x1f_ffff) } }
    }

    /// What a server answers to a request for an atom, or tells of a property.
    fn packet(start: &[&[u8]]) -> Vec<u8> {
        let mut packet = start.concat();
        packet.resize(32, 0);
        packet
    }

    async fn hears(stream: &mut UnixStream, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, expected);
    }

    #[tokio::test]
    async fn it_is_asked_until_it_answers_and_each_time_about_another_window() {
        let (ours, mut server) = UnixStream::pair().unwrap();
        let asking = tokio::spawn(ask(connection(ours)));
        for (name, atom) in [(QUESTION, 7_u32), (ANSWER, 8)] {
            hears(&mut server, &requests::intern_atom(name)).await;
            server.write_all(&packet(&[&[1, 0, 0, 0, 0, 0, 0, 0], &atom.to_le_bytes()])).await.unwrap();
        }
        for window in [0x20_0001, 0x20_0002, 0x20_0003_u32] {
            hears(&mut server, &requests::create_window(window, ROOT)).await;
            hears(&mut server, &requests::tell_manager(ROOT, window, 7)).await;
        }
        for (window, property) in [(0x20_0002, 8_u32), (0x20_0003_u32, 9)] {
            server.write_all(&packet(&[&[28, 0, 0, 0], &window.to_le_bytes(), &property.to_le_bytes()])).await.unwrap();
        }
        hears(&mut server, &requests::create_window(0x20_0004, ROOT)).await;
        assert!(!asking.is_finished(), "neither an answer about an earlier window counts, nor another property");
        server.write_all(&packet(&[&[28, 0, 0, 0], &0x20_0004_u32.to_le_bytes(), &8_u32.to_le_bytes()])).await.unwrap();
        assert!(asking.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_server_that_refuses_or_hangs_up_is_told_of() {
        let (ours, mut server) = UnixStream::pair().unwrap();
        server.write_all(&packet(&[&[0, 11]])).await.unwrap();
        assert_eq!(ask(connection(ours)).await.unwrap_err().to_string(), "the X server refuses a request with the error 11");
        let (ours, server) = UnixStream::pair().unwrap();
        drop(server);
        assert!(matches!(ask(connection(ours)).await, Err(AskError::Lost(_))));
    }
}
