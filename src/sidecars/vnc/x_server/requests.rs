//! The few requests that we make of an X server, and what it sends: "Protocol Encoding" of the X Window System Protocol, version 11.
//! All numbers are little-endian, as the handshake has said.

/// What every answer, event and error begins with, and most consist of.
const PACKET: usize = 32;
/// No answer to a request of ours is longer.
const LONGEST_ANSWER: usize = 64 * 1024;

const CREATE_WINDOW: u8 = 1;
const INTERN_ATOM: u8 = 16;
const SEND_EVENT: u8 = 25;
const CLIENT_MESSAGE: u8 = 33;
const PROPERTY_NOTIFY: u8 = 28;

/// `PropertyChange` of the type `SETofEVENT`.
const PROPERTY_CHANGE: u32 = 0x40_0000;
/// `SubstructureNotify` and `SubstructureRedirect`: a message for whoever manages a root window's windows is sent with both (EWMH, "Root
/// Window Properties").
const SUBSTRUCTURE: u32 = 0x18_0000;
/// `CWEventMask`: the one attribute that our windows have.
const EVENT_MASK: u32 = 0x800;

/// Asks for the number of a name (`InternAtom`).
#[must_use]
pub fn intern_atom(name: &str) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes();
    request(INTERN_ATOM, 0, &[&length, &[0; 2], name.as_bytes()])
}

/// Makes a window of one pixel that is never shown, and wants to hear when one of its properties changes (`CreateWindow`).
#[must_use]
pub fn create_window(window: u32, parent: u32) -> Vec<u8> {
    // x, y; width, height; the border's width, and a class, visual and depth that are those of the parent.
    let (position, size, as_parent) = ([0; 4], [1, 0, 1, 0], [0; 8]);
    let attributes = [EVENT_MASK.to_le_bytes(), PROPERTY_CHANGE.to_le_bytes()].concat();
    request(CREATE_WINDOW, 0, &[&window.to_le_bytes(), &parent.to_le_bytes(), &position, &size, &as_parent, &attributes])
}

/// Tells whoever manages the windows of `root` something about one of them (`SendEvent` of a `ClientMessage` without data).
#[must_use]
pub fn tell_manager(root: u32, window: u32, message: u32) -> Vec<u8> {
    const NUMBERS_OF_32_BITS: u8 = 32;
    let event = [&[CLIENT_MESSAGE, NUMBERS_OF_32_BITS, 0, 0], &window.to_le_bytes()[..], &message.to_le_bytes(), &[0; 20]].concat();
    request(SEND_EVENT, 0, &[&root.to_le_bytes(), &SUBSTRUCTURE.to_le_bytes(), &event])
}

/// A request, padded. Its length counts what comes in all, in units of four bytes.
fn request(code: u8, detail: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let units = (body.len() + 4).div_ceil(4);
    let mut request = vec![code, detail];
    request.extend(u16::try_from(units).unwrap_or(u16::MAX).to_le_bytes());
    request.extend(body);
    request.resize(units * 4, 0);
    request
}

/// What an X server sends, as far as it concerns us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The number of a name.
    Atom(u32),
    /// A property of a window is another than before.
    PropertyChanged {
        /// The window.
        window: u32,
        /// The property's name.
        property: u32,
    },
    /// A request can't be granted; the code says why ("Errors").
    Error(u8),
    /// Something else.
    Other,
}

/// What an X server sends is longer than any answer to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the X server answers more than we have asked for")]
pub struct TooLong;

/// Collects what an X server sends, and tells it apart.
#[derive(Debug, Default)]
pub struct Heard {
    bytes: Vec<u8>,
}

