//! VNC Authentication (RFC 6143, section 7.2.2): a challenge, encrypted by DES with the password as its key.
//!
//! It keeps chance visitors out, and no more: passwords have 8 bytes, whoever listens can try them all at leisure, and what follows is
//! not encrypted.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use des::{
    Des,
    cipher::{Block, BlockCipherEncrypt, KeyInit},
};
use secrecy::{ExposeSecret, SecretSlice};

/// Bytes of a challenge.
pub const CHALLENGE: usize = 16;
/// Bytes of a password that count.
pub const LONGEST_PASSWORD: usize = 8;

/// What a viewer is to encrypt.
pub type Challenge = [u8; CHALLENGE];
/// What a viewer made of it.
pub type Response = [u8; CHALLENGE];

/// A password of 1 to 8 bytes.
#[derive(Debug, Clone)]
pub struct Password(SecretSlice<u8>);

impl Password {
    /// A password of these bytes, if there are not too many, and some.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=LONGEST_PASSWORD).contains(&bytes.len()).then(|| Self(bytes.to_vec().into()))
    }

    /// What a viewer answers who knows it.
    #[must_use]
    pub fn respond(&self, challenge: &Challenge) -> Response {
        // VNC takes the bits of each byte the other way round than DES does.
        let mut key = [0; LONGEST_PASSWORD];
        for (to, from) in key.iter_mut().zip(self.0.expose_secret()) {
            *to = from.reverse_bits();
        }
        let cipher = Des::new(&key.into());
        let mut response = *challenge;
        for block in response.as_chunks_mut::<8>().0 {
            let mut encrypted = Block::<Des>::from(*block);
            cipher.encrypt_block(&mut encrypted);
            *block = encrypted.into();
        }
        response
    }

    /// Whether a response is that of somebody who knows it; compared in constant time.
    #[must_use]
    pub fn is_known_by(&self, challenge: &Challenge, response: &Response) -> bool {
        verify_slices_are_equal(&self.respond(challenge), response).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.as_bytes()).unwrap()
    }

    /// Computed by another implementation: `openssl enc -des-ecb -nopad -K` with the reversed bytes of "password", `0e86ceceeef64e26`.
    #[test]
    fn a_response_is_what_other_implementations_make_of_the_challenge() {
        let challenge = *b"0123456789abcdef";
        assert_eq!(password("password").respond(&challenge), RESPONSE);
    }

    const RESPONSE: Response = 0x5645_abeb_5f1e_6475_e8fe_b11b_eb66_ea19_u128.to_be_bytes();

    #[test]
    fn a_password_has_one_byte_to_eight() {
        assert!(Password::new(b"").is_none() && Password::new(b"123456789").is_none());
        assert!(Password::new(b"1").is_some() && Password::new(b"12345678").is_some());
    }

    proptest! {
        #[test]
        fn only_who_knows_the_password_can_answer(known in "[!-~]{1,8}", tried in "[!-~]{1,8}", challenge: [u8; 16]) {
            let response = password(&tried).respond(&challenge);
            // DES does not look at the lowest bit of a key's byte, which is the highest of the password's: ASCII has none.
            prop_assert_eq!(password(&known).is_known_by(&challenge, &response), known == tried);
        }

        #[test]
        fn a_response_with_another_bit_is_wrong(bit in 0usize..128, challenge: [u8; 16]) {
            let mut response = password("secret").respond(&challenge);
            response[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!password("secret").is_known_by(&challenge, &response));
        }
    }
}
