//! YAML, read as kubectl reads it: scalars as in `super::scalar`, merge keys and aliases expanded.
//!
//! Unlike kubectl, which lets the last one win, a key that stands twice in a mapping is an error. The grammar is that of
//! YAML 1.2, so NEL, LS and PS are characters where YAML 1.1 saw line breaks.

use std::collections::{HashMap, HashSet};

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, options};

use super::node::{MappingBuilder, Node};
use super::scalar;
use super::syntax::{MAX_DEPTH, Position, Problem, SyntaxError};

/// How much anchors and aliases may add to what is written: a list of a few lines can stand for more than a machine holds.
const EXPANSION_LIMIT: usize = 16 << 20;

/// What a node takes in memory besides its text, roughly.
const NODE_WEIGHT: usize = 64;

/// Reads a stream of YAML documents, each with the place of its value. A document without a value is null.
pub fn read_all(text: &str) -> Result<Vec<(Position, Node)>, SyntaxError> {
    let options = options! { emit_comments: false, flow_nesting_limit: MAX_DEPTH, block_nesting_limit: MAX_DEPTH };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| parser_error(&error))?;
        let position = to_position(span.start);
        builder.accept(event, position).map_err(|problem| SyntaxError { position, problem })?;
    }
    Ok(builder.documents)
}

fn parser_error(error: &ScanError) -> SyntaxError {
    let problem = match error.kind() {
        ErrorKind::RecursionLimitExceeded => Problem::Depth,
        _ => Problem::Yaml(error.info()),
    };
    SyntaxError { position: to_position(*error.marker()), problem }
}

fn to_position(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// Builds nodes from events, with a stack of its own: the depth of a stranger's text never is ours.
#[derive(Default)]
struct Builder {
    documents: Vec<(Position, Node)>,
    open: Vec<Collection>,
    anchors: HashMap<usize, Anchored>,
    expanded: usize,
    root_position: Option<Position>,
}

/// A collection whose end hasn't come.
struct Collection {
    content: Content,
    anchor: usize,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping(PartialMapping),
}

#[derive(Default)]
struct PartialMapping {
    members: MappingBuilder,
    /// Positions that came by a merge: a written key may replace them.
    merged: HashSet<usize>,
    key: Option<Key>,
}

enum Key {
    Member(String),
    Merge,
}

/// A value that aliases can repeat, with what each repetition costs.
struct Anchored {
    node: Node,
    weight: usize,
    height: usize,
}

impl Builder {
    fn accept(&mut self, event: Event<'_>, position: Position) -> Result<(), Problem> {
        if event.is_node() && self.open.is_empty() {
            self.root_position = Some(position);
        }
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                if scalar::is_merge_key(&text, plain, tag.as_deref())
                    && let Some(mapping) = self.mapping_awaiting_key()
                {
                    mapping.key = Some(Key::Merge);
                    return Ok(());
                }
                let node = scalar::resolve(text, plain, tag.as_deref())?;
                self.complete(node, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Content::Sequence(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => self.open(Content::Mapping(PartialMapping::default()), anchor),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.expand(anchor),
            // Marks of the stream, and events that the options leave out.
            _ => Ok(()),
        }
    }

    fn open(&mut self, content: Content, anchor: usize) -> Result<(), Problem> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Problem::Depth);
        }
        self.open.push(Collection { content, anchor });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        // The parser only ends what it began.
        let Some(Collection { content, anchor }) = self.open.pop() else {
            return Ok(());
        };
        let node = match content {
            Content::Sequence(items) => Node::Sequence(items),
            Content::Mapping(mapping) => Node::Mapping(mapping.members.finish()),
        };
        self.complete(node, anchor)
    }

    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        // The parser numbers anchors from 1.
        if anchor > 0 {
            let weight = weight(&node);
            self.charge(weight)?;
            self.anchors.insert(anchor, Anchored { height: height(&node), weight, node: node.clone() });
        }
        self.place(node)
    }

    fn expand(&mut self, anchor: usize) -> Result<(), Problem> {
        // The parser refuses unknown anchors; one whose value isn't complete is around us.
        let Anchored { node, weight, height } = self.anchors.get(&anchor).ok_or(Problem::Cycle)?;
        if self.open.len() + height > MAX_DEPTH {
            return Err(Problem::Depth);
        }
        let (node, weight) = (node.clone(), *weight);
        self.charge(weight)?;
        self.place(node)
    }

    fn charge(&mut self, weight: usize) -> Result<(), Problem> {
        self.expanded = self.expanded.saturating_add(weight);
        if self.expanded > EXPANSION_LIMIT {
            return Err(Problem::Expansion { limit_mebibytes: EXPANSION_LIMIT >> 20 });
        }
        Ok(())
    }

    fn mapping_awaiting_key(&mut self) -> Option<&mut PartialMapping> {
        match self.open.last_mut() {
            Some(Collection { content: Content::Mapping(mapping), .. }) if mapping.key.is_none() => Some(mapping),
            _ => None,
        }
    }

    fn place(&mut self, node: Node) -> Result<(), Problem> {
        match self.open.last_mut().map(|collection| &mut collection.content) {
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping(mapping)) => mapping.take(node)?,
            None => {
                let position = self.root_position.take().unwrap_or(Position { line: 1, column: 1 });
                self.documents.push((position, node));
            }
        }
        Ok(())
    }
}

