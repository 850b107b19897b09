//! The objects that the sidecars of a pod need, and whether the files have them.

use crate::api::annotations::{FILE_SYNC_NOTIFY_SECRET, GUACAMOLE_CONFIGURATION, GUACAMOLE_CONNECTIONS, Key, items};
use crate::cli::columns::columns;
use crate::cli::manifests::stream::Document;
use crate::cli::manifests::workload;

use super::Story;

const SECRETS: [&Key; 3] = [&FILE_SYNC_NOTIFY_SECRET, &GUACAMOLE_CONNECTIONS, &GUACAMOLE_CONFIGURATION];

/// The Secrets that annotations name.
pub(super) fn tell(story: &Story<'_>, documents: &[Document]) -> String {
    let asked = SECRETS.into_iter().filter(|key| key.sidecar().is_some_and(|kind| story.sidecars.contains(&kind)));
    let rows: Vec<_> = asked
        .flat_map(|key| items(story.annotations.written(key).unwrap_or_default()).map(move |name| (key, name)))
        .map(|(key, name)| {
            let whereabouts = if has_secret(documents, name, story) { "among the files" } else { "not among the files" };
            [format!("Secret/{name}"), key.name.to_owned(), whereabouts.to_owned()]
        })
        .collect();
    columns("    ", &rows)
}

fn has_secret(documents: &[Document], name: &str, story: &Story<'_>) -> bool {
    documents.iter().flat_map(|document| workload::objects(&document.root)).any(|object| {
        let namespace = object.metadata("namespace").unwrap_or_else(|| story.surroundings.default_namespace());
        object.kind == "Secret" && object.group().is_empty() && object.metadata("name") == Some(name) && namespace == story.namespace()
    })
}
