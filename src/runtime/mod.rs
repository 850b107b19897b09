//! What every role needs and no role owns: certificates, an HTTP(S) server, readiness, shutdown, telemetry. It knows
//! nothing of the domain.

pub mod certificate;
pub mod patience;
pub mod readiness;
pub mod server;
pub mod shutdown;
pub mod status;
pub mod telemetry;
