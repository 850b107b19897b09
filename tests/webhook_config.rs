//! The manifests in `webhook-config/` are those that the program prints.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_committed_webhooks_are_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("webhook-config/webhooks.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_outrigger")).args(["export", "webhooks"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&file, &output.stdout).unwrap();
    }
    let committed = fs::read(&file).unwrap_or_default();
    assert!(committed == output.stdout, "{} is stale; run: UPDATE_GENERATED=1 cargo test --test webhook_config", file.display());
}
