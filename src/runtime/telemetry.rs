//! Logs and the metrics registry of a process.

use std::io::IsTerminal;

use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `filter` is a level or the directives of `tracing_subscriber::EnvFilter`.
///
/// # Errors
/// The filter can't be read, or logging was started before.
pub fn start_logging(filter: &str, format: LogFormat) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init()?,
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal();
            registry.with(fmt::layer().with_ansi(colour).with_writer(std::io::stderr)).try_init()?;
        }
    }
    Ok(())
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is no level and no list of directives.
    #[error("the log filter can't be read")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Something logs already.
    #[error("logging was started before")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// A registry whose metrics all begin with `outrigger_`, with the build's version in it.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::with_prefix("outrigger");
    registry.register("build", "What this process was built from", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
    registry
}

/// The registry in `OpenMetrics` text, with its content type.
///
/// # Errors
/// A metric can't be written, which only a defect in one can cause.
pub fn exposition(registry: &Registry) -> Result<(&'static str, String), std::fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(("application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}
