//! Holds what the sidecars need against what the pod has: what is missing is added, what stands in the way is a denial.
//!
//! What is there already under our record stays; what is there without it, the user wrote, and it stays, too.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::annotations::{STATUS, SidecarKind};

use super::{
    Context, Denial, InjectionError, PodText, SkipReason,
    build::Builder,
    merge, mesh,
    patch::{Patch, segment},
    pod::{Container as PodContainer, Pod, PodVolume, Slot, Spec, Text},
    record::{Before, Merged, Record},
    sidecar::{Container, Grant, Mount, Placement, Rig, Variable, Volume},
    vnc,
};

/// The annotation by which `kubectl logs` and `exec` choose a container.
pub(crate) const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The operations that give a pod what is missing; none if nothing is. The inner error is what must be changed first.
pub(crate) fn plan<'a>(
    text: PodText<'_>,
    pod: &'a Pod<'_>,
    spec: &'a Spec<'_>,
    rigs: Vec<Rig<'a>>,
    context: Context<'a>,
    record: Record<'a>,
    injected_before: bool,
) -> Result<Result<Patch, Vec<Denial>>, InjectionError> {
    let mut planner = Planner { text, pod, spec, record, patch: Patch::default(), denials: Vec::new() };
    planner.check_ports(&rigs);
    planner.check_own_mounts(&rigs);
    planner.add_volumes(&rigs)?;
    planner.add_grants(&rigs)?;
    planner.add_pull_secrets(context)?;
    planner.add_containers(rigs)?;
    planner.name_default_container()?;
    if !planner.denials.is_empty() {
        return Ok(Err(planner.denials));
    }
    if injected_before && planner.patch.is_empty() {
        return Ok(Ok(Patch::default()));
    }
    planner.write_status()?;
    Ok(Ok(planner.patch))
}

/// The operations that write on a pod why it gets nothing.
pub(crate) fn skip(pod: &Pod<'_>, sidecars: &[SidecarKind], reason: SkipReason, mut record: Record<'_>) -> Result<Patch, InjectionError> {
    // The kubelet owns a mirror pod and compares what it wrote.
    if reason == SkipReason::MirrorPod {
        return Ok(Patch::default());
    }
    record.injected.clear();
    record.skipped = sidecars.iter().map(|kind| (kind.as_str().into(), reason.sentence().into())).collect();
    if pod.annotation(STATUS).is_some() {
        return Ok(Patch::default());
    }
    let empty = Spec::default();
    let mut planner = Planner { text: &|| Ok(RawValue::NULL), pod, spec: &empty, record, patch: Patch::default(), denials: Vec::new() };
    planner.write_status()?;
    Ok(planner.patch)
}

struct Planner<'a, 'p, 't> {
    text: PodText<'t>,
    pod: &'a Pod<'p>,
    spec: &'a Spec<'p>,
    record: Record<'a>,
    patch: Patch,
    denials: Vec<Denial>,
}

/// One of the two lists of containers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Init,
    App,
}

impl List {
    const fn name(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::App => "containers",
        }
    }
}

/// A container that is inserted, and the place in the final list it takes.
struct Insertion<'a> {
    place: usize,
    container: NewContainer<'a>,
}

/// A container that is not in its list yet.
#[derive(Serialize)]
#[serde(untagged)]
enum NewContainer<'a> {
    Ours(Box<Container<'a>>),
    /// The user's, with ours in its gaps.
    Merged(Box<RawValue>),
}

