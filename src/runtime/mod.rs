//! What every role needs and no role owns: certificates, an HTTP(S) server, the lease, readiness, shutdown, telemetry. It
//! knows nothing of the domain.

pub mod backoff;
pub mod blocking;
pub mod certificate;
pub mod complaint;
mod conversation;
pub mod group;
pub mod lease;
pub mod orphans;
pub mod own_thread;
pub mod pages;
pub mod patience;
pub mod process_group;
pub mod pulse;
pub mod readiness;
pub mod request;
pub mod server;
pub mod shutdown;
pub mod status;
pub mod streams;
pub mod takeover;
pub mod telemetry;
pub mod traces;

#[cfg(test)]
pub(crate) mod fake_api;
