//! cli.

pub mod manifests;
