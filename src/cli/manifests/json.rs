//! JSON (RFC 8259), read and written exactly: order, duplicate keys and every digit count.

use super::node::{MappingBuilder, Node};
use super::number::Number;
use super::syntax::{MAX_DEPTH, Position, Problem, SyntaxError};

/// Reads one JSON value.
pub fn read(bytes: &[u8]) -> Result<Node, SyntaxError> {
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
    let mut reader = Reader { text, at: 0 };
    let node = reader.value(0)?;
    reader.skip_blanks();
    if reader.peek().is_some() { Err(reader.unexpected("the end of the text")) } else { Ok(node) }
}

/// Reads any number of JSON values, one after another, each with the place where it begins.
pub fn read_all(text: &str) -> Result<Vec<(Position, Node)>, SyntaxError> {
    let mut reader = Reader { text, at: 0 };
    let mut values = Vec::new();
    // Places are counted on from the last one: counting from the start each time would be quadratic.
    let mut lines = 1;
    let mut counted = 0;
    reader.skip_blanks();
    while reader.peek().is_some() {
        lines += newlines(text.get(counted..reader.at).unwrap_or_default());
        counted = reader.at;
        let position = Position { line: lines, column: column(text, counted) };
        values.push((position, reader.value(0)?));
        reader.skip_blanks();
    }
    Ok(values)
}

/// The error for bytes that are UTF-8 only up to an offset.
pub(super) fn not_utf8(bytes: &[u8], offset: usize) -> SyntaxError {
    let valid = std::str::from_utf8(bytes.get(..offset).unwrap_or_default()).unwrap_or_default();
    SyntaxError { position: position(valid, offset), problem: Problem::NotUtf8 { offset } }
}

/// The place of a byte offset.
pub(super) fn position(text: &str, offset: usize) -> Position {
    Position { line: newlines(text.get(..offset).unwrap_or_default()) + 1, column: column(text, offset) }
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn column(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or_default();
    before.rsplit('\n').next().unwrap_or_default().chars().count() + 1
}

struct Reader<'text> {
    text: &'text str,
    at: usize,
}

