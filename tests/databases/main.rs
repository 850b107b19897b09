//! `PgDatabase`s on a real PostgreSQL, with a real kube-apiserver and the program as a process of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::needless_pass_by_value, reason = "a test reads better without a & before each object")]

mod basics;
mod chaos;
#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
#[path = "../common/mod.rs"]
mod common;
mod crashes;
mod drift;
mod failover;
mod fields;
mod kills;
mod namespaces;
mod owners;
mod ownership;
mod proxy;
mod races;
mod removal;
mod rights;
mod servers;
mod world;
