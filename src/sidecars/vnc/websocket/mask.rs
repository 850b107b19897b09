//! The masking of what clients send (RFC 6455, section 5.3).

/// Takes the mask off a payload that comes in pieces.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mask {
    /// The key, turned so that its first byte belongs to the next byte of the payload.
    key: [u8; 4],
}

impl Mask {
    pub(super) const fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Unmasks the next piece in place, a word at a time: the compiler makes vector instructions of that.
    pub(super) fn remove(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.key;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let turns = bytes.len() % self.key.len();
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.key.iter().cycle()) {
            *byte ^= key;
        }
        self.key.rotate_left(turns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_byte_is_unmasked_by_its_own_byte_of_the_key_however_the_payload_is_cut(
            payload in proptest::collection::vec(any::<u8>(), 0..100), key: [u8; 4], cuts in proptest::collection::vec(0usize..30, 0..10),
        ) {
            let expected: Vec<u8> = payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
            let (mut unmasked, mut mask) = (payload, Mask::new(key));
            let mut rest = unmasked.as_mut_slice();
            for cut in cuts {
                let (piece, after) = rest.split_at_mut(cut.min(rest.len()));
                mask.remove(piece);
                rest = after;
            }
            mask.remove(rest);
            prop_assert_eq!(unmasked, expected);
        }
    }
}
