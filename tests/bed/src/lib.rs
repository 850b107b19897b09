//! The test bed: real Kubernetes and its neighbours, obtained, started and ended for tests, benches and the demo.
//!
//! ```no_run
//! # async fn test() {
//! let cluster = outrigger_bed::ControlPlane::shared().await;
//! let namespace = cluster.namespace("inject").await;
//! let client = namespace.client();
//! # }
//! ```
//!
//! | file | what is there |
//! |---|---|
//! | `versions` | the versions of other people's programs, pinned in this one place |
//! | `obtain/` | how programs come here: from the machine, the cache, a release download or a build from source |
//! | `supervise/` | a run's directory and processes, and the guardian that ends both however we end |
//! | `pki`, `control_plane`, `namespace`, `kubectl` | the first level: a control plane, without root |
//! | `node/`, `image/` | the second level: a whole node, as root, and images for it, the product's among them |
//! | `postgres`, `pgbouncer` | a PostgreSQL with a database for each test, and a pooler before it |
//! | `generation` | both in two versions: what this machine's Debian has, and what a newer one has |
//! | `display`, `x_server` | numbers of displays that nobody else has, and a running X server that speaks RFB |
//! | `browser` | a Chromium that is told what to do |
//! | `demo/` | the product shown on a node, or on a control plane where there is none, each step checked |
//! | `gaps` | what could not be had: skipped by name, or a failure |
//! | `progress` | what a person sees meanwhile |
//! | `main` | the program `outrigger-bed`, which the Makefile uses |

mod browser;
mod control_plane;
pub mod demo;
mod digest;
mod display;
pub mod gaps;
mod generation;
pub mod image;
mod kubectl;
mod namespace;
mod node;
pub mod obtain;
mod pgbouncer;
mod pki;
mod postgres;
mod progress;
mod supervise;
pub mod versions;
mod x_server;

pub use browser::{Browser, Page};
pub use control_plane::{ControlPlane, free_port};
pub use display::Display;
pub use generation::Generation;
pub use kubectl::KubectlOutput;
pub use namespace::Namespace;
pub use node::{Node, Process};
pub use pgbouncer::{PgBouncer, PoolerSettings};
pub use postgres::Postgres;
pub use x_server::XServer;

/// The value, or the end of the test that needs it: a harness fails by panicking, in this one place.
#[track_caller]
#[allow(clippy::panic, reason = "tests call us without Result; their failure is a panic")]
pub(crate) fn expect<T>(result: anyhow::Result<T>, complaint: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{complaint}: {error:#}"),
    }
}
