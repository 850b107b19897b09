//! Takes a client's frames apart as their bytes come, in any pieces (RFC 6455, section 5).
//!
//! Messages are read as one stream of bytes, so that none is ever collected: only control frames are, which have 125 bytes at most.

use std::ops::Range;

use super::{
    ControlPayload, LONGEST_CONTROL, Opcode,
    close::{Close, CloseCode, may_be_sent},
    mask::Mask,
};

/// The longest head of a masked frame.
const LONGEST_HEAD: usize = 14;

/// What the client broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// RSV1 to RSV3 are for extensions, and none was agreed on.
    #[error("reserved bits are set in a frame, and no extension was agreed on")]
    ReservedBits,
    /// The opcode is for frames of the future.
    #[error("the opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// Clients mask what they send.
    #[error("a frame is not masked")]
    Unmasked,
    /// Control frames are whole.
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// Control frames are short.
    #[error("a control frame is longer than 125 bytes")]
    LongControl,
    /// The length could have been written in fewer bytes, or uses the bit that must be 0.
    #[error("the length of a frame is not written as it must be")]
    Length,
    /// There is no message to go on with.
    #[error("a continuation has nothing to continue")]
    NothingToContinue,
    /// A message begins within another.
    #[error("a message begins before the one before it has ended")]
    NotContinued,
    /// Text has no meaning here.
    #[error("text is not understood here: send binary frames")]
    Text,
    /// The frame is beyond the limit.
    #[error("a frame of {length} bytes is longer than {limit}")]
    TooLong {
        /// Its length in bytes.
        length: u64,
        /// The greatest length.
        limit: u64,
    },
    /// A close frame has half a code, or one that must not be sent.
    #[error("a close frame has no valid code")]
    CloseCode,
    /// The reason of a close frame is not UTF-8.
    #[error("the reason of a close frame is not UTF-8")]
    CloseReason,
}

impl From<Fault> for Close {
    fn from(fault: Fault) -> Self {
        let code = match fault {
            Fault::Text => CloseCode::UnsupportedData,
            Fault::CloseReason => CloseCode::InvalidPayload,
            Fault::TooLong { .. } => CloseCode::MessageTooBig,
            _ => CloseCode::ProtocolError,
        };
        Self::new(code, fault.to_string())
    }
}

/// What the next bytes mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of the stream: where it stands in the bytes that were given, unmasked.
    Data(Range<usize>),
    /// Wants a pong with the same payload.
    Ping(ControlPayload),
    /// The viewer is there.
    Pong,
    /// The viewer ends the conversation, with this code.
    Close(Option<u16>),
}

/// Where we are in the client's bytes.
#[derive(Debug, Clone)]
pub struct Decoder {
    limit: u64,
    head: HeadBytes,
    frame: Option<Frame>,
    /// Whether a message has begun whose last frame is still to come.
    within_message: bool,
    control: ControlPayload,
}

/// The head of a frame, as far as it came.
#[derive(Debug, Clone, Copy, Default)]
struct HeadBytes {
    bytes: [u8; LONGEST_HEAD],
    length: usize,
}

/// The frame whose payload comes.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: Opcode,
    left: u64,
    mask: Mask,
}

