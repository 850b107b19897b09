//! `PgDatabase`s made real: observe, plan, apply, status.
//!
//! A [`Controller`](controller::Databases) has a `worker` for each server, so that one that is away delays no other. A worker looks at the
//! catalogue of its server once in each interval, and gives a `job` to each object that changed or differs: under the database's
//! lock it looks, decides by the pure [`plan`], acts, and looks again, until nothing is left to do. Whose a database is stands in the
//! [`ledger`](self), a database of our own on the same server.

mod connect;
pub mod controller;
mod end;
mod job;
mod lanes;
mod ledger;
mod look;
pub mod metrics;
pub mod objects;
pub mod plan;
mod queue;
mod reign;
mod secret;
mod status;
mod worker;

pub use controller::Databases;
pub use metrics::Metrics;
