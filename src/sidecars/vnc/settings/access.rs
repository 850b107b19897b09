//! Who may come in, and by which way.

use std::path::PathBuf;

use super::{Given, SettingsError, table as t};
use crate::{
    api::annotations::{ValueKind, items},
    sidecars::{
        setting::{Read, boolean, folder},
        vnc::{
            admittance::{Admittance, administrator::TokenFile, claims::KeyFile, origin::Origins, tickets::Tickets},
            viewers::Limits,
        },
    },
};

/// As many viewers as there are connections for, with as many left for the page and for those who look after it.
const MOST_VIEWERS: usize = 500;
/// Tickets that wait to be used.
const MOST_TICKETS: usize = 1000;

/// Who may come in.
#[derive(Debug, Clone)]
pub struct Access {
    /// The pages that may connect, beside the desktop's own.
    pub origins: Vec<String>,
    /// The file with the keys of signed claims.
    pub claims_keys: Option<PathBuf>,
    /// The session that claims must be for, if it is not the host's name.
    pub claims_session: Option<String>,
    /// Whether tickets are issued.
    pub tickets: bool,
    /// The file with the administrator's token.
    pub administrator_token: Option<PathBuf>,
    /// Whether a token may stand in the address.
    pub token_in_address: bool,
    /// How many viewers there may be.
    pub limits: Limits,
    /// Whether a proxy's word for the desktop's name and for viewers' addresses counts.
    pub forwarded_headers: bool,
    /// The folder of the certificate and its key, where TLS is spoken.
    pub tls: Option<PathBuf>,
}

impl Access {
    /// Which tokens let somebody in.
    #[must_use]
    pub fn admittance(&self, host_name: &str) -> Admittance {
        Admittance {
            tickets: self.tickets.then(|| Tickets::new(MOST_TICKETS)),
            keys: self.claims_keys.clone().map(KeyFile::new),
            session: self.claims_session.clone().unwrap_or_else(|| host_name.to_owned()),
            allows_address: self.token_in_address,
        }
    }

    /// The pages that may connect.
    #[must_use]
    pub fn origins(&self) -> Origins {
        Origins { allowed: self.origins.clone(), trusts_forwarded_host: self.forwarded_headers }
    }

    /// Who may see and change who is connected.
    #[must_use]
    pub fn administrator(&self) -> Option<TokenFile> {
        self.administrator_token.clone().map(TokenFile::new)
    }
}

impl Given<'_> {
    pub(super) fn access(&self) -> Result<Access, SettingsError> {
        let path = |row| Ok(self.read_if_set(row, folder)?.map(PathBuf::from));
        let total = self.read(&t::VNC_MAX_VIEWERS, viewers)?;
        let access = Access {
            origins: self.read_if_set(&t::VNC_ORIGINS, origins)?.unwrap_or_default(),
            claims_keys: path(&t::VNC_CLAIMS_KEYS_FILE)?,
            claims_session: self.text(&t::VNC_CLAIMS_SESSION),
            tickets: self.read(&t::VNC_TICKETS, boolean)?,
            administrator_token: path(&t::VNC_ADMINISTRATOR_TOKEN_FILE)?,
            token_in_address: self.read(&t::VNC_TOKEN_IN_ADDRESS, boolean)?,
            limits: Limits {
                total,
                of_user: self.read(&t::VNC_MAX_VIEWERS_OF_USER, viewers)?,
                of_address: self.read_if_set(&t::VNC_MAX_VIEWERS_OF_ADDRESS, viewers)?.unwrap_or(total),
            },
            forwarded_headers: self.read(&t::VNC_FORWARDED_HEADERS, boolean)?,
            tls: path(&t::VNC_TLS_FOLDER)?,
        };
        self.check(&access)?;
        Ok(access)
    }

    /// What makes no sense together was not meant so, and may leave the desktop more open than was thought.
    fn check(&self, access: &Access) -> Result<(), SettingsError> {
        let is_not_set = |row| format!("{} is not set", (self.name)(row));
        if access.tickets && access.administrator_token.is_none() {
            let way_out = "nobody could get a ticket; name the file with the administrator's token, or leave tickets out";
            return Err(self.contradiction_with(&t::VNC_TICKETS, is_not_set(&t::VNC_ADMINISTRATOR_TOKEN_FILE), way_out));
        }
        if access.claims_session.is_some() && access.claims_keys.is_none() {
            let way_out = "no claims are checked; name the file with the keys that sign them, or leave the session out";
            return Err(self.contradiction_with(&t::VNC_CLAIMS_SESSION, is_not_set(&t::VNC_CLAIMS_KEYS_FILE), way_out));
        }
        if access.token_in_address && !access.tickets && access.claims_keys.is_none() {
            let way_out = "no token is asked for; set one of them, or leave the token out of the address";
            let neither = format!("neither {} nor {} is set", (self.name)(&t::VNC_TICKETS), (self.name)(&t::VNC_CLAIMS_KEYS_FILE));
            return Err(self.contradiction_with(&t::VNC_TOKEN_IN_ADDRESS, neither, way_out));
        }
        Ok(())
    }
}

fn viewers(text: &str) -> Read<usize> {
    let number = text.parse().ok().filter(|number| (1..=MOST_VIEWERS).contains(number));
    number.ok_or_else(|| format!("use a whole number from 1 to {MOST_VIEWERS}"))
}

fn origins(text: &str) -> Read<Vec<String>> {
    ValueKind::Origins.check(text).map_err(|allowed| format!("use {allowed}"))?;
    Ok(items(text).map(str::to_owned).collect())
}
