//! The Guacamole connection provisioner on a real PostgreSQL with Guacamole's tables.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod application;
mod files;
mod own_desktop;
mod removal;
#[path = "../common/rfb_login.rs"]
mod rfb_login;
mod service;
mod world;
mod writes;
