//! Takes away what the record says was added, and nothing else.

use serde_json::value::RawValue;

use crate::api::annotations::STATUS;

use super::{
    InjectionError, merge,
    patch::{Patch, segment},
    pod::{Container, Named, Pod, Slot, Spec, Text},
    record::{Added, Before, Merged, Record},
    renamed::Renamed,
};

/// How an injection is undone.
#[derive(Debug, Default)]
pub struct Uninjection {
    /// What takes it away.
    pub patch: Patch,
    /// What of it can't be found or told from the author's own, each a short sentence with what to do.
    pub warnings: Vec<String>,
}

/// How to undo an injection, or `None` for a pod without a record. Takes the pod's JSON text.
pub fn uninject(text: &str) -> Result<Option<Uninjection>, InjectionError> {
    let pod = &Pod::read(text)?;
    let source: &RawValue = serde_json::from_str(text).map_err(InjectionError::NotAPod)?;
    let Some(text) = pod.annotation(STATUS) else { return Ok(None) };
    let record = Record::parse(text).map_err(InjectionError::UnreadableStatus)?;
    let empty = Spec::default();
    let spec = pod.spec.value().unwrap_or(&empty);
    let renamed = Renamed::find(spec, &record.added);
    let mut undo = Undo { source, added: &record.added, renamed: &renamed, patch: Patch::default(), warnings: Vec::new() };
    undo.tell_renamed();
    undo.containers("initContainers", &spec.init_containers, &record.added.init_containers)?;
    undo.containers("containers", &spec.containers, &record.added.containers)?;
    undo.restore_moved(spec)?;
    undo.volumes(spec)?;
    undo.named("/spec/imagePullSecrets", &spec.image_pull_secrets, &record.added.image_pull_secrets)?;
    undo.annotations(pod)?;
    Ok(Some(Uninjection { patch: undo.patch, warnings: undo.warnings }))
}

struct Undo<'a> {
    source: &'a RawValue,
    added: &'a Added<'a>,
    renamed: &'a Renamed<'a>,
    patch: Patch,
    warnings: Vec<String>,
}

