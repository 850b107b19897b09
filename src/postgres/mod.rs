//! What every part needs that speaks to PostgreSQL: a connection, with TLS as libpq means its modes, what a failure asks for, how text
//! becomes SQL, verifiers of passwords, what a server's catalogue says, and `PgBouncer`'s admin console and list of users.

pub mod auth_file;
pub mod catalogue;
pub mod failure;
pub mod pgbouncer;
pub mod quoting;
pub mod scram;
pub mod session;
pub mod tls;
