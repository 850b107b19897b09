//! The desktop: an X server beside the app, whose windows a WebSocket bridge shows in the browser.
//!
//! The X socket and the authority cookie are files shared through volumes; nothing listens on TCP but the bridge.

use crate::api::annotations::{SidecarKind, VNC_CONTAINERS, VNC_DISPLAY, VNC_MODE, VNC_PORT, VNC_SHARED_MEMORY};

use super::{
    Denial,
    build::{Builder, DEFAULT_USER, Parts, chosen, no_token},
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
    let identity = Identity::of(builder, &containers);
    let display = builder.annotations.text(&VNC_DISPLAY).unwrap_or_default();
    let parts = Parts {
        command: "vnc",
        user: identity.user,
        ports: vec![Port { name: "vnc-ws", container_port: builder.port(&VNC_PORT), protocol: "TCP" }],
        env: environment(builder, display, identity, attach),
        mounts: own_mounts(attach),
        startup_seconds: STARTUP_SECONDS,
        tells_what_is_missing: true,
        ends: false,
    };
    let shared_memory = builder.annotations.written(&VNC_SHARED_MEMORY);
    Ok(Rig {
        kind: KIND,
        container: builder.container(KIND, parts),
        placement: builder.placement(false, false),
        volumes: volumes(attach, shared_memory),
        borrowed_volumes: Vec::new(),
        grants: containers.iter().map(|container| grant(container, display, attach, shared_memory.is_some())).collect(),
    })
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
