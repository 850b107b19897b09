//! JSON of which little is needed: what a type does not name is passed over, and texts are borrowed.

use std::borrow::Cow;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{UNREAD_LIST, Unusual, special};

/// How deep types may nest. What they do not name may nest deeper.
const MAX_DEPTH: usize = 60;

/// Reads a whole text.
pub(super) fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Unusual> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = T::deserialize(&mut reader)?;
    if reader.token().is_none() { Ok(value) } else { Err(Unusual) }
}

struct Reader<'de> {
    text: &'de str,
    /// The place of the next byte.
    at: usize,
    /// How many lists and objects a type is being read from.
    depth: usize,
}

impl<'de> Reader<'de> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    /// The next byte that is no white space, or `None` at the end.
    #[inline]
    fn token(&mut self) -> Option<u8> {
        match self.byte(self.at) {
            Some(byte) if byte > b' ' => Some(byte),
            _ => self.token_behind_space(),
        }
    }

    #[cold]
    fn token_behind_space(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.byte(self.at) {
            self.at += 1;
        }
        self.byte(self.at)
    }

    fn expect(&mut self, wanted: u8) -> Result<(), Unusual> {
        if self.token() != Some(wanted) {
            return Err(Unusual);
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, literal: &str) -> Result<(), Unusual> {
        let end = self.at + literal.len();
        if self.text.as_bytes().get(self.at..end) != Some(literal.as_bytes()) {
            return Err(Unusual);
        }
        self.at = end;
        Ok(())
    }

    /// Goes behind a string, from its opening quote, which the caller has seen. Says whether it has escapes.
    fn pass_string(&mut self) -> Result<bool, Unusual> {
        let end = special(self.text.as_bytes(), self.at + 1).ok_or(Unusual)?;
        if self.byte(end) == Some(b'"') {
            self.at = end + 1;
            return Ok(false);
        }
        self.pass_escapes(end).map(|()| true)
    }

    /// Goes behind a string that needs a closer look, first of all at this place.
    #[cold]
    fn pass_escapes(&mut self, mut at: usize) -> Result<(), Unusual> {
        loop {
            match self.byte(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(());
                }
                Some(b'\\') => at = special(self.text.as_bytes(), at + self.escape_length(at)?).ok_or(Unusual)?,
                // Control characters must be escaped (RFC 8259, section 7).
                _ => return Err(Unusual),
            }
        }
    }

    /// The length of the escape at a backslash.
    fn escape_length(&self, at: usize) -> Result<usize, Unusual> {
        match self.byte(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u') => {
                let digits = self.text.as_bytes().get(at + 2..at + 6).ok_or(Unusual)?;
                if digits.iter().all(u8::is_ascii_hexdigit) { Ok(6) } else { Err(Unusual) }
            }
            _ => Err(Unusual),
        }
    }

    /// Reads a string, from its opening quote, which the caller has seen.
    fn string(&mut self) -> Result<Cow<'de, str>, Unusual> {
        let start = self.at;
        let has_escapes = self.pass_string()?;
        if has_escapes {
            let quoted = self.text.get(start..self.at).ok_or(Unusual)?;
            return serde_json::from_str(quoted).map(Cow::Owned).map_err(|_| Unusual);
        }
        self.text.get(start + 1..self.at - 1).map(Cow::Borrowed).ok_or(Unusual)
    }

    /// An integer. Those with a fraction, an exponent, or too many digits are rare where we look.
    fn integer(&mut self) -> Result<i64, Unusual> {
        let start = self.at;
        self.pass_number()?;
        match self.text.get(start..self.at) {
            Some("-0") | None => Err(Unusual),
            Some(number) => number.parse().map_err(|_| Unusual),
        }
    }

    /// Goes behind a number (RFC 8259, section 6).
    fn pass_number(&mut self) -> Result<(), Unusual> {
        if self.byte(self.at) == Some(b'-') {
            self.at += 1;
        }
        if self.byte(self.at) == Some(b'0') {
            self.at += 1;
        } else {
            self.pass_digits()?;
        }
        if self.byte(self.at) == Some(b'.') {
            self.at += 1;
            self.pass_digits()?;
        }
        if let Some(b'e' | b'E') = self.byte(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte(self.at) {
                self.at += 1;
            }
            self.pass_digits()?;
        }
        Ok(())
    }

    /// Goes behind digits, of which there must be one.
    fn pass_digits(&mut self) -> Result<(), Unusual> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte(self.at) {
            self.at += 1;
        }
        if self.at == start { Err(Unusual) } else { Ok(()) }
    }

    /// Goes behind a value of any kind and depth, as fast as may be.
    fn pass_value(&mut self) -> Result<(), Unusual> {
        let mut nesting = Nesting::default();
        loop {
            match self.token() {
                Some(b'"') => drop(self.pass_string()?),
                Some(b'-' | b'0'..=b'9') => self.pass_number()?,
                Some(b't') => self.literal("true")?,
                Some(b'f') => self.literal("false")?,
                Some(b'n') => self.literal("null")?,
                Some(b'{') => {
                    self.at += 1;
                    if self.token() != Some(b'}') {
                        nesting.enter(true)?;
                        self.pass_key()?;
                        continue;
                    }
                    self.at += 1;
                }
                Some(b'[') => {
                    self.at += 1;
                    if self.token() != Some(b']') {
                        nesting.enter(false)?;
                        continue;
                    }
                    self.at += 1;
                }
                _ => return Err(Unusual),
            }
            if self.pass_ends(&mut nesting)? {
                return Ok(());
            }
        }
    }

    /// Behind a value: goes on to the next one, or behind all that ends here. Whether nothing is left open.
    fn pass_ends(&mut self, nesting: &mut Nesting) -> Result<bool, Unusual> {
        while let Some(in_object) = nesting.innermost_is_object() {
            match (self.token(), in_object) {
                (Some(b','), _) => {
                    self.at += 1;
                    if in_object {
                        self.pass_key()?;
                    }
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    nesting.leave();
                }
                _ => return Err(Unusual),
            }
        }
        Ok(true)
    }

    fn enter(&mut self) -> Result<Items<'_, 'de>, Unusual> {
        if self.depth == MAX_DEPTH {
            return Err(Unusual);
        }
        self.depth += 1;
        self.at += 1;
        Ok(Items { reader: self, is_first: true })
    }

    fn leave(&mut self, end: u8) -> Result<(), Unusual> {
        self.depth -= 1;
        self.expect(end)
    }

    fn pass_key(&mut self) -> Result<(), Unusual> {
        if self.token() != Some(b'"') {
            return Err(Unusual);
        }
        self.pass_string()?;
        self.expect(b':')
    }
}

