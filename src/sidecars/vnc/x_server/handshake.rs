//! How an X client is let in: "Connection Setup" of the X Window System Protocol, version 11.

use super::authority::{Cookie, PROTOCOL};

/// What every reply begins with.
pub const HEADER_LENGTH: usize = 8;

/// Why a client was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The server refuses it.
    #[error("it refuses us: {0}")]
    Refused(String),
    /// What answers is no X server, or an unknown one.
    #[error("what it answers is not the X11 protocol")]
    NoXServer,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Who made it.
    pub vendor: String,
    /// The root window of its first screen.
    pub root: u32,
    /// Pixels of that screen, across and down.
    pub size: (u16, u16),
    /// What the numbers that we give have in common, and the bits in which they may differ: at least 18 in a row.
    pub ids: (u32, u32),
}

impl Setup {
    /// The number of the `index`-th thing that we make.
    #[must_use]
    pub fn id(&self, index: u32) -> u32 {
        let (base, mask) = self.ids;
        base | (index.checked_shl(mask.trailing_zeros()).unwrap_or_default() & mask)
    }
}

/// What an X client says first, with a cookie or none. All numbers are little-endian.
#[must_use]
pub fn request(cookie: Option<&Cookie>) -> Vec<u8> {
    let (protocol, secret) = cookie.map_or((&[][..], &[][..]), |cookie| (PROTOCOL, cookie.expose()));
    let length = |text: &[u8]| u16::try_from(text.len()).unwrap_or_default().to_le_bytes();
    let mut request = vec![b'l', 0];
    for number in [11_u16.to_le_bytes(), [0; 2], length(protocol), length(secret), [0; 2]] {
        request.extend(number);
    }
    for text in [protocol, secret] {
        request.extend(text);
        request.resize(request.len().next_multiple_of(4), 0);
    }
    request
}

/// How many bytes follow the header of a reply: at most 256 KiB.
#[must_use]
pub fn body_length(header: [u8; HEADER_LENGTH]) -> usize {
    let [.., low, high] = header;
    usize::from(u16::from_le_bytes([low, high])) * 4
}

/// Reads a reply.
///
/// # Errors
/// It is a refusal, or none of X11.
pub fn read_reply(header: [u8; HEADER_LENGTH], body: &[u8]) -> Result<Setup, HandshakeError> {
    let [status, reason_length, ..] = header;
    match status {
        0 => Err(HandshakeError::Refused(printable(body.get(..reason_length.into()).unwrap_or(body)))),
        1 => setup(body).ok_or(HandshakeError::NoXServer),
        2 => Err(HandshakeError::Refused(printable(body))),
        _ => Err(HandshakeError::NoXServer),
    }
}

/// Where things stand in the body of a reply that lets us in.
fn setup(body: &[u8]) -> Option<Setup> {
    const FIXED: usize = 32;
    const FORMAT: usize = 8;
    const SIZE_IN_SCREEN: usize = 20;
    let number = |at: usize| Some(u16::from_le_bytes(*body.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u32::from_le_bytes(*body.get(at..)?.first_chunk()?));
    let (vendor_length, formats) = (usize::from(number(16)?), usize::from(*body.get(21)?));
    let vendor = printable(body.get(FIXED..FIXED + vendor_length)?);
    let screen = FIXED + vendor_length.next_multiple_of(4) + formats * FORMAT;
    let size = (number(screen + SIZE_IN_SCREEN)?, number(screen + SIZE_IN_SCREEN + 2)?);
    Some(Setup { vendor, root: long(screen)?, size, ids: (long(4)?, long(8)?) })
}

/// A text for people, on one line.
fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACCEPTED: [u8; 8] = [1, 0, 11, 0, 0, 0, 19, 0];

    fn body() -> Vec<u8> {
        let mut body = vec![0; 32];
        body[4..8].copy_from_slice(&0x20_0000_u32.to_le_bytes());
        body[8..12].copy_from_slice(&0x1f_fff0_u32.to_le_bytes());
        body[16] = 5;
        body[21] = 1;
        body.extend(b"maker\0\0\0");
        body.extend([0; 8]);
        body.extend(0x519_u32.to_le_bytes());
        body.extend([0; 16]);
        body.extend(1280_u16.to_le_bytes());
        body.extend(800_u16.to_le_bytes());
        body
    }

    #[test]
    fn a_cookie_and_its_name_are_padded_each() {
        assert_eq!(request(None), b"l\0\x0b\0\0\0\0\0\0\0\0\0");
        let with = request(Some(&Cookie::new(vec![9; 15])));
        assert_eq!(&with[..12], b"l\0\x0b\0\0\0\x12\0\x0f\0\0\0");
        assert_eq!(with.len(), 12 + 20 + 16);
        assert_eq!(&with[30..34], b"\0\0\x09\x09");
    }

    #[test]
    fn a_server_says_who_made_it_how_large_it_is_and_which_numbers_are_ours() {
        let setup = Setup { vendor: "maker".to_owned(), root: 0x519, size: (1280, 800), ids: (0x20_0000, 0x1f_fff0) };
        assert_eq!([setup.id(0), setup.id(1), setup.id(0x11)], [0x20_0000, 0x20_0010, 0x20_0110]);
        assert_eq!(Setup { ids: (7, 0), ..setup.clone() }.id(1), 7);
        assert_eq!(read_reply(ACCEPTED, &body()), Ok(setup));
        let body = body();
        for length in 0..body.len() {
            assert_eq!(read_reply(ACCEPTED, &body[..length]), Err(HandshakeError::NoXServer), "{length}");
        }
    }

    #[test]
    fn a_refusal_says_why_on_one_line() {
        let header = [0, 14, 11, 0, 0, 0, 4, 0];
        assert_eq!(body_length(header), 16);
        assert_eq!(read_reply(header, b"not\nauthorized\0\0"), Err(HandshakeError::Refused("not authorized".to_owned())));
        assert_eq!(read_reply([82, 70, 66, 32, 48, 48, 51, 46], b""), Err(HandshakeError::NoXServer), "RFB");
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(header: [u8; HEADER_LENGTH], body: Vec<u8>) {
            let _ = (body_length(header), read_reply(header, &body));
        }
    }
}
