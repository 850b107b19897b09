//! Verifiers of passwords, as PostgreSQL keeps them (RFC 5803, RFC 7677). Only they go to the server, so no password is in its log.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The server's own default (`scram_iterations`).
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
/// Bytes of salt, as the server makes it.
const SALT: usize = 16;
/// Bytes of SHA-256.
const DIGEST: usize = 32;

/// A verifier of the password. Its salt is made from password and role, so that the same two give the same verifier: whether a
/// password was changed can be told without keeping it.
#[must_use]
pub fn verifier(role: &str, password: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, password.as_bytes());
    let tag = hmac::sign(&key, role.as_bytes());
    let mut salt = [0; SALT];
    salt.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    verifier_with(password, &salt, ITERATIONS)
}

/// The verifier of a password with this salt.
fn verifier_with(password: &str, salt: &[u8], iterations: NonZeroU32) -> String {
    // What SASLprep can't prepare is taken as it is, as the server does.
    let prepared = stringprep::saslprep(password).unwrap_or_else(|_| password.into());
    let mut salted = [0; DIGEST];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, prepared.as_bytes(), &mut salted);
    let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&salted, b"Server Key");
    let [salt, stored_key, server_key] = [salt, stored_key.as_ref(), server_key.as_ref()].map(|bytes| STANDARD.encode(bytes));
    format!("SCRAM-SHA-256${iterations}:{salt}${stored_key}:{server_key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_rfc_7677() {
        // Section 3: user "user", password "pencil". The keys follow from its salt; the server's signature there was made with them.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let made = verifier_with("pencil", &salt, ITERATIONS);
        let (head, keys) = made.rsplit_once('$').unwrap();
        assert_eq!(head, "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==");
        let server_key = STANDARD.decode(keys.split_once(':').unwrap().1).unwrap();
        let exchange = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &server_key), exchange.as_bytes());
        assert_eq!(STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_verifier_is_the_same_for_the_same_role_and_password_alone() {
        assert_eq!(verifier("a", "secret"), verifier("a", "secret"));
        assert_ne!(verifier("a", "secret"), verifier("b", "secret"));
        assert_ne!(verifier("a", "secret"), verifier("a", "Secret"));
    }
}
