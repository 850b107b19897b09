//! Pods without the sidecars they should have: those that slipped by while the webhook was away, and those whose
//! sidecars are out of date. They are found, reported to their owners and, where that is wanted, evicted.
//!
//! The holder of the lease does this again and again ([`pass`]): a `look` at all pods' metadata page by page (`observe`), and the
//! `evictions` that follow from it, one after another (`apply`). Decisions are those of the [`plan`]. Nothing is kept of a page but
//! what is to be done about it.

mod apply;
mod evictions;
mod look;
mod metrics;
mod observe;
pub mod pass;
pub mod plan;

pub use metrics::Metrics;
pub use pass::Repair;
