//! What all sidecars' containers have in common.

use std::borrow::Cow;

use crate::api::{
    annotations::{self, Annotations, Key, SidecarKind, ValueKind},
    duration,
    quantity::Quantity,
};

use super::{
    mesh,
    pod::{Container as PodContainer, Spec},
    settings::Settings,
    sidecar::{
        Amounts, Container, Exec, Handler, HttpGet, Lifecycle, Mount, Placement, Port, Probe, ProbeWay, Resources, SecurityContext,
        Variable, Volume,
    },
};

/// The user sidecars run as where nothing says otherwise.
pub(crate) const DEFAULT_USER: i64 = 1000;

/// Where Kubernetes clients look for a token. The API server mounts the pod's own there, into every container that has
/// nothing at this path.
pub(crate) const TOKEN_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const NO_TOKEN_VOLUME: &str = "outrigger-no-token";

/// An empty volume for that path: a sidecar that never speaks to the API server, and may face a browser, gets no token.
pub(crate) fn no_token() -> (Volume<'static>, Mount<'static>) {
    (Volume::memory(NO_TOKEN_VOLUME, "1Mi"), Mount::read_only(NO_TOKEN_VOLUME, TOKEN_FOLDER))
}

/// Tells a sidecar's program the version of whoever added it: its image may be of another one.
pub const VERSION_VARIABLE: &str = "OUTRIGGER_VERSION";

/// The keys that every sidecar has under its own prefix.
struct CommonKeys {
    image: &'static Key,
    user_id: &'static Key,
    health_port: &'static Key,
    cpu_request: &'static Key,
    cpu_limit: &'static Key,
    memory_request: &'static Key,
    memory_limit: &'static Key,
}

const fn common_keys(kind: SidecarKind) -> CommonKeys {
    use annotations as a;
    match kind {
        SidecarKind::Vnc => CommonKeys {
            image: &a::VNC_IMAGE,
            user_id: &a::VNC_USER_ID,
            health_port: &a::VNC_HEALTH_PORT,
            cpu_request: &a::VNC_CPU_REQUEST,
            cpu_limit: &a::VNC_CPU_LIMIT,
            memory_request: &a::VNC_MEMORY_REQUEST,
            memory_limit: &a::VNC_MEMORY_LIMIT,
        },
        SidecarKind::FileSync => CommonKeys {
            image: &a::FILE_SYNC_IMAGE,
            user_id: &a::FILE_SYNC_USER_ID,
            health_port: &a::FILE_SYNC_HEALTH_PORT,
            cpu_request: &a::FILE_SYNC_CPU_REQUEST,
            cpu_limit: &a::FILE_SYNC_CPU_LIMIT,
            memory_request: &a::FILE_SYNC_MEMORY_REQUEST,
            memory_limit: &a::FILE_SYNC_MEMORY_LIMIT,
        },
        SidecarKind::Guacamole => CommonKeys {
            image: &a::GUACAMOLE_IMAGE,
            user_id: &a::GUACAMOLE_USER_ID,
            health_port: &a::GUACAMOLE_HEALTH_PORT,
            cpu_request: &a::GUACAMOLE_CPU_REQUEST,
            cpu_limit: &a::GUACAMOLE_CPU_LIMIT,
            memory_request: &a::GUACAMOLE_MEMORY_REQUEST,
            memory_limit: &a::GUACAMOLE_MEMORY_LIMIT,
        },
    }
}

/// Resources a sidecar gets unless annotations or the installation say otherwise: request and limit of CPU, then memory.
const fn default_resources(kind: SidecarKind) -> [&'static str; 4] {
    match kind {
        SidecarKind::Vnc => ["100m", "1", "128Mi", "512Mi"],
        SidecarKind::FileSync | SidecarKind::Guacamole => ["10m", "200m", "32Mi", "128Mi"],
    }
}

/// The image that `make image` makes for a sidecar.
const fn default_image(kind: SidecarKind) -> &'static str {
    match kind {
        SidecarKind::Vnc => concat!("localhost/outrigger-desktop:", env!("CARGO_PKG_VERSION")),
        SidecarKind::FileSync | SidecarKind::Guacamole => concat!("localhost/outrigger:", env!("CARGO_PKG_VERSION")),
    }
}

/// How the sidecars of a pod are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Init containers that keep running.
    Native,
    /// Containers before the app's that hold back those after them until they are ready.
    PlainWaiting,
    /// Containers that hold nothing back: the network is redirected to a proxy that starts later.
    Plain,
}

