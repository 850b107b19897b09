//! What a YAML scalar means to kubectl.
//!
//! kubectl reads manifests with sigs.k8s.io/yaml, which follows YAML 1.1 with exceptions of its own: no sexagesimal
//! numbers, dates stay strings, `1e3` is a number, and integers take Go's prefixes. `tests/data/yaml_scalars.json` holds
//! its answers to a table of awkward scalars.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granit_parser::Tag;

use super::node::Node;
use super::number::Number;
use super::syntax::Problem;

const YAML_TAGS: &str = "tag:yaml.org,2002:";

/// What the text of a plain scalar stands for.
enum Meaning {
    Null,
    Bool(bool),
    Integer(Number),
    Float(Number),
    NotFinite,
    Text,
}

/// The value of a scalar that is written plain or quoted, with or without a tag.
pub(super) fn resolve(text: Cow<'_, str>, plain: bool, tag: Option<&Tag>) -> Result<Node, Problem> {
    match tag {
        None if plain => to_node(meaning(&text), text),
        None => Ok(Node::String(text.into_owned())),
        Some(tag) => match tag.suffix_in_namespace(YAML_TAGS).as_deref() {
            Some("binary") => decode_binary(&text).map(Node::String),
            Some(kind @ ("null" | "bool" | "int" | "float" | "timestamp")) => tagged(kind, text),
            // Any other tag, `!` alone too, makes kubectl take the text as it stands.
            _ => Ok(Node::String(text.into_owned())),
        },
    }
}

/// Whether a scalar in a key's place is the merge key.
pub(super) fn is_merge_key(text: &str, plain: bool, tag: Option<&Tag>) -> bool {
    let tagged_as_merge = |tag: &Tag| tag.suffix_in_namespace(YAML_TAGS).as_deref() == Some("merge");
    text == "<<" && tag.map_or(plain, tagged_as_merge)
}

/// Whether YAML 1.1 as kubectl knows it reads a plain text as a string.
pub(super) fn is_plain_text(text: &str) -> bool {
    matches!(meaning(text), Meaning::Text)
}

/// The key that sigs.k8s.io/yaml makes of a value in a key's place: a boolean is `true` or `false` however it was
/// written, a float passes through 32 bits.
pub(super) fn key_text(node: Node) -> Result<String, Problem> {
    match node {
        Node::String(text) => Ok(text),
        Node::Bool(value) => Ok(value.to_string()),
        Node::Number(number) if number.as_i64().is_some() => Ok(number.to_string()),
        Node::Number(number) if number.as_str().parse::<u64>().is_ok() => Err(Problem::Key("an integer of more than 63 bits")),
        Node::Number(number) => number.as_str().parse().map(float_key).map_err(|_| Problem::Key("a number that is no float")),
        other @ (Node::Null | Node::Sequence(_) | Node::Mapping(_)) => Err(Problem::Key(other.type_name())),
    }
}

/// Go's shortest `%g` of a 32-bit float, with YAML's names for the infinities.
fn float_key(value: f32) -> String {
    if value.is_infinite() {
        return if value > 0.0 { ".inf".to_owned() } else { "-.inf".to_owned() };
    }
    let scientific = format!("{value:e}");
    match scientific.split_once('e').map(|(mantissa, exponent)| (mantissa, exponent.parse::<i32>())) {
        Some((mantissa, Ok(exponent))) if !(-4..6).contains(&exponent) => {
            format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
        }
        _ => value.to_string(),
    }
}

fn to_node(meaning: Meaning, text: Cow<'_, str>) -> Result<Node, Problem> {
    match meaning {
        Meaning::Null => Ok(Node::Null),
        Meaning::Bool(value) => Ok(Node::Bool(value)),
        Meaning::Integer(number) | Meaning::Float(number) => Ok(Node::Number(number)),
        Meaning::NotFinite => Err(Problem::NotFinite(text.into_owned())),
        Meaning::Text => Ok(Node::String(text.into_owned())),
    }
}

fn tagged(kind: &str, text: Cow<'_, str>) -> Result<Node, Problem> {
    let meaning = meaning(&text);
    let fits = matches!(
        (kind, &meaning),
        ("null", Meaning::Null)
            | ("bool", Meaning::Bool(_))
            | ("int", Meaning::Integer(_))
            | ("float", Meaning::Integer(_) | Meaning::Float(_) | Meaning::NotFinite)
            | ("timestamp", Meaning::Text)
    );
    if fits { to_node(meaning, text) } else { Err(Problem::Tag { text: text.into_owned(), tag: format!("!!{kind}") }) }
}

