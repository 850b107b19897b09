//! What to look at and when to be woken: alerts with their runbooks, and a dashboard. Data alone; the metrics themselves are
//! made where they are counted.

mod alerts;
mod dashboard;

pub use alerts::{ALERTS, Alert, Severity, rules, runbooks};
pub use dashboard::{dashboard, expressions};