impl<'text> Reader<'text> {
    fn value(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.mapping(self.deeper(depth)?).map(Node::Mapping),
            Some(b'[') => self.sequence(self.deeper(depth)?).map(Node::Sequence),
            Some(b'"') => self.string().map(Node::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Node::Number),
            _ => self.word(),
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, SyntaxError> {
        if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(self.error(self.at, Problem::Depth)) }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(String, Node)>, SyntaxError> {
        self.at += 1;
        let mut members = MappingBuilder::default();
        if self.closes(b'}') {
            return Ok(members.finish());
        }
        loop {
            self.skip_blanks();
            let key_at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a quoted key"));
            }
            let key = self.string()?;
            if members.position(&key).is_some() {
                return Err(self.error(key_at, Problem::DuplicateKey(key)));
            }
            self.skip_blanks();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("`:`"));
            }
            self.at += 1;
            let value = self.value(depth)?;
            members.push(key, value);
            if self.closes(b'}') {
                return Ok(members.finish());
            }
            self.comma("`,` or `}`")?;
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        self.at += 1;
        let mut items = Vec::new();
        if self.closes(b']') {
            return Ok(items);
        }
        loop {
            items.push(self.value(depth)?);
            if self.closes(b']') {
                return Ok(items);
            }
            self.comma("`,` or `]`")?;
        }
    }

    fn closes(&mut self, bracket: u8) -> bool {
        self.skip_blanks();
        let closes = self.peek() == Some(bracket);
        self.at += usize::from(closes);
        closes
    }

    fn comma(&mut self, expected: &'static str) -> Result<(), SyntaxError> {
        if self.peek() != Some(b',') {
            return Err(self.unexpected(expected));
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self) -> Result<Node, SyntaxError> {
        let words = [("null", Node::Null), ("true", Node::Bool(true)), ("false", Node::Bool(false))];
        let rest = self.rest();
        let found = words.into_iter().find(|(word, _)| rest.starts_with(word));
        let (word, node) = found.ok_or_else(|| self.unexpected("a value"))?;
        self.at += word.len();
        Ok(node)
    }

    fn number(&mut self) -> Result<Number, SyntaxError> {
        let rest = self.rest();
        let end = rest.find(|next: char| !matches!(next, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        if !is_json_number(text) {
            return Err(self.unexpected("a number"));
        }
        let number = Number::from_decimal(text).ok_or_else(|| self.error(self.at, Problem::NumberRange(text.to_owned())))?;
        self.at += end;
        Ok(number)
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let end = rest.find(|next: char| matches!(next, '"' | '\\' | '\0'..='\x1f')).unwrap_or(rest.len());
            text.push_str(rest.get(..end).unwrap_or_default());
            self.at += end;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                _ => return Err(self.unexpected("the end of the string, or an escape such as \\n")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let (length, character) = match self.rest().as_bytes().get(1) {
            Some(b'"') => (2, Some('"')),
            Some(b'\\') => (2, Some('\\')),
            Some(b'/') => (2, Some('/')),
            Some(b'b') => (2, Some('\u{8}')),
            Some(b'f') => (2, Some('\u{c}')),
            Some(b'n') => (2, Some('\n')),
            Some(b'r') => (2, Some('\r')),
            Some(b't') => (2, Some('\t')),
            Some(b'u') => self.unicode_escape(),
            _ => (2, None),
        };
        let character = character.ok_or_else(|| {
            let written = self.rest().chars().take(length).collect();
            self.error(self.at, Problem::JsonEscape(written))
        })?;
        self.at += length;
        Ok(character)
    }

    /// `\u` with four digits, or two of them where a character needs a surrogate pair; with the length of what was read.
    fn unicode_escape(&self) -> (usize, Option<char>) {
        let unit = |offset: usize| -> Option<u16> {
            let escape = self.rest().get(offset..offset + 6)?.strip_prefix("\\u")?;
            if escape.bytes().all(|byte| byte.is_ascii_hexdigit()) { u16::from_str_radix(escape, 16).ok() } else { None }
        };
        match (unit(0), unit(6)) {
            (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) => {
                (12, char::decode_utf16([high, low]).next().and_then(Result::ok))
            }
            (first, _) => (6, first.and_then(|unit| char::from_u32(u32::from(unit)))),
        }
    }

    fn skip_blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn rest(&self) -> &'text str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self, expected: &'static str) -> SyntaxError {
        let found = self.rest().chars().next().map_or_else(|| "the end of the text".to_owned(), |next| format!("{next:?}"));
        self.error(self.at, Problem::Json { expected, found })
    }

    fn error(&self, at: usize, problem: Problem) -> SyntaxError {
        SyntaxError { position: position(self.text, at), problem }
    }
}

/// What RFC 8259 section 6 forbids and [`Number::from_decimal`] reads: a plus, a bare point and leading zeros.
fn is_json_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let whole_length = unsigned.find(|next: char| !next.is_ascii_digit()).unwrap_or(unsigned.len());
    let (whole, rest) = unsigned.split_at(whole_length);
    let whole_is_json = whole == "0" || !whole.is_empty() && !whole.starts_with('0');
    let fraction_is_json = rest.strip_prefix('.').is_none_or(|after| after.starts_with(|next: char| next.is_ascii_digit()));
    whole_is_json && fraction_is_json && is_decimal(text)
}

/// The grammar alone, so that a number out of range gets its own error.
fn is_decimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) && text.parse::<f64>().is_ok()
}

/// Writes without any blanks.
#[must_use]
pub fn write(node: &Node) -> String {
    let mut text = String::new();
    write_value(node, &Layout::Compact, &mut text);
    text
}

/// Writes with four spaces for each level, as `kubectl -o json` does, and a newline at the end.
#[must_use]
pub fn write_pretty(node: &Node) -> String {
    let mut text = String::new();
    write_value(node, &Layout::Pretty { level: 0 }, &mut text);
    text.push('\n');
    text
}

enum Layout {
    Compact,
    Pretty { level: usize },
}

impl Layout {
    fn inner(&self) -> Self {
        match self {
            Self::Compact => Self::Compact,
            Self::Pretty { level } => Self::Pretty { level: level + 1 },
        }
    }

    fn break_line(&self, text: &mut String) {
        if let Self::Pretty { level } = self {
            text.push('\n');
            text.extend(std::iter::repeat_n("    ", *level));
        }
    }

    fn colon(&self) -> &'static str {
        match self {
            Self::Compact => ":",
            Self::Pretty { .. } => ": ",
        }
    }
}

fn write_value(node: &Node, layout: &Layout, text: &mut String) {
    match node {
        Node::Null => text.push_str("null"),
        Node::Bool(true) => text.push_str("true"),
        Node::Bool(false) => text.push_str("false"),
        Node::Number(number) => text.push_str(number.as_str()),
        Node::String(string) => write_string(string, text),
        Node::Sequence(items) => write_collection(('[', ']'), items, layout, text, write_value),
        Node::Mapping(members) => write_collection(('{', '}'), members, layout, text, |(key, value), inner, text| {
            write_string(key, text);
            text.push_str(inner.colon());
            write_value(value, inner, text);
        }),
    }
}