impl PartialMapping {
    /// A key if none waits for its value, else that value.
    fn take(&mut self, node: Node) -> Result<(), Problem> {
        match self.key.take() {
            None => self.key = Some(Key::Member(self.new_key(node)?)),
            Some(Key::Merge) => self.merge(node)?,
            Some(Key::Member(name)) => match self.members.position(&name) {
                Some(position) => {
                    self.merged.remove(&position);
                    self.members.replace(position, node);
                }
                None => self.members.push(name, node),
            },
        }
        Ok(())
    }

    fn new_key(&self, node: Node) -> Result<String, Problem> {
        let name = scalar::key_text(node)?;
        match self.members.position(&name) {
            Some(position) if !self.merged.contains(&position) => Err(Problem::DuplicateKey(name)),
            _ => Ok(name),
        }
    }

    /// Of several mappings the first wins. A merge also replaces what stands before it, which YAML's own rule forbids:
    /// kubectl does it so, and a manifest must mean to us what it means to kubectl.
    fn merge(&mut self, source: Node) -> Result<(), Problem> {
        match source {
            Node::Mapping(members) => {
                self.merge_members(members);
                Ok(())
            }
            Node::Sequence(items) => items.into_iter().rev().try_for_each(|item| match item {
                Node::Mapping(members) => {
                    self.merge_members(members);
                    Ok(())
                }
                _ => Err(Problem::Merge),
            }),
            _ => Err(Problem::Merge),
        }
    }

    fn merge_members(&mut self, members: Vec<(String, Node)>) {
        for (key, value) in members {
            if let Some(position) = self.members.position(&key) {
                self.members.replace(position, value);
            } else {
                self.merged.insert(self.members.len());
                self.members.push(key, value);
            }
        }
    }
}

fn weight(node: &Node) -> usize {
    let content = match node {
        Node::Null | Node::Bool(_) => 0,
        Node::Number(number) => number.as_str().len(),
        Node::String(text) => text.len(),
        Node::Sequence(items) => items.iter().map(weight).sum(),
        Node::Mapping(members) => members.iter().map(|(key, value)| key.len() + weight(value)).sum(),
    };
    NODE_WEIGHT + content
}

