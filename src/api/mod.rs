//! The words users write: annotations and the kinds of `outrigger.dev/v1alpha1`, with their validators. No I/O.

mod address;
pub mod annotations;
pub mod condition;
pub mod container;
pub mod crd;
pub mod duration;
pub mod file_access;
pub mod finalizer;
pub mod finding;
pub mod inventory;
mod metadata;
pub mod nearest;
pub mod offline;
pub mod pattern;
pub mod pg_database;
pub mod pg_server;
pub mod postgres_name;
pub mod quantity;
pub mod rule;
mod schema;
pub mod selector;
pub mod session;
pub mod session_template;
pub mod user_list;
