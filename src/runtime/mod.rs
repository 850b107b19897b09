//! What every role needs and no role owns: certificates, an HTTPS server, readiness, shutdown, telemetry. It knows
//! nothing of the domain.

pub mod certificate;
pub mod https;
pub mod patience;
pub mod readiness;
pub mod shutdown;
pub mod telemetry;
