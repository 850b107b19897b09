//! Held against `serde_json`, which says what JSON means.

use std::{borrow::Cow, collections::BTreeMap};

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Value, json, value::RawValue};

use super::*;

/// Texts that are JSON, nearly JSON, or none.
const SHAPES: &[&str] = &[
    "",
    " ",
    "null",
    " true ",
    "false",
    "nul",
    "truefalse",
    "0",
    "-0",
    "-1",
    "01",
    "1.5",
    "1.",
    ".5",
    "1e3",
    "1E+3",
    "1e",
    "-",
    "+1",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "123456789012345678901234567890",
    "\"\"",
    "\"a",
    "a\"",
    r#""\"""#,
    r#""\\""#,
    r#""\u0041""#,
    r#""\u00""#,
    r#""\u00zz""#,
    r#""\ud800""#,
    r#""\ud83d\ude00""#,
    r#""\x""#,
    "\"\t\"",
    "\"\u{7f}é\"",
    "[]",
    "[ ]",
    "[1,2]",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1",
    "[1}",
    "]",
    "{}",
    "{ }",
    r#"{"a":1}"#,
    r#"{"a":1,}"#,
    r#"{,"a":1}"#,
    r#"{"a"}"#,
    r#"{"a":}"#,
    r#"{"a" : [ {"b" : null} , "c" ] }"#,
    "{1:2}",
    "{\"a\":1]",
    r#"{"a":1 "b":2}"#,
    "[[[]]]",
    "[[[]]",
    "1 2",
    "{} {}",
    "\u{feff}1",
    "\u{a0}1",
    r#"{"a":"0123456789abcdef","b":"0123456789abcde\n","c":"0123456789abcdefg"}"#,
];

/// What is read here is what `serde_json` reads; what is passed over would be read.
fn agrees(text: &str) -> Result<(), TestCaseError> {
    let expected = serde_json::from_str::<Value>(text).ok();
    if let Some(value) = read::<Value>(text) {
        prop_assert_eq!(Some(value), expected, "{}", text);
    }
    prop_assert_eq!(from_str::<Value>(text).ok(), serde_json::from_str(text).ok(), "{}", text);
    if read::<IgnoredAny>(text).is_some() {
        prop_assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "{}", text);
    }
    Ok(())
}

#[test]
fn means_what_serde_json_means() {
    for text in SHAPES {
        agrees(text).unwrap();
        agrees(&format!(r#"{{"x":[{text}],"y":"{text}"}}"#)).unwrap();
    }
}

#[test]
fn what_is_usual_is_read_here() {
    let document = json!({"text": "plain", "escaped": "a \"b\" \u{1F600}\n", "list": [1, -2, true, null, {}], "deep": [[[{"a": []}]]]});
    for text in [document.to_string(), serde_json::to_string_pretty(&document).unwrap()] {
        assert_eq!(read::<Value>(&text).unwrap(), document);
        read::<IgnoredAny>(&text).unwrap();
    }
    assert!(matches!(read::<Cow<'_, str>>(r#""é""#), Some(text) if text == "é"));
    read::<IgnoredAny>("[1.5e-3, 1E9]").unwrap();
}

#[test]
fn depth_is_bounded() {
    for depth in [50, 60, 63, 64, 70, 127, 128, 10_000] {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(from_str::<Value>(&nested).is_ok(), serde_json::from_str::<Value>(&nested).is_ok(), "{depth}");
        assert!(from_str::<IgnoredAny>(&nested).is_ok(), "{depth}");
    }
}

fn written(value: &impl Serialize) -> String {
    let mut text = "before".to_owned();
    write(value, &mut text).unwrap();
    text.strip_prefix("before").unwrap().to_owned()
}

/// All that our types are made of.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Usual<'a> {
    a_text: &'a str,
    escaped: Cow<'a, str>,
    number: u16,
    below_zero: i64,
    yes: bool,
    nothing: Option<u8>,
    something: Option<&'a str>,
    pair: (u8, &'a str),
    word: Word,
    choice: Word,
    map: BTreeMap<&'a str, Vec<u8>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Usual,
    Chosen(String),
    Rare(u8, u8),
}

#[test]
fn what_is_usual_is_written_here() {
    let usual = Usual {
        a_text: "plain",
        escaped: "\"\\/\u{8}\u{c}\n\r\t\u{0}\u{1f}\u{7f}é\u{1F600}".into(),
        number: 65535,
        below_zero: i64::MIN,
        yes: true,
        nothing: None,
        something: Some(""),
        pair: (1, "two"),
        word: Word::Usual,
        choice: Word::Chosen("\"".to_owned()),
        map: BTreeMap::from([("", vec![]), ("a\"b", vec![1, 2])]),
        left_out: vec![],
    };
    let mut text = String::new();
    writer::write(&usual, &mut text).unwrap();
    assert_eq!(text, serde_json::to_string(&usual).unwrap());
    let mut as_text = String::new();
    writer::write_as_text(&usual, &mut as_text).unwrap();
    assert_eq!(as_text, serde_json::to_string(&text).unwrap());
}

#[test]
fn what_is_rare_is_left_to_serde_json() {
    let raw = RawValue::from_string(r#"{"as": 1e400}"#.to_owned()).unwrap();
    assert_eq!(written(&BTreeMap::from([("raw", raw)])), r#"{"raw":{"as": 1e400}}"#);
    assert_eq!(written(&[Word::Rare(1, 2)]), r#"[{"rare":[1,2]}]"#);
    assert_eq!(written(&BTreeMap::from([(1, 1.5)])), r#"{"1":1.5}"#);
    let mut text = "before".to_owned();
    write_as_text(&[RawValue::from_string("\"a\"".to_owned()).unwrap()], &mut text).unwrap();
    assert_eq!(text, r#"before"[\"a\"]""#);
    assert!(write(&BTreeMap::from([(vec![1], 1)]), &mut String::new()).is_err(), "a list is no key");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(".{0,20}", inner, 0..5).prop_map(|members| json!(members))
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn reads_any_value(value in value()) {
        let text = value.to_string();
        prop_assert_eq!(read::<Value>(&text).unwrap(), value);
        prop_assert!(read::<IgnoredAny>(&text).is_some());
    }

    #[test]
    fn writes_any_value(value in value()) {
        let mut text = String::new();
        writer::write(&value, &mut text).unwrap();
        prop_assert_eq!(&text, &value.to_string());
        let mut as_text = String::new();
        writer::write_as_text(&value, &mut as_text).unwrap();
        prop_assert_eq!(as_text, Value::from(text).to_string());
    }

    #[test]
    fn agrees_about_spoilt_documents(value in value(), at in any::<prop::sample::Index>(), by in "[\\[\\]{}:,\"\\\\0-9eE+.tfnu \t-]{0,2}", removed in 0..3_usize) {
        let characters: Vec<char> = value.to_string().chars().collect();
        let at = at.index(characters.len());
        let after = characters.iter().skip(at + removed);
        let text: String = characters.iter().take(at).copied().chain(by.chars()).chain(after.copied()).collect();
        agrees(&text)?;
    }
}
