//! What we know of the cluster: watches started in one place, projected into bounded snapshots with one writer each,
//! swapped whole and read without locks. Everyone else only reads.

pub mod namespaces;
pub mod objects;
pub mod snapshot;
pub mod watch;