impl Undo<'_> {
    fn tell_renamed(&mut self) {
        for (name, recorded) in &self.renamed.recorded_names {
            self.warnings
                .push(format!("container {name} was taken for {recorded} under another name: it has what was added to {recorded}"));
        }
        for lost in &self.renamed.lost {
            let listed = |names: Option<&Vec<Text<'_>>>| names.map(|names| names.join(", ")).filter(|names| !names.is_empty());
            let mounts = listed(self.added.mounts.get(*lost)).map(|paths| format!("the mounts at {paths}"));
            let variables = listed(self.added.env.get(*lost)).map(|names| format!("the variables {names}"));
            let given = mounts.into_iter().chain(variables).collect::<Vec<_>>().join(" and ");
            self.warnings.push(format!("container {lost} is gone: if it has another name now, take away {given} that were added to it"));
        }
    }

    /// Grants first, while the indices are the pod's; then the containers, from the end.
    fn containers(&mut self, list: &str, slot: &Slot<Vec<Container<'_>>>, added: &[Text<'_>]) -> Result<(), InjectionError> {
        let containers = slot.items();
        let gone = |container: &Container<'_>| {
            let moved = self.added.merged.iter().any(|merged| merged.moved && *merged.name == *container.name);
            moved || added.iter().any(|name| **name == *container.name)
        };
        let going: Vec<usize> = containers.iter().enumerate().filter(|(_, container)| gone(container)).map(|(index, _)| index).collect();
        for (index, container) in containers.iter().enumerate().filter(|(index, _)| !going.contains(index)) {
            match self.added.merged.iter().find(|merged| !merged.moved && *merged.name == *container.name) {
                Some(merged) => {
                    let current = merge::container_text(self.source, list, index)?;
                    self.patch.replace(&format!("/spec/{list}/{index}"), &merge::restored(&current, merged)?)?;
                }
                None => self.grants(list, index, container)?,
            }
        }
        let parent = format!("/spec/{list}");
        self.remove_items(&parent, &parent, containers.len(), &going)
    }

    /// Mounts and variables of a container that stays.
    fn grants(&mut self, list: &str, index: usize, container: &Container<'_>) -> Result<(), InjectionError> {
        let name = self.renamed.recorded_name(&container.name);
        let (at, named) = (format!("/spec/{list}/{index}"), format!("/spec/{list}/{}", segment(name)));
        if let Some(names) = self.added.env.get(name) {
            let env = container.env.value().map(|env| env.read(&container.name)).transpose()?.unwrap_or_default();
            let going = positions(&env.iter().map(|variable| &*variable.name).collect::<Vec<_>>(), names);
            self.remove_items(&format!("{at}/env"), &format!("{named}/env"), env.len(), &going)?;
        }
        let mounts = container.volume_mounts.items();
        let paths = self.added.mounts.get(name).map_or(&[][..], Vec::as_slice);
        let going = positions(&mounts.iter().map(|mount| &*mount.mount_path).collect::<Vec<_>>(), paths);
        self.tell_left_mounts(container, &going);
        self.remove_items(&format!("{at}/volumeMounts"), &format!("{named}/volumeMounts"), mounts.len(), &going)
    }

    /// A mount that the record doesn't know is its author's, and stays; without its volume, the API server refuses the pod.
    fn tell_left_mounts(&mut self, container: &Container<'_>, going: &[usize]) {
        let left = container.volume_mounts.items().iter().enumerate().filter(|(index, _)| !going.contains(index)).map(|(_, mount)| mount);
        for mount in left.filter(|mount| self.added.volumes.iter().any(|volume| **volume == *mount.name)) {
            let (container, path, volume) = (&*container.name, &*mount.mount_path, &*mount.name);
            self.warnings
                .push(format!("container {container} still mounts the volume {volume} at {path}, which is taken away: remove the mount"));
        }
    }

    fn volumes(&mut self, spec: &Spec<'_>) -> Result<(), InjectionError> {
        let names: Vec<&str> = spec.volumes.items().iter().map(|volume| &*volume.name).collect();
        let going = positions(&names, &self.added.volumes);
        self.remove_items("/spec/volumes", "/spec/volumes", names.len(), &going)
    }

    fn named(&mut self, parent: &str, slot: &Slot<Vec<Named<'_>>>, added: &[Text<'_>]) -> Result<(), InjectionError> {
        let going = positions(&slot.items().iter().map(|item| &*item.name).collect::<Vec<_>>(), added);
        self.remove_items(parent, parent, slot.items().len(), &going)
    }

    /// Removes items of a list, and the list with them if it was made for them and nothing is left.
    fn remove_items(&mut self, path: &str, named: &str, length: usize, going: &[usize]) -> Result<(), InjectionError> {
        let made = self.added.parents.get(named).filter(|_| going.len() == length && length > 0);
        if let Some(before) = made {
            return self.unmake(path, *before);
        }
        for index in going.iter().rev() {
            self.patch.remove(&format!("{path}/{index}"))?;
        }
        Ok(())
    }

    /// Undoes the making of a parent.
    fn unmake(&mut self, path: &str, before: Before) -> Result<(), InjectionError> {
        match before {
            Before::Absent => self.patch.remove(path)?,
            Before::Null => self.patch.replace(path, &RawValue::NULL)?,
        }
        Ok(())
    }

    /// Puts back the containers that were moved, each to its place, the first place first.
    fn restore_moved(&mut self, spec: &Spec<'_>) -> Result<(), InjectionError> {
        for list in ["initContainers", "containers"] {
            let mut moved: Vec<&Merged> = self.added.merged.iter().filter(|merged| merged.moved && merged.list == list).collect();
            moved.sort_unstable_by_key(|merged| merged.index);
            let slot = if list == "containers" { &spec.containers } else { &spec.init_containers };
            for (length, merged) in (self.length_without_ours(slot.items())..).zip(moved) {
                let at = merged.index.min(length);
                self.patch.add(&format!("/spec/{list}/{at}"), &self.as_left(spec, merged)?)?;
            }
        }
        Ok(())
    }

    /// A moved container as its user left it, wherever it stands now; as they wrote it, if it is gone.
    fn as_left(&self, spec: &Spec<'_>, merged: &Merged) -> Result<Box<RawValue>, InjectionError> {
        for (list, slot) in [("initContainers", &spec.init_containers), ("containers", &spec.containers)] {
            if let Some(index) = slot.items().iter().position(|container| *container.name == *merged.name) {
                return merge::restored(&merge::container_text(self.source, list, index)?, merged);
            }
        }
        Ok(merged.original.clone())
    }

    fn length_without_ours(&self, containers: &[Container<'_>]) -> usize {
        let ours = |name: &str| {
            let added = self.added.containers.iter().chain(&self.added.init_containers).any(|known| **known == *name);
            added || self.added.merged.iter().any(|merged| merged.moved && merged.name == name)
        };
        containers.iter().filter(|container| !ours(&container.name)).count()
    }

    fn annotations(&mut self, pod: &Pod<'_>) -> Result<(), InjectionError> {
        let ours = |name: &str| name == STATUS || self.added.annotations.iter().any(|known| **known == *name);
        let all_ours = pod.annotations().all(|(name, _)| ours(name));
        for parent in ["/metadata", "/metadata/annotations"] {
            if let (true, Some(before)) = (all_ours, self.added.parents.get(parent)) {
                return self.unmake(parent, *before);
            }
        }
        for (name, _) in pod.annotations().filter(|(name, _)| ours(name)) {
            self.patch.remove(&format!("/metadata/annotations/{}", segment(name)))?;
        }
        Ok(())
    }
}

/// The last place of each known name: additions stand behind what the user wrote.
fn positions(names: &[&str], known: &[Text<'_>]) -> Vec<usize> {
    let mut positions: Vec<usize> = known.iter().filter_map(|known| names.iter().rposition(|name| **name == **known)).collect();
    positions.sort_unstable();
    positions.dedup();
    positions
}
