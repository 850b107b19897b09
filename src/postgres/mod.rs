//! What every part needs that speaks to PostgreSQL: a connection, with TLS as libpq means its modes, what a failure asks for, and `PgBouncer`'s
//! admin console and list of users.

pub mod auth_file;
pub mod failure;
pub mod pgbouncer;
pub mod session;
pub mod tls;
