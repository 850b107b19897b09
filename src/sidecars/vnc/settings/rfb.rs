//! The TCP port of RFB, and the connection of Guacamole that leads to it.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::{Given, Row, SettingsError, table as t};
use crate::{
    api::annotations::items,
    sidecars::setting::{folder, ip, port},
};

/// The file of a password that we make ourselves.
const OWN_PASSWORD_FILE: &str = "password";
/// What stands for the pod's name in the connection's.
const POD: &str = "{pod}";

/// The TCP port of RFB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rfb {
    /// Where it listens.
    pub address: SocketAddr,
    /// The file with its passwords. We make it ourselves if there is a connection.
    pub password_file: PathBuf,
    /// The connection of Guacamole, if the desktop is to be one.
    pub connection: Option<GuacamoleConnection>,
}

/// The desktop as a connection of Guacamole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuacamoleConnection {
    /// Where the connection file is written.
    pub folder: PathBuf,
    /// The connection's name.
    pub name: String,
    /// Who may use it.
    pub users: Vec<String>,
    /// The address at which guacd finds the desktop.
    pub host: IpAddr,
}

impl Given<'_> {
    pub(super) fn rfb(&self) -> Result<Option<Rfb>, SettingsError> {
        let connection = self.guacamole_connection()?;
        let rfb_port = self.read_if_set(&t::VNC_RFB_PORT, port)?;
        let password_file = self.read_if_set(&t::VNC_RFB_PASSWORD_FILE, folder)?.map(PathBuf::from);
        let host = self.read(&t::VNC_RFB_HOST, ip)?;
        let neither = "a port for everybody is none; set both, or neither";
        match (rfb_port, password_file, connection) {
            (_, Some(_), Some(connection)) => {
                let other = format!("{} is {:?}", (self.name)(&t::VNC_GUACAMOLE_FOLDER), connection.folder.display().to_string());
                let way_out = "the password is made there, so set one of them alone";
                Err(self.contradiction_with(&t::VNC_RFB_PASSWORD_FILE, other, way_out))
            }
            (None, None, Some(_)) => {
                Err(self.lacks(&t::VNC_GUACAMOLE_FOLDER, &t::VNC_RFB_PORT, "guacd needs a port to come to; set both, or neither"))
            }
            (Some(port), None, Some(connection)) => {
                let password_file = connection.folder.join(OWN_PASSWORD_FILE);
                Ok(Some(Rfb { address: SocketAddr::new(host, port), password_file, connection: Some(connection) }))
            }
            (Some(port), Some(password_file), None) => {
                Ok(Some(Rfb { address: SocketAddr::new(host, port), password_file, connection: None }))
            }
            (Some(_), None, None) => Err(self.lacks(&t::VNC_RFB_PORT, &t::VNC_RFB_PASSWORD_FILE, neither)),
            (None, Some(_), None) => Err(self.lacks(&t::VNC_RFB_PASSWORD_FILE, &t::VNC_RFB_PORT, neither)),
            (None, None, None) => Ok(None),
        }
    }

    fn guacamole_connection(&self) -> Result<Option<GuacamoleConnection>, SettingsError> {
        let host = self.read_if_set(&t::POD_IP, ip)?;
        let Some(folder) = self.read_if_set(&t::VNC_GUACAMOLE_FOLDER, folder)?.map(PathBuf::from) else { return Ok(None) };
        let no_host = || self.lacks(&t::VNC_GUACAMOLE_FOLDER, &t::POD_IP, "guacd needs an address to come to; set it, too");
        let host = host.ok_or_else(no_host)?;
        let name = self.text(&t::VNC_GUACAMOLE_NAME).unwrap_or_default();
        let name = match self.text(&t::POD_NAME) {
            Some(pod) => name.replace(POD, &pod),
            None if name.contains(POD) => {
                return Err(self.lacks(&t::VNC_GUACAMOLE_NAME, &t::POD_NAME, "set it, too, or a name without {pod}"));
            }
            None => name,
        };
        let users = self.text(&t::VNC_GUACAMOLE_USERS).unwrap_or_default();
        Ok(Some(GuacamoleConnection { folder, name, users: items(&users).map(str::to_owned).collect(), host }))
    }

    /// A row that makes no sense without another.
    fn lacks(&self, row: &Row, missing: &Row, way_out: &str) -> SettingsError {
        self.contradiction_with(row, format!("{} is not set", (self.name)(missing)), way_out)
    }
}