/// How many collections lie in each other.
fn height(node: &Node) -> usize {
    match node {
        Node::Sequence(items) => 1 + items.iter().map(height).max().unwrap_or(0),
        Node::Mapping(members) => 1 + members.iter().map(|(_, value)| height(value)).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::manifests::yaml_writer;

    fn read_one(text: &str) -> Node {
        let mut documents = read_all(text).expect(text);
        assert_eq!(documents.len(), 1, "{text}");
        documents.remove(0).1
    }

    fn problem(text: &str) -> String {
        read_all(text).expect_err(text).to_string()
    }

    #[test]
    fn order_is_kept_and_aliases_are_expanded() {
        let node = read_one("z: &z {b: 1, a: [x]}\na: *z\n");
        assert_eq!(yaml_writer::write(&node), "z:\n  b: 1\n  a:\n  - x\na:\n  b: 1\n  a:\n  - x\n");
    }

    #[test]
    fn merged_members_keep_their_place_and_take_the_last_value() {
        let node = read_one("<<: [{a: 1, b: 2}, {b: 3, c: 4}]\nb: 5\nd: 6\n");
        assert_eq!(yaml_writer::write(&node), "b: 5\nc: 4\na: 1\nd: 6\n");
        assert_eq!(problem("<<: {a: 1}\na: 2\na: 3\n"), "3:1: duplicate key `a`; remove one of the two");
        assert_eq!(problem("<<: 1\n"), "1:5: a merge key `<<` takes a mapping or a list of mappings");
    }

    #[test]
    fn documents_know_their_place() {
        let documents = read_all("# one\na: 1\n---\n# empty\n---\n\n- b\n...\n--- c\n").expect("valid");
        let places: Vec<_> = documents.iter().map(|(position, node)| (position.line, node.type_name())).collect();
        assert_eq!(places, [(2, "a mapping"), (3, "null"), (7, "a list"), (9, "a string")]);
    }

    #[test]
    fn errors_name_the_place_and_the_way_out() {
        assert_eq!(problem("a: 1\nb:\n  c: 1\n  c: 2\n"), "4:3: duplicate key `c`; remove one of the two");
        assert_eq!(problem("a: .inf\n"), "1:4: JSON can't hold the number .inf; quote it if it is meant as a string");
        assert_eq!(problem("a: !!int b\n"), "1:10: `b` is not a !!int");
        assert_eq!(
            problem("a: !!binary /w==\n"),
            "1:13: the !!binary value is not the base64 of UTF-8 text; write the base64 itself as a string"
        );
        assert_eq!(problem("~: a\n"), "1:1: null can't be a key; quote it if it is meant as a string");
        assert_eq!(problem("? [a]\n: b\n"), "1:5: a list can't be a key; quote it if it is meant as a string");
        assert_eq!(problem("a: &a\n- *a\n"), "2:3: the alias refers to a value that contains it");
        assert!(problem("a: 'b\n").contains("invalid YAML: "), "{}", problem("a: 'b\n"));
        assert!(problem("a: *b\n").starts_with("1:4: invalid YAML: "), "{}", problem("a: *b\n"));
    }

    #[test]
    fn billion_laughs_are_refused() {
        let level = |number: usize| format!("a{number}: &a{number} [{}]\n", [format!("*a{}", number - 1).as_str(); 9].join(", "));
        let text: String = std::iter::once("a0: &a0 [lol]\n".to_owned()).chain((1..20).map(level)).collect();
        assert!(problem(&text).ends_with("aliases expand to more than 16 MiB; write the values out"));
    }

    #[test]
    fn depth_is_bounded_however_it_comes_about() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read_all(&nested(MAX_DEPTH)).is_ok());
        for text in [
            nested(MAX_DEPTH + 1),
            "[".repeat(100_000),
            "{a: ".repeat(100_000),
            "- ".repeat(100_000),
            format!("- &a {}\n- &b {}*a{}\n- {}*b{}\n", nested(100), "[".repeat(100), "]".repeat(100), "[".repeat(100), "]".repeat(100)),
        ] {
            assert!(problem(&text).ends_with("collections are nested more than 250 deep"), "{}", problem(&text));
        }
    }

    #[test]
    fn anchors_belong_to_their_document() {
        assert!(problem("a: &a 1\n---\nb: *a\n").starts_with("3:4: invalid YAML: "));
        assert_eq!(read_one("a: &a 1\nb: &a 2\nc: *a\n"), Node::from(json!({"a": 1, "b": 2, "c": 2})));
    }

    #[test]
    fn line_ends_of_windows_are_line_ends() {
        assert_eq!(read_one("a: |\r\n  b\r\n  c\r\nd: e\r\n"), Node::from(json!({"a": "b\nc\n", "d": "e"})));
    }
}
