//! The connection provisioner: connections from Secrets, written into Guacamole's PostgreSQL.

use crate::api::annotations::{
    GUACAMOLE_CONFIGURATION, GUACAMOLE_CONFIGURATION_FOLDER, GUACAMOLE_CONFIGURATION_VOLUME, GUACAMOLE_CONNECTIONS,
    GUACAMOLE_CONNECTIONS_FOLDER, GUACAMOLE_PASSWORDS_VOLUME, SidecarKind, items,
};

use super::{
    Denial,
    build::{Builder, Parts, no_token},
    file_sync::missing,
    own_desktop::OwnDesktop,
    sidecar::{BorrowedVolume, Mount, Rig, Variable, Volume},
};

const KIND: SidecarKind = SidecarKind::Guacamole;

const CONFIGURATION_VOLUME: &str = "outrigger-guacamole";
const CONNECTION_VOLUMES: &str = "outrigger-connection";
/// Where generated passwords are kept.
const PASSWORDS_FOLDER: &str = "/run/outrigger/passwords";

/// The process alone must be up: the database may be the app, which starts after us.
const STARTUP_SECONDS: u16 = 30;

/// What the Guacamole sidecar asks of a pod.
pub(crate) fn rig<'a>(builder: &Builder<'a>) -> Result<Rig<'a>, Denial> {
    let own_desktop = OwnDesktop::read(builder)?;
    let connections = match builder.annotations.written(&GUACAMOLE_CONNECTIONS) {
        None if own_desktop.is_none() => return Err(missing(&GUACAMOLE_CONNECTIONS, "office-pc, build-server")),
        connections => connections.unwrap_or_default(),
    };
    let configuration = Configuration::read(builder)?;
    let connections_folder = builder.annotations.text(&GUACAMOLE_CONNECTIONS_FOLDER).unwrap_or_default().trim_end_matches('/');
    let configuration_folder = builder.annotations.text(&GUACAMOLE_CONFIGURATION_FOLDER).unwrap_or_default();

    let mut volumes = Vec::new();
    let mut mounts = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for secret in items(connections) {
        if seen.contains(&secret) {
            continue;
        }
        // Names of Secrets may be longer than names of volumes, so the volumes are numbered.
        let volume = format!("{CONNECTION_VOLUMES}-{}", seen.len());
        mounts.push(Mount::read_only(volume.clone(), format!("{connections_folder}/{secret}")));
        volumes.push(Volume::secret(volume, secret));
        seen.push(secret);
    }
    mounts.extend(own_desktop.map(|_| OwnDesktop::provisioner_mount(connections_folder)));
    volumes.extend(own_desktop.map(|_| OwnDesktop::volume()));
    mounts.push(Mount::read_only(configuration.volume_name(), configuration_folder));
    volumes.extend(configuration.volume());
    let mut env = builder.written_variables(KIND);
    if let Some(desktop) = own_desktop {
        env = desktop.provisioner_variables(env, builder);
    }
    let mut borrowed_volumes: Vec<_> = configuration.borrowed().into_iter().collect();
    if let Some(name) = builder.annotations.written(&GUACAMOLE_PASSWORDS_VOLUME) {
        mounts.push(Mount::writable(name, PASSWORDS_FOLDER));
        env.push(Variable::new("PASSWORDS_DIR", PASSWORDS_FOLDER));
        borrowed_volumes.push(BorrowedVolume { name, key: GUACAMOLE_PASSWORDS_VOLUME.name, written: true });
    }
    let (no_token, at_token_folder) = no_token();
    mounts.push(at_token_folder);
    volumes.push(no_token);

    let parts = Parts {
        command: "guacamole-provisioner",
        user: builder.user(KIND),
        ports: Vec::new(),
        env,
        mounts,
        startup_seconds: STARTUP_SECONDS,
        tells_what_is_missing: false,
        ends: false,
    };
    Ok(Rig {
        kind: KIND,
        container: builder.container(KIND, parts),
        placement: builder.placement(false, false),
        volumes,
        borrowed_volumes,
        grants: Vec::new(),
    })
}

/// Where guacamole.properties comes from.
enum Configuration<'a> {
    Secret(&'a str),
    Volume(&'a str),
}

impl<'a> Configuration<'a> {
    fn read(builder: &Builder<'a>) -> Result<Self, Denial> {
        let secret = builder.annotations.written(&GUACAMOLE_CONFIGURATION);
        let volume = builder.annotations.written(&GUACAMOLE_CONFIGURATION_VOLUME);
        match (secret, volume) {
            (Some(secret), None) => Ok(Self::Secret(secret)),
            (None, Some(volume)) => Ok(Self::Volume(volume)),
            (None, None) => Err(missing(&GUACAMOLE_CONFIGURATION, "guacamole-properties")),
            (Some(_), Some(_)) => Err(Denial {
                key: Some(GUACAMOLE_CONFIGURATION_VOLUME.name),
                message: format!(
                    "{} and {} exclude each other: keep one",
                    GUACAMOLE_CONFIGURATION.name, GUACAMOLE_CONFIGURATION_VOLUME.name
                ),
            }),
        }
    }

    const fn volume_name(&self) -> &'a str {
        match self {
            Self::Secret(_) => CONFIGURATION_VOLUME,
            Self::Volume(volume) => volume,
        }
    }

    fn volume(&self) -> Option<Volume<'a>> {
        match self {
            Self::Secret(secret) => Some(Volume::secret(CONFIGURATION_VOLUME, secret)),
            Self::Volume(_) => None,
        }
    }

    fn borrowed(&self) -> Option<BorrowedVolume<'a>> {
        match self {
            Self::Secret(_) => None,
            Self::Volume(name) => Some(BorrowedVolume { name, key: GUACAMOLE_CONFIGURATION_VOLUME.name, written: false }),
        }
    }
}
