//! Pods without the sidecars they should have: those that slipped by while the webhook was away, and those whose
//! sidecars are out of date. They are found, reported to their owners and, where that is wanted, evicted.
//!
//! The holder of the lease does this ([`pass`]): it looks at all pods' metadata page by page (`observe`), decides about
//! each ([`plan`]), and acts (`apply`). Nothing is kept of a page but what is to be done about it.

mod apply;
mod metrics;
mod observe;
pub mod pass;
pub mod plan;

pub use metrics::Metrics;
pub use pass::Repair;
