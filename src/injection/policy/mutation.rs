//! How the sidecars are added: the operations of the plan's patch, in the plan's order, as one list in CEL.
//!
//! One list makes one patch, which is applied as a whole or not at all.

use serde_json::Value;

use crate::api::annotations::{STATUS, SidecarKind};

use super::{
    super::{
        plan::DEFAULT_CONTAINER,
        segment,
        sidecar::{self as granted, Grant, Placement},
    },
    PolicyError,
    cel::{Cel, Filling, Hole, Template},
    profile::{Profile, Sidecar},
    status,
    variables::{APPS, INJECTORS, LISTS, List, Variable},
};

/// The parts of the patch that have names.
pub(super) fn variables(profile: &Profile<'_>) -> Result<Vec<Variable>, PolicyError> {
    let mut variables = users(profile);
    variables.extend(default_containers());
    variables.push(missing_pull_secrets(profile));
    variables.extend(status::variables(profile)?);
    Ok(variables)
}

/// The list of operations, which uses the variables.
pub(super) fn patch(profile: &Profile<'_>) -> Result<Cel, PolicyError> {
    let mut operations = volumes(profile)?;
    operations.extend(grants(profile)?);
    operations.extend(pull_secrets(profile));
    operations.extend(containers(profile)?);
    operations.push(annotate(DEFAULT_CONTAINER, "variables.defaultContainers"));
    operations.push(annotate(STATUS, "[variables.status]"));
    Ok(Cel::join(operations, "\n+ "))
}

/// Who the pod's containers run as; -1 is nobody, or not all the same.
fn users(profile: &Profile<'_>) -> Vec<Variable> {
    let of = |owner: &str, otherwise: &str| {
        format!("has({owner}.securityContext) && has({owner}.securityContext.runAsUser) ? {owner}.securityContext.runAsUser : {otherwise}")
    };
    let mut variables = vec![
        Variable::new("podUser", of("object.spec", "-1")),
        Variable::new("podSetsGroup", "has(object.spec.securityContext) && has(object.spec.securityContext.runAsGroup)"),
    ];
    if let Some(vnc) = profile.sidecars.iter().find(|sidecar| sidecar.rig.kind == SidecarKind::Vnc) {
        let chosen = format!("{}.filter(c, {})", vnc.served.candidates(), vnc.served.is_served());
        variables.extend([
            Variable::new("users", format!("{chosen}.map(c, {})", of("c", "variables.podUser"))),
            Variable::new(
                "commonUser",
                "variables.users.size() > 0 && variables.users.all(u, u == variables.users[0]) ? variables.users[0] : -1",
            ),
            Variable::new("isShared", format!("variables.commonUser == {}", vnc.user("variables.commonUser"))),
        ]);
    }
    variables
}

/// The one that `kubectl logs` and `exec` should mean, if nobody says: a list of one, or none.
fn default_containers() -> [Variable; 2] {
    let is_named = format!("{} in object.metadata.annotations", Cel::text(DEFAULT_CONTAINER));
    let own = "variables.ownContainers";
    [
        Variable::new("ownContainers", format!("{APPS}.filter(c, !(c.name in {INJECTORS})).map(c, c.name)")),
        Variable::new("defaultContainers", format!("{is_named} || {own}.size() == 0 ? [] : [{own}[0]]")),
    ]
}

fn missing_pull_secrets(profile: &Profile<'_>) -> Variable {
    let wanted = Cel::texts(profile.pull_secrets.iter().map(String::as_str));
    let is_there = "has(object.spec.imagePullSecrets) && object.spec.imagePullSecrets.exists(s, has(s.name) && s.name == name)";
    Variable::new("missingPullSecrets", format!("{wanted}.filter(name, !({is_there}))"))
}

fn add(path: &Cel, value: &Cel) -> Cel {
    Cel::code(format!("JSONPatch{{op: 'add', path: {path}, value: {value}}}"))
}

/// Makes a list if the pod has none and it is needed.
fn make_list(path: &str, is_there: &str) -> Cel {
    Cel::code(format!("({is_there} ? [] : [{}])", add(&Cel::text(path), &Cel::code("[]"))))
}

fn volumes(profile: &Profile<'_>) -> Result<Vec<Cel>, PolicyError> {
    let end = Cel::text("/spec/volumes/-");
    let appended = profile
        .volumes()
        .map(|volume| Ok(add(&end, &Cel::value(&serde_json::to_value(volume)?))))
        .collect::<Result<Vec<_>, PolicyError>>()?;
    Ok(vec![make_list("/spec/volumes", "has(object.spec.volumes)"), Cel::lines(appended)])
}

/// Variables and mounts of the containers that are served.
fn grants(profile: &Profile<'_>) -> Result<Vec<Cel>, PolicyError> {
    let mut operations = Vec::new();
    for list in LISTS {
        if let Some(condition) = is_member_made(profile, list, Member::Env) {
            operations.push(add_to_each(list, &condition, "/env", &Cel::code("[]")));
        }
        for (sidecar, grant) in profile.granted(list) {
            for variable in &grant.env {
                operations.push(add_to_each(list, &gets(sidecar, variable), "/env/-", &Cel::value(&serde_json::to_value(variable)?)));
            }
        }
        if let Some(condition) = is_member_made(profile, list, Member::VolumeMounts) {
            operations.push(add_to_each(list, &condition, "/volumeMounts", &Cel::code("[]")));
        }
        for (sidecar, grant) in profile.granted(list) {
            for mount in &grant.mounts {
                let value = Cel::value(&serde_json::to_value(mount)?);
                operations.push(add_to_each(list, &sidecar.served.is_served(), "/volumeMounts/-", &value));
            }
        }
    }
    Ok(operations)
}

