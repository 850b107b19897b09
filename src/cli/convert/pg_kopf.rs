//! `PgDatabase`s of the group `my.local`, as objects of ours.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    api::postgres_name,
    cli::manifests::{
        Node,
        stream::{self, Document, Origin},
    },
};

const GROUP_VERSION: &str = "my.local/v1";
const KIND: &str = "PgDatabase";
/// The Secret that its operator had in its environment, with the keys that it had there.
const CREDENTIALS: [(&str, &str); 3] = [("name", "pguser-secret"), ("usernameKey", "POSTGRES_USER"), ("passwordKey", "POSTGRES_PASSWORD")];

/// What becomes of manifests.
pub(super) struct Converted {
    pub(super) objects: Vec<Node>,
    pub(super) warnings: Vec<String>,
    pub(super) errors: Vec<String>,
}

/// The objects that stand for these, if there is one of that group; what else is in the file is left out with a word.
pub(super) fn convert(name: &str, text: &str) -> Option<Converted> {
    let documents = stream::read_bytes(name, text.as_bytes()).ok()?;
    let found: Vec<(&Origin, &Node)> = documents.iter().flat_map(|document| objects(document)).collect();
    found.iter().any(|(_, object)| is_theirs(object)).then(|| {
        let mut converted = Converted { objects: Vec::new(), warnings: Vec::new(), errors: Vec::new() };
        let (mut servers, mut databases) = (BTreeSet::new(), Vec::new());
        for (origin, object) in found {
            if is_theirs(object) {
                if let Some((server, database)) = converted.database(origin, object) {
                    servers.insert(server);
                    databases.push(database);
                }
            } else {
                converted.warnings.push(format!("{origin}: is no {KIND} of {GROUP_VERSION}, and is left out"));
            }
        }
        for host in servers.iter().filter(|host| !host.contains(['.', ':'])) {
            converted.warnings.push(format!(
                "spec.server {host:?} is a host as seen from the old operator's namespace: write {host}.NAMESPACE.svc into spec.host of the PgServer"
            ));
        }
        converted.objects = servers.iter().map(|server| self::server(server)).chain(databases).collect();
        if !servers.is_empty() {
            converted.warnings.push(
                "the credentials are expected in the Secret pguser-secret in the namespace of the installation, and objects in the namespace \
                 default; TLS is asked for, and nobody's certificate verified: set spec.tls of each PgServer"
                    .to_owned(),
            );
        }
        converted
    })
}

/// The object of a document, or those of a list, as `kubectl get` prints them.
fn objects(document: &Document) -> Vec<(&Origin, &Node)> {
    let items =
        document.root.get("items").and_then(Node::items).filter(|_| document.root.get("kind").and_then(Node::as_str) == Some("List"));
    items.map_or_else(|| vec![(&document.origin, &document.root)], |items| items.iter().map(|item| (&document.origin, item)).collect())
}

fn is_theirs(object: &Node) -> bool {
    let text = |key: &str| object.get(key).and_then(Node::as_str);
    text("apiVersion") == Some(GROUP_VERSION) && text("kind") == Some(KIND)
}

impl Converted {
    /// The server's name and the database.
    fn database(&mut self, origin: &Origin, object: &Node) -> Option<(String, Node)> {
        let at = |path: &[&str]| path.iter().try_fold(object, |node, key| node.get(key)).and_then(Node::as_str);
        let (object, server, name) = (at(&["metadata", "name"]), at(&["spec", "server"]), at(&["spec", "db", "name"]));
        let (Some(object), Some(server), Some(name)) = (object, server, name) else {
            self.errors.push(format!("{origin}: metadata.name, spec.server or spec.db.name is missing; nothing was ever made of it"));
            return None;
        };
        // The name stood in the statement without quotes.
        let made = made(name);
        if made != name {
            self.warnings.push(format!("{origin}: spec.db.name is {name:?}, and the database that was made of it is {made:?}"));
        }
        if !is_identifier(&made) {
            self.warnings.push(format!(
                "{origin}: spec.db.name {name:?} is no name without quotes, so no database was ever made of it; it is made now"
            ));
        }
        // What exists is theirs by name, and becomes ours.
        let spec = json!({"server": object_name(server), "name": made, "adoptionPolicy": "IfUnclaimed"});
        let object = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": KIND, "metadata": {"name": object, "namespace": "default"}, "spec": spec});
        Some((server.to_owned(), Node::from(object)))
    }
}

/// The name as the server has folded and cut it.
fn made(name: &str) -> String {
    let lower = name.trim_end_matches('\n').to_ascii_lowercase();
    lower.get(..lower.floor_char_boundary(postgres_name::MAX_BYTES)).unwrap_or_default().to_owned()
}

/// Whether the server reads it as a name without quotes (PostgreSQL manual, "Identifiers and Key Words").
fn is_identifier(name: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    name.starts_with(begins) && name.chars().all(|c| begins(c) || c.is_ascii_digit() || c == '$')
}

fn server(host: &str) -> Node {
    let credentials: serde_json::Map<_, _> = CREDENTIALS.map(|(key, value)| (key.to_owned(), json!(value))).into_iter().collect();
    Node::from(json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": "PgServer", "metadata": {"name": object_name(host)},
        "spec": {
            "host": host, "credentials": credentials, "tls": {"mode": "Require"},
            "allow": [{"namespaces": ["default"], "adoption": "IfUnclaimed"}],
        },
    }))
}

fn object_name(host: &str) -> String {
    host.to_ascii_lowercase().replace(':', "-")
}
