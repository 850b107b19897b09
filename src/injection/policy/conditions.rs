//! Which pods are a profile's, and what each of them must be like to be given its sidecars.
//!
//! The mutating policy gives nothing to a pod that doesn't meet all requirements, and the validating policy then refuses it
//! with the sentence of the first that it doesn't meet. Only the scope is judged for pods of others, so it is kept cheap.

use std::collections::BTreeSet;

use crate::api::annotations::{INJECT, STATUS};

use super::{
    super::{
        build::Builder,
        mesh,
        request::quoted,
        sidecar::{BorrowedVolume, Rig},
    },
    cel::Cel,
    profile::{Profile, Served, Sidecar},
    variables::ALL,
};

/// The annotations under our prefixes, by the same rule as `under_our_prefixes`.
const OUR_KEYS: &str = "^([^/]*[.])?outrigger[.]dev/";
/// The names that the API server lets containers have (DNS label, RFC 1123). Such a name can stand in JSON as it is.
const CONTAINER_NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A condition on the pods a policy is about. No variable may be in it: it is judged before them.
pub(super) struct Condition {
    /// A name for people.
    pub(super) name: &'static str,
    /// The condition.
    pub(super) expression: Cel,
}

impl Condition {
    fn new(name: &'static str, expression: impl Into<String>) -> Self {
        Self { name, expression: Cel::code(expression) }
    }
}

/// What a pod of the profile must be like.
pub(super) struct Requirement {
    /// The condition.
    pub(super) expression: Cel,
    /// What is wrong with a pod that doesn't meet it, and the way out; on one line.
    pub(super) sentence: String,
}

impl Requirement {
    fn new(expression: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { expression: Cel::code(expression), sentence: sentence.into() }
    }
}

/// Pods that ask for just this, that sidecars can be added to, and that have none yet. The others are not ours to refuse.
pub(super) fn scope(profile: &Profile<'_>) -> Vec<Condition> {
    let inject = Cel::text(INJECT.name);
    let asked = format!("object.metadata.annotations[{inject}].split(',').map(item, item.trim()).filter(item, item != '')");
    let kinds = Cel::texts(profile.sidecars.iter().map(|sidecar| sidecar.rig.kind.as_str()));
    vec![
        Condition::new("has-annotations", "has(object.metadata.annotations)"),
        Condition::new("asks-for-the-sidecars", format!("{inject} in object.metadata.annotations && sets.equivalent({asked}, {kinds})")),
        Condition::new("has-none-yet", format!("!({} in object.metadata.annotations)", Cel::text(STATUS))),
        Condition::new("is-no-mirror-pod", "!('kubernetes.io/config.mirror' in object.metadata.annotations)"),
        Condition::new("has-a-network-of-its-own", "!(has(object.spec.hostNetwork) && object.spec.hostNetwork)"),
        Condition::new(
            "is-not-for-windows",
            "!(has(object.spec.os) && object.spec.os.name == 'windows') && !(has(object.spec.nodeSelector) \
             && 'kubernetes.io/os' in object.spec.nodeSelector && object.spec.nodeSelector['kubernetes.io/os'] == 'windows')",
        ),
    ]
}

/// What pods of the profile must be like.
pub(super) fn requirements(profile: &Profile<'_>) -> Vec<Requirement> {
    let mut requirements = vec![same_settings(profile), container_names(), no_mesh(), names_are_free(profile), volumes_are_free(profile)];
    requirements.extend(ports_are_free(profile));
    requirements.extend(borrowed_volumes(profile));
    for sidecar in &profile.sidecars {
        requirements.extend(chosen_are_there(sidecar));
        requirements.extend(mounts_are_free(sidecar));
        requirements.extend(variables_agree(sidecar));
    }
    requirements
}

/// The settings are in the policy: a pod must not say something else and be given these.
fn same_settings(profile: &Profile<'_>) -> Requirement {
    let annotations = "object.metadata.annotations";
    let each = profile.annotations.iter().map(|(key, value)| {
        let (key, value) = (Cel::text(key), Cel::text(value));
        Cel::code(format!("{key} in {annotations} && {annotations}[{key}] == {value}"))
    });
    let known = Cel::texts(profile.annotations.keys().map(String::as_str));
    let others = format!("{annotations}.all(key, !key.matches({}) || key in {known})", Cel::text(OUR_KEYS));
    let written: Vec<String> = profile.annotations.iter().map(|(key, value)| format!("{key}: {}", quoted(value))).collect();
    Requirement::new(
        format!("{} && {others}", Cel::join(each, " && ")),
        format!(
            "the pod asks for the sidecars of this policy and has other settings: write {}, and no other annotation of Outrigger, or \
             export a policy for the pod's own",
            written.join(", ")
        ),
    )
}

/// They enter the record as they are.
fn container_names() -> Requirement {
    Requirement::new(
        format!("{ALL}.all(c, c.name.matches({}))", Cel::text(CONTAINER_NAME)),
        "a container's name is not made of lower-case letters, digits and hyphens: rename it",
    )
}

fn no_mesh() -> Requirement {
    Requirement::new(
        format!("!{ALL}.exists(c, c.name in {})", Cel::texts(mesh::mesh_names())),
        "the pod has a mesh's containers already, among which a policy can't place sidecars: let the mesh's webhook add them, or use \
         Outrigger's webhook or `outrigger inject`",
    )
}

fn names_are_free(profile: &Profile<'_>) -> Requirement {
    let names: Vec<&str> = profile.sidecars.iter().map(|sidecar| sidecar.rig.container.name).collect();
    Requirement::new(
        format!("!{ALL}.exists(c, c.name in {})", Cel::texts(names.iter().copied())),
        format!(
            "the pod has a container of its own named like a sidecar ({}), which a policy can't complete: rename it, or use Outrigger's \
             webhook or `outrigger inject`",
            names.join(", ")
        ),
    )
}

