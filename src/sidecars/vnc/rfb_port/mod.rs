//! The TCP port of RFB, for programs such as guacd that speak no WebSocket. It exists only where it is asked for.
//!
//! A viewer proves that it knows a password of a [file](passwords), which is all that VNC has; who [guesses](failures) is made to wait. Then
//! it is a viewer like those in browsers: the same limits, roles, filter, activity and end.

pub mod failures;
pub mod passwords;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::rand;
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::{
    bridge::Framing,
    rfb::{
        approach::{Approach, ApproachError},
        entrance::{Entrance, EntranceError},
        vnc_auth::{CHALLENGE, Challenge, Response},
    },
    router::Desk,
    viewers::{Full, Guest, Role, Seat},
};
use crate::runtime::{
    streams,
    takeover::{Stream, Taken},
};
use failures::Failures;
use passwords::{PasswordFile, PasswordFileError};

/// How long connections may go on when the desktop ends. Viewers are told at once.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// Connections at once, of viewers and of those who may become viewers.
const CONNECTIONS: usize = 64;
/// How long somebody waits for the answer to a wrong password.
const WRONG_PASSWORD_PAUSE: Duration = Duration::from_secs(1);

/// Why somebody does not become a viewer.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("too many wrong passwords: try again in {} s", .0.as_secs() + 1)]
    TooManyFailures(Duration),
    #[error("the password is wrong")]
    WrongPassword,
    #[error("passwords can't be checked now")]
    Passwords(#[source] PasswordFileError),
    #[error("there are no random bytes")]
    Random,
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the desktop can't be reached: it may be starting")]
    DesktopAway(#[source] DesktopError),
    #[error(transparent)]
    Entrance(#[from] EntranceError),
    #[error("no RFB handshake in time")]
    Slow,
    #[error("the connection ended in the middle of the handshake")]
    Gone(#[from] io::Error),
}

/// Why a desktop does not take a viewer.
#[derive(Debug, thiserror::Error)]
enum DesktopError {
    #[error(transparent)]
    Connection(#[from] io::Error),
    #[error(transparent)]
    Approach(#[from] ApproachError),
    #[error("it says nothing")]
    Silent,
}

impl Refused {
    /// The HTTP status that means the same, under which it is counted.
    const fn status(&self) -> u16 {
        match self {
            Self::TooManyFailures(_) | Self::Full(_) => 429,
            Self::WrongPassword => 401,
            Self::Passwords(_) | Self::Random | Self::DesktopAway(_) => 503,
            Self::Entrance(_) | Self::Gone(_) => 400,
            Self::Slow => 408,
        }
    }
}

/// The port. Clones share who has guessed.
#[derive(Debug, Clone)]
pub struct RfbPort {
    desk: Desk,
    passwords: PasswordFile,
    failures: Arc<Mutex<Failures>>,
}

impl RfbPort {
    /// A port that shows the pod's own desktop to those who know a password of this file.
    #[must_use]
    pub fn new(desk: Desk, passwords: PasswordFile) -> Self {
        Self { desk, passwords, failures: Arc::default() }
    }

    /// Serves until the desk goes down.
    pub async fn serve(self, listener: TcpListener) {
        let shutdown = self.desk.shutdown().clone();
        let receive = move |stream, peer: SocketAddr| {
            let port = self.clone();
            async move { port.receive(stream, peer.ip().to_canonical()).await }
        };
        streams::serve(listener, CONNECTIONS, receive, DRAIN_LIMIT, shutdown).await;
    }

    async fn receive(&self, mut stream: TcpStream, address: IpAddr) {
        let admitted = tokio::select! {
            admitted = self.admit(&mut stream, address) => admitted,
            () = self.desk.shutdown().closing() => return,
        };
        match admitted {
            Ok((seat, desktop)) => {
                let taken = Taken { stream: Box::new(stream), read_ahead: Bytes::new() };
                self.desk.show(seat, taken, Framing::Bare, desktop).await;
            }
            Err(refused) => self.desk.tell_refused(refused.status(), address, &refused),
        }
    }

    /// Lets a viewer in, or tells it why not.
    async fn admit(&self, stream: &mut TcpStream, address: IpAddr) -> Result<(Seat, Box<dyn Stream>), Refused> {
        let limit = self.desk.settings().pace.handshake;
        let (challenge, refused) = (challenge()?, self.check(address));
        let mut entrance = match &refused {
            Ok(()) => Entrance::new(challenge),
            Err(refused) => Entrance::refusing(refused.to_string()),
        };
        timeout(limit, greet(stream, &mut entrance)).await.map_err(|_| Refused::Slow)??;
        refused?;
        let response = entrance.response().ok_or(Refused::WrongPassword)?;
        let decision = async {
            let role = self.judge(&challenge, response, address).await?;
            self.find_place(role, address).await
        };
        let decided = decision.await;
        let verdict = entrance.verdict(decided.as_ref().err().map(ToString::to_string).as_deref());
        timeout(limit, stream.write_all(&verdict)).await.map_err(|_| Refused::Slow)??;
        decided
    }

    /// Whether an address may try a password.
    fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let pause = self.failures().pause(address, Instant::now());
        if pause.is_zero() { Ok(()) } else { Err(Refused::TooManyFailures(pause)) }
    }

    /// What somebody may do who answers a challenge so.
    async fn judge(&self, challenge: &Challenge, response: &Response, address: IpAddr) -> Result<Role, Refused> {
        let passwords = self.passwords.read().await.map_err(Refused::Passwords)?;
        // Many may have come at once, before any of them was wrong.
        self.check(address)?;
        if let Some(role) = passwords.role(challenge, response) {
            self.failures().forgive(address);
            return Ok(role);
        }
        self.failures().add(address, Instant::now());
        sleep(WRONG_PASSWORD_PAUSE).await;
        Err(Refused::WrongPassword)
    }

    /// A seat, and a desktop that waits for the viewer's first word.
    async fn find_place(&self, role: Role, address: IpAddr) -> Result<(Seat, Box<dyn Stream>), Refused> {
        let seat = self.desk.viewers().seat(Guest { user: None, address, role })?;
        let approaching = timeout(self.desk.settings().pace.connect, self.approach());
        let desktop = approaching.await.unwrap_or(Err(DesktopError::Silent)).map_err(Refused::DesktopAway)?;
        Ok((seat, desktop))
    }

    async fn approach(&self) -> Result<Box<dyn Stream>, DesktopError> {
        let settings = self.desk.settings();
        let mut desktop = settings.targets.own().connect(settings.pace.connect).await?;
        let (mut approach, mut bytes) = (Approach::default(), Vec::new());
        while approach.needs() > 0 {
            bytes.resize(approach.needs(), 0);
            desktop.read_exact(&mut bytes).await?;
            desktop.write_all(approach.hear(&bytes)?).await?;
        }
        Ok(desktop)
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Talks with a viewer until it has said all.
async fn greet(stream: &mut TcpStream, entrance: &mut Entrance) -> Result<(), Refused> {
    stream.write_all(Entrance::greeting()).await?;
    let mut bytes = Vec::new();
    while entrance.needs() > 0 {
        bytes.resize(entrance.needs(), 0);
        stream.read_exact(&mut bytes).await?;
        stream.write_all(&entrance.hear(&bytes)?).await?;
    }
    Ok(())
}

fn challenge() -> Result<Challenge, Refused> {
    let mut challenge = [0; CHALLENGE];
    rand::fill(&mut challenge).map_err(|_| Refused::Random)?;
    Ok(challenge)
}
