//! The bridge between browsers and desktops, over real sockets: against sockets that echo, and against a real Xtigervnc.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod administration;
mod client;
mod conformance;
mod conversation;
mod desk;
#[path = "../common/masked.rs"]
mod masked;
mod page;
mod rfb_port;
mod screenshot;
mod upgrade;
mod x_server;
