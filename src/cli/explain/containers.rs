//! Where the sidecars stand, and what the pod's own containers get.

use crate::api::annotations::{FILE_SYNC_MODE, NATIVE_SIDECAR, SidecarKind};
use crate::cli::columns::columns;
use crate::cli::injector::record;
use crate::cli::manifests::Node;
use crate::injection::Text;

use super::Story;

const INIT: &str = "initContainers";
const APP: &str = "containers";

/// A container and where it stands.
pub(super) struct Found<'pod> {
    pub(super) node: &'pod Node,
    list: &'static str,
    /// The names of those before it in its list.
    before: Vec<&'pod str>,
}

/// The container of a name.
pub(super) fn find<'pod>(pod: &'pod Node, name: &str) -> Option<Found<'pod>> {
    [INIT, APP].into_iter().find_map(|list| {
        let containers = in_list(pod, list);
        let index = containers.iter().position(|container| name_of(container) == name)?;
        let before = containers.iter().take(index).map(name_of).collect();
        Some(Found { node: containers.get(index)?, list, before })
    })
}

fn in_list<'pod>(pod: &'pod Node, list: &str) -> &'pod [Node] {
    pod.get("spec").and_then(|spec| spec.get(list)?.items()).unwrap_or_default()
}

fn name_of(container: &Node) -> &str {
    container.get("name").and_then(Node::as_str).unwrap_or_default()
}

/// Where each sidecar's container stands, and why there.
pub(super) fn tell_sidecars(story: &Story<'_>) -> String {
    if !story.is_equipped() {
        return String::new();
    }
    let row = |kind: &SidecarKind| {
        let found = find(story.injection.change.pod(), kind.container())?;
        Some([kind.container().to_owned(), format!("{}, {}", style(story, *kind, &found), place(&found))])
    };
    columns("    ", &story.sidecars.iter().filter_map(row).collect::<Vec<_>>())
}

/// How a sidecar runs, and what decided so.
fn style(story: &Story<'_>, kind: SidecarKind, found: &Found<'_>) -> String {
    let restarts = found.node.get("restartPolicy").and_then(Node::as_str) == Some("Always");
    let wanted = story.annotations.written(&NATIVE_SIDECAR);
    match (found.list, restarts, wanted) {
        (INIT, true, Some("true")) => format!("native sidecar, because {} is true", NATIVE_SIDECAR.name),
        (INIT, true, _) => "native sidecar: it starts before the app and outlives it".to_owned(),
        (INIT, false, _) if kind == SidecarKind::FileSync => {
            format!("init container that ends before the app starts, because {} is once", FILE_SYNC_MODE.name)
        }
        (INIT, ..) => "init container".to_owned(),
        (_, _, Some("false")) => format!("plain container, because {} is false", NATIVE_SIDECAR.name),
        _ => "plain container, because the pod's mesh proxy is one: before the proxy runs, the network is not reached".to_owned(),
    }
}

fn place(found: &Found<'_>) -> String {
    match found.before.last() {
        None => format!("first of {}", found.list),
        Some(previous) => format!("in {} after {previous}", found.list),
    }
}

/// What each of the pod's own containers gets.
pub(super) fn tell_own(story: &Story<'_>) -> String {
    let pod = story.injection.change.pod();
    let Some(record) = record(pod).filter(|_| story.is_equipped()) else { return String::new() };
    let own = [INIT, APP].into_iter().flat_map(|list| in_list(pod, list)).filter(|container| !record.knows_container(name_of(container)));
    let rows: Vec<_> = own
        .flat_map(|container| {
            let name = name_of(container);
            let mounts = named(container, "volumeMounts", "mountPath", record.added.mounts.get(name)).map(mount);
            let variables = named(container, "env", "name", record.added.env.get(name)).map(variable);
            let mut gains: Vec<String> = mounts.chain(variables).collect();
            if gains.is_empty() {
                gains.push("nothing".to_owned());
            }
            gains.into_iter().enumerate().map(move |(index, gain)| [if index == 0 { name.to_owned() } else { String::new() }, gain])
        })
        .collect();
    columns("    ", &rows)
}

/// The items of a container's list that a record names.
fn named<'pod>(container: &'pod Node, list: &str, key: &'static str, names: Option<&Vec<Text<'_>>>) -> impl Iterator<Item = &'pod Node> {
    let items = container.get(list).and_then(Node::items).unwrap_or_default();
    let is_named = move |item: &&Node| {
        item.get(key).and_then(Node::as_str).is_some_and(|name| names.is_some_and(|names| names.iter().any(|known| **known == *name)))
    };
    items.iter().filter(is_named).collect::<Vec<_>>().into_iter()
}

fn mount(mount: &Node) -> String {
    let text = |key: &str| mount.get(key).and_then(Node::as_str).unwrap_or_default();
    let access = if mount.get("readOnly") == Some(&Node::Bool(true)) { "read-only" } else { "writable" };
    format!("mounts {} at {}, {access}", text("name"), text("mountPath"))
}

fn variable(variable: &Node) -> String {
    let text = |key: &str| variable.get(key).and_then(Node::as_str).unwrap_or_default();
    format!("sets {}={}", text("name"), text("value"))
}
