//! Passwords as Guacamole's database authentication keeps them: SHA-256 of the password and the salt's upper-case hexadecimal digits.

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{Context, SHA256},
    error::Unspecified,
};
use secrecy::{ExposeSecret, SecretString};

/// Bytes of a salt, and of a hash.
const LENGTH: usize = 32;

/// A hash with its salt.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoredPassword {
    pub(crate) hash: Vec<u8>,
    /// None where somebody wrote a hash by hand; it then stands for the password alone.
    pub(crate) salt: Option<Vec<u8>>,
}

impl std::fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredPassword")
    }
}

impl StoredPassword {
    /// A new salt, and the hash of a password with it.
    ///
    /// # Errors
    /// There are no random bytes to be had.
    pub(crate) fn of(password: &SecretString) -> Result<Self, Unspecified> {
        let salt = random()?;
        Ok(Self { hash: hash(password, Some(&salt)), salt: Some(salt) })
    }

    /// What no password fits, for users who sign in by other means. Guacamole itself writes the same for a user without a password.
    ///
    /// # Errors
    /// There are no random bytes to be had.
    pub(crate) fn that_nothing_fits() -> Result<Self, Unspecified> {
        Ok(Self { hash: random()?, salt: Some(random()?) })
    }

    /// Whether this is the user's password.
    pub(crate) fn fits(&self, password: &SecretString) -> bool {
        verify_slices_are_equal(&hash(password, self.salt.as_deref()), &self.hash).is_ok()
    }
}

fn hash(password: &SecretString, salt: Option<&[u8]>) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(password.expose_secret().as_bytes());
    if let Some(salt) = salt {
        for byte in salt {
            context.update(format!("{byte:02X}").as_bytes());
        }
    }
    context.finish().as_ref().to_vec()
}

fn random() -> Result<Vec<u8>, Unspecified> {
    let mut bytes = vec![0; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(digits: &str) -> Vec<u8> {
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    /// The administrator that Guacamole's own schema scripts make.
    #[test]
    fn guacamoles_own_administrator_signs_in() {
        let stored = StoredPassword {
            hash: bytes("CA458A7D494E3BE824F5E1E175A1556C0F8EEF2C2D7DF3633BEC4A29C4411960"),
            salt: Some(bytes("FE24ADC5E11E2B25288D1704ABE67A79E342ECC26064CE69C5B3177795A82264")),
        };
        assert!(stored.fits(&"guacadmin".into()));
        assert!(!stored.fits(&"Guacadmin".into()));
    }

    #[test]
    fn each_password_gets_a_salt_of_its_own() {
        let password = SecretString::from("pässword");
        let (one, other) = (StoredPassword::of(&password).unwrap(), StoredPassword::of(&password).unwrap());
        assert!(one != other && one.fits(&password) && other.fits(&password));
        assert!(!StoredPassword::that_nothing_fits().unwrap().fits(&"".into()));
        let unsalted = StoredPassword { hash: hash(&password, None), salt: None };
        assert!(unsalted.fits(&password));
    }
}