fn decode_binary(text: &str) -> Result<String, Problem> {
    let joined: String = text.chars().filter(|next| !matches!(next, '\r' | '\n')).collect();
    let bytes = STANDARD.decode(joined).map_err(|_| Problem::Binary)?;
    String::from_utf8(bytes).map_err(|_| Problem::Binary)
}

fn meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Meaning::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Meaning::Bool(false),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf" | "-.INF" => {
            Meaning::NotFinite
        }
        _ => match text.as_bytes().first() {
            Some(b'.') => fraction(text),
            Some(b'0'..=b'9' | b'+' | b'-') => number(text),
            _ => Meaning::Text,
        },
    }
}

/// A float that begins with its point. Underscores stand between digits only, as in Go.
fn fraction(text: &str) -> Meaning {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let between_digits = |at: usize| at > 0 && digit(bytes.get(at - 1)) && digit(bytes.get(at + 1));
    if text.match_indices('_').all(|(at, _)| between_digits(at)) {
        Number::from_decimal(&without_underscores(text)).map_or(Meaning::Text, Meaning::Float)
    } else {
        Meaning::Text
    }
}

/// A number that begins with a digit or sign. Underscores are ignored wherever they stand.
fn number(text: &str) -> Meaning {
    let text = without_underscores(text);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    if let Some(number) = prefixed_integer(negative, digits) {
        return Meaning::Integer(number);
    }
    // An octal number that is none (`08`) ends up here too, as a decimal one.
    match Number::from_decimal(&text) {
        Some(number) if number.is_integer() && !is_octal_like(digits) => Meaning::Integer(number),
        Some(number) => Meaning::Float(number),
        None => Meaning::Text,
    }
}

/// `0x`, `0o`, `0b` and `0` with digits, within 64 bits: signed if negative, else unsigned.
fn prefixed_integer(negative: bool, text: &str) -> Option<Number> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, text.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, text.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, text.get(2..)?),
        [b'0', _, ..] => (8, text.get(1..)?),
        _ => return None,
    };
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    if negative { 0_i64.checked_sub_unsigned(size).map(Number::from) } else { Some(Number::from(size)) }
}

fn is_octal_like(digits: &str) -> bool {
    digits.len() > 1 && digits.starts_with('0')
}

fn without_underscores(text: &str) -> Cow<'_, str> {
    if text.contains('_') { Cow::Owned(text.replace('_', "")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Node {
        resolve(Cow::Borrowed(text), true, None).expect(text)
    }

    #[test]
    fn plain_scalars_follow_kubectl() {
        let number = |text: &str| Node::Number(Number::from_decimal(text).expect(text));
        let table = [
            ("no", Node::Bool(false)),
            ("Y", Node::Bool(true)),
            ("yEs", Node::from("yEs")),
            ("~", Node::Null),
            ("0123", number("83")),
            ("08", number("8")),
            ("0o17", number("15")),
            ("-0x1F", number("-31")),
            ("0b1", number("1")),
            ("1_000", number("1000")),
            ("_1", Node::from("_1")),
            (".5_0", number("0.50")),
            (".5_", Node::from(".5_")),
            ("1e3", number("1.0e+3")),
            ("1e999", Node::from("1e999")),
            ("12:30:45", Node::from("12:30:45")),
            ("2001-01-01", Node::from("2001-01-01")),
            ("0xffffffffffffffffff", Node::from("0xffffffffffffffffff")),
            ("-0x8000000000000000", number("-9223372036854775808")),
            ("=", Node::from("=")),
            ("<<", Node::from("<<")),
        ];
        for (text, node) in table {
            assert_eq!(plain(text), node, "{text}");
        }
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        for text in [".inf", "-.Inf", ".NaN"] {
            assert_eq!(resolve(Cow::Borrowed(text), true, None), Err(Problem::NotFinite(text.to_owned())));
        }
    }

    #[test]
    fn keys_become_text_as_kubectl_has_it() {
        for (text, key) in [
            ("1.10", "1.1"),
            ("1000000.0", "1e+06"),
            ("0.00001", "1e-05"),
            ("123456.7", "123456.7"),
            ("1e300", ".inf"),
            ("-1e300", "-.inf"),
            ("0x10", "16"),
            ("on", "true"),
        ] {
            assert_eq!(key_text(plain(text)).as_deref(), Ok(key), "{text}");
        }
        assert_eq!(key_text(Node::Null), Err(Problem::Key("null")));
        assert!(key_text(plain("18446744073709551615")).is_err());
    }
}
