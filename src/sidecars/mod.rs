//! What runs inside the pods, beside the app.

pub mod health;
