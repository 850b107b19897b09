//! What pods of a profile get, found by planning for stand-ins.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::api::annotations::{
    Annotations, FILE_SYNC_CONTAINERS, FILE_SYNC_VOLUME, GUACAMOLE_CONFIGURATION_VOLUME, GUACAMOLE_PASSWORDS_VOLUME, Key, STATUS,
    SidecarKind, VNC_CONTAINERS, VNC_MODE, items, under_our_prefixes,
};

use super::super::{
    Context, Outcome, Record, Settings,
    build::{self, Builder, DEFAULT_USER},
    fresh_record, inject, mesh,
    pod::{Pod, Spec},
    request, rigs,
    sidecar::{Grant, Rig, Volume},
};
use super::{
    PolicyError,
    cel::Cel,
    variables::{ALL, APPS, INJECTORS, List},
};

/// A user that the stand-ins' containers share where the profile names none.
const SOME_USER: i64 = 4242;

/// What pods of a profile get.
pub(super) struct Profile<'a> {
    /// Its annotations.
    pub(super) annotations: &'a BTreeMap<String, String>,
    /// The record of each pod, without the additions.
    pub(super) record: Record<'a>,
    /// The sidecars, in the order in which they start.
    pub(super) sidecars: Vec<Sidecar<'a>>,
    /// What its author should know.
    pub(super) warnings: Vec<String>,
    /// Pull secrets of the installation.
    pub(super) pull_secrets: &'a [String],
}

/// One sidecar, and whom it serves.
pub(super) struct Sidecar<'a> {
    /// It as it is for containers that share no user.
    pub(super) rig: Rig<'a>,
    /// Its container for containers that do.
    pub(super) shared: Value,
    /// The user it runs as, if that is written.
    pub(super) written_user: Option<i64>,
    /// The containers it serves.
    pub(super) served: Served<'a>,
}

/// The containers that a sidecar serves.
pub(super) struct Served<'a> {
    /// The annotation that names them.
    pub(super) key: Option<&'static Key>,
    /// Their names; without any, all that no injector wrote.
    pub(super) names: Option<Vec<&'a str>>,
    /// Whether there may be init containers among them.
    pub(super) with_init: bool,
    /// Whether there must be one, and no more.
    pub(super) only_one: bool,
    /// The volume that those must not mount which get anything.
    pub(super) borrowed_volume: Option<&'a str>,
}

/// Plans for pods with these annotations, and hands over the result, which borrows from the stand-ins.
pub(super) fn with_profile<T>(
    annotations: &BTreeMap<String, String>,
    settings: &Settings,
    then: impl FnOnce(&Profile<'_>) -> Result<T, PolicyError>,
) -> Result<T, PolicyError> {
    let mut annotations = under_our_prefixes(annotations);
    annotations.remove(STATUS);
    let apart = stand_in(&annotations, None);
    let warnings = warnings(&apart, settings)?;
    let apart_pod = Pod::read(&apart)?;
    let request = request::read(&apart_pod, None);
    names_no_mesh(&request.annotations)?;
    let builder = builder(&apart_pod, &request, settings)?;
    // Once more for containers that share a user, which decides who may do what with the X server.
    let shared = stand_in(&annotations, Some(builder.written_user(SidecarKind::Vnc).unwrap_or(SOME_USER)));
    let shared_pod = Pod::read(&shared)?;
    let shared_rigs = rigs(&self::builder(&shared_pod, &request, settings)?, &request.sidecars).map_err(PolicyError::Denied)?;
    let apart_rigs = rigs(&builder, &request.sidecars).map_err(PolicyError::Denied)?;
    let sidecars = apart_rigs.into_iter().zip(shared_rigs).map(|(rig, shared)| {
        Ok(Sidecar {
            written_user: builder.written_user(rig.kind),
            served: Served::by(rig.kind, &request.annotations),
            shared: serde_json::to_value(&shared.container)?,
            rig,
        })
    });
    then(&Profile {
        annotations: &annotations,
        record: fresh_record(&request.annotations, &request.sidecars, settings),
        sidecars: sidecars.collect::<Result<_, PolicyError>>()?,
        warnings,
        pull_secrets: &settings.image_pull_secrets,
    })
}

impl<'a> Profile<'a> {
    /// The volumes that the sidecars need, each once.
    pub(super) fn volumes(&self) -> impl Iterator<Item = &Volume<'a>> {
        let mut seen = BTreeSet::new();
        self.sidecars.iter().flat_map(|sidecar| &sidecar.rig.volumes).filter(move |volume| seen.insert(&*volume.name))
    }

    /// The sidecars that give something to containers of a list, and what each of them gets.
    pub(super) fn granted(&self, list: List) -> impl Iterator<Item = (&Sidecar<'a>, &Grant<'a>)> {
        let may_be = move |sidecar: &&Sidecar<'_>| sidecar.served.with_init || list == List::Apps;
        self.sidecars.iter().filter(may_be).filter_map(|sidecar| Some((sidecar, sidecar.rig.grants.first()?)))
    }
}

