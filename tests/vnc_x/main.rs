//! The desktop as a program of its own, with a real X server and real X clients.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod access;
mod attached;
mod command;
mod cookie;
mod ends;
mod guacamole;
mod listening;
mod page;
mod probe;
mod restricted;
#[path = "../common/rfb_login.rs"]
mod rfb_login;
mod shown;
mod sidecar;
mod taken;
#[path = "../common/until.rs"]
mod until;
