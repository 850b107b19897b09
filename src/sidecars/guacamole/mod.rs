//! The Guacamole connection provisioner: connections from files, written into Guacamole's PostgreSQL and kept so.
//!
//! One pass reads the files (`folder`, `document`), reads the database (`observe`), decides (`plan`, which is pure) and writes (`apply`);
//! `provisioner` does a pass whenever a file changes (`watch`), and now and then.

mod apply;
pub mod convert;
mod desired;
mod document;
mod folder;
mod generated;
mod known;
mod marks;
mod metrics;
mod model;
mod observe;
mod observed;
mod packed;
mod parameters;
mod password;
mod plan;
mod properties;
mod provisioner;
mod rows;
mod settled;
mod turn;
mod unwanted;
mod watch;
mod yaml;

pub use folder::ConfigurationError;
pub use model::{Finding, Severity};
pub use properties::{DatabaseSettings, PropertyError};
pub use provisioner::{PassError, Provisioner, Report, Settings};
