//! The WebSocket protocol (RFC 6455) of a server whose messages are a stream of bytes. Nothing here does I/O.
//!
//! `handshake` judges the request that asks for a WebSocket, `decoder` takes the viewer's frames apart without ever collecting a
//! message, `encoder` makes the heads of ours, and `close` knows why a conversation may end.

pub mod close;
pub mod decoder;
pub mod encoder;
pub mod handshake;
mod mask;

/// What a frame is (RFC 6455, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Goes on with a message whose first frame was not its last.
    Continuation,
    /// Text, which this server has no use for.
    Text,
    /// Bytes.
    Binary,
    /// The end.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping, or comes unasked.
    Pong,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The longest payload of a control frame (RFC 6455, section 5.5).
pub const LONGEST_CONTROL: usize = 125;

/// The payload of a control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlPayload {
    bytes: [u8; LONGEST_CONTROL],
    length: usize,
}

impl Default for ControlPayload {
    fn default() -> Self {
        Self { bytes: [0; LONGEST_CONTROL], length: 0 }
    }
}

impl ControlPayload {
    /// Its bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Adds as many of the bytes as there is room for.
    pub fn extend(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let fitting = room.len().min(bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.length += fitting;
    }
}
