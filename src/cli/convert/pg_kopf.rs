//! `PgDatabase`s of the group `my.local`, as objects of ours.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    api::postgres_name,
    cli::manifests::{
        Node,
        stream::{self, Document},
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
    documents.iter().any(is_theirs).then(|| {
        let mut converted = Converted { objects: Vec::new(), warnings: Vec::new(), errors: Vec::new() };
        let (mut servers, mut databases) = (BTreeSet::new(), Vec::new());
        for document in &documents {
            if is_theirs(document) {
                if let Some((server, database)) = converted.database(document) {
                    servers.insert(server);
                    databases.push(database);
                }
            } else {
                converted.warnings.push(format!("{}: is no {KIND} of {GROUP_VERSION}, and is left out", document.origin));
            }
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

fn is_theirs(document: &Document) -> bool {
    let text = |key: &str| document.root.get(key).and_then(Node::as_str);
    text("apiVersion") == Some(GROUP_VERSION) && text("kind") == Some(KIND)
}

impl Converted {
    /// The server's name and the database.
    fn database(&mut self, document: &Document) -> Option<(String, Node)> {
        let at = |path: &[&str]| path.iter().try_fold(&document.root, |node, key| node.get(key)).and_then(Node::as_str);
        let (object, server, name) = (at(&["metadata", "name"]), at(&["spec", "server"]), at(&["spec", "db", "name"]));
        let (Some(object), Some(server), Some(name)) = (object, server, name) else {
            self.errors
                .push(format!("{}: metadata.name, spec.server or spec.db.name is missing; nothing was ever made of it", document.origin));
            return None;
        };
        // The name stood in the statement without quotes.
        let made = made(name);
        if made != name {
            self.warnings.push(format!("{}: spec.db.name is {name:?}, and the database that was made of it is {made:?}", document.origin));
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
