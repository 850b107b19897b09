//! One connection to a database.

use std::{fmt, pin::Pin, time::Duration};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use futures::FutureExt;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Client, Config, NoTls, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    failure::Failure,
    tls::{Tls, TlsError, TlsMode},
};

/// How long the server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// For one of the addresses of a name: the others are tried, too.
const ADDRESS_LIMIT: Duration = Duration::from_secs(3);
/// After so much silence the other end is asked whether it is still there, and after so much more it is given up.
const KEEPALIVE: Duration = Duration::from_secs(15);
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(30);
/// What the server's own views call us.
const APPLICATION_NAME: &str = concat!("outrigger/", env!("CARGO_PKG_VERSION"));

/// A database, and who we are there.
#[derive(Debug, Clone)]
pub struct Target {
    /// A name, an address, or the folder of a Unix socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database's name.
    pub database: String,
    /// The role's name.
    pub user: String,
    /// The role's password, if it has one.
    pub password: Option<SecretString>,
    /// How the connection is secured.
    pub tls: Tls,
    /// Settings that the session begins with, such as `-c search_path=pg_catalog`; PgBouncer takes none.
    pub options: Option<String>,
}

impl Target {
    /// Whether both say who they are in the same way, and trust the same authorities.
    #[must_use]
    pub fn has_credentials_of(&self, other: &Self) -> bool {
        let is_same_password = match (&self.password, &other.password) {
            (Some(one), Some(other)) => verify_slices_are_equal(one.expose_secret().as_bytes(), other.expose_secret().as_bytes()).is_ok(),
            (one, other) => one.is_none() && other.is_none(),
        };
        is_same_password && (&self.user, &self.tls) == (&other.user, &other.tls)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{} as {}", self.database, self.host, self.port, self.user)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TLS can't be set up.
    #[error("TLS to {target} can't be set up")]
    Tls {
        /// The database.
        target: String,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The server can't be reached, or refuses.
    #[error("{target} can't be reached")]
    Failed {
        /// The database.
        target: String,
        /// Why.
        #[source]
        source: Failure,
    },
}

/// A connection. When it is dropped, the server undoes what was not committed.
pub struct Session {
    client: Client,
    /// What moves the bytes.
    driver: Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send>>,
}

impl Session {
    /// Connects.
    pub async fn open(target: &Target) -> Result<Self, ConnectError> {
        let tls = target.tls.client().map_err(|source| ConnectError::Tls { target: target.to_string(), source })?;
        let config = config(target);
        let connected = async {
            Ok(match tls {
                None => {
                    let (client, driver) = config.connect(NoTls).await?;
                    Self { client, driver: Box::pin(driver) }
                }
                Some(tls) => {
                    let (client, driver) = config.connect(MakeRustlsConnect::new(tls)).await?;
                    Self { client, driver: Box::pin(driver) }
                }
            })
        };
        let connected = match tokio::time::timeout(CONNECT_LIMIT, connected).await {
            Ok(connected) => connected.map_err(|error: tokio_postgres::Error| Failure::from(error)),
            Err(_) => Err(Failure::Unreachable(format!("there was no answer in {CONNECT_LIMIT:?}"))),
        };
        connected.map_err(|source| ConnectError::Failed { target: target.to_string(), source })
    }

    /// Does some work with the connection, as long as it stands.
    ///
    /// # Errors
    /// The work's own, or that the connection ended under it.
    pub async fn run<T, E: From<Failure>>(&mut self, work: impl AsyncFnOnce(&Client) -> Result<T, E>) -> Result<T, E> {
        let Self { client, driver } = self;
        let work = work(client);
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => done,
            // What the server said last, which is why it hung up, may have come with the end.
            ended = driver => work.now_or_never().unwrap_or_else(|| Err(match ended {
                Err(error) => Failure::from(error),
                Ok(()) => Failure::Unreachable("the server closed the connection".to_owned()),
            }.into())),
        }
    }
}

fn config(target: &Target) -> Config {
    let mut config = Config::new();
    config.host(&target.host).port(target.port).dbname(&target.database).user(&target.user);
    if let Some(password) = &target.password {
        config.password(password.expose_secret());
    }
    config.ssl_mode(match target.tls.mode {
        TlsMode::Disable => SslMode::Disable,
        TlsMode::Prefer => SslMode::Prefer,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
    });
    if let Some(options) = &target.options {
        config.options(options);
    }
    config.application_name(APPLICATION_NAME);
    config.connect_timeout(ADDRESS_LIMIT);
    config.keepalives_idle(KEEPALIVE).tcp_user_timeout(UNACKNOWLEDGED_LIMIT);
    config
}
