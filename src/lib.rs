//! The map of the house, one line for each room. Arrows go one way; `tests/architecture.rs` holds them.
//!
//! `api` <- `injection`, `cluster` <- `admission`, `certificates` <- `cli`; `monitoring` is data; `runtime` knows nothing of the domain.

pub mod admission;
pub mod api;
pub mod certificates;
pub mod cli;
pub mod cluster;
pub mod injection;
pub mod monitoring;
pub mod runtime;