/// Decides the style for a pod, and says what its author should know about it.
pub(crate) fn style(annotations: &Annotations<'_>, spec: &Spec<'_>) -> (Style, Option<String>) {
    let proxy = mesh::plain_proxy(spec);
    match (annotations.text(&annotations::NATIVE_SIDECAR), proxy) {
        (Some("true"), Some(proxy)) => (Style::Native, Some(unreachable_network(&proxy, "native sidecars start before it"))),
        (Some("true" | "auto"), None) => (Style::Native, None),
        (_, Some(proxy)) if proxy.index.is_none() => (Style::Plain, Some(unreachable_network(&proxy, "the app is not held back"))),
        _ => (Style::PlainWaiting, None),
    }
}

/// What the author should know whose pod got native sidecars before a mesh's plain proxy came. Called again, we can't move
/// them: they may hold back the pod for good, since the proxy starts after them.
pub(crate) fn proxy_came_later(annotations: &Annotations<'_>, spec: &Spec<'_>) -> Option<String> {
    let asked_for = annotations.text(&annotations::NATIVE_SIDECAR) == Some("true");
    let ours = |container: &PodContainer<'_>| SidecarKind::ALL.iter().any(|kind| kind.container() == &*container.name);
    let native = spec.init_containers.items().iter().any(|container| ours(container) && container.is_native_sidecar());
    let proxy = mesh::plain_proxy(spec).filter(|_| native && !asked_for)?;
    let way_out = format!("call the mesh's webhook before Outrigger's, or set {} to \"false\"", annotations::NATIVE_SIDECAR.name);
    Some(format!("the native sidecars start before {}, which came later and takes their traffic: {way_out}", proxy.name))
}

fn unreachable_network(proxy: &mesh::PlainProxy, consequence: &str) -> String {
    format!("traffic is redirected to {}, which is a plain container that has not started yet: {consequence}", proxy.name)
}

/// A warning for a pod that is to end, beside which a plain container does not.
pub(crate) fn never_completes(style: Style, spec: &Spec<'_>) -> Option<String> {
    let ends = spec.restart_policy.as_deref().is_some_and(|policy| policy != "Always");
    (style != Style::Native && ends)
        .then(|| "the sidecars are plain containers, which run on when the app has ended: the pod never completes".to_owned())
}

/// All that is needed to build sidecars for one pod.
pub(crate) struct Builder<'a> {
    pub(crate) annotations: &'a Annotations<'a>,
    pub(crate) settings: &'a Settings,
    pub(crate) spec: &'a Spec<'a>,
    pub(crate) style: Style,
}

/// What differs from sidecar to sidecar.
pub(crate) struct Parts<'a> {
    pub(crate) command: &'static str,
    pub(crate) user: i64,
    pub(crate) ports: Vec<Port>,
    pub(crate) env: Vec<Variable<'a>>,
    pub(crate) mounts: Vec<Mount<'a>>,
    /// Seconds the sidecar may take to be up before it is started again.
    pub(crate) startup_seconds: u16,
    /// Whether its program tells what the app waits for: the kubelet shows in an Event what a command prints, but not what a
    /// port answers.
    pub(crate) tells_what_is_missing: bool,
    /// Whether it ends before the app starts.
    pub(crate) ends: bool,
}