fn volumes_are_free(profile: &Profile<'_>) -> Requirement {
    let names: Vec<&str> = profile.volumes().map(|volume| &*volume.name).collect();
    Requirement::new(
        format!("!has(object.spec.volumes) || !object.spec.volumes.exists(v, v.name in {})", Cel::texts(names.iter().copied())),
        format!("the pod has a volume of its own under a name that Outrigger needs ({}): rename it", names.join(", ")),
    )
}

/// All containers of a pod share one network.
fn ports_are_free(profile: &Profile<'_>) -> Option<Requirement> {
    let ports: BTreeSet<u16> = profile.sidecars.iter().flat_map(|sidecar| ports(&sidecar.rig)).collect();
    let keys: Vec<&str> = profile.sidecars.iter().map(|sidecar| Builder::health_port_key(sidecar.rig.kind).name).collect();
    let listed = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    (!ports.is_empty()).then(|| {
        Requirement::new(
            format!(
                "!{ALL}.exists(c, has(c.ports) && c.ports.exists(p, p.containerPort in [{listed}] \
                 && (!has(p.protocol) || p.protocol == 'TCP')))"
            ),
            format!(
                "a container of the pod has a port that a sidecar needs ({listed}): choose another in a profile of its own, with an \
                 annotation such as {}",
                keys.join(" or ")
            ),
        )
    })
}

fn ports(rig: &Rig<'_>) -> impl Iterator<Item = u16> {
    rig.container.ports.iter().map(|port| port.container_port).chain(rig.container.health_port())
}

/// Volumes of the pod that annotations name.
fn borrowed_volumes(profile: &Profile<'_>) -> impl Iterator<Item = Requirement> {
    profile.sidecars.iter().flat_map(|sidecar| &sidecar.rig.borrowed_volumes).map(borrowed_volume)
}

fn borrowed_volume(volume: &BorrowedVolume<'_>) -> Requirement {
    let (and, or) = if volume.written {
        (" && !has(v.configMap) && !has(v.secret) && !has(v.projected) && !has(v.downwardAPI)", ", or which nobody can write to")
    } else {
        ("", "")
    };
    Requirement::new(
        format!("has(object.spec.volumes) && object.spec.volumes.exists(v, v.name == {}{and})", Cel::text(volume.name)),
        format!("{} names the volume {:?}, which the pod does not have{or}: add it", volume.key, volume.name),
    )
}

fn chosen_are_there(sidecar: &Sidecar<'_>) -> Vec<Requirement> {
    let Served { key, names, only_one, .. } = &sidecar.served;
    let (Some(key), candidates) = (key, sidecar.served.candidates()) else { return Vec::new() };
    let mut requirements = Vec::new();
    if let Some(names) = names {
        requirements.push(Requirement::new(
            format!("{}.all(name, {candidates}.exists(c, c.name == name))", Cel::texts(names.iter().copied())),
            format!("{} names a container that the pod does not have: it must have {}", key.name, names.join(", ")),
        ));
    }
    if *only_one {
        requirements.push(Requirement::new(
            format!("{candidates}.filter(c, {}).size() == 1", sidecar.served.is_served()),
            format!("the profile attaches to the X server of one container, and the pod has more: name one with {}", key.name),
        ));
    }
    requirements
}

/// A path is compared by its parts: slashes at its end don't make it another.
fn mounts_are_free(sidecar: &Sidecar<'_>) -> Option<Requirement> {
    let grant = sidecar.rig.grants.first().filter(|grant| !grant.mounts.is_empty())?;
    let paths: Vec<&str> = grant.mounts.iter().map(|mount| &*mount.mount_path).collect();
    let parts = paths.iter().map(|path| Cel::texts(path.split('/').filter(|part| !part.is_empty())));
    let kind = sidecar.rig.kind.as_str();
    Some(Requirement::new(
        format!(
            "!{}.exists(c, {} && has(c.volumeMounts) && c.volumeMounts.exists(m, m.mountPath.split('/').filter(part, part != '') in {}))",
            sidecar.served.candidates(),
            sidecar.served.is_served(),
            Cel::list(parts)
        ),
        format!(
            "a container of the pod mounts something where {kind} is mounted ({}): mount it elsewhere, or leave the container out with {}",
            paths.join(", "),
            sidecar.served.key.map_or("", |key| key.name)
        ),
    ))
}

/// The kubelet lets the last of several variables win.
fn variables_agree(sidecar: &Sidecar<'_>) -> Option<Requirement> {
    let grant = sidecar.rig.grants.first().filter(|grant| !grant.env.is_empty())?;
    let agree = grant.env.iter().map(|variable| {
        Cel::code(format!(
            "[c.env.filter(e, e.name == {})].all(same, same.size() == 0 || (has(same[same.size() - 1].value) \
             && same[same.size() - 1].value == {}))",
            Cel::text(variable.name),
            Cel::text(variable.value().unwrap_or_default())
        ))
    });
    let wanted: Vec<String> =
        grant.env.iter().map(|variable| format!("{}={}", variable.name, variable.value().unwrap_or_default())).collect();
    let kind = sidecar.rig.kind.as_str();
    Some(Requirement::new(
        format!(
            "{}.filter(c, {} && has(c.env)).all(c, {})",
            sidecar.served.candidates(),
            sidecar.served.is_served(),
            Cel::join(agree, " && ")
        ),
        format!(
            "a container of the pod sets a variable to something else than {kind} does ({}): remove it, or leave the container out with {}",
            wanted.join(", "),
            sidecar.served.key.map_or("", |key| key.name)
        ),
    ))
}