impl Decoder {
    /// Reads frames of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, head: HeadBytes::default(), frame: None, within_message: false, control: ControlPayload::default() }
    }

    /// Reads on until something is to be told. Says how many bytes were read; with no event, all were.
    ///
    /// # Errors
    /// The client broke the protocol; nothing that follows means anything.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<(usize, Option<Event>), Fault> {
        let mut read = 0;
        loop {
            let Some(mut frame) = self.frame else {
                let Some(byte) = bytes.get(read) else { return Ok((read, None)) };
                read += 1;
                self.frame = self.begin(*byte)?;
                if let Some(Frame { left: 0, opcode, .. }) = self.frame
                    && let Some(event) = self.end(opcode)?
                {
                    return Ok((read, Some(event)));
                }
                continue;
            };
            let rest = bytes.get_mut(read..).unwrap_or_default();
            let length = usize::try_from(frame.left).unwrap_or(usize::MAX).min(rest.len());
            let payload = rest.get_mut(..length).unwrap_or_default();
            if payload.is_empty() {
                return Ok((read, None));
            }
            frame.mask.remove(payload);
            frame.left -= length as u64;
            let piece = read..read + length;
            read += length;
            self.frame = Some(frame);
            if frame.opcode.is_control() {
                self.control.extend(payload);
            }
            let ended = if frame.left == 0 { self.end(frame.opcode)? } else { None };
            if !frame.opcode.is_control() {
                return Ok((read, Some(Event::Data(piece))));
            }
            if ended.is_some() {
                return Ok((read, ended));
            }
        }
    }

    /// Takes the next byte of a head; what is wrong is noticed at once.
    fn begin(&mut self, byte: u8) -> Result<Option<Frame>, Fault> {
        let Some(place) = self.head.bytes.get_mut(self.head.length) else { return Err(Fault::Length) };
        *place = byte;
        self.head.length += 1;
        let HeadBytes { bytes: [first, second, rest @ ..], length: have } = self.head;
        let (is_last, opcode) = (first & 0x80 != 0, first & 0x0f);
        match have {
            1 => {
                self.check_first(first)?;
                return Ok(None);
            }
            2 => check_second(first, second)?,
            _ => {}
        }
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if have == 2 + extended {
            self.check_length(length(second, &rest)?)?;
        }
        if have < 2 + extended + 4 {
            return Ok(None);
        }
        let mut key = [0; 4];
        for (to, from) in key.iter_mut().zip(rest.iter().skip(extended)) {
            *to = *from;
        }
        let opcode = Opcode::from_bits(opcode).ok_or(Fault::ReservedOpcode(opcode))?;
        if !opcode.is_control() {
            self.within_message = !is_last;
        }
        self.head.length = 0;
        Ok(Some(Frame { opcode, left: length(second, &rest)?, mask: Mask::new(key) }))
    }

    fn check_first(&self, first: u8) -> Result<(), Fault> {
        if first & 0x70 != 0 {
            return Err(Fault::ReservedBits);
        }
        let opcode = first & 0x0f;
        match Opcode::from_bits(opcode).ok_or(Fault::ReservedOpcode(opcode))? {
            Opcode::Text => Err(Fault::Text),
            Opcode::Binary if self.within_message => Err(Fault::NotContinued),
            Opcode::Continuation if !self.within_message => Err(Fault::NothingToContinue),
            opcode if opcode.is_control() && first & 0x80 == 0 => Err(Fault::FragmentedControl),
            _ => Ok(()),
        }
    }

    const fn check_length(&self, length: u64) -> Result<(), Fault> {
        if length > self.limit && length > LONGEST_CONTROL as u64 {
            return Err(Fault::TooLong { length, limit: self.limit });
        }
        Ok(())
    }

    /// The payload is complete.
    fn end(&mut self, opcode: Opcode) -> Result<Option<Event>, Fault> {
        self.frame = None;
        let payload = std::mem::take(&mut self.control);
        Ok(match opcode {
            Opcode::Ping => Some(Event::Ping(payload)),
            Opcode::Pong => Some(Event::Pong),
            Opcode::Close => Some(Event::Close(close_code(payload.as_slice())?)),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => None,
        })
    }
}

fn check_second(first: u8, second: u8) -> Result<(), Fault> {
    if second & 0x80 == 0 {
        return Err(Fault::Unmasked);
    }
    let is_control = Opcode::from_bits(first & 0x0f).is_some_and(Opcode::is_control);
    if is_control && usize::from(second & 0x7f) > LONGEST_CONTROL {
        return Err(Fault::LongControl);
    }
    Ok(())
}

/// The length of the payload, once its bytes are there: as short as it can be written, and less than 2^63.
fn length(second: u8, rest: &[u8; LONGEST_HEAD - 2]) -> Result<u64, Fault> {
    let (length, least) = match second & 0x7f {
        126 => (rest.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes).into()), 126),
        127 => (rest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)), 65536),
        short => (short.into(), 0),
    };
    if length < least || length > i64::MAX.unsigned_abs() { Err(Fault::Length) } else { Ok(length) }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Fault> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !may_be_sent(code) {
                return Err(Fault::CloseCode);
            }
            std::str::from_utf8(reason).map_err(|_| Fault::CloseReason)?;
            Ok(Some(code))
        }
        [_] => Err(Fault::CloseCode),
    }
}

#[cfg(test)]
mod tests;
