//! The YAML of connection files, read as text: a parameter is a string to Guacamole, so what is written is what is meant.
//!
//! `port: 3389`, `0123` and `1e3` stay as they are written; `True` is `true`; null is absent. JSON is YAML.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, options};

/// How deep collections may lie in each other. Connection files need five.
const MAX_DEPTH: usize = 32;
/// How many values aliases may add to those that are written.
const MOST_EXPANDED: usize = 100_000;
/// How many bytes of text anchors and aliases may add: as many as the largest file has.
const MOST_COPIED: usize = 16 << 20;

/// A value of a file.
#[derive(Clone)]
pub enum Value {
    /// Nothing.
    Null,
    /// A scalar, as text.
    Text(String),
    /// A sequence.
    List(Vec<Self>),
    /// A mapping, in the order of the file; no key stands twice.
    Map(Vec<(String, Self)>),
}

impl Value {
    /// What it is, for messages. The value itself may be a secret.
    pub(crate) const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// It may hold secrets, so it only shows what it is.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.type_name())
    }
}

/// Why a file is no YAML that we read. It names the place, and nothing of what stands there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub(crate) struct YamlError {
    line: usize,
    column: usize,
    problem: String,
}

/// A part of a text that is handed over as soon as it is complete, so that a long text needs no more memory than its longest part.
pub(crate) enum Piece {
    /// An item of a list that is a document, or that stands in a document under the name in question.
    Item(Value),
    /// A document, but for its items that were handed over. Empty ones are left out.
    Document(Value),
}

/// Reads a text piece by piece. `list` is the name of the list in a document whose items are pieces.
pub(crate) fn pieces(text: &str, list: &'static str) -> impl Iterator<Item = Result<Piece, YamlError>> {
    let options = options! { emit_comments: false, flow_nesting_limit: MAX_DEPTH, block_nesting_limit: MAX_DEPTH };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { list, open: Vec::new(), anchors: HashMap::new(), expanded: 0, copied: 0 };
    let mut is_over = false;
    std::iter::from_fn(move || {
        while !is_over {
            let Some(next) = parser.next() else { break };
            let piece = next.map_err(|error| YamlError::of_parser(&error)).and_then(|(event, span)| {
                let at = |problem: &str| YamlError { line: span.start.line(), column: span.start.col() + 1, problem: problem.to_owned() };
                builder.accept(event).map_err(at)
            });
            is_over = piece.is_err();
            if let Some(piece) = piece.transpose() {
                return Some(piece);
            }
        }
        None
    })
}

impl YamlError {
    fn of_parser(error: &ScanError) -> Self {
        Self { line: error.marker().line(), column: error.marker().col() + 1, problem: error.info().clone() }
    }
}

/// Builds values from events.
struct Builder {
    list: &'static str,
    open: Vec<Open>,
    anchors: HashMap<usize, Value>,
    /// How many values aliases have added.
    expanded: usize,
    /// How many bytes of text anchors and aliases have added.
    copied: usize,
}

/// A collection whose end hasn't come.
struct Open {
    anchor: usize,
    collection: Collection,
}

enum Collection {
    List(Vec<Value>),
    Map { members: Vec<(String, Value)>, key: Option<String> },
}

