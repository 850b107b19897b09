//! What runs inside the pods, beside the app.

pub mod file_sync;
pub mod guacamole;
pub mod health;
pub mod setting;
pub mod vnc;
