//! What viewers say to a desktop: the client's half of RFB 3.8 (RFC 6143) and of its registered extensions. Nothing here does I/O.
//!
//! `message` knows how long each message is and what it asks for, `policy` who may ask for it, `pressed` what a viewer holds down,
//! and `filter` lets through what may pass.

pub mod filter;
pub mod message;
pub mod policy;
mod pressed;
