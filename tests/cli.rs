//! The command line as its users meet it: the real program on real files.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test's helpers fail the test")]

#[path = "cli/cluster.rs"]
mod cluster;
#[path = "common/committed.rs"]
mod committed;
#[path = "cli/convert.rs"]
mod convert;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/generated.rs"]
mod generated;
#[path = "cli/guacamole.rs"]
mod guacamole;
#[path = "cli/inject.rs"]
mod inject;
#[path = "cli/program.rs"]
mod program;
#[path = "cli/streams.rs"]
mod streams;
#[path = "cli/validate.rs"]
mod validate;