impl<'a> Builder<'a> {
    /// A sidecar's container.
    pub(crate) fn container(&self, kind: SidecarKind, parts: Parts<'a>) -> Container<'a> {
        let port = self.health_port(kind);
        let probes = !parts.ends;
        let waits = self.style == Style::PlainWaiting && probes;
        Container {
            name: kind.container(),
            image: self.image(kind),
            image_pull_policy: &self.settings.image_pull_policy,
            restart_policy: (self.style == Style::Native && probes).then_some("Always"),
            command: vec!["outrigger", parts.command],
            ports: parts.ports,
            env: parts.env.into_iter().chain([Variable::new(VERSION_VARIABLE, env!("CARGO_PKG_VERSION"))]).collect(),
            resources: self.resources(kind),
            volume_mounts: parts.mounts,
            startup_probe: probes.then(|| {
                let way = if parts.tells_what_is_missing {
                    ProbeWay::Exec(Exec { command: vec!["outrigger", parts.command, "probe"] })
                } else {
                    ProbeWay::HttpGet(HttpGet { path: "/startupz", port })
                };
                probe(way, 1, parts.startup_seconds)
            }),
            liveness_probe: probes.then(|| probe(ProbeWay::HttpGet(HttpGet { path: "/livez", port }), 10, 3)),
            lifecycle: waits
                .then(|| Lifecycle { post_start: Handler { exec: Exec { command: vec!["outrigger", parts.command, "wait"] } } }),
            security_context: SecurityContext::restricted(parts.user, self.pod_group().is_some()),
        }
    }

    /// Where a sidecar goes that starts before the app's init containers (`early`) or after them.
    pub(crate) fn placement(&self, early: bool, ends: bool) -> Placement {
        match (self.style, early) {
            (Style::Plain | Style::PlainWaiting, _) if !ends => Placement::BesideProxy,
            (_, true) => Placement::BeforeInit,
            (_, false) => Placement::AfterInit,
        }
    }

    /// The variables of a sidecar that somebody wrote, as the table names them.
    pub(crate) fn written_variables(&self, kind: SidecarKind) -> Vec<Variable<'a>> {
        let settings = self.annotations.iter().filter(|setting| setting.key.sidecar() == Some(kind));
        settings.filter_map(|setting| Some(Variable::new(setting.key.variable?, in_program_terms(setting.key, &setting.value)))).collect()
    }

    /// The port on which the kubelet probes a sidecar.
    pub(crate) fn health_port(&self, kind: SidecarKind) -> u16 {
        self.port(common_keys(kind).health_port)
    }

    /// The key that sets it.
    pub(crate) const fn health_port_key(kind: SidecarKind) -> &'static Key {
        common_keys(kind).health_port
    }

    /// A port's number. Values were checked when the request was read, so the fallback is never used.
    pub(crate) fn port(&self, key: &'static Key) -> u16 {
        self.annotations.text(key).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// The user an annotation names for a sidecar.
    pub(crate) fn written_user(&self, kind: SidecarKind) -> Option<i64> {
        self.annotations.written(common_keys(kind).user_id).and_then(|text| text.parse().ok())
    }

    /// The user of a sidecar that shares nothing with the app: the annotation's, the pod's unless that is root, or 1000.
    pub(crate) fn user(&self, kind: SidecarKind) -> i64 {
        self.written_user(kind).or_else(|| self.pod_user().filter(|user| *user > 0)).unwrap_or(DEFAULT_USER)
    }

    /// The user the pod sets for all containers.
    pub(crate) fn pod_user(&self) -> Option<i64> {
        self.spec.security_context.as_ref().and_then(|context| context.run_as_user)
    }

    /// The group the pod sets for all containers.
    pub(crate) fn pod_group(&self) -> Option<i64> {
        self.spec.security_context.as_ref().and_then(|context| context.run_as_group)
    }

    fn image(&self, kind: SidecarKind) -> &'a str {
        let written = self.annotations.written(common_keys(kind).image);
        written.or_else(|| self.settings.sidecar(kind).image.as_deref()).unwrap_or_else(|| default_image(kind))
    }

    fn resources(&self, kind: SidecarKind) -> Resources<'a> {
        let keys = common_keys(kind);
        let installed = &self.settings.sidecar(kind).resources;
        let [cpu_request, cpu_limit, memory_request, memory_limit] = default_resources(kind);
        // The installation's word stands against the built-in one as the pod's stands against both.
        let chosen = |keys: [&'static Key; 2], installed: [&'a Option<String>; 2], built_in: [&'a str; 2]| {
            let amount = |written: Option<&'a str>, fallback| Amount { written, fallback };
            let [request, limit] = installed;
            let base = pair(&amount(request.as_deref(), built_in[0]), &amount(limit.as_deref(), built_in[1]));
            pair(&amount(self.annotations.written(keys[0]), base.0), &amount(self.annotations.written(keys[1]), base.1))
        };
        let cpu = chosen([keys.cpu_request, keys.cpu_limit], [&installed.cpu_request, &installed.cpu_limit], [cpu_request, cpu_limit]);
        let memory = chosen(
            [keys.memory_request, keys.memory_limit],
            [&installed.memory_request, &installed.memory_limit],
            [memory_request, memory_limit],
        );
        Resources { requests: Amounts { cpu: cpu.0, memory: memory.0 }, limits: Amounts { cpu: cpu.1, memory: memory.1 } }
    }
}

