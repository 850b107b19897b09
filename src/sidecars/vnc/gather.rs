//! Brings pieces of a buffer together, so that one write sends them all.

use std::ops::Range;

/// Joins a piece to what was gathered before it, and says where all of it stands now. The shorter of the two is moved.
pub(super) fn join(bytes: &mut [u8], gathered: Range<usize>, piece: Range<usize>) -> Range<usize> {
    if gathered.is_empty() {
        return piece;
    }
    if gathered.end == piece.start || piece.is_empty() {
        return gathered.start..gathered.end + piece.len();
    }
    if gathered.len() < piece.len() {
        let start = piece.start - gathered.len();
        bytes.copy_within(gathered, start);
        start..piece.end
    } else {
        let end = gathered.end + piece.len();
        bytes.copy_within(piece, gathered.end);
        gathered.start..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_stand_side_by_side_in_their_order() {
        for (pieces, joined) in [
            (vec![0..0, 2..4], "cd"),
            (vec![0..2, 2..5], "abcde"),
            (vec![0..1, 3..8], "adefgh"),
            (vec![0..4, 5..6, 8..10], "abcdfij"),
            (vec![0..0, 4..4, 6..7], "g"),
            (vec![1..3, 5..5, 9..10], "bcj"),
        ] {
            let mut bytes = *b"abcdefghij";
            let range = pieces.iter().fold(0..0, |gathered, piece| join(&mut bytes, gathered, piece.clone()));
            assert_eq!(std::str::from_utf8(&bytes[range]).unwrap(), joined, "{pieces:?}");
        }
    }
}
