//! What runs inside the pods, beside the app.

pub mod guacamole;
pub mod health;
