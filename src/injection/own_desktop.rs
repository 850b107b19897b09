//! A pod's own desktop as a connection of Guacamole: the desktop writes a connection file, and the provisioner beside it reads that.
//!
//! The file has the password of the desktop's port. It is in a volume in memory that these two sidecars mount, and nobody else.

use std::borrow::Cow;

use crate::api::annotations::{GUACAMOLE_DESKTOP, GUACAMOLE_DESKTOP_USERS, GUACAMOLE_OWNER, INJECT, SidecarKind, VNC_RFB_PORT, items};

use super::{
    Denial,
    build::{Builder, escaped},
    sidecar::{Mount, Port, Variable, Volume},
};

const VOLUME: &str = "outrigger-own-desktop";
/// Where the desktop writes.
const FOLDER: &str = "/run/outrigger/guacamole";
/// Where the provisioner reads, below its folder of connections. No Secret can have this name.
const CONNECTIONS_FOLDER: &str = "own_desktop";
/// A connection file and a password are tiny.
const SIZE_LIMIT: &str = "1Mi";
/// What stands for the pod's name in the connection's.
const POD: &str = "{pod}";

/// What the annotations say of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnDesktop<'a> {
    name: &'a str,
    users: Option<&'a str>,
    rfb_port: u16,
}

impl<'a> OwnDesktop<'a> {
    /// The connection that the pod asks for, if it does.
    pub(super) fn read(builder: &Builder<'a>) -> Result<Option<Self>, Denial> {
        let asks_for = |kind: SidecarKind| {
            let named = builder.annotations.written(&INJECT).unwrap_or_default();
            items(named).any(|name| name == kind.as_str())
        };
        let name = builder.annotations.written(&GUACAMOLE_DESKTOP).filter(|_| asks_for(SidecarKind::Guacamole));
        let dependent = [(&VNC_RFB_PORT, SidecarKind::Vnc), (&GUACAMOLE_DESKTOP_USERS, SidecarKind::Guacamole)];
        let idle = dependent.into_iter().find(|(key, kind)| asks_for(*kind) && builder.annotations.written(key).is_some());
        match (name, idle) {
            (Some(_), _) if !asks_for(SidecarKind::Vnc) => Err(Denial {
                key: Some(GUACAMOLE_DESKTOP.name),
                message: format!(
                    "{} registers the pod's own desktop, and {} does not name vnc: add it there, or leave {} out",
                    GUACAMOLE_DESKTOP.name, INJECT.name, GUACAMOLE_DESKTOP.name
                ),
            }),
            (Some(name), _) => {
                let users = builder.annotations.written(&GUACAMOLE_DESKTOP_USERS);
                Ok(Some(Self { name, users, rfb_port: builder.port(&VNC_RFB_PORT) }))
            }
            (None, Some((key, _))) => Err(Denial {
                key: Some(key.name),
                message: format!(
                    "{} is for a desktop that is registered in Guacamole: set {} too, with vnc and guacamole in {}, or leave {} out",
                    key.name, GUACAMOLE_DESKTOP.name, INJECT.name, key.name
                ),
            }),
            (None, None) => Ok(None),
        }
    }

    /// The variables of the desktop's sidecar.
    pub(super) fn desktop_variables(self) -> Vec<Variable<'a>> {
        let users = self.users.map(|users| Variable::new("VNC_GUACAMOLE_USERS", escaped(users)));
        let variables = [
            Variable::of_pod("POD_IP", "status.podIP"),
            Variable::of_pod("POD_NAME", "metadata.name"),
            Variable::new("VNC_RFB_PORT", self.rfb_port.to_string()),
            Variable::new("VNC_RFB_HOST", "::"),
            Variable::new("VNC_GUACAMOLE_FOLDER", FOLDER),
            Variable::new("VNC_GUACAMOLE_NAME", escaped(self.name)),
        ];
        variables.into_iter().chain(users).collect()
    }

    /// The variables of the provisioner. With the pod's name in its own, the connection is no other pod's, and so must be the owner:
    /// of several provisioners with one owner, one alone writes.
    pub(super) fn provisioner_variables(self, written: Vec<Variable<'a>>, builder: &Builder<'a>) -> Vec<Variable<'a>> {
        if !self.name.contains(POD) {
            return written;
        }
        let owner = builder.annotations.text(&GUACAMOLE_OWNER).unwrap_or_default();
        let own: Cow<'_, str> = format!("{owner}.$(POD_NAME)").into();
        let others = written.into_iter().filter(|variable| Some(variable.name) != GUACAMOLE_OWNER.variable);
        others.chain([Variable::of_pod("POD_NAME", "metadata.name"), Variable::new("OWNER", own)]).collect()
    }

    pub(super) const fn port(self) -> Port {
        Port { name: "vnc-rfb", container_port: self.rfb_port, protocol: "TCP" }
    }

    pub(super) fn desktop_mount() -> Mount<'static> {
        Mount::writable(VOLUME, FOLDER)
    }

    /// `connections` is the provisioner's folder of connections.
    pub(super) fn provisioner_mount(connections: &str) -> Mount<'static> {
        Mount::read_only(VOLUME, format!("{connections}/{CONNECTIONS_FOLDER}"))
    }

    pub(super) const fn volume() -> Volume<'static> {
        Volume::memory(VOLUME, SIZE_LIMIT)
    }
}
