//! How viewers enter by a password: a server's half of the handshake (RFC 6143, section 7.1, and appendix A for versions 3.3 and 3.7),
//! with VNC Authentication as the one security type.

use super::{
    VERSION,
    vnc_auth::{CHALLENGE, Challenge, Response},
};

/// The security type that asks for a password.
const VNC_AUTHENTICATION: u8 = 2;

/// Why a viewer can't come in, whatever its password is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntranceError {
    /// Another protocol, or a version of it that nobody speaks.
    #[error("the viewer says \"{0}\" instead of RFB 003.003, 003.007 or 003.008")]
    Version(String),
    /// It chose what was not offered.
    #[error("the viewer chose security type {0} instead of 2 (VNC Authentication)")]
    Security(u8),
}

/// What the viewer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    /// The server alone decides on the security type; there are no reasons.
    V33,
    /// The viewer chooses.
    V37,
    /// A refusal has a reason.
    V38,
}

impl Version {
    /// Reads a viewer's version. What is between two versions is the lower one, and what is above ours is ours.
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?.strip_prefix("RFB 003.")?.strip_suffix('\n')?;
        let is_number = text.len() == 3 && text.bytes().all(|digit| digit.is_ascii_digit());
        match text.parse::<u16>().ok().filter(|_| is_number)? {
            3..=6 => Some(Self::V33),
            7 => Some(Self::V37),
            8.. => Some(Self::V38),
            _ => None,
        }
    }
}

/// The handshake with one viewer.
#[derive(Debug)]
pub struct Entrance {
    stage: Stage,
    challenge: Challenge,
    /// Why nobody from there may come in now.
    refusal: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Version,
    Security(Version),
    Response(Version),
    Answered(Version, Response),
    Refused,
}

impl Entrance {
    /// The handshake with a viewer who gets this challenge, which must be made for it alone.
    #[must_use]
    pub const fn new(challenge: Challenge) -> Self {
        Self { stage: Stage::Version, challenge, refusal: None }
    }

    /// The handshake with a viewer who hears why it may not come in, before it says any password.
    #[must_use]
    pub const fn refusing(reason: String) -> Self {
        Self { stage: Stage::Version, challenge: [0; CHALLENGE], refusal: Some(reason) }
    }

    /// What the viewer hears first.
    #[must_use]
    pub const fn greeting() -> &'static [u8] {
        VERSION
    }

    /// How many bytes of the viewer are needed next; 0 when it has said all.
    #[must_use]
    pub const fn needs(&self) -> usize {
        match self.stage {
            Stage::Version => VERSION.len(),
            Stage::Security(_) => 1,
            Stage::Response(_) => CHALLENGE,
            Stage::Answered(..) | Stage::Refused => 0,
        }
    }

    /// Reads as many bytes as are needed, and says what the viewer is to be sent.
    ///
    /// # Errors
    /// It can't be understood.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<Vec<u8>, EntranceError> {
        let (stage, answer) = match self.stage {
            Stage::Version => {
                let version = Version::read(bytes).ok_or_else(|| EntranceError::Version(bytes.escape_ascii().to_string()))?;
                self.begin(version)
            }
            Stage::Security(version) => match bytes.first().copied().unwrap_or_default() {
                VNC_AUTHENTICATION => (Stage::Response(version), self.challenge.to_vec()),
                other => return Err(EntranceError::Security(other)),
            },
            Stage::Response(version) => (Stage::Answered(version, bytes.first_chunk().copied().unwrap_or_default()), Vec::new()),
            stage @ (Stage::Answered(..) | Stage::Refused) => (stage, Vec::new()),
        };
        self.stage = stage;
        Ok(answer)
    }

    fn begin(&self, version: Version) -> (Stage, Vec<u8>) {
        match (&self.refusal, version) {
            // No security type, and why.
            (Some(reason), Version::V33) => (Stage::Refused, [&0_u32.to_be_bytes()[..], &text(reason)].concat()),
            (Some(reason), _) => (Stage::Refused, [&[0][..], &text(reason)].concat()),
            (None, Version::V33) => {
                (Stage::Response(version), [&u32::from(VNC_AUTHENTICATION).to_be_bytes()[..], &self.challenge].concat())
            }
            (None, _) => (Stage::Security(version), vec![1, VNC_AUTHENTICATION]),
        }
    }

    /// The viewer's response to the challenge, when it is there.
    #[must_use]
    pub const fn response(&self) -> Option<&Response> {
        match &self.stage {
            Stage::Answered(_, response) => Some(response),
            _ => None,
        }
    }

    /// Tells the viewer whether it may come in, or why not. After the first it goes on with `ClientInit`, after the second it is to go.
    #[must_use]
    pub fn verdict(&self, refusal: Option<&str>) -> Vec<u8> {
        let version = if let Stage::Answered(version, _) = self.stage { version } else { Version::V33 };
        match refusal {
            None => vec![0; 4],
            Some(reason) if version == Version::V38 => [&1_u32.to_be_bytes()[..], &text(reason)].concat(),
            Some(_) => 1_u32.to_be_bytes().to_vec(),
        }
    }
}

