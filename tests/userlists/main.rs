//! User lists as the controllers make them, at a real API server, with real poolers of both generations.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod agent;
#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
#[path = "../common/mod.rs"]
mod common;
mod forms;
mod grammar;
mod lists;
mod pooler;
mod removal;
mod restarts;
mod rotation;
mod seconds;
mod sources;
#[path = "../common/until.rs"]
mod until;
mod world;
