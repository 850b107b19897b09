//! Where a desktop's RFB is spoken. Viewers choose among these by name, and can't name any other place.

use std::{collections::BTreeMap, io, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::runtime::takeover::Stream;

/// The socket of one desktop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
}

impl Target {
    /// Connects, but waits no longer than `limit`.
    pub(in super::super) async fn connect(&self, limit: Duration) -> io::Result<Box<dyn Stream>> {
        let connecting = async {
            Ok(match self {
                Self::Unix(path) => Box::new(UnixStream::connect(path).await?) as Box<dyn Stream>,
                Self::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    // A key is one small write, and must not wait for the next.
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
            })
        };
        timeout(limit, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// All desktops that may be connected to.
#[derive(Debug, Clone)]
pub struct Targets {
    own: Target,
    named: BTreeMap<String, Target>,
}

impl Targets {
    /// One desktop, at `/websockify`.
    #[must_use]
    pub const fn new(own: Target) -> Self {
        Self { own, named: BTreeMap::new() }
    }

    /// One more, at `/websockify/NAME`.
    #[must_use]
    pub fn and(mut self, name: impl Into<String>, target: Target) -> Self {
        self.named.insert(name.into(), target);
        self
    }

    /// The pod's own desktop.
    pub(in super::super) const fn own(&self) -> &Target {
        &self.own
    }

    /// The desktop of this name; the pod's own without one.
    pub(in super::super) fn find(&self, name: Option<&str>) -> Option<&Target> {
        name.map_or(Some(&self.own), |name| self.named.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b10_only_desktops_that_were_listed_can_be_named() {
        let socket = |name: &str| Target::Unix(PathBuf::from(name));
        let targets = Targets::new(socket("own")).and("second", socket("second"));
        assert_eq!(targets.find(None), Some(&socket("own")));
        assert_eq!(targets.find(Some("second")), Some(&socket("second")));
        for name in ["", "own", "/run/secret.sock", "127.0.0.1:5900"] {
            assert_eq!(targets.find(Some(name)), None, "{name}");
        }
    }
}
