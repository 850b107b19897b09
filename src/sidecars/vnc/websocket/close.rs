//! Why a conversation ends (RFC 6455, section 7.4, and the registry of close codes that grew from it).

use std::borrow::Cow;

use super::{ControlPayload, LONGEST_CONTROL};

/// The codes this server ends a conversation with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CloseCode {
    /// The viewer is done.
    Normal,
    /// The viewer is away: it no longer answers.
    GoingAway,
    /// The viewer broke the WebSocket protocol.
    ProtocolError,
    /// The viewer sent text.
    UnsupportedData,
    /// The viewer called something text that is none.
    InvalidPayload,
    /// The viewer may not do what it did, or may not be here any more.
    PolicyViolation,
    /// The viewer sent a frame beyond the limit.
    MessageTooBig,
    /// The desktop failed.
    InternalError,
    /// This server restarts or goes; another, or the next, takes the viewer.
    ServiceRestart,
    /// The desktop is not ready yet.
    TryAgainLater,
}

impl CloseCode {
    /// The code as it is sent.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::UnsupportedData => 1003,
            Self::InvalidPayload => 1007,
            Self::PolicyViolation => 1008,
            Self::MessageTooBig => 1009,
            Self::InternalError => 1011,
            Self::ServiceRestart => 1012,
            Self::TryAgainLater => 1013,
        }
    }
}

/// The end of a conversation, with what people are told about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// For programs.
    pub code: CloseCode,
    /// For people. What a close frame has no room for is cut off.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// An end with its reason.
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason: reason.into() }
    }

    /// The payload of the close frame that says so.
    #[must_use]
    pub fn payload(&self) -> ControlPayload {
        let mut payload = ControlPayload::default();
        payload.extend(&self.code.number().to_be_bytes());
        let room = LONGEST_CONTROL - payload.as_slice().len();
        payload.extend(self.reason.get(..self.reason.floor_char_boundary(room)).unwrap_or_default().as_bytes());
        payload
    }
}

/// Whether an endpoint may send this code (RFC 6455, section 7.4, and the codes registered since).
#[must_use]
pub const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_where_a_character_ends() {
        let close = Close::new(CloseCode::PolicyViolation, "ü".repeat(100));
        let payload = close.payload();
        assert_eq!(payload.as_slice().len(), 124, "62 characters of two bytes would be one byte too long");
        assert_eq!(payload.as_slice()[..2], 1008u16.to_be_bytes());
        assert!(std::str::from_utf8(&payload.as_slice()[2..]).is_ok());
    }

    #[test]
    fn codes_that_only_mean_something_locally_may_not_be_sent() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, u16::MAX] {
            assert!(!may_be_sent(code), "{code}");
        }
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            assert!(may_be_sent(code), "{code}");
        }
    }
}