/// The lists and objects that are open, a bit for each, the innermost last; a one leads.
struct Nesting(u64);

impl Default for Nesting {
    fn default() -> Self {
        Self(1)
    }
}

impl Nesting {
    fn enter(&mut self, is_object: bool) -> Result<(), Unusual> {
        if self.0.leading_zeros() == 0 {
            return Err(Unusual);
        }
        self.0 = self.0 << 1 | u64::from(is_object);
        Ok(())
    }

    fn leave(&mut self) {
        self.0 >>= 1;
    }

    fn innermost_is_object(&self) -> Option<bool> {
        (self.0 > 1).then_some(self.0 & 1 == 1)
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Unusual;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        match self.token() {
            Some(b'"') => match self.string()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Some(b'{') => {
                let value = visitor.visit_map(self.enter()?)?;
                self.leave(b'}')?;
                Ok(value)
            }
            Some(b'[') => {
                let value = visitor.visit_seq(self.enter()?)?;
                self.leave(b']')?;
                Ok(value)
            }
            Some(b'-' | b'0'..=b'9') => visitor.visit_i64(self.integer()?),
            Some(b't') => self.literal("true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.literal("false").and_then(|()| visitor.visit_bool(false)),
            Some(b'n') => self.literal("null").and_then(|()| visitor.visit_unit()),
            _ => Err(Unusual),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        if self.token() == Some(b'n') {
            return self.literal("null").and_then(|()| visitor.visit_none());
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Unusual> {
        if name == UNREAD_LIST && self.token() == Some(b'[') {
            let start = self.at;
            self.pass_value()?;
            return visitor.visit_borrowed_str(self.text.get(start..self.at).ok_or(Unusual)?);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unusual> {
        self.pass_value()?;
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// What is left of a list or an object.
struct Items<'r, 'de> {
    reader: &'r mut Reader<'de>,
    is_first: bool,
}

impl Items<'_, '_> {
    /// Whether there is another item; goes behind the comma before it.
    fn advance(&mut self, end: u8) -> Result<bool, Unusual> {
        let token = self.reader.token();
        if token == Some(end) {
            return Ok(false);
        }
        if !std::mem::take(&mut self.is_first) {
            self.reader.expect(b',')?;
        }
        Ok(true)
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Unusual;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Unusual> {
        if !self.advance(b'}')? {
            return Ok(None);
        }
        // Without this, a key could be a number.
        if self.reader.token() != Some(b'"') {
            return Err(Unusual);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unusual> {
        self.reader.expect(b':')?;
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Unusual;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Unusual> {
        if !self.advance(b']')? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}
