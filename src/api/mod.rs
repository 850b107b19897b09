//! The words users write: annotations and the kinds of `outrigger.dev/v1alpha1`, with their validators. No I/O.

pub mod annotations;
pub mod duration;
pub mod quantity;
