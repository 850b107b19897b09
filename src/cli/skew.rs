//! Whether a sidecar's program is of the version that the webhook counts on: an image that somebody else chose may not be.

use std::env;

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

use crate::injection::VERSION_VARIABLE;

/// Says in the log and by a metric whether the webhook that added this sidecar is of another version. Where no webhook did, nothing is said.
pub(super) fn report(registry: &mut Registry) {
    let own = env!("CARGO_PKG_VERSION");
    let Ok(webhook) = env::var(VERSION_VARIABLE) else { return };
    let is_skewed = Gauge::<i64>::default();
    is_skewed.set(i64::from(webhook != own));
    registry.register("version_skew", "Whether the webhook that added this sidecar is of another version", is_skewed);
    if webhook != own {
        tracing::warn!(webhook, own, "the webhook that added this sidecar is of another version: use images of its version");
    }
}
