//! What every part needs that speaks to PostgreSQL: a connection, with TLS as libpq means its modes, and what a failure asks for.

pub mod failure;
pub mod session;
pub mod tls;
