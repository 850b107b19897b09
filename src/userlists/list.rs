//! The `UserList`s there are, as their watch shows them.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt, core::DynamicObject, discovery::ApiResource};

use crate::{
    api::user_list::{UserList, UserListSpec, UserListStatus},
    cluster::{
        snapshot::Writer,
        watch::{Entries, Projection},
    },
    events::note::Reference,
};

/// One `UserList` as its author last wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells it from others that had its name.
    pub uid: String,
    /// Which of its specs.
    pub generation: i64,
}

/// What is to be done, and what was said of it.
#[derive(Debug)]
pub struct List {
    /// What its author wants.
    pub spec: UserListSpec,
    /// What was last said.
    pub status: UserListStatus,
}

/// All of them.
pub type Lists = BTreeMap<ListId, Arc<List>>;

impl ListId {
    /// As an owner of Secrets.
    pub(super) fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: UserList::api_version(&()).into_owned(),
            kind: UserList::kind(&()).into_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    /// As what Events are about.
    pub(super) fn reference(&self) -> Reference {
        let OwnerReference { api_version, kind, name, uid, .. } = self.owner_reference();
        Reference { api_version, kind, name, uid }
    }
}

/// Follows all `UserList`s.
#[derive(Debug)]
pub struct UserListProjection(pub Writer<Lists>);

impl UserListProjection {
    /// How the API server names the kind.
    #[must_use]
    pub fn resource() -> ApiResource {
        ApiResource::erase::<UserList>(&())
    }
}

impl Projection for UserListProjection {
    type Object = DynamicObject;
    type Entry = (ListId, Arc<List>);

    const NAME: &'static str = "userlists";

    fn project(&self, object: &DynamicObject) -> Option<Self::Entry> {
        // Its Secrets go with it.
        if object.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let id = ListId {
            namespace: object.namespace()?,
            name: object.name_any(),
            uid: object.uid()?,
            generation: object.metadata.generation.unwrap_or_default(),
        };
        // Read with tolerance: fields that only a newer version knows must not hide an object.
        match serde_json::to_vec(object).and_then(|text| serde_json::from_slice::<UserList>(&text)) {
            Ok(list) => Some((id, Arc::new(List { spec: list.spec, status: list.status.unwrap_or_default() }))),
            Err(error) => {
                tracing::warn!(namespace = id.namespace, name = id.name, %error, "a UserList can't be read and is left as it is");
                None
            }
        }
    }

    fn publish(&self, known: Option<&Entries<Self::Entry>>) {
        self.0.store(known.into_iter().flat_map(Entries::values).cloned().collect());
    }
}
