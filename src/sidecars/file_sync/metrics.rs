//! What the sidecar counts.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// The sidecar's metrics. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    files: Gauge,
    objects: Gauge,
    conflicts: Gauge,
    unwritten: Gauge,
    forbidden: Gauge,
    pending: Gauge,
    written: Counter,
    removed: Counter,
    repaired: Counter,
    failed_requests: Counter,
    watches: Counter,
    relists: Counter,
    silent_watches: Counter,
    notifications: Counter,
    failed_notifications: Counter,
    failed_downloads: Counter,
}

impl Metrics {
    /// Shows them.
    #[must_use]
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let gauges = [
            ("file_sync_files", "Files that are ours", &metrics.files),
            ("file_sync_objects", "Objects that are mirrored", &metrics.objects),
            ("file_sync_conflicts", "Files that more than one object claims; the log names them", &metrics.conflicts),
            ("file_sync_unwritten_files", "Files that could not be written yet, or whose address does not answer", &metrics.unwritten),
            ("file_sync_forbidden_streams", "Namespaces and kinds that the ServiceAccount may not read", &metrics.forbidden),
            ("file_sync_pending_notifications", "Whether changes are waiting to be notified", &metrics.pending),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            ("file_sync_written", "Files written", &metrics.written),
            ("file_sync_removed", "Files removed", &metrics.removed),
            ("file_sync_repaired", "Files found changed by others", &metrics.repaired),
            ("file_sync_failed_requests", "Requests to the API server that failed", &metrics.failed_requests),
            ("file_sync_watches", "Watches begun or resumed", &metrics.watches),
            ("file_sync_relists", "Lists read again because the API server had forgotten where a watch was", &metrics.relists),
            ("file_sync_silent_watches", "Watches resumed because nothing was heard of them", &metrics.silent_watches),
            ("file_sync_notifications", "Notifications delivered", &metrics.notifications),
            ("file_sync_failed_notifications", "Attempts to notify that failed", &metrics.failed_notifications),
            ("file_sync_failed_downloads", "Attempts to fetch the address of a .url key that failed", &metrics.failed_downloads),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    /// How many files are ours, objects are mirrored, files are claimed more than once, and files are missing.
    pub(super) fn holds(&self, files: usize, objects: usize, conflicts: usize, unwritten: usize) {
        let set = |gauge: &Gauge, count: usize| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        set(&self.files, files);
        set(&self.objects, objects);
        set(&self.conflicts, conflicts);
        set(&self.unwritten, unwritten);
    }

    /// How many streams are forbidden.
    pub(super) fn forbidden(&self, streams: usize) {
        self.forbidden.set(i64::try_from(streams).unwrap_or(i64::MAX));
    }

    /// Whether changes wait to be notified.
    pub(super) fn pending(&self, is_pending: bool) {
        self.pending.set(i64::from(is_pending));
    }

    /// A file was written.
    pub(super) fn written(&self) {
        self.written.inc();
    }

    /// A file was removed.
    pub(super) fn removed(&self) {
        self.removed.inc();
    }

    /// Files were found changed by others.
    pub(super) fn repaired(&self, files: usize) {
        self.repaired.inc_by(u64::try_from(files).unwrap_or(u64::MAX));
    }

    /// A request to the API server failed.
    pub(super) fn failed_request(&self) {
        self.failed_requests.inc();
    }

    /// A watch begins or is resumed.
    pub(super) fn watching(&self) {
        self.watches.inc();
    }

    /// A list is read again.
    pub(super) fn relisted(&self) {
        self.relists.inc();
    }

    /// A watch was silent and is resumed.
    pub(super) fn resumed_silent_watch(&self) {
        self.silent_watches.inc();
    }

    /// A notification was delivered.
    pub(super) fn notified(&self) {
        self.notifications.inc();
    }

    /// A notification failed.
    pub(super) fn failed_notification(&self) {
        self.failed_notifications.inc();
    }

    /// A download failed.
    pub(super) fn failed_download(&self) {
        self.failed_downloads.inc();
    }
}