/// Adds a value to each container `c` of a list for which a condition holds.
fn add_to_each(list: List, condition: &Cel, member: &str, value: &Cel) -> Cel {
    let path = format!("{} + string(i) + {}", Cel::text(&format!("/spec/{}/", list.name())), Cel::text(member));
    Cel::code(format!("{}.transformList(i, c, {condition}, {})", list.containers(), add(&Cel::code(path), value)))
}

/// Whether the container `c` gets a variable, which it doesn't if it has set it itself.
pub(super) fn gets(sidecar: &Sidecar<'_>, variable: &granted::Variable<'_>) -> Cel {
    let is_set = format!("has(c.env) && c.env.exists(e, e.name == {})", Cel::text(variable.name));
    Cel::code(format!("{} && !({is_set})", sidecar.served.is_served()))
}

/// A list in a container that is made if something is added to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    Env,
    VolumeMounts,
}

impl Member {
    pub(super) const ALL: [Self; 2] = [Self::Env, Self::VolumeMounts];

    /// Its name in a container.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::VolumeMounts => "volumeMounts",
        }
    }

    fn is_granted(self, grant: &Grant<'_>) -> bool {
        match self {
            Self::Env => !grant.env.is_empty(),
            Self::VolumeMounts => !grant.mounts.is_empty(),
        }
    }
}

/// Whether the list is made in the container `c`; none if that is so in no container.
pub(super) fn is_member_made(profile: &Profile<'_>, list: List, member: Member) -> Option<Cel> {
    let granted = profile.granted(list).filter(|(_, grant)| member.is_granted(grant));
    let mut served = granted.map(|(sidecar, _)| sidecar.served.is_served()).peekable();
    served.peek()?;
    Some(Cel::code(format!("{} && !has(c.{})", Cel::any(served), member.name())))
}

fn pull_secrets(profile: &Profile<'_>) -> Vec<Cel> {
    if profile.pull_secrets.is_empty() {
        return Vec::new();
    }
    let append = add(&Cel::text("/spec/imagePullSecrets/-"), &Cel::code("{'name': name}"));
    vec![
        make_list("/spec/imagePullSecrets", "variables.missingPullSecrets.size() == 0 || has(object.spec.imagePullSecrets)"),
        Cel::code(format!("variables.missingPullSecrets.map(name, {append})")),
    ]
}

/// The sidecars themselves. Without a mesh, the early ones stand first, and the others last.
fn containers(profile: &Profile<'_>) -> Result<Vec<Cel>, PolicyError> {
    let placed = |placement: Placement, path: fn(usize) -> String| {
        let sidecars = profile.sidecars.iter().filter(move |sidecar| sidecar.rig.placement == placement).enumerate();
        let inserted = sidecars.map(move |(place, sidecar)| Ok(add(&Cel::text(&path(place)), &container(sidecar)?)));
        inserted.collect::<Result<Vec<Cel>, PolicyError>>()
    };
    let mut init = placed(Placement::BeforeInit, |place| format!("/spec/initContainers/{place}"))?;
    init.extend(placed(Placement::AfterInit, |_| "/spec/initContainers/-".to_owned())?);
    let apps = placed(Placement::BesideProxy, |place| format!("/spec/containers/{place}"))?;

    let mut operations = Vec::new();
    if !init.is_empty() {
        operations.extend([make_list("/spec/initContainers", "has(object.spec.initContainers)"), Cel::lines(init)]);
    }
    if !apps.is_empty() {
        operations.push(Cel::lines(apps));
    }
    Ok(operations)
}

fn container(sidecar: &Sidecar<'_>) -> Result<Cel, PolicyError> {
    let theirs = if sidecar.rig.kind == SidecarKind::Vnc { "variables.commonUser" } else { "variables.podUser" };
    let user = sidecar.user(theirs);
    let group = Cel::code(format!("variables.podSetsGroup ? optional.none() : optional.of(dyn({user}))"));
    let holes = [
        Hole { path: "/securityContext/runAsUser", filling: Filling::Value(user) },
        Hole { path: "/securityContext/runAsGroup", filling: Filling::Optional(group) },
    ];
    let apart: Value = serde_json::to_value(&sidecar.rig.container)?;
    Ok(Template { is_first: &Cel::code("variables.isShared"), holes: &holes }.fill(&sidecar.shared, &apart))
}

/// Sets an annotation to the first of a list of values, if it has one.
fn annotate(name: &str, values: &str) -> Cel {
    let path = Cel::text(&format!("/metadata/annotations/{}", segment(name)));
    Cel::code(format!("{values}.map(value, {})", add(&path, &Cel::code("value"))))
}
