//! The map of the house, one line for each room. Arrows go one way; `tests/architecture.rs` holds them.
//!
//! `api` <- `injection`, `cluster`, `postgres` <- `admission`, `certificates`, `databases`, `repair`, `sidecars`, `userlists` <- `cli`; `runtime` knows nothing of the domain,
//! `events` only of owners, and `monitoring` is data.

pub mod admission;
pub mod api;
pub mod certificates;
pub mod cli;
pub mod cluster;
pub mod databases;
pub mod events;
pub mod injection;
pub mod monitoring;
pub mod postgres;
pub mod repair;
pub mod runtime;
pub mod sidecars;
pub mod userlists;
