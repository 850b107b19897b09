//! One certificate authority for all replicas.
//!
//! Its keys live in a Secret ([`ring`]), which any replica fills when it is empty ([`secret`]). Each replica signs its own
//! certificate in memory ([`replica`]). The holder of the lease renews the CA and publishes it in the webhook
//! configurations ([`keeper`]), as [`plan`] says: a successor is trusted everywhere before it signs anything.

pub mod bundle;
pub mod keeper;
pub mod plan;
pub mod registration;
pub mod replica;
pub mod ring;
pub mod secret;
