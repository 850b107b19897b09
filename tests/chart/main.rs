//! The chart: what it renders, what it refuses, what its pages say, and what becomes of it at a real API server.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cluster;
#[path = "../common/committed.rs"]
mod committed;
#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
#[path = "../common/mod.rs"]
mod common;
mod databases;
#[path = "../common/values.rs"]
mod documented;
mod foreign;
#[path = "../common/helm.rs"]
mod helm;
mod refused;
mod rendered;
mod repair;
mod rights;
mod states;
mod userlists;
mod values;