/// A text with its length in front.
fn text(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap_or_default().to_be_bytes()[..], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHALLENGED: Challenge = *b"0123456789abcdef";
    const RESPONSE: Response = *b"fedcba9876543210";

    /// What a viewer hears behind the greeting who says all this, and how it ends.
    fn heard(mut entrance: Entrance, mut says: &[u8]) -> (Vec<u8>, Result<Entrance, EntranceError>) {
        let mut answers = Vec::new();
        while let Some((bytes, rest)) = says.split_at_checked(entrance.needs()).filter(|(bytes, _)| !bytes.is_empty()) {
            match entrance.hear(bytes) {
                Ok(answer) => answers.extend(answer),
                Err(error) => return (answers, Err(error)),
            }
            says = rest;
        }
        (answers, Ok(entrance))
    }

    #[test]
    fn each_version_is_asked_for_the_password_and_told_the_verdict_in_its_own_way() {
        let asked = |by_type: &[u8]| [by_type, &CHALLENGED].concat();
        for (says, hears, refused) in [
            (&b"RFB 003.003\n"[..], asked(&[0, 0, 0, 2]), &b"\0\0\0\x01"[..]),
            (b"RFB 003.005\n", asked(&[0, 0, 0, 2]), b"\0\0\0\x01"),
            (b"RFB 003.007\n\x02", asked(&[1, 2]), b"\0\0\0\x01"),
            (b"RFB 003.008\n\x02", asked(&[1, 2]), b"\0\0\0\x01\0\0\0\x05wrong"),
            (b"RFB 003.889\n\x02", asked(&[1, 2]), b"\0\0\0\x01\0\0\0\x05wrong"),
        ] {
            let (answers, ended) = heard(Entrance::new(CHALLENGED), &[says, &RESPONSE].concat());
            let entrance = ended.unwrap();
            assert_eq!((answers, entrance.response(), entrance.needs()), (hears, Some(&RESPONSE), 0));
            assert_eq!((entrance.verdict(None), &entrance.verdict(Some("wrong"))[..]), (vec![0; 4], refused));
        }
    }

    #[test]
    fn who_may_not_come_in_now_hears_it_before_any_password_is_said() {
        for (version, hears) in [("003", &b"\0\0\0\0\0\0\0\x05later"[..]), ("007", b"\0\0\0\0\x05later"), ("008", b"\0\0\0\0\x05later")] {
            let (answers, ended) = heard(Entrance::refusing("later".to_owned()), format!("RFB 003.{version}\n").as_bytes());
            let entrance = ended.unwrap();
            assert_eq!((&answers[..], entrance.needs(), entrance.response()), (hears, 0, None));
        }
    }

    #[test]
    fn who_speaks_something_else_or_wants_no_password_is_quoted() {
        for (says, error) in [
            (&b"GET / HTTP/1"[..], EntranceError::Version("GET / HTTP/1".to_owned())),
            (b"RFB 004.001\n", EntranceError::Version("RFB 004.001\\n".to_owned())),
            (b"RFB 003.+08\n", EntranceError::Version("RFB 003.+08\\n".to_owned())),
            (b"RFB 003.002\n", EntranceError::Version("RFB 003.002\\n".to_owned())),
            (b"RFB 003.008\n\x01", EntranceError::Security(1)),
        ] {
            assert_eq!(heard(Entrance::new(CHALLENGED), says).1.unwrap_err(), error);
        }
    }

    proptest! {
        #[test]
        fn nobody_has_answered_who_did_not_hear_the_challenge(says: Vec<u8>, version in 0usize..4) {
            let versions: [&[u8]; 4] = [b"", b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"];
            let (answers, ended) = heard(Entrance::new(CHALLENGED), &[versions[version], &says].concat());
            if ended.is_ok_and(|entrance| entrance.response().is_some()) {
                prop_assert!(answers.ends_with(&CHALLENGED));
            }
        }
    }
}
