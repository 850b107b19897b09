//! The desktop: an X server beside the app, whose windows a WebSocket bridge shows in the browser.
//!
//! The X socket and the authority cookie are files shared through volumes; nothing listens on TCP but the bridge.

use crate::api::annotations::{
    Key, SidecarKind, VNC_ACCESS_SECRET, VNC_CONTAINERS, VNC_DISPLAY, VNC_MODE, VNC_PORT, VNC_RFB_PORT, VNC_SESSION, VNC_SHARED_MEMORY,
    VNC_TLS_SECRET, VNC_TOKEN_IN_ADDRESS,
};

use super::{
    Denial,
    build::{Builder, DEFAULT_USER, Parts, chosen, no_token},
    own_desktop::OwnDesktop,
    pod::{Container, Spec},
    sidecar::{Grant, Mount, Port, Rig, Variable, Volume},
};

const KIND: SidecarKind = SidecarKind::Vnc;

/// Where X clients look for the server's socket.
const SOCKET_FOLDER: &str = "/tmp/.X11-unix";
const SOCKET_VOLUME: &str = "outrigger-x11";
/// Where the authority cookie is shared with the chosen containers, and with no others.
const COOKIE_FOLDER: &str = "/run/outrigger/xauth";
const COOKIE_FILE: &str = "/run/outrigger/xauth/cookie";
const COOKIE_VOLUME: &str = "outrigger-xauth";
/// Where the bridge meets the X server; the app does not see it.
const BRIDGE_FOLDER: &str = "/run/outrigger/desk";
const BRIDGE_VOLUME: &str = "outrigger-desk";
/// The sidecar's root is read-only, and X servers write lock files and compiled keymaps to /tmp.
const TEMPORARY_VOLUME: &str = "outrigger-vnc-tmp";
const SHARED_MEMORY_VOLUME: &str = "outrigger-shm";
const SHARED_MEMORY_FOLDER: &str = "/dev/shm";
/// Who may come in, and with which certificate they are met: for the sidecar alone.
const ACCESS_FOLDER: &str = "/run/outrigger/access";
const ACCESS_VOLUME: &str = "outrigger-vnc-access";
const TLS_FOLDER: &str = "/run/outrigger/tls";
const TLS_VOLUME: &str = "outrigger-vnc-tls";

/// Sockets and cookies are tiny; a full volume must not eat the pod's memory.
const SOCKET_LIMIT: &str = "1Mi";
const STARTUP_SECONDS: u16 = 60;

/// The variables that say who may do what with the X server.
pub(crate) const IDENTITY: [&str; 2] = ["VNC_COOKIE_MODE", "VNC_MIT_SHM"];

/// What the VNC sidecar asks of a pod.
pub(crate) fn rig<'a>(builder: &Builder<'a>) -> Result<Rig<'a>, Denial> {
    let attach = builder.annotations.text(&VNC_MODE) == Some("attach");
    let containers = chosen(builder.spec, builder.annotations, &VNC_CONTAINERS, false)?;
    if attach && containers.len() != 1 {
        return Err(attach_needs_one(&containers));
    }
    let secrets = Secrets::read(builder)?;
    let own_desktop = OwnDesktop::read(builder)?;
    let identity = Identity::of(builder, &containers);
    let display = builder.annotations.text(&VNC_DISPLAY).unwrap_or_default();
    let parts = Parts {
        command: "vnc",
        user: identity.user,
        ports: [Port { name: "vnc-ws", container_port: builder.port(&VNC_PORT), protocol: "TCP" }]
            .into_iter()
            .chain(own_desktop.map(OwnDesktop::port))
            .collect(),
        env: [
            environment(builder, display, identity, attach),
            secrets.variables(),
            own_desktop.map(OwnDesktop::desktop_variables).unwrap_or_default(),
        ]
        .concat(),
        mounts: own_mounts(attach).into_iter().chain(secrets.mounts()).chain(own_desktop.map(|_| OwnDesktop::desktop_mount())).collect(),
        startup_seconds: STARTUP_SECONDS,
        tells_what_is_missing: true,
        ends: false,
    };
    let shared_memory = builder.annotations.written(&VNC_SHARED_MEMORY);
    Ok(Rig {
        kind: KIND,
        container: builder.container(KIND, parts),
        placement: builder.placement(false, false),
        volumes: volumes(attach, shared_memory)
            .into_iter()
            .chain(secrets.volumes())
            .chain(own_desktop.map(|_| OwnDesktop::volume()))
            .collect(),
        borrowed_volumes: Vec::new(),
        grants: containers.iter().map(|container| grant(container, display, attach, shared_memory.is_some())).collect(),
    })
}

