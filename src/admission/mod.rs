//! Admission reviews: bytes in, bytes out. `review` reads and writes them, `pods` decides about pods, and
//! `router` is the HTTP edge around both.

mod body;
mod denial;
mod metrics;
mod news;
mod objects;
mod pods;
pub mod registration;
mod review;
mod router;
mod subject;

pub use metrics::Metrics;
pub use objects::Objects;
pub use pods::Pods;
pub use review::{Answer, ReviewError};
pub use router::{Admission, router};
