//! Our own kinds, as validation across objects needs them: one inventory, of which each watch writes its part.

use std::sync::{Arc, Mutex, PoisonError};

use kube::{Resource, core::DynamicObject, discovery::ApiResource};

use crate::api::{
    inventory::Inventory,
    pg_database::{PgDatabase, claim::Claim},
    pg_server::{PgServer, Server},
    session::{
        Session,
        usage::{Template, Usage},
    },
    session_template::SessionTemplate,
};

use super::{
    snapshot::Writer,
    watch::{Entries, Projection},
};

/// Writes the parts of the inventory. Clones write the same one.
#[derive(Debug, Clone)]
pub struct InventoryWriter {
    /// Held while a part is replaced, so that two watches don't lose each other's.
    writer: Arc<Mutex<Writer<Inventory>>>,
}

impl InventoryWriter {
    /// Writes into this snapshot.
    #[must_use]
    pub fn new(writer: Writer<Inventory>) -> Self {
        Self { writer: Arc::new(Mutex::new(writer)) }
    }

    /// Replaces a part; the others are shared with the inventory before.
    fn replace(&self, change: impl FnOnce(&mut Inventory)) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inventory = Inventory::clone(&writer.load());
        change(&mut inventory);
        writer.store(inventory);
    }
}

/// Defines the projection of one kind into its part of the inventory.
macro_rules! part {
    ($(#[$doc:meta])* $projection:ident, $kind:ty, $plural:literal, $entry:ty, $read:expr, $set:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $projection(pub InventoryWriter);

        impl $projection {
            /// How the API server names the kind.
            #[must_use]
            pub fn resource() -> ApiResource {
                ApiResource::erase::<$kind>(&())
            }
        }

        impl Projection for $projection {
            type Object = DynamicObject;
            type Entry = $entry;

            const NAME: &'static str = $plural;

            fn project(&self, object: &DynamicObject) -> Option<$entry> {
                // Read from JSON with tolerance: fields that only a newer version knows must not hide an object.
                let text = serde_json::to_vec(object).ok()?;
                match $read(&text) {
                    Ok(entry) => Some(entry),
                    Err(finding) => {
                        tracing::warn!(kind = Self::NAME, name = object.meta().name, %finding, "an object can't be read and counts as absent");
                        None
                    }
                }
            }

            fn publish(&self, known: Option<&Entries<$entry>>) {
                self.0.replace(|inventory| inventory.$set(known.into_iter().flat_map(Entries::values).cloned()));
            }
        }
    };
}

part!(
    /// `PgServer`s: who may have what on them.
    PgServers, PgServer, "pgservers", Server, Server::from_json, set_servers
);
part!(
    /// `PgDatabase`s: who claims which database.
    PgDatabases, PgDatabase, "pgdatabases", Claim, Claim::from_json, set_claims
);
part!(
    /// `SessionTemplate`s: what sessions may take.
    SessionTemplates, SessionTemplate, "sessiontemplates", Template, Template::from_json, set_templates
);
part!(
    /// `Session`s: who takes how much.
    Sessions, Session, "sessions", Usage, Usage::from_json, set_sessions
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::snapshot::snapshot;

    fn object(manifest: serde_json::Value) -> DynamicObject {
        serde_json::from_value(manifest).unwrap()
    }

    fn known<P: Projection<Object = DynamicObject>>(projection: &P, manifest: serde_json::Value) -> Entries<P::Entry> {
        projection.project(&object(manifest)).map(|entry| ((String::new(), "x".to_owned()), entry)).into_iter().collect()
    }

    #[test]
    fn each_watch_replaces_its_own_part() {
        let (writer, inventory) = snapshot(Inventory::default());
        let writer = InventoryWriter::new(writer);
        let (servers, databases) = (PgServers(writer.clone()), PgDatabases(writer));
        let server = serde_json::json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "PgServer", "metadata": {"name": "main"}, "spec": {"futureField": 1}});
        let database = serde_json::json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "PgDatabase", "metadata": {"name": "orders", "namespace": "shop"}, "spec": {"server": "main", "name": "orders"}});
        servers.publish(Some(&known(&servers, server)));
        databases.publish(Some(&known(&databases, database)));
        assert!(inventory.load().server("main").is_some());
        assert_eq!(inventory.load().claims("main", "orders").len(), 1);
        servers.publish(None);
        assert!(inventory.load().server("main").is_none());
        assert_eq!(inventory.load().claims("main", "orders").len(), 1, "the other part stays");
    }

    #[test]
    fn an_object_that_cannot_be_read_counts_as_absent() {
        let (writer, _inventory) = snapshot(Inventory::default());
        let databases = PgDatabases(InventoryWriter::new(writer));
        assert!(
            databases
                .project(&object(serde_json::json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": 7})))
                .is_none()
        );
    }
}