/// The annotation that sets a port of the container.
pub(crate) fn port_key(port: &Port) -> &'static Key {
    if port.name == "vnc-ws" { &VNC_PORT } else { &VNC_RFB_PORT }
}

fn attach_needs_one(containers: &[&Container<'_>]) -> Denial {
    let names: Vec<&str> = containers.iter().map(|container| &*container.name).collect();
    Denial {
        key: Some(VNC_CONTAINERS.name),
        message: format!(
            "{} is \"attach\", which needs the one container that brings the X server: set {} to one of {}",
            VNC_MODE.name,
            VNC_CONTAINERS.name,
            names.join(", ")
        ),
    }
}

/// The Secrets that an author names for the sidecar.
#[derive(Debug, Clone, Copy)]
struct Secrets<'a> {
    /// With keys that sign claims, and the administrator's token.
    access: Option<&'a str>,
    /// With a certificate and its key.
    tls: Option<&'a str>,
}

impl<'a> Secrets<'a> {
    fn read(builder: &Builder<'a>) -> Result<Self, Denial> {
        let secrets = Self { access: builder.annotations.written(&VNC_ACCESS_SECRET), tls: builder.annotations.written(&VNC_TLS_SECRET) };
        let asks_for_tokens = [
            builder.annotations.written(&VNC_SESSION).map(|session| (&VNC_SESSION, session)),
            builder.annotations.written(&VNC_TOKEN_IN_ADDRESS).filter(|word| *word == "true").map(|word| (&VNC_TOKEN_IN_ADDRESS, word)),
        ];
        match (secrets.access, asks_for_tokens.into_iter().flatten().next()) {
            (None, Some((key, value))) => Err(no_tokens(key, value)),
            _ => Ok(secrets),
        }
    }

    /// What the Secret lacks is off, and what is added to it is on at once, so the sidecar is told of all that there may be.
    fn variables(self) -> Vec<Variable<'a>> {
        let access = [
            Variable::new("VNC_CLAIMS_KEYS_FILE", format!("{ACCESS_FOLDER}/claims-keys")),
            Variable::new("VNC_ADMINISTRATOR_TOKEN_FILE", format!("{ACCESS_FOLDER}/administrator-token")),
            Variable::new("VNC_TICKETS", "true"),
        ];
        let tls = Variable::new("VNC_TLS_FOLDER", TLS_FOLDER);
        let access = access.into_iter().filter(|_| self.access.is_some());
        access.chain([tls].into_iter().filter(|_| self.tls.is_some())).collect()
    }

    fn mounts(self) -> Vec<Mount<'static>> {
        let mounts = [(self.access, ACCESS_VOLUME, ACCESS_FOLDER), (self.tls, TLS_VOLUME, TLS_FOLDER)];
        mounts.into_iter().filter_map(|(secret, volume, folder)| secret.map(|_| Mount::read_only(volume, folder))).collect()
    }

    fn volumes(self) -> impl Iterator<Item = Volume<'a>> {
        let volumes = [(self.access, ACCESS_VOLUME), (self.tls, TLS_VOLUME)];
        volumes.into_iter().filter_map(|(secret, volume)| Some(Volume::secret(volume, secret?)))
    }
}

fn no_tokens(key: &'static Key, value: &str) -> Denial {
    Denial {
        key: Some(key.name),
        message: format!(
            "{} is {value:?}, and no token is asked for without {}: name the Secret with claims-keys or administrator-token, or leave {} out",
            key.name, VNC_ACCESS_SECRET.name, key.name
        ),
    }
}

/// Who the X server is, seen from its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    user: i64,
    /// Whether every chosen container certainly runs as the same user. Only then may clients share memory with the
    /// server (others abort, refused by its extension), and only then can the cookie be hidden from everybody else.
    shared: bool,
}