impl Heard {
    /// Where more is to be put, at the end.
    pub const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What comes next; `None` until it is whole.
    ///
    /// # Errors
    /// It is too long, and so no answer to us.
    pub fn take(&mut self) -> Result<Option<Said>, TooLong> {
        const ERROR: u8 = 0;
        const REPLY: u8 = 1;
        const GENERIC_EVENT: u8 = 35;

        let Some(packet) = self.bytes.first_chunk::<PACKET>() else { return Ok(None) };
        let number = |at: usize| packet.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let [kind, code, ..] = *packet;
        let said = match kind {
            ERROR => Said::Error(code),
            // The only request of ours that is answered.
            REPLY => Said::Atom(number(8)),
            PROPERTY_NOTIFY => Said::PropertyChanged { window: number(4), property: number(8) },
            _ => Said::Other,
        };
        let more = if matches!(kind, REPLY | GENERIC_EVENT) { number(4) } else { 0 };
        let length = usize::try_from(more).unwrap_or(usize::MAX).saturating_mul(4).saturating_add(PACKET);
        if length > LONGEST_ANSWER {
            return Err(TooLong);
        }
        if self.bytes.len() < length {
            return Ok(None);
        }
        self.bytes.drain(..length);
        Ok(Some(said))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(start: &[u8]) -> Vec<u8> {
        let mut packet = start.to_vec();
        packet.resize(PACKET, 0);
        packet
    }

    fn heard(bytes: &[u8]) -> Heard {
        Heard { bytes: bytes.to_vec() }
    }

    #[test]
    fn requests_are_encoded_as_the_protocol_has_them() {
        assert_eq!(intern_atom("WM_S0"), b"\x10\0\x04\0\x05\0\0\0WM_S0\0\0\0");
        let window = create_window(0x20_0001, 0x519);
        assert_eq!(window[..16], *b"\x01\0\x09\0\x01\0\x20\0\x19\x05\0\0\0\0\0\0");
        assert_eq!(window[16..], *b"\x01\0\x01\0\0\0\0\0\0\0\0\0\0\x08\0\0\0\0\x40\0");
        let message = tell_manager(0x519, 0x20_0001, 7);
        assert_eq!(message[..12], *b"\x19\0\x0b\0\x19\x05\0\0\0\0\x18\0");
        assert_eq!(message[12..24], *b"\x21\x20\0\0\x01\0\x20\0\x07\0\0\0");
        assert_eq!(message.len(), 44);
    }

    #[test]
    fn what_is_sent_is_told_apart_however_it_is_cut() {
        let longer = [packet(b"\x01\0\0\0\x01\0\0\0\x07"), vec![0; 4]].concat();
        let sent = [
            packet(b"\x01\0\0\0\0\0\0\0\x2a\x01"),
            longer,
            packet(b"\x1c\0\0\0\x01\0\x20\0\x2a\x01"),
            packet(b"\x00\x03"),
            packet(b"\x21"),
        ]
        .concat();
        let expected =
            [Said::Atom(0x12a), Said::Atom(7), Said::PropertyChanged { window: 0x20_0001, property: 0x12a }, Said::Error(3), Said::Other];
        for cut in 0..=sent.len() {
            let (mut heard, mut said) = (Heard::default(), Vec::new());
            for piece in [&sent[..cut], &sent[cut..]] {
                heard.buffer().extend(piece);
                while let Some(one) = heard.take().unwrap() {
                    said.push(one);
                }
            }
            assert_eq!(said, expected, "{cut}");
        }
    }

    #[test]
    fn an_event_of_an_extension_is_skipped_whole_and_an_endless_answer_refused() {
        let event = [packet(b"\x23\0\0\0\x01"), vec![0xff; 4], packet(b"\x00\x09")].concat();
        let mut heard_events = heard(&event);
        assert_eq!(heard_events.take(), Ok(Some(Said::Other)));
        assert_eq!(heard_events.take(), Ok(Some(Said::Error(9))));
        assert_eq!(heard(&packet(b"\x01\0\0\0\xff\xff\xff\xff")).take(), Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes: Vec<u8>) {
            let mut heard = heard(&bytes);
            while let Ok(Some(_)) = heard.take() {}
        }
    }
}
