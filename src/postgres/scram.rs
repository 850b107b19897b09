//! Verifiers of passwords, as PostgreSQL keeps them (RFC 5803, RFC 7677). Only they go to the server, so no password is in its log.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, hmac, pbkdf2};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The server's own default (`scram_iterations`).
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
/// Bytes of salt, as the server makes it.
const SALT: usize = 16;
/// Bytes of SHA-256.
const DIGEST: usize = 32;
/// A verifier that takes more is compared with no password: anybody may write one, and each iteration takes our time.
const MOST_ITERATIONS: u32 = 65_536;

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

/// Whether PostgreSQL and PgBouncer take a text for a verifier: `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
#[must_use]
pub fn is_verifier(text: &str) -> bool {
    parts(text).is_some()
}

/// Whether a verifier is one of this password. It takes the time of the verifier's iterations, which are bounded.
#[must_use]
pub fn fits(verifier: &str, password: &str) -> bool {
    let Some((iterations, salt)) = parts(verifier).filter(|(iterations, _)| iterations.get() <= MOST_ITERATIONS) else { return false };
    let keys = |text: &str| text.rsplit_once('$').map(|(_, keys)| keys.to_owned());
    let (made, given) = (keys(&verifier_with(password, &salt, iterations)), keys(verifier));
    made.zip(given).is_some_and(|(made, given)| verify_slices_are_equal(made.as_bytes(), given.as_bytes()).is_ok())
}

/// Iterations and salt of a verifier whose keys are as long as such keys are.
fn parts(verifier: &str) -> Option<(NonZeroU32, Vec<u8>)> {
    let (iterations, rest) = verifier.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
    let (salt, keys) = rest.split_once('$')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    let is_key = |text: &str| STANDARD.decode(text).is_ok_and(|key| key.len() == DIGEST);
    let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
    Some((iterations.parse().ok()?, salt)).filter(|_| is_key(stored_key) && is_key(server_key))
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

    #[test]
    fn a_verifier_fits_its_own_password_alone_whatever_its_salt() {
        for made in [verifier("a", "pencil"), verifier_with("pencil", b"another salt", NonZeroU32::new(5000).unwrap())] {
            assert!(is_verifier(&made) && fits(&made, "pencil"), "{made}");
            assert!(!fits(&made, "Pencil") && !fits(&made, ""), "{made}");
        }
    }

    #[test]
    fn what_would_take_long_is_not_compared() {
        let patient = verifier_with("pencil", b"salt", NonZeroU32::new(MOST_ITERATIONS + 1).unwrap());
        assert!(is_verifier(&patient) && !fits(&patient, "pencil"));
        let endless = patient.replace(&format!("{}", MOST_ITERATIONS + 1), &u32::MAX.to_string());
        assert!(is_verifier(&endless) && !fits(&endless, "pencil"));
    }

    #[test]
    fn what_only_looks_like_a_verifier_is_none() {
        let good = verifier("a", "pencil");
        let (head, keys) = good.rsplit_once('$').unwrap();
        for text in [
            "SCRAM-SHA-256$what",
            "SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy",
            &format!("{head}$:{keys}"),
            &good.replace("4096", "0"),
            &good.replace("4096", "-1"),
            &good.replace("SHA-256", "SHA-1"),
            &format!("{good}="),
        ] {
            assert!(!is_verifier(text) && !fits(text, "pencil"), "{text}");
        }
    }
}