impl Identity {
    fn of(builder: &Builder<'_>, containers: &[&Container<'_>]) -> Self {
        let user_of =
            |container: &&Container<'_>| container.security_context.and_then(|context| context.run_as_user).or_else(|| builder.pod_user());
        let mut users = containers.iter().map(user_of);
        let first = users.next().flatten();
        let common = first.filter(|first| users.all(|user| user == Some(*first)));
        // A sidecar that is there already, ours or the user's, runs as whom it says.
        let there = |spec: &Spec<'_>| {
            let all = spec.init_containers.items().iter().chain(spec.containers.items());
            all.filter(|container| &*container.name == KIND.container()).find_map(|container| container.security_context?.run_as_user)
        };
        let user =
            there(builder.spec).or_else(|| builder.written_user(KIND)).or_else(|| common.filter(|user| *user > 0)).unwrap_or(DEFAULT_USER);
        Self { user, shared: common == Some(user) }
    }
}

fn environment<'a>(builder: &Builder<'a>, display: &'a str, identity: Identity, attach: bool) -> Vec<Variable<'a>> {
    let mut env = vec![Variable::new("DISPLAY", display)];
    if !attach {
        env.push(Variable::new("XAUTHORITY", COOKIE_FILE));
        env.push(Variable::new("VNC_COOKIE_MODE", if identity.shared { "0440" } else { "0444" }));
    }
    env.push(Variable::new("VNC_MIT_SHM", if identity.shared { "true" } else { "false" }));
    env.extend(builder.written_variables(KIND));
    env
}

fn own_mounts(attach: bool) -> Vec<Mount<'static>> {
    let mut mounts = vec![Mount::writable(TEMPORARY_VOLUME, "/tmp")];
    if attach {
        mounts.push(Mount::read_only(SOCKET_VOLUME, SOCKET_FOLDER));
    } else {
        mounts.push(Mount::writable(SOCKET_VOLUME, SOCKET_FOLDER));
        mounts.push(Mount::writable(COOKIE_VOLUME, COOKIE_FOLDER));
    }
    mounts.push(Mount::writable(BRIDGE_VOLUME, BRIDGE_FOLDER));
    mounts.push(no_token().1);
    mounts
}

fn volumes(attach: bool, shared_memory: Option<&str>) -> Vec<Volume<'_>> {
    let mut volumes = vec![Volume::memory(SOCKET_VOLUME, SOCKET_LIMIT)];
    if !attach {
        volumes.push(Volume::memory(COOKIE_VOLUME, SOCKET_LIMIT));
    }
    volumes.push(Volume::memory(BRIDGE_VOLUME, SOCKET_LIMIT));
    volumes.push(Volume::scratch(TEMPORARY_VOLUME));
    volumes.push(no_token().0);
    volumes.extend(shared_memory.map(|size| Volume::memory(SHARED_MEMORY_VOLUME, size)));
    volumes
}

/// What a container with windows gets. It can't remove the server's socket, unless the server is its own.
fn grant<'a>(container: &'a Container<'_>, display: &'a str, attach: bool, shared_memory: bool) -> Grant<'a> {
    let mut mounts = Vec::new();
    let mut env = Vec::new();
    if attach {
        mounts.push(Mount::writable(SOCKET_VOLUME, SOCKET_FOLDER));
    } else {
        mounts.push(Mount::read_only(SOCKET_VOLUME, SOCKET_FOLDER));
        mounts.push(Mount::read_only(COOKIE_VOLUME, COOKIE_FOLDER));
        env.push(Variable::new("DISPLAY", display));
        env.push(Variable::new("XAUTHORITY", COOKIE_FILE));
    }
    if shared_memory {
        mounts.push(Mount::writable(SHARED_MEMORY_VOLUME, SHARED_MEMORY_FOLDER));
    }
    Grant { container: &container.name, mounts, env }
}

/// The way out of a conflict with one of our additions, in words for the denial.
pub(crate) fn way_out(container: &str, path: &str) -> String {
    if path == SHARED_MEMORY_FOLDER {
        return format!("remove {}, or leave {container} out with {}", VNC_SHARED_MEMORY.name, VNC_CONTAINERS.name);
    }
    format!(
        "set {} to the same display, leave {container} out with {}, or set {} to \"attach\" if it brings its own X server",
        VNC_DISPLAY.name, VNC_CONTAINERS.name, VNC_MODE.name
    )
}
