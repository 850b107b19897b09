//! What the desktop's controller is told: who looks, and for how long nobody has done anything.

use jiff::Timestamp;
use serde::Serialize;

use super::viewer::{Role, Viewer};

/// Who is there, and when somebody last did something. Times are RFC 3339, durations whole seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Everybody who is connected.
    pub viewers: Vec<ViewerActivity>,
    /// When a key or pointer event of anybody last reached the desktop; those who left count, too.
    pub last_input: Option<String>,
    /// Seconds since then; without any input, since the desktop could be connected to.
    pub idle_seconds: u64,
    /// Since when nobody is connected.
    pub without_viewers_since: Option<String>,
}

/// One viewer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewerActivity {
    /// By which it is revoked, or given another role.
    pub id: u64,
    /// Who, where that is known.
    pub user: Option<String>,
    /// The IP address.
    pub address: String,
    /// What it is there for.
    pub role: Role,
    /// When it came.
    pub since: String,
    /// When its last key or pointer event reached the desktop.
    pub last_input: Option<String>,
    /// Seconds since then; without any input, since it came.
    pub idle_seconds: u64,
    /// Bytes the desktop got from it.
    pub bytes_to_desktop: u64,
    /// Bytes the desktop sent it.
    pub bytes_from_desktop: u64,
    /// RFB messages it sent.
    pub messages: u64,
    /// Those of them that its role or the desktop's settings kept from the desktop.
    pub dropped_messages: u64,
}

impl Activity {
    pub(super) fn new<'a>(
        viewers: impl Iterator<Item = &'a Viewer> + Clone,
        last_input: Option<Timestamp>,
        empty_since: Option<Timestamp>,
        started: Timestamp,
        now: Timestamp,
    ) -> Self {
        let last_input = viewers.clone().map(Viewer::last_input).fold(last_input, Option::max);
        Self {
            viewers: viewers.map(|viewer| ViewerActivity::new(viewer, now)).collect(),
            last_input: last_input.map(|time| time.to_string()),
            idle_seconds: seconds_since(last_input.unwrap_or(started), now),
            without_viewers_since: empty_since.map(|time| time.to_string()),
        }
    }
}

impl ViewerActivity {
    fn new(viewer: &Viewer, now: Timestamp) -> Self {
        let [bytes_to_desktop, bytes_from_desktop, messages, dropped_messages] = viewer.counts();
        let last_input = viewer.last_input();
        Self {
            id: viewer.id(),
            user: viewer.guest().user.clone(),
            address: viewer.guest().address.to_string(),
            role: viewer.role(),
            since: viewer.since().to_string(),
            last_input: last_input.map(|time| time.to_string()),
            idle_seconds: seconds_since(last_input.unwrap_or_else(|| viewer.since()), now),
            bytes_to_desktop,
            bytes_from_desktop,
            messages,
            dropped_messages,
        }
    }
}

/// A clock that was set back must not make anybody idle for centuries.
fn seconds_since(time: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.as_second() - time.as_second()).unwrap_or(0)
}
