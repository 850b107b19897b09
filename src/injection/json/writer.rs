//! Texts, lists and objects. Numbers with a fraction, and what needs more than one kind of value, are rare where we write.

use std::fmt::Write;

use serde::{
    Serialize, Serializer,
    ser::{Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple},
};

use super::{Unusual, special};

/// Writes a value behind a text. After an error, what is behind it has no meaning.
pub(super) fn write(value: &impl Serialize, text: &mut String) -> Result<(), Unusual> {
    value.serialize(Writer { text })
}

struct Writer<'t> {
    text: &'t mut String,
}

/// Integers of all widths are written as they are displayed.
macro_rules! numbers {
    ($($serialize:ident $number:ty),*) => {
        $(fn $serialize(self, value: $number) -> Result<(), Unusual> {
            write!(self.text, "{value}").map_err(|_| Unusual)
        })*
    };
}

impl<'t> Writer<'t> {
    fn begin(self, opening: char, closing: char) -> Items<'t> {
        self.text.push(opening);
        Items { text: self.text, is_first: true, closing }
    }
}

/// Writes a text in quotes, with the escapes it needs (RFC 8259, section 7).
fn quote(value: &str, text: &mut String) -> Result<(), Unusual> {
    text.push('"');
    let mut written = 0;
    while let Some(at) = special(value.as_bytes(), written) {
        text.push_str(value.get(written..at).ok_or(Unusual)?);
        escape(value.as_bytes().get(at).copied().ok_or(Unusual)?, text)?;
        written = at + 1;
    }
    text.push_str(value.get(written..).ok_or(Unusual)?);
    text.push('"');
    Ok(())
}

fn escape(byte: u8, text: &mut String) -> Result<(), Unusual> {
    match byte {
        b'"' => text.push_str("\\\""),
        b'\\' => text.push_str("\\\\"),
        b'\n' => text.push_str("\\n"),
        b'\r' => text.push_str("\\r"),
        b'\t' => text.push_str("\\t"),
        0x08 => text.push_str("\\b"),
        0x0c => text.push_str("\\f"),
        _ => return write!(text, "\\u{byte:04x}").map_err(|_| Unusual),
    }
    Ok(())
}

impl<'t> Serializer for Writer<'t> {
    type Ok = ();
    type Error = Unusual;
    type SerializeSeq = Items<'t>;
    type SerializeTuple = Items<'t>;
    type SerializeTupleStruct = Impossible<(), Unusual>;
    type SerializeTupleVariant = Impossible<(), Unusual>;
    type SerializeMap = Items<'t>;
    type SerializeStruct = Items<'t>;
    type SerializeStructVariant = Impossible<(), Unusual>;

    fn serialize_bool(self, value: bool) -> Result<(), Unusual> {
        self.text.push_str(if value { "true" } else { "false" });
        Ok(())
    }

    numbers! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64
    }

    fn serialize_f32(self, _: f32) -> Result<(), Unusual> {
        Err(Unusual)
    }

    fn serialize_f64(self, _: f64) -> Result<(), Unusual> {
        Err(Unusual)
    }

    fn serialize_char(self, _: char) -> Result<(), Unusual> {
        Err(Unusual)
    }

    fn serialize_str(self, value: &str) -> Result<(), Unusual> {
        quote(value, self.text)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Unusual> {
        Err(Unusual)
    }

    fn serialize_none(self) -> Result<(), Unusual> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unusual> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unusual> {
        self.text.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unusual> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Unusual> {
        quote(variant, self.text)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unusual> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(self, _: &'static str, _: u32, _: &'static str, _: &T) -> Result<(), Unusual> {
        Err(Unusual)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'t>, Unusual> {
        Ok(self.begin('[', ']'))
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'t>, Unusual> {
        Ok(self.begin('[', ']'))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Unusual> {
        Err(Unusual)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self::SerializeTupleVariant, Unusual> {
        Err(Unusual)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Items<'t>, Unusual> {
        Ok(self.begin('{', '}'))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Items<'t>, Unusual> {
        // What `serde_json` writes in its own way (a `RawValue`) it tells itself by a name that no type can have.
        if name.starts_with('$') {
            return Err(Unusual);
        }
        Ok(self.begin('{', '}'))
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self::SerializeStructVariant, Unusual> {
        Err(Unusual)
    }
}

/// A list or an object that is being written.
struct Items<'t> {
    text: &'t mut String,
    is_first: bool,
    closing: char,
}

impl Items<'_> {
    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.text.push(',');
        }
    }

    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unusual> {
        self.separate();
        self.value(value)
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unusual> {
        value.serialize(Writer { text: &mut *self.text })
    }

    fn close(self) {
        self.text.push(self.closing);
    }
}

impl SerializeSeq for Items<'_> {
    type Ok = ();
    type Error = Unusual;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unusual> {
        self.item(value)
    }

    fn end(self) -> Result<(), Unusual> {
        self.close();
        Ok(())
    }
}

/// A list of a length that the type says: an array is one.
impl SerializeTuple for Items<'_> {
    type Ok = ();
    type Error = Unusual;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unusual> {
        SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Unusual> {
        SerializeSeq::end(self)
    }
}

impl SerializeMap for Items<'_> {
    type Ok = ();
    type Error = Unusual;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unusual> {
        self.separate();
        let start = self.text.len();
        self.value(key)?;
        // A key is a text; what becomes one when it is a key, `serde_json` knows.
        if self.text.as_bytes().get(start) == Some(&b'"') { Ok(()) } else { Err(Unusual) }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unusual> {
        self.text.push(':');
        self.value(value)
    }

    fn end(self) -> Result<(), Unusual> {
        self.close();
        Ok(())
    }
}

impl SerializeStruct for Items<'_> {
    type Ok = ();
    type Error = Unusual;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unusual> {
        self.separate();
        quote(key, self.text)?;
        self.text.push(':');
        self.value(value)
    }

    fn end(self) -> Result<(), Unusual> {
        self.close();
        Ok(())
    }
}
