//! What is seen of `PgServer`s and `PgDatabase`s: whole objects, for those who act on them.

use std::{collections::HashMap, sync::Arc};

use kube::{Resource, core::DynamicObject, discovery::ApiResource};
use serde::de::DeserializeOwned;

use crate::{
    api::{pg_database::PgDatabase, pg_server::PgServer},
    cluster::{
        snapshot::Writer,
        watch::{Entries, Projection},
    },
};

/// Objects by namespace and name; none while they aren't known.
pub type Objects<K> = Option<HashMap<(String, String), Arc<K>>>;

/// Follows the objects of one kind.
#[derive(Debug)]
pub struct ObjectsProjection<K>(pub Writer<Objects<K>>);

/// A kind that is followed.
pub trait Followed: Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static {
    /// What its watch is called in logs and readiness.
    const WATCH: &'static str;

    /// How the API server names it.
    #[must_use]
    fn resource() -> ApiResource {
        ApiResource::erase::<Self>(&())
    }
}

impl Followed for PgServer {
    const WATCH: &'static str = "pgservers-to-keep";
}

impl Followed for PgDatabase {
    const WATCH: &'static str = "pgdatabases-to-keep";
}

impl<K: Followed> Projection for ObjectsProjection<K> {
    type Object = DynamicObject;
    type Entry = Arc<K>;

    const NAME: &'static str = K::WATCH;

    fn project(&self, object: &DynamicObject) -> Option<Arc<K>> {
        let mut object = object.clone();
        object.metadata.managed_fields = None;
        match serde_json::to_value(&object).and_then(serde_json::from_value) {
            Ok(read) => Some(Arc::new(read)),
            Err(error) => {
                tracing::warn!(kind = Self::NAME, name = object.metadata.name, %error, "an object can't be read and counts as absent");
                None
            }
        }
    }

    fn publish(&self, known: Option<&Entries<Arc<K>>>) {
        self.0.store(Some(known.cloned().unwrap_or_default()));
    }
}