impl<'a, 'p> Planner<'a, 'p, '_> {
    fn deny(&mut self, message: String) {
        self.denials.push(Denial { key: None, message });
    }

    /// Our ports must be free: all containers of a pod share one network.
    fn check_ports(&mut self, rigs: &[Rig<'_>]) {
        let mut taken: BTreeMap<u16, &str> = BTreeMap::new();
        for (_, container) in self.containers() {
            if rigs.iter().any(|rig| rig.container.name == &*container.name) {
                continue;
            }
            let tcp = container.ports.items().iter().filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
            taken.extend(tcp.filter_map(|port| Some((u16::try_from(port.container_port?).ok()?, &*container.name))));
        }
        for rig in rigs {
            let health = rig.container.health_port().map(|port| (port, Builder::health_port_key(rig.kind).name));
            let served = rig.container.ports.iter().map(|port| (port.container_port, vnc::port_key(port).name));
            for (port, key) in served.chain(health) {
                if let Some(owner) = taken.insert(port, rig.container.name) {
                    let message = format!("port {port} of {} is taken by container {owner}: choose another with {key}", rig.container.name);
                    self.denials.push(Denial { key: Some(key), message });
                }
            }
        }
    }

    /// A sidecar's own mounts may collide where annotations name their folders; a mount below a read-only one has no place.
    fn check_own_mounts(&mut self, rigs: &[Rig<'_>]) {
        for rig in rigs {
            let mounts = &rig.container.volume_mounts;
            for (place, mount) in mounts.iter().enumerate() {
                let path = mount.mount_path.trim_end_matches('/');
                let collides = mounts.iter().enumerate().find(|(other, there)| {
                    let there_path = there.mount_path.trim_end_matches('/');
                    let below = path.strip_prefix(there_path).is_some_and(|rest| rest.starts_with('/'));
                    *other != place && ((*other < place && path == there_path) || (below && there.read_only))
                });
                if let Some((_, there)) = collides {
                    self.deny(format!(
                        "{} mounts {} at {} and {path}: choose folders apart from each other",
                        rig.container.name, there.name, there.mount_path
                    ));
                }
            }
        }
    }

    fn containers(&self) -> impl Iterator<Item = (List, &'a PodContainer<'p>)> {
        let inits = self.spec.init_containers.items().iter().map(|container| (List::Init, container));
        inits.chain(self.spec.containers.items().iter().map(|container| (List::App, container)))
    }

    fn add_volumes(&mut self, rigs: &[Rig<'a>]) -> Result<(), InjectionError> {
        let there: Vec<&str> = self.spec.volumes.items().iter().map(|volume| &*volume.name).collect();
        let mut missing: Vec<&Volume<'_>> = Vec::new();
        for volume in rigs.iter().flat_map(|rig| &rig.volumes) {
            if missing.iter().any(|shared| shared.name == volume.name) {
                continue;
            }
            if !there.contains(&&*volume.name) {
                missing.push(volume);
            } else if !self.record.added.volumes.iter().any(|known| **known == *volume.name)
                && !merge::same_volume((self.text)().map_err(InjectionError::NotAPod)?, volume)?
            {
                self.deny(format!("the pod has a volume of its own named {}, which Outrigger needs: rename it", volume.name));
            }
        }
        for borrowed in rigs.iter().flat_map(|rig| &rig.borrowed_volumes) {
            let volume = self.spec.volumes.items().iter().find(|volume| *volume.name == *borrowed.name);
            if borrowed.written && volume.is_some_and(PodVolume::is_read_only) {
                let message = format!(
                    "{} names the volume {:?}, which nobody can write to: name an emptyDir or a claim",
                    borrowed.key, borrowed.name
                );
                self.denials.push(Denial { key: Some(borrowed.key), message });
            } else if volume.is_none() {
                let message = format!(
                    "{} names the volume {:?}, which the pod does not have: it has {}",
                    borrowed.key,
                    borrowed.name,
                    listed(&there)
                );
                self.denials.push(Denial { key: Some(borrowed.key), message });
            }
        }
        self.record.added.volumes.extend(missing.iter().map(|volume| volume.name.clone().into()));
        self.append("/spec/volumes", || "/spec/volumes", slot_state(&self.spec.volumes), &missing)
    }

    /// Mounts and variables for the chosen containers.
    fn add_grants(&mut self, rigs: &[Rig<'a>]) -> Result<(), InjectionError> {
        let spec = self.spec;
        // In the containers' order: a pod may have a hundred, and each sidecar a grant for each.
        let mut grants: Vec<_> = rigs.iter().map(|rig| (rig.kind, rig.grants.iter().peekable())).collect();
        for (list, containers) in [(List::Init, spec.init_containers.items()), (List::App, spec.containers.items())] {
            for (index, container) in containers.iter().enumerate() {
                let mut mounts: Vec<&Mount<'a>> = Vec::new();
                let mut env: Vec<&Variable<'a>> = Vec::new();
                for (kind, grants) in &mut grants {
                    if let Some(grant) = grants.next_if(|grant| grant.container == &*container.name) {
                        self.missing_mounts(*kind, container, grant, &mut mounts);
                        self.missing_env(*kind, container, grant, &mut env)?;
                    }
                }
                self.grant(list, index, container, &mounts, &env)?;
            }
        }
        Ok(())
    }

    fn missing_mounts<'g>(
        &mut self,
        kind: SidecarKind,
        container: &PodContainer<'_>,
        grant: &'g Grant<'a>,
        missing: &mut Vec<&'g Mount<'a>>,
    ) {
        for mount in &grant.mounts {
            let path = mount.mount_path.trim_end_matches('/');
            let there = container.volume_mounts.items().iter().find(|there| there.mount_path.trim_end_matches('/') == path);
            let ours = missing.iter().find(|ours| ours.mount_path.trim_end_matches('/') == path);
            match (there, ours) {
                (Some(there), _) => {
                    let same = *there.name == mount.name && there.sub_path.is_none() && there.read_only.unwrap_or(false) == mount.read_only;
                    if !same {
                        self.deny(format!(
                            "container {} mounts {} at {}, where {} mounts {}: {}",
                            &*container.name,
                            &*there.name,
                            mount.mount_path,
                            kind.as_str(),
                            mount.name,
                            way_out(kind, container, self.writable(&there.name), &mount.mount_path)
                        ));
                    }
                }
                (None, Some(ours)) => self
                    .deny(format!("{} and {} would both be mounted at {}: choose another folder", ours.name, mount.name, mount.mount_path)),
                (None, None) => missing.push(mount),
            }
        }
    }

    /// A volume's name, if files may be written to it.
    fn writable<'n>(&self, name: &'n str) -> Option<&'n str> {
        let read_only = self.spec.volumes.items().iter().any(|volume| &*volume.name == name && volume.is_read_only());
        (!read_only).then_some(name)
    }

    fn missing_env<'g>(
        &mut self,
        kind: SidecarKind,
        container: &PodContainer<'_>,
        grant: &'g Grant<'a>,
        missing: &mut Vec<&'g Variable<'a>>,
    ) -> Result<(), InjectionError> {
        let named_alike = container.env.value().filter(|there| grant.env.iter().any(|variable| there.may_have(variable.name)));
        let there = named_alike.map(|there| there.read(&container.name)).transpose()?.unwrap_or_default();
        for variable in &grant.env {
            // The kubelet lets the last of several win.
            match there.iter().rev().find(|there| &*there.name == variable.name) {
                None => missing.push(variable),
                Some(there) if there.value.as_deref() == variable.value() => {}
                Some(there) => {
                    let value = there.value.as_deref().map_or_else(|| "from elsewhere".to_owned(), |value| format!("to {value:?}"));
                    self.deny(format!(
                        "container {} sets {} {value}, where {} sets it to {:?}: remove it, or {}",
                        &*container.name,
                        variable.name,
                        kind.as_str(),
                        variable.value().unwrap_or_default(),
                        way_out(kind, container, None, "")
                    ));
                }
            }
        }
        Ok(())
    }

    fn grant(
        &mut self,
        list: List,
        index: usize,
        container: &'a PodContainer<'_>,
        mounts: &[&Mount<'a>],
        env: &[&Variable<'a>],
    ) -> Result<(), InjectionError> {
        let name = &*container.name;
        // `concat`, here and below, as it knows how long a text becomes: there are three paths for each container.
        let at = |member: &str| ["/spec/", list.name(), "/", &index.to_string(), "/", member].concat();
        let by_name = |member: &str| ["/spec/", list.name(), "/", &segment(name), "/", member].concat();
        if !mounts.is_empty() {
            let paths = self.record.added.mounts.entry(name.into()).or_default();
            paths.extend(mounts.iter().map(|mount| mount.mount_path.clone().into()));
        }
        if !env.is_empty() {
            let names = self.record.added.env.entry(name.into()).or_default();
            names.extend(env.iter().map(|variable| variable.name.into()));
        }
        if !env.is_empty() {
            self.append(&at("env"), || by_name("env"), slot_state(&container.env), env)?;
        }
        if !mounts.is_empty() {
            self.append(&at("volumeMounts"), || by_name("volumeMounts"), slot_state(&container.volume_mounts), mounts)?;
        }
        Ok(())
    }

    /// Appends items to a list, making it if need be. In the record a list goes by another path, which names its container.
    fn append<T: Serialize, N: Into<Text<'a>>>(
        &mut self,
        path: &str,
        named: impl FnOnce() -> N,
        there: Option<Before>,
        items: &[T],
    ) -> Result<(), InjectionError> {
        if items.is_empty() {
            return Ok(());
        }
        if let Some(before) = there {
            self.record.added.parents.insert(named().into(), before);
            self.patch.add(path, &items)?;
            return Ok(());
        }
        let end = [path, "/-"].concat();
        for item in items {
            self.patch.add(&end, item)?;
        }
        Ok(())
    }

    fn add_pull_secrets(&mut self, context: Context<'a>) -> Result<(), InjectionError> {
        let there = self.spec.image_pull_secrets.items();
        // The first secret in a template would hide those of the ServiceAccount, which only the API server knows.
        if context.offline && there.is_empty() {
            return Ok(());
        }
        let wanted = context.settings.image_pull_secrets.iter();
        let missing: Vec<&String> = wanted.filter(|secret| !there.iter().any(|there| *there.name == **secret)).collect();
        self.record.added.image_pull_secrets.extend(missing.iter().map(|secret| secret.as_str().into()));
        let items: Vec<BTreeMap<&str, &String>> = missing.into_iter().map(|secret| BTreeMap::from([("name", secret)])).collect();
        self.append("/spec/imagePullSecrets", || "/spec/imagePullSecrets", slot_state(&self.spec.image_pull_secrets), &items)
    }

    /// Inserts the sidecars' containers, merging those the user wrote under our names.
    fn add_containers(&mut self, rigs: Vec<Rig<'a>>) -> Result<(), InjectionError> {
        let mut moved = Vec::new();
        let mut added: Vec<(Placement, NewContainer<'a>)> = Vec::new();
        for rig in rigs {
            let name = rig.container.name;
            let found = self.position(name);
            if let (true, Some((list, index))) = (self.record.knows_container(name), found) {
                self.refresh_identity(&rig, list, index)?;
                continue;
            }
            let Some((list, index)) = found else {
                self.remember_container(rig.placement, name);
                added.push((rig.placement, NewContainer::Ours(Box::new(rig.container))));
                continue;
            };
            let original = merge::container_text((self.text)().map_err(InjectionError::NotAPod)?, list.name(), index)?;
            let asks_for_ours = merge::asks_for_our_image(&original)?;
            let among_init = if asks_for_ours { rig.placement.is_init() } else { list == List::Init };
            let merge = merge::Merge::new(&original, &rig.container, among_init)?;
            if asks_for_ours {
                added.push((rig.placement, NewContainer::Merged(merge.whole()?)));
                moved.push((list, index));
            } else {
                merge.fill(&mut self.patch, &format!("/spec/{}/{index}", list.name()))?;
            }
            let (name, list) = (name.to_owned(), list.name().to_owned());
            self.record.added.merged.push(Merged { name, list, index, moved: asks_for_ours, filled: merge.filled(), original });
        }
        self.move_and_insert(&mut moved, added)
    }

    /// A container that came later may run as another user: then the cookie must be readable to all, and nobody may share
    /// memory with the X server. Both are variables of a container of ours.
    fn refresh_identity(&mut self, rig: &Rig<'_>, list: List, index: usize) -> Result<(), InjectionError> {
        let containers = if list == List::Init { &self.spec.init_containers } else { &self.spec.containers };
        let Some(there) = containers.items().get(index) else { return Ok(()) };
        let env = there.env.value().map(|env| env.read(&there.name)).transpose()?.unwrap_or_default();
        let theirs = |name: &str| self.record.added.merged.iter().any(|merged| merged.name == *name);
        for wanted in rig.container.env.iter().filter(|variable| vnc::IDENTITY.contains(&variable.name) && !theirs(rig.container.name)) {
            let place = env.iter().position(|variable| &*variable.name == wanted.name);
            let differs = |place: &usize| env.get(*place).and_then(|there| there.value.as_deref()) != wanted.value();
            if let Some(place) = place.filter(differs) {
                self.patch.replace(&format!("/spec/{}/{index}/env/{place}/value", list.name()), &wanted.value())?;
            }
        }
        Ok(())
    }

    fn position(&self, name: &str) -> Option<(List, usize)> {
        let in_list = |containers: &[PodContainer<'_>]| containers.iter().position(|container| &*container.name == name);
        let init = in_list(self.spec.init_containers.items()).map(|index| (List::Init, index));
        init.or_else(|| in_list(self.spec.containers.items()).map(|index| (List::App, index)))
    }

    fn remember_container(&mut self, placement: Placement, name: &'static str) {
        let names = if placement.is_init() { &mut self.record.added.init_containers } else { &mut self.record.added.containers };
        if !names.iter().any(|known| **known == *name) {
            names.push(name.into());
        }
    }

    fn move_and_insert(&mut self, moved: &mut [(List, usize)], added: Vec<(Placement, NewContainer<'a>)>) -> Result<(), InjectionError> {
        // From the end, so that no removal shifts the next one.
        moved.sort_unstable_by_key(|(list, index)| (list.name(), std::cmp::Reverse(*index)));
        for (list, index) in moved.iter() {
            self.patch.remove(&format!("/spec/{}/{index}", list.name()))?;
        }
        let left_in = |list: List| moved.iter().filter(|(of, _)| *of == list).map(|(_, index)| *index).collect::<Vec<_>>();
        let (init_gone, app_gone) = (left_in(List::Init), left_in(List::App));
        let (inits, apps): (Vec<_>, Vec<_>) = added.into_iter().partition(|(placement, _)| placement.is_init());
        let init_names = remaining(self.spec.init_containers.items(), &init_gone);
        let app_names = remaining(self.spec.containers.items(), &app_gone);
        if app_names.is_empty() {
            self.deny("the pod has no container for a sidecar to stand beside: add one".to_owned());
        }
        let inits = places(inits, &init_names);
        let apps = places(apps, &app_names);
        self.insert(List::Init, slot_state(&self.spec.init_containers), inits)?;
        self.insert(List::App, slot_state(&self.spec.containers), apps)
    }

    fn insert(&mut self, list: List, there: Option<Before>, insertions: Vec<Insertion<'a>>) -> Result<(), InjectionError> {
        let path = ["/spec/", list.name()].concat();
        if there.is_some() {
            let containers: Vec<_> = insertions.into_iter().map(|insertion| insertion.container).collect();
            return self.append(&path, || path.clone(), there, &containers);
        }
        for Insertion { place, container } in insertions {
            self.patch.add(&[&path, "/", &place.to_string()].concat(), &container)?;
        }
        Ok(())
    }

    /// `kubectl logs` and `exec` mean the app, wherever the sidecars stand.
    fn name_default_container(&mut self) -> Result<(), InjectionError> {
        if self.pod.annotation(DEFAULT_CONTAINER).is_some() {
            return Ok(());
        }
        let app = self.spec.containers.items().iter().find(|container| !mesh::is_injected(&container.name));
        if let Some(app) = app {
            self.record.added.annotations.push(DEFAULT_CONTAINER.into());
            self.patch.add(&annotation_path(DEFAULT_CONTAINER), &&*app.name)?;
        }
        Ok(())
    }

    fn write_status(&mut self) -> Result<(), InjectionError> {
        self.make_annotations()?;
        // On an existing one, `add` replaces (RFC 6902, section 4.1).
        Ok(self.patch.add_as_text(&annotation_path(STATUS), &self.record)?)
    }

    /// Makes the maps that hold annotations, first of all operations, and remembers it.
    fn make_annotations(&mut self) -> Result<(), InjectionError> {
        let nothing = BTreeMap::<&str, &str>::new();
        let parents = match &self.pod.metadata {
            Slot::Present(metadata) => slot_state(&metadata.annotations).map(|before| ("/metadata/annotations", before)),
            missing => slot_state(missing).map(|before| ("/metadata", before)),
        };
        let Some((path, before)) = parents else { return Ok(()) };
        self.record.added.parents.insert(path.into(), before);
        let mut first = Patch::default();
        if path == "/metadata" {
            first.add(path, &BTreeMap::from([("annotations", nothing)]))?;
        } else {
            first.add(path, &nothing)?;
        }
        first.append(&self.patch);
        self.patch = first;
        Ok(())
    }
}

fn annotation_path(name: &str) -> String {
    ["/metadata/annotations/", &segment(name)].concat()
}

/// What stood in a slot that holds no list, or `None` if it holds one.
fn slot_state<T>(slot: &Slot<T>) -> Option<Before> {
    match slot {
        Slot::Absent => Some(Before::Absent),
        Slot::Null => Some(Before::Null),
        Slot::Present(_) => None,
    }
}

fn remaining<'a>(containers: &'a [PodContainer<'_>], gone: &[usize]) -> Vec<&'a str> {
    containers.iter().enumerate().filter(|(index, _)| !gone.contains(index)).map(|(_, container)| &*container.name).collect()
}

/// Gives each new container its place in the final list, in ascending order, so that each insertion finds its place.
fn places<'a>(added: Vec<(Placement, NewContainer<'a>)>, there: &[&str]) -> Vec<Insertion<'a>> {
    // Where the containers stand that were in the list when it was read, a sidecar stands behind the mesh's last one.
    let behind_mesh = there.iter().rposition(|name| mesh::belongs_to_mesh(name)).map_or(0, |index| index + 1);
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for (placement, container) in added {
        if placement == Placement::AfterInit { late.push(container) } else { early.push(container) }
    }
    let late_start = there.len() + early.len();
    let early = early.into_iter().enumerate().map(|(offset, container)| Insertion { place: behind_mesh + offset, container });
    let late = late.into_iter().enumerate().map(|(offset, container)| Insertion { place: late_start + offset, container });
    early.chain(late).collect()
}

fn way_out(kind: SidecarKind, container: &PodContainer<'_>, volume: Option<&str>, path: &str) -> String {
    match kind {
        SidecarKind::FileSync => super::file_sync::way_out(&container.name, volume),
        SidecarKind::Vnc | SidecarKind::Guacamole => vnc::way_out(&container.name, path),
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
