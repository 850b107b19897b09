//! Texts, lists and objects. Numbers with a fraction, and what needs more than one kind of value, are rare where we write.

use std::fmt::Write;

use serde::{
    Serialize, Serializer,
    ser::{Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple},
};

use super::{Unusual, is_plain, special};

/// Writes a value behind a text. After an error, what is behind it has no meaning.
pub(super) fn write(value: &impl Serialize, text: &mut String) -> Result<(), Unusual> {
    value.serialize(Writer { text, is_nested: false })
}

/// Writes a value's JSON behind a text as a text in quotes, without writing it first as it is.
pub(super) fn write_as_text(value: &impl Serialize, text: &mut String) -> Result<(), Unusual> {
    text.push('"');
    value.serialize(Writer { text, is_nested: true })?;
    text.push('"');
    Ok(())
}

struct Writer<'t> {
    text: &'t mut String,
    /// Whether all of it stands in a text, in which quotes and backslashes are escaped.
    is_nested: bool,
}

/// Integers of all widths are written as they are displayed.
macro_rules! numbers {
    ($($serialize:ident $number:ty),*) => {
        $(fn $serialize(self, value: $number) -> Result<(), Unusual> {
            self.text.push_str(itoa::Buffer::new().format(value));
            Ok(())
        })*
    };
}

impl<'t> Writer<'t> {
    fn begin(self, opening: char, closing: char) -> Items<'t> {
        self.text.push(opening);
        Items { writer: self, is_first: true, closing }
    }

    fn reborrow(&mut self) -> Writer<'_> {
        Writer { text: self.text, is_nested: self.is_nested }
    }

    fn quotation_mark(&mut self) {
        if self.is_nested {
            self.text.push('\\');
        }
        self.text.push('"');
    }

    /// Writes a text in quotes, with the escapes it needs (RFC 8259, section 7).
    fn quote(&mut self, value: &str) -> Result<(), Unusual> {
        self.quotation_mark();
        if is_plain(value.as_bytes()) {
            self.text.push_str(value);
        } else {
            self.push_escaped(value)?;
        }
        self.quotation_mark();
        Ok(())
    }

    fn push_escaped(&mut self, value: &str) -> Result<(), Unusual> {
        let mut written = 0;
        while let Some(at) = special(value.as_bytes(), written) {
            self.text.push_str(value.get(written..at).ok_or(Unusual)?);
            escape(value.as_bytes().get(at).copied().ok_or(Unusual)?, self.is_nested, self.text)?;
            written = at + 1;
        }
        self.text.push_str(value.get(written..).ok_or(Unusual)?);
        Ok(())
    }
}

fn escape(byte: u8, is_nested: bool, text: &mut String) -> Result<(), Unusual> {
    // In a text, the backslash of an escape has one of its own.
    if is_nested {
        text.push('\\');
    }
    match byte {
        b'"' => text.push_str(if is_nested { r#"\\""# } else { r#"\""# }),
        b'\\' => text.push_str(if is_nested { r"\\\" } else { r"\\" }),
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

    fn serialize_str(mut self, value: &str) -> Result<(), Unusual> {
        self.quote(value)
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

    fn serialize_unit_variant(mut self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Unusual> {
        self.quote(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unusual> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Unusual> {
        let mut items = self.begin('{', '}');
        items.serialize_field(name, value)?;
        SerializeStruct::end(items)
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
    writer: Writer<'t>,
    is_first: bool,
    closing: char,
}

impl Items<'_> {
    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.writer.text.push(',');
        }
    }

    fn item(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unusual> {
        self.separate();
        self.value(value)
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Unusual> {
        value.serialize(self.writer.reborrow())
    }

    fn close(self) {
        self.writer.text.push(self.closing);
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
        let start = self.writer.text.len();
        self.value(key)?;
        // A key is a text; what becomes one when it is a key, `serde_json` knows.
        if let Some(b'"' | b'\\') = self.writer.text.as_bytes().get(start) { Ok(()) } else { Err(Unusual) }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unusual> {
        self.writer.text.push(':');
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
        debug_assert!(is_plain(key.as_bytes()), "the name of a field needs no escapes");
        self.separate();
        self.writer.quotation_mark();
        self.writer.text.push_str(key);
        self.writer.quotation_mark();
        self.writer.text.push(':');
        self.value(value)
    }

    fn end(self) -> Result<(), Unusual> {
        self.close();
        Ok(())
    }
}
