//! The file mirror: ConfigMaps and Secrets as files in a folder that the app sees.
//!
//! It speaks to the API server with the pod's own ServiceAccount, through a token volume that no other container mounts.

use std::net::IpAddr;

use crate::api::{
    annotations::{
        FILE_SYNC_CONTAINERS, FILE_SYNC_FILE_MODE, FILE_SYNC_FOLDER, FILE_SYNC_KINDS, FILE_SYNC_LABEL, FILE_SYNC_MODE, FILE_SYNC_NAMES,
        FILE_SYNC_NAMESPACES, FILE_SYNC_NOTIFY_INITIAL, FILE_SYNC_NOTIFY_SECRET, FILE_SYNC_NOTIFY_URL, FILE_SYNC_USER_ID, FILE_SYNC_VOLUME,
        Key, SidecarKind,
    },
    file_access::{CONFIG_MAP_MODE, SECRET_MODE, can_read},
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

/// What the pod's author should know about what the sidecar will do.
pub(crate) fn warnings(builder: &Builder<'_>) -> Vec<String> {
    [unreadable(builder), told_too_early(builder)].into_iter().flatten().collect()
}

/// A warning for an app that can't read what will be written. Of one whose user its image decides nothing is known.
fn unreadable(builder: &Builder<'_>) -> Option<String> {
    let written = builder.annotations.written(&FILE_SYNC_FILE_MODE);
    let mode = match written.and_then(|text| u32::from_str_radix(text, 8).ok()) {
        Some(mode) => mode,
        None if builder.annotations.text(&FILE_SYNC_KINDS) == Some("configmaps") => CONFIG_MAP_MODE,
        None => SECRET_MODE,
    };
    let pod = builder.spec.security_context.as_ref();
    let number = |id: i64| u32::try_from(id).ok();
    let owner = number(sidecar_user(builder))?;
    // Files belong to the group of their volume where it has one.
    let volume = pod.and_then(|pod| pod.fs_group).and_then(number);
    let owners = volume.or_else(|| builder.pod_group().and_then(number)).unwrap_or(owner);
    let further = pod.map(|pod| pod.supplemental_groups.items()).unwrap_or_default();
    let containers = chosen(builder.spec, builder.annotations, &FILE_SYNC_CONTAINERS, true).ok()?;
    let (name, user) = containers.into_iter().find_map(|container| {
        let own = container.security_context;
        let user = own.and_then(|own| own.run_as_user).or_else(|| builder.pod_user()).and_then(number)?;
        let group = own.and_then(|own| own.run_as_group).or_else(|| builder.pod_group());
        let groups: Vec<u32> = group.into_iter().chain(further.iter().copied()).filter_map(number).chain(volume).collect();
        (!can_read(mode, (owner, owners), user, &groups)).then_some((&*container.name, user))
    })?;
    Some(format!(
        "container {name} runs as user {user} and can't read the files, which are user {owner}'s with mode {mode:04o}: set the pod's \
         securityContext.fsGroup, set {} to {user:?}, or set {} to \"0444\"",
        FILE_SYNC_USER_ID.name,
        FILE_SYNC_FILE_MODE.name,
        user = user.to_string(),
    ))
}

/// The user the sidecar runs as, also where its container is the author's.
fn sidecar_user(builder: &Builder<'_>) -> i64 {
    let all = builder.spec.init_containers.items().iter().chain(builder.spec.containers.items());
    let written =
        all.filter(|container| &*container.name == KIND.container()).find_map(|container| container.security_context?.run_as_user);
    written.unwrap_or_else(|| builder.user(KIND))
}

/// A warning for an app that would be called before it can start.
fn told_too_early(builder: &Builder<'_>) -> Option<String> {
    let url = builder.annotations.written(&FILE_SYNC_NOTIFY_URL)?;
    let is_once = builder.annotations.text(&FILE_SYNC_MODE) == Some("once");
    (is_once && is_loopback(url)).then(|| {
        format!(
            "{} is \"once\", so {} is called while no container of the pod has started yet, and not again: nobody hears it",
            FILE_SYNC_MODE.name, FILE_SYNC_NOTIFY_URL.name
        )
    })
}

/// Whether an address leads to the pod itself.
fn is_loopback(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
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
        let value = match (variable.name, variable.value().unwrap_or_default()) {
            (name, "configmaps") if Some(name) == FILE_SYNC_KINDS.variable => "configmap",
            (name, "secrets") if Some(name) == FILE_SYNC_KINDS.variable => "secret",
            // The annotation says what happens, the variable what does not.
            (name, "true") if Some(name) == FILE_SYNC_NOTIFY_INITIAL.variable => "false",
            (name, "false") if Some(name) == FILE_SYNC_NOTIFY_INITIAL.variable => "true",
            _ => continue,
        };
        *variable = Variable::new(variable.name, value);
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

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn addresses_of_the_pod_itself_are_known() {
        for url in ["http://localhost:3000/reload", "http://LOCALHOST", "https://127.0.0.1/", "http://127.1.2.3:80?x", "http://[::1]:8080/"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://app/localhost", "http://localhost.example.com", "http://10.0.0.1", "http://[fd00::1]/", "http://a.b:127"] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