/// A value as the sidecar's program reads it: durations become whole seconds, rounded up, and what the kubelet would take
/// for a reference to another variable is escaped ("Define Dependent Environment Variables", Kubernetes documentation).
fn in_program_terms<'a>(key: &Key, value: &'a str) -> Cow<'a, str> {
    if key.kind == ValueKind::Duration
        && let Ok(duration) = duration::parse(value)
    {
        return Cow::Owned(duration.as_secs_f64().ceil().to_string());
    }
    escaped(value)
}

/// A text that the kubelet hands over as it stands.
pub(crate) fn escaped(value: &str) -> Cow<'_, str> {
    if value.contains('$') { Cow::Owned(value.replace('$', "$$")) } else { Cow::Borrowed(value) }
}

/// An amount somebody wrote, and the one that holds otherwise.
struct Amount<'a> {
    written: Option<&'a str>,
    fallback: &'a str,
}

/// Request and limit. Where only one was written, the other gives way to it.
fn pair<'a>(request: &Amount<'a>, limit: &Amount<'a>) -> (&'a str, &'a str) {
    let exceeds = |request: &str, limit: &str| match (request.parse::<Quantity>(), limit.parse::<Quantity>()) {
        (Ok(request), Ok(limit)) => request > limit,
        _ => false,
    };
    match (request.written, limit.written) {
        (Some(request), None) if exceeds(request, limit.fallback) => (request, request),
        (None, Some(limit)) if exceeds(request.fallback, limit) => (limit, limit),
        (written_request, written_limit) => (written_request.unwrap_or(request.fallback), written_limit.unwrap_or(limit.fallback)),
    }
}

/// The denial for a written request above a written limit, if that is so.
pub(crate) fn request_above_limit(annotations: &Annotations<'_>, kind: SidecarKind) -> Option<super::Denial> {
    let keys = common_keys(kind);
    [(keys.cpu_request, keys.cpu_limit), (keys.memory_request, keys.memory_limit)].into_iter().find_map(|(request_key, limit_key)| {
        let (request, limit) = (annotations.written(request_key)?, annotations.written(limit_key)?);
        (request.parse::<Quantity>().ok()? > limit.parse::<Quantity>().ok()?).then(|| super::Denial {
            key: Some(request_key.name),
            message: format!(
                "{} is {request:?}, more than {} {limit:?}: raise the limit or lower the request",
                request_key.name, limit_key.name
            ),
        })
    })
}

const fn probe(way: ProbeWay, period_seconds: u16, failure_threshold: u16) -> Probe {
    Probe { way, period_seconds, timeout_seconds: 5, failure_threshold }
}

/// The containers a sidecar serves, in the pod's order: those a key names, else all that no injector wrote.
pub(crate) fn chosen<'a, 'p>(
    spec: &'a Spec<'p>,
    annotations: &Annotations<'_>,
    key: &'static Key,
    include_init: bool,
) -> Result<Vec<&'a PodContainer<'p>>, super::Denial> {
    let apps = spec.containers.items();
    let inits: &[PodContainer<'p>] = if include_init { spec.init_containers.items() } else { &[] };
    let Some(names) = annotations.written(key) else {
        return Ok(inits.iter().chain(apps).filter(|container| !mesh::is_injected(&container.name)).collect());
    };
    for name in annotations::items(names) {
        if SidecarKind::ALL.iter().any(|kind| kind.container() == name) {
            return Err(super::Denial {
                key: Some(key.name),
                message: format!("{} names {name:?}, which is a sidecar: take it out", key.name),
            });
        }
        if !inits.iter().chain(apps).any(|container| &*container.name == name) {
            return Err(no_such_container(key, annotations, name, inits, apps));
        }
    }
    let is_named = |container: &&PodContainer<'_>| annotations::items(names).any(|name| name == &*container.name);
    Ok(inits.iter().chain(apps).filter(is_named).collect())
}

fn no_such_container(
    key: &'static Key,
    annotations: &Annotations<'_>,
    name: &str,
    inits: &[PodContainer<'_>],
    apps: &[PodContainer<'_>],
) -> super::Denial {
    let there: Vec<&str> = inits.iter().chain(apps).map(|container| &*container.name).collect();
    super::Denial {
        key: Some(key.name),
        message: format!(
            "{}{} names {name:?}, which the pod does not have: it has {}",
            key.name,
            annotations.origin_note(key),
            there.join(", ")
        ),
    }
}
