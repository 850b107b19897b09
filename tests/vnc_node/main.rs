//! The desktop as a sidecar of pods that really run, in a real browser.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod arrival;
mod attached;
mod desk;
mod doings;
mod examples;
#[path = "../common/product_image.rs"]
mod product_image;
mod restarts;
#[path = "../common/running.rs"]
mod running;
#[path = "../common/until.rs"]
mod until;
#[path = "../common/webhook.rs"]
#[allow(dead_code, reason = "other test binaries use the rest")]
mod webhook;
