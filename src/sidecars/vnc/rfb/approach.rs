//! How we enter a desktop: a client's half of the handshake of RFB 3.8 (RFC 6143, section 7.1), without a password.

use super::{NO_SECURITY, VERSION};

/// The longest reason that a desktop may give.
const LONGEST_REASON: u32 = 4096;

/// Why a desktop can't be entered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApproachError {
    /// Another version, or another protocol.
    #[error("the desktop says \"{0}\" instead of RFB 003.008")]
    Version(String),
    /// It wants a password, which we don't have.
    #[error("the desktop wants one of the security types {0:?}, and not 1 (None)")]
    Security(Vec<u8>),
    /// It says no.
    #[error("the desktop refused: {0}")]
    Refused(String),
}

/// The handshake up to the end of its security part.
#[derive(Debug, Default)]
pub struct Approach {
    stage: Stage,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Version,
    CountOfTypes,
    Types(u8),
    Result,
    ReasonLength,
    Reason(u32),
    Done,
}

impl Approach {
    /// How many bytes of the desktop are needed next; 0 when it has let us in.
    #[must_use]
    pub const fn needs(&self) -> usize {
        match self.stage {
            Stage::Version => VERSION.len(),
            Stage::CountOfTypes => 1,
            Stage::Types(count) => count as usize,
            Stage::Result | Stage::ReasonLength => 4,
            Stage::Reason(length) => length as usize,
            Stage::Done => 0,
        }
    }

    /// Reads as many bytes as are needed, and says what the desktop is to be sent.
    ///
    /// # Errors
    /// It does not let us in.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<&'static [u8], ApproachError> {
        let number = || bytes.first_chunk().map_or(0, |number| u32::from_be_bytes(*number));
        let (stage, answer): (Stage, &'static [u8]) = match self.stage {
            Stage::Version if bytes == VERSION => (Stage::CountOfTypes, VERSION),
            Stage::Version => return Err(ApproachError::Version(bytes.escape_ascii().to_string())),
            Stage::CountOfTypes => match bytes.first().copied().unwrap_or_default() {
                0 => (Stage::ReasonLength, &[]),
                count => (Stage::Types(count), &[]),
            },
            Stage::Types(_) if bytes.contains(&NO_SECURITY) => (Stage::Result, &[NO_SECURITY]),
            Stage::Types(_) => return Err(ApproachError::Security(bytes.to_vec())),
            Stage::Result if number() == 0 => (Stage::Done, &[]),
            Stage::Result => (Stage::ReasonLength, &[]),
            Stage::ReasonLength => match number().min(LONGEST_REASON) {
                0 => return Err(ApproachError::Refused("it gives no reason".to_owned())),
                length => (Stage::Reason(length), &[]),
            },
            Stage::Reason(_) => return Err(ApproachError::Refused(bytes.escape_ascii().to_string())),
            Stage::Done => (Stage::Done, &[]),
        };
        self.stage = stage;
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a desktop hears that says all this, and how it ends.
    fn heard(mut says: &[u8]) -> (Vec<u8>, Result<bool, ApproachError>) {
        let (mut approach, mut answers) = (Approach::default(), Vec::new());
        while approach.needs() > 0 {
            let Some((bytes, rest)) = says.split_at_checked(approach.needs()) else { return (answers, Ok(false)) };
            match approach.hear(bytes) {
                Ok(answer) => answers.extend(answer),
                Err(error) => return (answers, Err(error)),
            }
            says = rest;
        }
        (answers, Ok(true))
    }

    #[test]
    fn a_desktop_without_a_password_lets_us_in() {
        for types in [&b"\x01\x01"[..], b"\x03\x02\x01\x10"] {
            let (answers, ended) = heard(&[VERSION, types, &[0; 4]].concat());
            assert_eq!((&answers[..], ended), (&b"RFB 003.008\n\x01"[..], Ok(true)));
        }
    }

    #[test]
    fn a_desktop_that_does_not_let_us_in_is_quoted() {
        for (says, error) in [
            (&b"RFB 003.003\n"[..], ApproachError::Version("RFB 003.003\\n".to_owned())),
            (b"RFB 003.008\n\x02\x02\x13", ApproachError::Security(vec![2, 0x13])),
            (b"RFB 003.008\n\x00\x00\x00\x00\x08too many", ApproachError::Refused("too many".to_owned())),
            (b"RFB 003.008\n\x01\x01\x00\x00\x00\x01\x00\x00\x00\x04full", ApproachError::Refused("full".to_owned())),
            (b"RFB 003.008\n\x01\x01\x00\x00\x00\x01\x00\x00\x00\x00", ApproachError::Refused("it gives no reason".to_owned())),
        ] {
            assert_eq!(heard(says).1, Err(error));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_and_no_reason_is_long(says: Vec<u8>, lets_us_begin: bool) {
            let mut says = if lets_us_begin { [&VERSION[..], &says].concat() } else { says };
            says.resize(says.len() + 5000, 0xff);
            let mut approach = Approach::default();
            let mut rest = &says[..];
            while approach.needs() > 0 {
                prop_assert!(approach.needs() <= LONGEST_REASON as usize);
                let (bytes, after) = rest.split_at(approach.needs());
                if approach.hear(bytes).is_err() {
                    break;
                }
                rest = after;
            }
        }
    }
}
