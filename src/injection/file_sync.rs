//! The file mirror: ConfigMaps and Secrets as files in a folder that the app sees.
//!
//! It speaks to the API server with the pod's own ServiceAccount, through a token volume that no other container mounts.

use std::borrow::Cow;

use crate::api::annotations::{
    FILE_SYNC_CONTAINERS, FILE_SYNC_FOLDER, FILE_SYNC_KINDS, FILE_SYNC_LABEL, FILE_SYNC_MODE, FILE_SYNC_NAMES, FILE_SYNC_NAMESPACES,
    FILE_SYNC_NOTIFY_INITIAL, FILE_SYNC_NOTIFY_SECRET, FILE_SYNC_VOLUME, Key, SidecarKind,
};

use super::{
    Denial,
    build::{Builder, Parts, TOKEN_FOLDER, chosen},
    mesh,
    pod::Container,
    sidecar::{BorrowedVolume, Grant, Mount, Rig, Variable, Volume},
};

const KIND: SidecarKind = SidecarKind::FileSync;

const FILES_VOLUME: &str = "outrigger-files";
const TOKEN_VOLUME: &str = "outrigger-file-sync-token";
const NOTIFY_VOLUME: &str = "outrigger-file-sync-notify";
const NOTIFY_FOLDER: &str = "/run/outrigger/notify";

/// The word by which the program looks in the pod's own namespace.
const OWN_NAMESPACE: &str = "OWN";

/// The first sync may wait for a slow API server; the app waits with it.
const STARTUP_SECONDS: u16 = 300;

/// What the file-sync sidecar asks of a pod.
pub(crate) fn rig<'a>(builder: &Builder<'a>) -> Result<Rig<'a>, Denial> {
    let folder = builder.annotations.written(&FILE_SYNC_FOLDER).ok_or_else(|| missing(&FILE_SYNC_FOLDER, "/srv/files"))?;
    if builder.annotations.written(&FILE_SYNC_LABEL).is_none() && builder.annotations.written(&FILE_SYNC_NAMES).is_none() {
        return Err(missing(&FILE_SYNC_LABEL, "app.kubernetes.io/part-of"));
    }
    let ends = builder.annotations.text(&FILE_SYNC_MODE) == Some("once");
    if let (true, Some(proxy)) = (ends, mesh::plain_proxy(builder.spec)) {
        let message = format!(
            "{} is \"once\", and traffic is redirected to {}, which starts only after all init containers: use \"watch\", or a native proxy",
            FILE_SYNC_MODE.name, proxy.name
        );
        return Err(Denial { key: Some(FILE_SYNC_MODE.name), message });
    }
    let containers = chosen(builder.spec, builder.annotations, &FILE_SYNC_CONTAINERS, true)?;
    let borrowed = builder.annotations.written(&FILE_SYNC_VOLUME);
    let files = borrowed.unwrap_or(FILES_VOLUME);
    let notify_secret = builder.annotations.written(&FILE_SYNC_NOTIFY_SECRET);
    let parts = Parts {
        command: "file-sync",
        user: builder.user(KIND),
        ports: Vec::new(),
        env: environment(builder, notify_secret.is_some()),
        mounts: own_mounts(files, folder, notify_secret.is_some()),
        startup_seconds: STARTUP_SECONDS,
        tells_what_is_missing: true,
        ends,
    };
    Ok(Rig {
        kind: KIND,
        container: builder.container(KIND, parts),
        placement: builder.placement(true, ends),
        volumes: volumes(borrowed, notify_secret),
        borrowed_volumes: borrowed.map(|name| BorrowedVolume { name, key: FILE_SYNC_VOLUME.name, written: true }).into_iter().collect(),
        grants: containers.into_iter().filter_map(|container| grant(container, files, folder)).collect(),
    })
}

/// The denial for a setting the sidecar can't work without.
pub(crate) fn missing(key: &'static Key, example: &str) -> Denial {
    let sidecar = key.sidecar().map_or("the pod", SidecarKind::as_str);
    Denial { key: Some(key.name), message: format!("{sidecar} needs the annotation {}, such as {example:?}", key.name) }
}

/// The written settings under the names the program reads them by.
fn environment<'a>(builder: &Builder<'a>, has_notify_secret: bool) -> Vec<Variable<'a>> {
    let mut env = builder.written_variables(KIND);
    if builder.annotations.written(&FILE_SYNC_NAMESPACES).is_none() {
        // The program by itself would look everywhere.
        env.extend(FILE_SYNC_NAMESPACES.variable.map(|name| Variable::new(name, OWN_NAMESPACE)));
    }
    for variable in &mut env {
        let value = match (variable.name, &*variable.value) {
            (name, "configmaps") if Some(name) == FILE_SYNC_KINDS.variable => "configmap",
            (name, "secrets") if Some(name) == FILE_SYNC_KINDS.variable => "secret",
            // The annotation says what happens, the variable what does not.
            (name, "true") if Some(name) == FILE_SYNC_NOTIFY_INITIAL.variable => "false",
            (name, "false") if Some(name) == FILE_SYNC_NOTIFY_INITIAL.variable => "true",
            _ => continue,
        };
        variable.value = Cow::Borrowed(value);
    }
    if has_notify_secret {
        env.push(Variable::new("REQ_USERNAME_FILE", format!("{NOTIFY_FOLDER}/username")));
        env.push(Variable::new("REQ_PASSWORD_FILE", format!("{NOTIFY_FOLDER}/password")));
    }
    env
}

fn own_mounts<'a>(files: &'a str, folder: &'a str, has_notify_secret: bool) -> Vec<Mount<'a>> {
    let mut mounts = vec![Mount::writable(files, folder), Mount::read_only(TOKEN_VOLUME, TOKEN_FOLDER)];
    if has_notify_secret {
        mounts.push(Mount::read_only(NOTIFY_VOLUME, NOTIFY_FOLDER));
    }
    mounts
}

fn volumes<'a>(borrowed: Option<&str>, notify_secret: Option<&'a str>) -> Vec<Volume<'a>> {
    let mut volumes = Vec::new();
    if borrowed.is_none() {
        volumes.push(Volume::scratch(FILES_VOLUME));
    }
    volumes.push(Volume::service_account(TOKEN_VOLUME));
    volumes.extend(notify_secret.map(|secret| Volume::secret(NOTIFY_VOLUME, secret)));
    volumes
}

/// The folder in a container that doesn't mount the volume already.
fn grant<'a>(container: &'a Container<'_>, files: &'a str, folder: &'a str) -> Option<Grant<'a>> {
    let borrowed = files != FILES_VOLUME;
    let mounts_it = container.volume_mounts.items().iter().any(|mount| &*mount.name == files);
    if borrowed && mounts_it {
        return None;
    }
    Some(Grant { container: &container.name, mounts: vec![Mount::read_only(files, folder)], env: Vec::new() })
}

/// The way out of a conflict with one of our additions, in words for the denial. `volume` is the one in the way, if files
/// may be written to it.
pub(crate) fn way_out(container: &str, volume: Option<&str>) -> String {
    let apart = format!("choose another {}, or leave {container} out with {}", FILE_SYNC_FOLDER.name, FILE_SYNC_CONTAINERS.name);
    match volume {
        Some(volume) => format!("{apart}, or let the files be written to that volume with {}: {volume:?}", FILE_SYNC_VOLUME.name),
        None => apart,
    }
}
