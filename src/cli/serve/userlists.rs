//! What looks after `UserList`s.

use kube::{Api, core::DynamicObject};

use crate::{
    cluster::{snapshot::snapshot, watch::Scope},
    userlists::{
        Metrics, UserLists,
        list::{Lists, UserListProjection},
    },
};

use super::Process;

/// Starts the watch of `UserList`s.
pub(super) fn user_lists(process: &mut Process) -> UserLists {
    let (writer, lists) = snapshot(Lists::new());
    let api: Api<DynamicObject> = Api::all_with(process.client.clone(), &UserListProjection::resource());
    process.watch(UserListProjection(writer), api, Scope::All);
    let metrics = Metrics::new(&mut process.registry, lists.clone());
    UserLists { client: process.client.clone(), lists, events: process.events(), metrics }
}
