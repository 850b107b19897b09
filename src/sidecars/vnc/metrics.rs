//! What the bridge counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::rfb::filter::Tally;

/// The bridge's metrics. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    viewers: Gauge,
    buffered: Gauge,
    refused: Family<Status, Counter>,
    ended: Family<Code, Counter>,
    bytes_to_desktop: Counter,
    bytes_from_desktop: Counter,
    messages: Counter,
    inputs: Counter,
    dropped_inputs: Counter,
    dropped_clipboard: Counter,
    dropped_resizes: Counter,
    dropped_power: Counter,
}

/// An HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u16,
}

/// A close code of the WebSocket protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: u16,
}

impl Metrics {
    /// Shows them.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("vnc_viewers", "Viewers that are connected", metrics.viewers.clone());
        registry.register(
            "vnc_buffer_bytes",
            "Memory for bytes that are on their way between viewers and the desktop",
            metrics.buffered.clone(),
        );
        registry.register("vnc_refused", "Requests for a desktop that were refused, by HTTP status", metrics.refused.clone());
        registry.register("vnc_ended", "Viewers that left or were sent away, by WebSocket close code", metrics.ended.clone());
        let counters = [
            ("vnc_to_desktop_bytes", "Bytes that viewers sent to the desktop", &metrics.bytes_to_desktop),
            ("vnc_from_desktop_bytes", "Bytes that the desktop sent to viewers", &metrics.bytes_from_desktop),
            ("vnc_messages", "RFB messages of viewers", &metrics.messages),
            ("vnc_inputs", "Keys and pointer events that reached the desktop", &metrics.inputs),
            ("vnc_dropped_inputs", "Keys and pointer events of viewers who may only look", &metrics.dropped_inputs),
            ("vnc_dropped_clipboard_messages", "Clipboard texts that were too long or not allowed", &metrics.dropped_clipboard),
            ("vnc_dropped_resizes", "Sizes of the desktop that were out of bounds or not allowed", &metrics.dropped_resizes),
            ("vnc_dropped_power_messages", "Requests to shut the desktop down that were not allowed", &metrics.dropped_power),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    pub(super) fn viewers(&self, count: usize) {
        self.viewers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn buffer_lent(&self, bytes: usize) {
        self.buffered.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn buffer_returned(&self, bytes: usize) {
        self.buffered.dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(super) fn refused(&self, status: u16) {
        self.refused.get_or_create_owned(&Status { status }).inc();
    }

    /// A viewer's own codes are counted as one: it may make up a thousand.
    pub(super) fn ended(&self, code: u16) {
        let code = if code >= 3000 { 3000 } else { code };
        self.ended.get_or_create_owned(&Code { code }).inc();
    }

    pub(super) fn desktop_got(&self, bytes: usize) {
        self.bytes_to_desktop.inc_by(bytes as u64);
    }

    pub(super) fn desktop_sent(&self, bytes: usize) {
        self.bytes_from_desktop.inc_by(bytes as u64);
    }

    pub(super) fn count(&self, tally: &Tally) {
        self.messages.inc_by(tally.messages.into());
        self.inputs.inc_by(tally.inputs.into());
        self.dropped_inputs.inc_by(tally.dropped.input.into());
        self.dropped_clipboard.inc_by(tally.dropped.clipboard.into());
        self.dropped_resizes.inc_by(tally.dropped.resize.into());
        self.dropped_power.inc_by(tally.dropped.power.into());
    }
}