impl Builder {
    /// Takes the next event. Returns the piece that it completes, if it does.
    fn accept(&mut self, event: Event<'_>) -> Result<Option<Piece>, &'static str> {
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(None)
            }
            Event::Scalar(text, style, anchor, _) => self.complete(scalar(text.into_owned(), style), anchor),
            Event::SequenceStart(_, anchor, _) => self.open(Collection::List(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => self.open(Collection::Map { members: Vec::new(), key: None }, anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { anchor, collection: Collection::List(items) }) => self.complete(Value::List(items), anchor),
                Some(Open { anchor, collection: Collection::Map { members, .. } }) => self.complete(Value::Map(members), anchor),
                None => Ok(None),
            },
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).ok_or("the alias refers to a value that contains it")?;
                self.expanded = self.expanded.saturating_add(size(value));
                self.copied = self.copied.saturating_add(length(value));
                if self.expanded > MOST_EXPANDED || self.copied > MOST_COPIED {
                    return Err("aliases stand for too much: write the values out");
                }
                let value = value.clone();
                self.place(value)
            }
            // Marks of the stream.
            _ => Ok(None),
        }
    }

    fn open(&mut self, collection: Collection, anchor: usize) -> Result<Option<Piece>, &'static str> {
        if self.open.len() >= MAX_DEPTH {
            return Err("collections lie too deep in each other");
        }
        self.open.push(Open { anchor, collection });
        Ok(None)
    }

    fn complete(&mut self, value: Value, anchor: usize) -> Result<Option<Piece>, &'static str> {
        // The parser numbers anchors from 1.
        if anchor > 0 {
            self.copied = self.copied.saturating_add(length(&value));
            if self.copied > MOST_COPIED {
                return Err("anchors name too much: write the values out");
            }
            self.anchors.insert(anchor, value.clone());
        }
        self.place(value)
    }

    fn place(&mut self, value: Value) -> Result<Option<Piece>, &'static str> {
        if self.hands_over_items() {
            return Ok(Some(Piece::Item(value)));
        }
        match self.open.last_mut().map(|open| &mut open.collection) {
            None if matches!(value, Value::Null) => {}
            None => return Ok(Some(Piece::Document(value))),
            Some(Collection::List(items)) => items.push(value),
            Some(Collection::Map { members, key }) => match (key.take(), value) {
                (Some(name), value) => members.push((name, value)),
                (None, Value::Text(name)) if members.iter().any(|(known, _)| *known == name) => {
                    return Err("this key stands there twice: remove one of the two");
                }
                (None, Value::Text(name)) => *key = Some(name),
                (None, _) => return Err("a key must be a text"),
            },
        }
        Ok(None)
    }

    /// Whether what is complete now is an item of a list whose items are pieces. One that an alias may ask for stays whole.
    fn hands_over_items(&self) -> bool {
        match self.open.as_slice() {
            [Open { anchor: 0, collection: Collection::List(_) }] => true,
            [
                Open { anchor: 0, collection: Collection::Map { key: Some(key), .. } },
                Open { anchor: 0, collection: Collection::List(_) },
            ] => key == self.list,
            _ => false,
        }
    }
}

/// A scalar by the core schema of YAML 1.2, whose numbers we leave as they are written.
fn scalar(text: String, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text);
    }
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Text("true".to_owned()),
        "false" | "False" | "FALSE" => Value::Text("false".to_owned()),
        _ => Value::Text(text),
    }
}

/// How many values a value is.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Null | Value::Text(_) => 0,
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(members) => members.iter().map(|(_, value)| size(value)).sum(),
    }
}

