//! `UserList`s made real: labelled Secrets become a Secret with a `userlist.txt`, and poolers get to use it.
//!
//! The holder of the lease does this (`controller`), for each list by itself (`reconcile`): what its `watches` show is read
//! (`source`), the `plan` says who is in the list, and of whose Secret (`origins`), in the form that it says by `verifiers`, which is
//! `written` where it differs, and the `poolers` are told. What came of it
//! is in the list's `status`. The [`grammar`] knows what `PgBouncer` can read.

mod controller;
pub mod grammar;
pub mod list;
mod metrics;
mod origins;
mod plan;
mod poolers;
mod reconcile;
mod source;
mod status;
mod verifiers;
mod watches;
mod written;

pub use controller::UserLists;
pub use metrics::Metrics;
