//! Each setting that holds: its value, and who made it.

use crate::api::annotations::{Key, SidecarKind, TABLE};
use crate::cli::columns::columns;
use crate::cli::manifests::Node;

use super::{Story, containers};

/// The settings of the pod and of the sidecars it asks for, one on each line.
pub(super) fn tell(story: &Story<'_>) -> String {
    if story.sidecars.is_empty() {
        return String::new();
    }
    let concerned = |key: &Key| key.sidecar().is_none_or(|kind| story.sidecars.contains(&kind));
    let rows: Vec<_> = TABLE.iter().filter(|key| concerned(key)).filter_map(|key| row(story, key)).collect();
    columns("    ", &rows)
}

fn row(story: &Story<'_>, key: &'static Key) -> Option<[String; 3]> {
    let (value, origin) = written(story, key).or_else(|| decided(story, key)).or_else(|| default(key))?;
    Some([key.name.to_owned(), value, origin])
}

fn written(story: &Story<'_>, key: &'static Key) -> Option<(String, String)> {
    let setting = story.annotations.setting(key)?;
    let overridden = story.defaults.and_then(|defaults| defaults.get(key.name)).filter(|inherited| inherited.trim() != setting.value);
    let author = story.author(setting);
    let origin = match (overridden, key.default) {
        (Some(inherited), _) => format!("{author}; namespace {} says {inherited}", story.namespace()),
        (None, Some(default)) if default != setting.value => format!("{author}; the default is {default}"),
        (None, _) => author,
    };
    Some((setting.value.to_string(), origin))
}

fn default(key: &Key) -> Option<(String, String)> {
    key.default.map(|default| (default.to_owned(), "default".to_owned()))
}

/// What holds for image, resources and user where nobody wrote it: it shows in the container.
fn decided(story: &Story<'_>, key: &Key) -> Option<(String, String)> {
    let kind = key.sidecar()?;
    let (_, name) = key.name.split_once('/')?;
    let container = containers::find(story.injection.change.pod(), kind.container())?.node;
    let path: &[&str] = match name {
        "image" => &["image"],
        "cpu-request" => &["resources", "requests", "cpu"],
        "cpu-limit" => &["resources", "limits", "cpu"],
        "memory-request" => &["resources", "requests", "memory"],
        "memory-limit" => &["resources", "limits", "memory"],
        "user-id" => &["securityContext", "runAsUser"],
        _ => return None,
    };
    let value = match path.iter().try_fold(container, |node, key| node.get(key))? {
        Node::String(text) => text.clone(),
        Node::Number(number) => number.as_str().to_owned(),
        _ => return None,
    };
    let origin = if name == "user-id" { "chosen by the pod's own users" } else { installed(story, kind, name) };
    Some((value, origin.to_owned()))
}

fn installed(story: &Story<'_>, kind: SidecarKind, name: &str) -> &'static str {
    let settings = story.surroundings.settings.sidecar(kind);
    let value = match name {
        "image" => &settings.image,
        "cpu-request" => &settings.resources.cpu_request,
        "cpu-limit" => &settings.resources.cpu_limit,
        "memory-request" => &settings.resources.memory_request,
        _ => &settings.resources.memory_limit,
    };
    if value.is_some() { "the installation" } else { "default" }
}
