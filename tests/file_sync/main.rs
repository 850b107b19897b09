//! The file mirror as a program of its own, against a real API server.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod app;
mod contents;
mod crashes;
mod endurance;
mod first_process;
mod killed;
mod mail;
mod mirror;
mod notified;
mod pooler;
mod proxy;
mod sidecar;
mod together;
#[path = "../common/until.rs"]
mod until;