fn write_collection<Item>(
    (open, close): (char, char),
    items: &[Item],
    layout: &Layout,
    text: &mut String,
    write_item: impl Fn(&Item, &Layout, &mut String),
) {
    text.push(open);
    let inner = layout.inner();
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        inner.break_line(text);
        write_item(item, &inner, text);
    }
    if !items.is_empty() {
        layout.break_line(text);
    }
    text.push(close);
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\0'..='\x1f' | '\x7f' => push_unicode_escape(character, text),
            _ => text.push(character),
        }
    }
    text.push('"');
}

/// `\u` with four digits, for a character of the basic plane.
pub(super) fn push_unicode_escape(character: char, text: &mut String) {
    let code = u32::from(character);
    text.push_str("\\u");
    text.extend([12, 8, 4, 0].into_iter().filter_map(|shift| char::from_digit(code >> shift & 0xF, 16)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        read(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn what_is_read_is_written_again() {
        for text in
            [r#"{"b":1,"a":[true,false,null,{}],"":"x"}"#, "123456789012345678901234567890", "-1.5", r#""\u0000\n\"\\é🦀""#, "[]", "[[[]]]"]
        {
            let node = read(text.as_bytes()).expect(text);
            assert_eq!(write(&node), text);
            assert_eq!(read(write_pretty(&node).as_bytes()), Ok(node));
        }
    }

    #[test]
    fn the_pretty_form_is_indented() {
        let node = read(br#"{"a":[1,{}],"b":[]}"#).expect("valid");
        assert_eq!(write_pretty(&node), "{\n    \"a\": [\n        1,\n        {}\n    ],\n    \"b\": []\n}\n");
    }

    #[test]
    fn escapes_are_read() {
        let text = r#""\"\\\/\b\f\n\r\t\u00e9\ud83e\udd80""#;
        assert_eq!(read(text.as_bytes()), Ok(Node::from("\"\\/\u{8}\u{c}\n\r\té🦀")));
    }

    #[test]
    fn several_values_stand_one_after_another() {
        let values = read_all("{\"a\":1}\n {}[2]\n").expect("valid");
        let positions: Vec<_> = values.iter().map(|(position, _)| (position.line, position.column)).collect();
        assert_eq!(positions, [(1, 1), (2, 2), (2, 4)]);
        assert_eq!(read_all(" \n"), Ok(Vec::new()));
    }

    #[test]
    fn errors_name_the_place() {
        assert_eq!(problem("{\"a\": 1,\n \"a\": 2}"), "2:2: duplicate key `a`; remove one of the two");
        assert_eq!(problem("[1,]"), "1:4: invalid JSON: expected a value, found ']'");
        assert_eq!(problem("{\"é\" 1}"), "1:6: invalid JSON: expected `:`, found '1'");
        assert_eq!(problem("[1 2]"), "1:4: invalid JSON: expected `,` or `]`, found '2'");
        assert_eq!(problem("{a: 1}"), "1:2: invalid JSON: expected a quoted key, found 'a'");
        assert_eq!(problem("[] x"), "1:4: invalid JSON: expected the end of the text, found 'x'");
        assert_eq!(problem(r#""\x""#), r"1:2: invalid JSON: \x is not an escape");
        assert_eq!(problem(r#""\ud800x""#), r"1:2: invalid JSON: \ud800 is not an escape");
        assert_eq!(problem(r#""\u+0ff""#), r"1:2: invalid JSON: \u+0ff is not an escape");
        assert!(problem("\"\n\"").contains("expected the end of the string"));
        assert!(problem("1e999").contains("out of range"));
        assert_eq!(read(b"[\n\xff]").expect_err("not UTF-8").to_string(), "2:1: byte 2 is not UTF-8; save the file as UTF-8");
    }

    #[test]
    fn numbers_follow_the_rfc() {
        for text in ["01", "+1", ".5", "1.", "1.e3", "-", "1e", "0x1", "1-1", "--1"] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(read(b"-0.5E2"), Ok(Node::Number(Number::from_decimal("-0.5e+2").expect("a number"))));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(problem(&nested(MAX_DEPTH + 1)).contains("nested more than 250 deep"));
        assert!(problem(&"[".repeat(1_000_000)).contains("nested more than 250 deep"));
    }
}
