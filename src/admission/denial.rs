//! The log line of a denial: who was refused what, and why.

use super::{review::Refusal, subject::Subject};

/// Says once in the log that the object of a review is refused.
pub(super) fn log(subject: &Subject, refusal: &Refusal) {
    tracing::info!(
        kind = subject.kind(),
        namespace = subject.namespace,
        name = subject.name(),
        user = subject.user(),
        dry_run = subject.is_dry_run(),
        reason = refusal.message,
        "denied"
    );
}