/// How many bytes of text stand in a value.
fn length(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Text(text) => text.len(),
        Value::List(items) => items.iter().map(length).sum(),
        Value::Map(members) => members.iter().map(|(name, value)| name.len() + length(value)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Value) -> String {
        match value {
            Value::Null => "null".to_owned(),
            Value::Text(text) => format!("{text:?}"),
            Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
            Value::Map(members) => {
                format!("{{{}}}", members.iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect::<Vec<_>>().join(","))
            }
        }
    }

    /// What stands in a text, with the items where they were handed over, or what is wrong with it.
    fn read(text: &str) -> Result<Vec<String>, String> {
        let shown = |piece| match piece {
            Piece::Item(value) => format!("- {}", shown(&value)),
            Piece::Document(value) => shown(&value),
        };
        pieces(text, "items").map(|piece| piece.map(shown).map_err(|error| error.to_string())).collect()
    }

    fn read_one(text: &str) -> String {
        let values = read(text).unwrap();
        assert_eq!(values.len(), 1, "{text}");
        values.concat()
    }

    #[test]
    fn scalars_stay_as_they_are_written() {
        for (written, read) in [
            ("3389", "\"3389\""),
            ("0123", "\"0123\""),
            ("1e3", "\"1e3\""),
            ("no", "\"no\""),
            ("True", "\"true\""),
            ("'True'", "\"True\""),
            ("FALSE", "\"false\""),
            ("~", "null"),
            ("", "null"),
            ("'~'", "\"~\""),
            ("\"\"", "\"\""),
            ("|\n  a\n  b\n", "\"a\\nb\\n\""),
        ] {
            assert_eq!(read_one(&format!("key: {written}\n")), format!("{{key:{read}}}"), "{written}");
        }
    }

    #[test]
    fn documents_lists_aliases_and_json_are_read() {
        assert_eq!(read("a: 1\n---\n# empty\n---\n- b\n").unwrap(), [r#"{a:"1"}"#, r#"- "b""#, "[]"]);
        assert_eq!(read_one("a: &a [x, y]\nb: *a\n"), r#"{a:["x","y"],b:["x","y"]}"#);
        assert_eq!(read_one(r#"{"name": "n", "port": 22, "on": true, "off": null}"#), r#"{name:"n",port:"22",on:"true",off:null}"#);
    }

    #[test]
    fn items_are_handed_over_one_by_one() {
        assert_eq!(read("- a\n- [b]\n- ~\n").unwrap(), [r#"- "a""#, r#"- ["b"]"#, "- null", "[]"]);
        assert_eq!(read("items: [a, {b: c}]\nothers: [d]\n").unwrap(), [r#"- "a""#, r#"- {b:"c"}"#, r#"{items:[],others:["d"]}"#]);
        assert_eq!(read("others: {items: [a]}\nitems: b\n").unwrap(), [r#"{others:{items:["a"]},items:"b"}"#]);
        let aliased = read("items: &all [a]\nothers: *all\n").unwrap();
        assert_eq!(aliased, [r#"{items:["a"],others:["a"]}"#], "a list that is asked for again stays whole");
        assert_eq!(read("items: [&a x, *a]\nothers: *a\n").unwrap(), [r#"- "x""#, r#"- "x""#, r#"{items:[],others:"x"}"#]);
    }

    #[test]
    fn what_is_wrong_is_placed_and_never_shown() {
        for (text, expected) in [
            ("a: 1\nsecret: 1\nsecret: 2\n", "line 3, column 1: this key stands there twice: remove one of the two"),
            ("? [a]\n: b\n", "line 1, column 5: a key must be a text"),
            ("a: &a\n- *a\n", "line 2, column 3: the alias refers to a value that contains it"),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
        let error = read("password: 'hunter2\n").unwrap_err();
        assert!(error.starts_with("line ") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn neither_depth_nor_aliases_grow_without_bound() {
        assert!(read(&"[".repeat(100_000)).is_err());
        let level = |number: usize| format!("- &a{number} [{}]\n", [format!("*a{}", number - 1).as_str(); 9].join(", "));
        let text: String = std::iter::once("- &a0 [x]\n".to_owned()).chain((1..20).map(level)).collect();
        assert!(read(&text).unwrap_err().contains("aliases"));
        let long = |count: usize| format!("- &long {}\n{}", "x".repeat(1 << 20), "- *long\n".repeat(count));
        assert!(read(&long(10)).is_ok());
        assert!(read(&long(16)).unwrap_err().contains("aliases"), "few values may be long");
        let within = (0..20).map(|depth| format!("&a{depth} [")).collect::<Vec<_>>().concat();
        let anchored = format!("{within}{}{}", "x".repeat(1 << 20), "]".repeat(20));
        assert!(read(&anchored).unwrap_err().contains("anchors"), "what has a name is kept once more");
    }
}
