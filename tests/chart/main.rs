//! The chart: what it renders, what it refuses, what its pages say, and what becomes of it at a real API server.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cluster;
#[path = "../common/helm.rs"]
mod helm;
mod refused;
mod rendered;
mod rights;
mod values;

use std::{fs, path::Path};

/// Holds a generated page against the one in the tree, or writes it if asked to.
fn check_page(path: &str, generated: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&file, generated).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(there == generated, "{path} is stale: write it again with `UPDATE_GENERATED=1 cargo test --test chart`");
}