/// A pod that has what the annotations name, and whose containers run as `user`.
fn stand_in(annotations: &BTreeMap<String, String>, user: Option<i64>) -> String {
    let written = |key: &Key| annotations.get(key.name).map(String::as_str);
    let named = |key: &Key| -> BTreeSet<&str> { written(key).into_iter().flat_map(items).collect() };
    let (mut containers, mut files) = (named(&VNC_CONTAINERS), named(&FILE_SYNC_CONTAINERS));
    if containers.is_empty() {
        containers.insert(files.pop_first().unwrap_or("app"));
    }
    // Not among the containers, of which there may be no more than one to attach to.
    let init_containers = files.difference(&containers);
    let volumes: BTreeSet<&str> = [&FILE_SYNC_VOLUME, &GUACAMOLE_CONFIGURATION_VOLUME, &GUACAMOLE_PASSWORDS_VOLUME]
        .into_iter()
        .filter_map(written)
        .map(str::trim)
        .collect();
    let security = user.map_or_else(|| json!({}), |user| json!({"runAsUser": user}));
    let container = |name: &&str| json!({"name": name, "securityContext": security});
    json!({
        "metadata": {"annotations": annotations},
        "spec": {
            "initContainers": init_containers.map(container).collect::<Vec<_>>(),
            "containers": containers.iter().map(container).collect::<Vec<_>>(),
            "volumes": volumes.iter().map(|name| json!({"name": name, "emptyDir": {}})).collect::<Vec<_>>(),
        },
    })
    .to_string()
}

/// A policy can't place sidecars among a mesh's containers, so it can't serve one of those, either.
fn names_no_mesh(annotations: &Annotations<'_>) -> Result<(), PolicyError> {
    for key in [&VNC_CONTAINERS, &FILE_SYNC_CONTAINERS] {
        if let Some(name) = annotations.written(key).into_iter().flat_map(items).find(|name| mesh::belongs_to_mesh(name)) {
            return Err(PolicyError::NamesMesh { key: key.name, name: name.to_owned() });
        }
    }
    Ok(())
}

/// What the authors of such pods should know, if they are injected at all.
fn warnings(pod: &str, settings: &Settings) -> Result<Vec<String>, PolicyError> {
    let decision = inject(pod, Context { defaults: None, settings, offline: false })?;
    match decision.outcome {
        Outcome::Denied(denials) => Err(PolicyError::Denied(denials)),
        Outcome::Injected { .. } => Ok(decision.warnings),
        Outcome::NotAsked | Outcome::Skipped { .. } | Outcome::Unchanged | Outcome::LeftAsIs => Err(PolicyError::NotAsked),
    }
}

fn builder<'a>(pod: &'a Pod<'_>, request: &'a request::Request<'_>, settings: &'a Settings) -> Result<Builder<'a>, PolicyError> {
    let spec: &Spec<'_> = pod.spec.value().ok_or(PolicyError::NotAsked)?;
    let (style, _) = build::style(&request.annotations, spec);
    Ok(Builder { annotations: &request.annotations, settings, spec, style })
}

impl<'a> Served<'a> {
    fn by(kind: SidecarKind, annotations: &'a Annotations<'_>) -> Self {
        let (key, borrowed_volume) = match kind {
            SidecarKind::Vnc => (Some(&VNC_CONTAINERS), None),
            SidecarKind::FileSync => (Some(&FILE_SYNC_CONTAINERS), annotations.written(&FILE_SYNC_VOLUME)),
            SidecarKind::Guacamole => (None, None),
        };
        Self {
            key,
            names: key.and_then(|key| annotations.written(key)).map(|names| items(names).collect()),
            with_init: kind == SidecarKind::FileSync,
            only_one: kind == SidecarKind::Vnc && annotations.text(&VNC_MODE) == Some("attach"),
            borrowed_volume,
        }
    }

    /// Whether the container `c` gets something.
    pub(super) fn is_served(&self) -> Cel {
        let chosen = match &self.names {
            Some(names) => Cel::code(format!("c.name in {}", Cel::texts(names.iter().copied()))),
            None => Cel::code(format!("!(c.name in {INJECTORS})")),
        };
        let Some(volume) = self.borrowed_volume else { return chosen };
        Cel::code(format!("{chosen} && !(has(c.volumeMounts) && c.volumeMounts.exists(m, m.name == {}))", Cel::text(volume)))
    }

    /// All containers that may be chosen.
    pub(super) const fn candidates(&self) -> &'static str {
        if self.with_init { ALL } else { APPS }
    }
}

impl Sidecar<'_> {
    /// The user it runs as, from the one that the pod's containers have (-1 if none).
    pub(super) fn user(&self, theirs: &str) -> Cel {
        self.written_user
            .map_or_else(|| Cel::code(format!("({theirs} > 0 ? {theirs} : {DEFAULT_USER})")), |user| Cel::code(user.to_string()))
    }
}
