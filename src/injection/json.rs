//! JSON, read and written in about half the time `serde_json` takes, and meaning the same: whatever is rare or wrong is left
//! to `serde_json`, for the value or for the error.
//!
//! A review is mostly what a plan does not look at: of 12 KB, a few names. And a patch is mostly short texts without escapes.

mod reader;
mod writer;

use serde::{
    Serialize,
    de::{self, Deserialize},
    ser,
};

/// The name of a type that takes a list as the text it is written in, to read it later or never. To `serde_json`, which knows nothing of
/// it, such a type is what it holds.
pub const UNREAD_LIST: &str = "$outrigger::UnreadList";

/// Reads a value, as `serde_json::from_str` does.
pub fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, serde_json::Error> {
    read(text).map_or_else(|| serde_json::from_str(text), Ok)
}

/// Reads a value if that can be done fast: what is wrong, rare, or nested some sixty levels deep is not read here, nor is
/// a `RawValue`, which only `serde_json` can make.
#[must_use]
pub fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Option<T> {
    reader::read(text).ok()
}

/// Writes a value behind a text, as `serde_json::to_string` does.
pub fn write(value: &impl Serialize, text: &mut String) -> Result<(), serde_json::Error> {
    let start = text.len();
    if writer::write(value, text).is_err() {
        text.truncate(start);
        text.push_str(&serde_json::to_string(value)?);
    }
    Ok(())
}

/// Writes a value's JSON behind a text as a text: what `serde_json::to_string` makes of what it makes of the value.
pub fn write_as_text(value: &impl Serialize, text: &mut String) -> Result<(), serde_json::Error> {
    let start = text.len();
    if writer::write_as_text(value, text).is_err() {
        text.truncate(start);
        write(&serde_json::to_string(value)?, text)?;
    }
    Ok(())
}

/// What is wrong, of the wrong type, or too rare to be read or written here. `serde_json` knows which, and says it better.
#[derive(Debug)]
struct Unusual;

impl std::fmt::Display for Unusual {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("unusual JSON")
    }
}

impl std::error::Error for Unusual {}

impl de::Error for Unusual {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self
    }
}

impl ser::Error for Unusual {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Where the first byte stands, from a place on, at which a string ends or needs a closer look.
#[inline]
fn special(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let marks = marks_in(*word);
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += word.len();
    }
    special_in_rest(bytes, at)
}

/// The same for less than eight bytes: a word is missing only at the end of what is read, and in the shortest texts.
#[cold]
#[inline(never)]
fn special_in_rest(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..b' ')).map(|place| from + place)
}

/// Whether nothing in a text needs a closer look, which is so for nearly all.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let found = match (text.last_chunk::<8>(), text.first_chunk::<4>(), text.last_chunk::<4>()) {
        // What the last word has in common with the one before is looked at twice.
        (Some(last), ..) => text.as_chunks::<8>().0.iter().fold(marks_in(*last), |found, word| found | marks_in(*word)),
        (None, Some(first), Some(last)) => marks(u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))),
        _ => return special_in_rest(text, 0).is_none(),
    };
    found == 0
}

const fn marks_in(word: [u8; 8]) -> u64 {
    marks(u64::from_le_bytes(word))
}

/// Marks quotes, backslashes and control characters among eight bytes, in the highest bit of each. Above the lowest mark
/// there may be wrong ones: a byte that is subtracted from too often borrows from the next.
const fn marks(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // This makes a quote the next number after the control characters, and keeps those among themselves.
    let quotes_after_controls = word ^ (EACH * 0x02);
    let backslashes_as_zero = word ^ (EACH * b'\\' as u64);
    let below_0x21 = quotes_after_controls.wrapping_sub(EACH * 0x21) & !quotes_after_controls;
    let below_0x01 = backslashes_as_zero.wrapping_sub(EACH) & !backslashes_as_zero;
    (below_0x21 | below_0x01) & (EACH * 0x80)
}

#[cfg(test)]
mod tests;
