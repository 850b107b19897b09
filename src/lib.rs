//! The map of the house, one line for each room. Arrows go one way; `tests/architecture.rs` holds them.
//!
//! `api` <- `injection`, `cluster` <- `admission`, `certificates`, `repair` <- `cli`; `runtime` knows nothing of the domain, and
//! `events` only of owners.

pub mod admission;
pub mod api;
pub mod certificates;
pub mod cli;
pub mod cluster;
pub mod events;
pub mod injection;
pub mod repair;
pub mod runtime;
