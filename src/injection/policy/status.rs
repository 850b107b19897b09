//! The record that each pod gets, as JSON put together in CEL from texts that are JSON already.
//!
//! The only text of a pod that enters it is a container's name, which a requirement holds to be a DNS label.

use serde_json::Value;

use super::{
    super::{Record, plan::DEFAULT_CONTAINER, pod::Text, sidecar::Grant},
    PolicyError,
    cel::Cel,
    mutation::{Member, gets, is_member_made},
    profile::{Profile, Sidecar},
    variables::{LISTS, Variable},
};

/// The text of the record, and what it is made of.
pub(super) fn variables(profile: &Profile<'_>) -> Result<Vec<Variable>, PolicyError> {
    let head = serde_json::to_string(&known(profile))?;
    // What depends on the pod stands at the end of `added`, the record's last member.
    let head = head.strip_suffix("}}").unwrap_or_default();
    let lists = ["imagePullSecrets", "annotations"].map(|member| text(member, '[', ']'));
    let maps = ["mounts", "env", "parents"].map(|member| text(member, '{', '}'));
    let text = [Cel::text(head)].into_iter().chain(lists).chain(maps).chain([Cel::text("}}")]);
    Ok(vec![
        Variable::new("imagePullSecrets", pull_secrets(profile).to_string()),
        Variable::new("annotations", format!("variables.defaultContainers.map(name, {})", Cel::text(&json(DEFAULT_CONTAINER)))),
        Variable::new("mounts", by_container(profile, mounts).to_string()),
        Variable::new("env", by_container(profile, missing_env).to_string()),
        Variable::new("parents", parents(profile).to_string()),
        Variable::new("status", Cel::join(text, "\n+ ").to_string()),
    ])
}

/// What is the same for all pods of the profile.
fn known<'p>(profile: &'p Profile<'_>) -> Record<'p> {
    let mut record = profile.record.clone();
    for sidecar in &profile.sidecars {
        let added = if sidecar.rig.placement.is_init() { &mut record.added.init_containers } else { &mut record.added.containers };
        added.push(sidecar.rig.container.name.into());
    }
    record.added.volumes = profile.volumes().map(|volume| Text::from(&*volume.name)).collect();
    record
}

fn json(text: &str) -> String {
    Value::from(text).to_string()
}

/// A member of `added` as text, from the variable of its name; nothing if that is empty.
fn text(member: &str, open: char, close: char) -> Cel {
    let opening = Cel::text(&format!(",{}:{open}", json(member)));
    Cel::code(format!("(variables.{member}.size() == 0 ? '' : {opening} + variables.{member}.join(',') + '{close}')"))
}

fn pull_secrets(profile: &Profile<'_>) -> Cel {
    let added = profile.pull_secrets.iter().map(|name| {
        let (name, quoted) = (Cel::text(name), Cel::text(&json(name)));
        Cel::code(format!("({name} in variables.missingPullSecrets ? [{quoted}] : [])"))
    });
    sum(added)
}

fn sum(lists: impl IntoIterator<Item = Cel>) -> Cel {
    let lists: Vec<Cel> = lists.into_iter().collect();
    if lists.is_empty() { Cel::code("[]") } else { Cel::join(lists, " + ") }
}

/// For each container that gets something, its name and what that is.
fn by_container(profile: &Profile<'_>, given: impl Fn(&Sidecar<'_>, &Grant<'_>) -> Vec<Given>) -> Cel {
    let lists = LISTS.into_iter().filter_map(|list| {
        let given: Vec<Given> = profile.granted(list).flat_map(|(sidecar, grant)| given(sidecar, grant)).collect();
        let any = Cel::any(given.iter().map(|given| given.condition.clone()));
        let items = Cel::join(given.iter().map(|Given { condition, items }| Cel::code(format!("({condition} ? {items} : [])"))), " + ");
        let entry = format!("'\"' + c.name + '\":[' + ({items}).join(',') + ']'");
        (!given.is_empty()).then(|| Cel::code(format!("{}.filter(c, {any}).map(c, {entry})", list.containers())))
    });
    sum(lists)
}

/// What the container `c` is given under a condition, as a list of texts that are JSON.
struct Given {
    condition: Cel,
    items: Cel,
}

fn mounts(sidecar: &Sidecar<'_>, grant: &Grant<'_>) -> Vec<Given> {
    let paths = Cel::list(grant.mounts.iter().map(|mount| Cel::text(&json(&mount.mount_path))));
    let given = Given { condition: sidecar.served.is_served(), items: paths };
    if grant.mounts.is_empty() { Vec::new() } else { vec![given] }
}

fn missing_env(sidecar: &Sidecar<'_>, grant: &Grant<'_>) -> Vec<Given> {
    let given =
        grant.env.iter().map(|variable| Given { condition: gets(sidecar, variable), items: Cel::list([Cel::text(&json(variable.name))]) });
    given.collect()
}

/// The lists that are made to hold something.
fn parents(profile: &Profile<'_>) -> Cel {
    let made =
        |path: &str, condition: &str| Cel::code(format!("({condition} ? [{}] : [])", Cel::text(&format!("{}:\"absent\"", json(path)))));
    let mut parents = vec![
        made("/spec/volumes", "!has(object.spec.volumes)"),
        made("/spec/imagePullSecrets", "variables.missingPullSecrets.size() > 0 && !has(object.spec.imagePullSecrets)"),
    ];
    if profile.sidecars.iter().any(|sidecar| sidecar.rig.placement.is_init()) {
        parents.push(made("/spec/initContainers", "!has(object.spec.initContainers)"));
    }
    for list in LISTS {
        for member in Member::ALL {
            let (start, end) = (format!("\"/spec/{}/", list.name()), format!("/{}\":\"absent\"", member.name()));
            let entry = format!("{} + c.name + {}", Cel::text(&start), Cel::text(&end));
            parents.extend(
                is_member_made(profile, list, member)
                    .map(|condition| Cel::code(format!("{}.filter(c, {condition}).map(c, {entry})", list.containers()))),
            );
        }
    }
    sum(parents)
}
