//! Containers that were renamed by hand after injection: the record knows them under their old names.
//!
//! What proves it are mounts of the volumes that we added. Nobody else has those volumes, so a container that the record
//! doesn't know, with our volumes where a missing one had them, is the missing one.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

use super::{
    pod::{Container, Spec, Text},
    record::{Added, Before},
};

/// The containers the record knows and the pod doesn't, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Renamed<'a> {
    /// The record's name of each renamed container, by its name of today.
    pub(crate) recorded_names: BTreeMap<&'a str, &'a str>,
    /// The record's names of those that can't be found.
    pub(crate) lost: Vec<&'a str>,
}

impl<'a> Renamed<'a> {
    pub(crate) fn find(spec: &'a Spec<'_>, added: &'a Added<'_>) -> Self {
        let containers = || spec.init_containers.items().iter().chain(spec.containers.items());
        let known: BTreeSet<&str> = added.mounts.keys().chain(added.env.keys()).map(Deref::deref).collect();
        let present: BTreeSet<&str> = containers().map(|container| &*container.name).collect();
        let missing: Vec<&str> = known.difference(&present).copied().collect();
        if missing.is_empty() {
            return Self::default();
        }
        let strangers: Vec<&Container<'_>> = containers().filter(|container| !known.contains(&*container.name)).collect();
        let mut renamed = Self::default();
        for name in &missing {
            match heir(name, &missing, &strangers, added) {
                Some(heir) => _ = renamed.recorded_names.insert(heir, name),
                None => renamed.lost.push(name),
            }
        }
        renamed
    }

    /// The name under which the record knows a container.
    pub(crate) fn recorded_name<'n>(&'n self, name: &'n str) -> &'n str {
        self.recorded_names.get(name).copied().unwrap_or(name)
    }
}

/// The name that a missing container has today. Of several that were given the same, it doesn't matter which is which.
fn heir<'a>(name: &str, missing: &[&'a str], strangers: &[&'a Container<'_>], added: &Added<'_>) -> Option<&'a str> {
    let paths = recorded_paths(name, added);
    let rivals: Vec<&str> = missing.iter().copied().filter(|other| recorded_paths(other, added) == paths).collect();
    let heirs: Vec<&str> = strangers.iter().filter(|container| our_paths(container, added) == paths).map(|heir| &*heir.name).collect();
    let is_proven =
        !paths.is_empty() && heirs.len() == rivals.len() && rivals.iter().all(|other| grants(other, added) == grants(name, added));
    let position = rivals.iter().position(|other| *other == name)?;
    heirs.get(position).copied().filter(|_| is_proven)
}

/// Where the record says that a container got mounts.
fn recorded_paths<'a>(name: &str, added: &'a Added<'_>) -> BTreeSet<&'a str> {
    added.mounts.get(name).into_iter().flatten().map(Deref::deref).collect()
}

/// Where a container mounts volumes that we added.
fn our_paths<'a>(container: &'a Container<'_>, added: &Added<'_>) -> BTreeSet<&'a str> {
    let mounts = container.volume_mounts.items().iter().filter(|mount| added.volumes.iter().any(|volume| **volume == *mount.name));
    mounts.map(|mount| &*mount.mount_path).collect()
}

/// What undoing takes from a container besides its mounts: its variables, and the lists that were made for it.
fn grants<'a>(name: &str, added: &'a Added<'a>) -> (Option<&'a Vec<Text<'a>>>, Vec<(&'a str, Before)>) {
    let made = added.parents.iter().filter_map(|(path, before)| {
        let mut parts = path.rsplit('/');
        let (list, owner) = (parts.next()?, parts.next()?);
        (owner == super::segment(name)).then_some((list, *before))
    });
    (added.env.get(name), made.collect())
}
