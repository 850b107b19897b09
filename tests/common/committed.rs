//! Files that are generated, and committed.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{fs, path::Path};

/// Holds what is generated against the file in the tree, or writes it when `UPDATE_GENERATED` is set. `suite` is how cargo is told
/// to run the test.
pub(crate) fn check(path: &str, generated: impl AsRef<[u8]>, suite: &str) {
    let (file, generated) = (Path::new(env!("CARGO_MANIFEST_DIR")).join(path), generated.as_ref());
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&file, generated).unwrap();
    }
    let committed = fs::read(&file).unwrap_or_default();
    assert!(committed == generated, "{path} is stale; run: UPDATE_GENERATED=1 cargo test --test {suite}");
}
