//! Verifiers of passwords, as PostgreSQL keeps them (RFC 5803, RFC 7677). Only they go to the server, so no password is in its log.

use std::{fmt, num::NonZeroU32};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest, error::Unspecified, hmac, pbkdf2, rand};
use base64::{Engine, engine::general_purpose::STANDARD};

/// The server's own default (`scram_iterations`).
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
/// Bytes of salt, as the server makes it.
const SALT: usize = 16;
/// Bytes of SHA-256.
const DIGEST: usize = 32;
/// A verifier that takes more is compared with no password: anybody may write one, and each iteration takes our time.
const MOST_ITERATIONS: u32 = 65_536;

/// What makes two verifiers of one password differ. The server tells it to whoever asks to log in, before they have proven anything, so
/// it must say nothing of the password: it is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt([u8; SALT]);

impl Salt {
    /// A new one.
    ///
    /// # Errors
    /// There are no random bytes.
    pub fn random() -> Result<Self, Unspecified> {
        let mut salt = [0; SALT];
        rand::fill(&mut salt)?;
        Ok(Self(salt))
    }

    /// One that was kept as text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Some(Self(STANDARD.decode(text).ok()?.try_into().ok()?))
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

/// A verifier, and the salt with which it can be made again: whether a password was changed can then be told without keeping it.
#[derive(Clone)]
pub struct Verifier {
    text: String,
    salt: Salt,
}

impl Verifier {
    /// That of a password.
    #[must_use]
    pub fn new(password: &str, salt: Salt) -> Self {
        Self { text: verifier_with(password, &salt.0, ITERATIONS), salt }
    }

    /// One that was kept as text, if it is that of this password.
    #[must_use]
    pub fn from_text(text: &str, password: &str) -> Option<Self> {
        let (_, salt) = parts(text)?;
        Some(Self::new(password, Salt(salt.try_into().ok()?))).filter(|made| made.text == text)
    }

    /// As the server takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its salt.
    #[must_use]
    pub const fn salt(&self) -> Salt {
        self.salt
    }
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
    fn a_verifier_can_be_made_again_with_its_salt_which_no_other_has() {
        let (one, other) = (Salt::random().unwrap(), Salt::random().unwrap());
        assert_ne!(one, other, "it follows from nothing");
        let made = Verifier::new("secret", one);
        let kept = Salt::from_text(&made.salt().to_string()).unwrap();
        assert_eq!(Verifier::new("secret", kept).as_str(), made.as_str());
        assert_ne!(Verifier::new("secret", other).as_str(), made.as_str());
        assert_ne!(Verifier::new("Secret", kept).as_str(), made.as_str());
        assert_eq!(Verifier::from_text(made.as_str(), "secret").unwrap().salt(), one);
        assert!(Verifier::from_text(made.as_str(), "Secret").is_none() && Verifier::from_text("secret", "secret").is_none());
        assert_eq!((Salt::from_text("AAAA"), Salt::from_text("?")), (None, None));
    }

    fn verifier(password: &str) -> String {
        Verifier::new(password, Salt::random().unwrap()).text
    }

    #[test]
    fn a_verifier_fits_its_own_password_alone_whatever_its_salt() {
        for made in [verifier("pencil"), verifier_with("pencil", b"another salt", NonZeroU32::new(5000).unwrap())] {
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
        let good = verifier("pencil");
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
