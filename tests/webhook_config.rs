//! The manifests in `webhook-config/` are those that the chart renders by default.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "common/committed.rs"]
mod committed;
#[path = "common/helm.rs"]
mod helm;

use helm::{Helm, RELEASE};

const HEADER: &str = "\
# An installation with the chart's defaults, for people without Helm.
# Generated: UPDATE_GENERATED=1 cargo test --test webhook_config
";

/// Lines that would say that Helm manages the objects.
const HELMS_OWN: [&str; 2] = ["app.kubernetes.io/managed-by: Helm", "helm.sh/chart: "];

#[test]
fn the_committed_manifests_are_up_to_date() {
    let Some(helm) = Helm::obtain("the_committed_manifests_are_up_to_date") else { return };
    let rendered = helm.template(&["--no-hooks", "--skip-tests"]);
    assert!(rendered.success, "{}", rendered.stderr);
    let manifests: String = rendered
        .stdout
        .lines()
        .filter(|line| !HELMS_OWN.iter().any(|own| line.trim_start().starts_with(own)) && !line.starts_with("# Source: "))
        .flat_map(|line| [line, "\n"])
        .collect();
    let manifests = format!("{HEADER}---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {RELEASE}\n{manifests}");

    committed::check("webhook-config/outrigger.yaml", manifests, "webhook_config");
}
