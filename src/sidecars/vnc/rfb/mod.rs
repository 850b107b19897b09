//! RFB 3.8 (RFC 6143) and its registered extensions, as far as they matter here. Nothing here does I/O.
//!
//! What viewers say to a desktop: `message` knows how long each message is and what it asks for, `policy` who may ask for it, `pressed`
//! what a viewer holds down, and `filter` lets through what may pass.
//!
//! Who comes in: `entrance` asks a viewer for a password, which `vnc_auth` judges; by `approach` we enter a desktop ourselves, and
//! `frame` looks at it once.

pub mod approach;
pub mod entrance;
pub mod filter;
pub mod frame;
pub mod message;
pub mod policy;
mod pressed;
pub mod vnc_auth;

/// What both sides say first.
const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// The security type that is no security: who may be here, others have decided.
const NO_SECURITY: u8 = 1;
