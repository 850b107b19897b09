//! The heads of the frames we send. Payloads are sent from where they are; a server masks nothing.

use super::Opcode;

/// The longest head of an unmasked frame.
const LONGEST_HEAD: usize = 10;

/// The head of a frame that is a whole message.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    bytes: [u8; LONGEST_HEAD],
    length: usize,
}

impl Head {
    /// The head in front of a payload of so many bytes.
    #[must_use]
    pub fn new(opcode: Opcode, payload: usize) -> Self {
        let mut head = Self { bytes: [0; LONGEST_HEAD], length: 0 };
        head.push(&[0x80 | opcode.bits()]);
        match (u8::try_from(payload), u16::try_from(payload)) {
            (Ok(short), _) if short <= 125 => head.push(&[short]),
            (_, Ok(medium)) => {
                head.push(&[126]);
                head.push(&medium.to_be_bytes());
            }
            _ => {
                head.push(&[127]);
                head.push(&(payload as u64).to_be_bytes());
            }
        }
        head
    }

    /// Its bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(bytes) {
            *to = *from;
        }
        self.length += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (payload, head) in [
            (0, &[0x82, 0][..]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65535, &[0x82, 126, 0xff, 0xff]),
            (65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            assert_eq!(Head::new(Opcode::Binary, payload).as_slice(), head);
        }
        assert_eq!(Head::new(Opcode::Pong, 3).as_slice(), &[0x8a, 3]);
    }
}
