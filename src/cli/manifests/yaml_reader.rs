//! YAML, read as kubectl reads it: scalars as in [`super::scalar`], merge keys and aliases expanded.
//!
//! Unlike kubectl, which lets the last one win, a key that stands twice in a mapping is an error. The grammar is that of
//! YAML 1.2, so NEL, LS and PS are characters where YAML 1.1 saw line breaks.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Marker, Parser, ScalarStyle, options};

use super::node::{MappingBuilder, Node};
use super::scalar;
use super::syntax::{MAX_DEPTH, Position, Problem, SyntaxError};

/// How much anchors and aliases may add to what is written: a list of a few lines can stand for more than a machine holds.
const EXPANSION_LIMIT: usize = 16 << 20;

/// What a node takes in memory besides its text, roughly.
const NODE_WEIGHT: usize = 64;

/// Reads a stream of YAML documents, each with the place of its value. A document without a value is null.
pub fn read_all(text: &str) -> Result<Vec<(Position, Node)>, SyntaxError> {
    // Our own bound speaks first; the parser's must only not be lower.
    let options = options! { emit_comments: false, flow_nesting_limit: MAX_DEPTH + 1, block_nesting_limit: MAX_DEPTH + 1 };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) =
            event.map_err(|error| SyntaxError { position: to_position(*error.marker()), problem: Problem::Yaml(error.info()) })?;
        let position = to_position(span.start);
        builder.accept(event, position).map_err(|problem| SyntaxError { position, problem })?;
    }
    Ok(builder.documents)
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
                if self.awaits_key() && scalar::is_merge_key(&text, plain, tag.as_deref()) {
                    return self.place_key(Key::Merge);
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

    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Collection { content: Content::Mapping(PartialMapping { key: None, .. }), .. }))
    }

    fn place_key(&mut self, key: Key) -> Result<(), Problem> {
        match self.open.last_mut() {
            Some(Collection { content: Content::Mapping(mapping), .. }) => mapping.take_key(key),
            _ => Ok(()),
        }
    }

    fn place(&mut self, node: Node) -> Result<(), Problem> {
        if self.awaits_key() {
            return self.place_key(Key::Member(scalar::key_text(node)?));
        }
        match self.open.last_mut().map(|collection| &mut collection.content) {
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping(mapping)) => mapping.take_value(node)?,
            None => {
                let position = self.root_position.take().unwrap_or(Position { line: 1, column: 1 });
                self.documents.push((position, node));
            }
        }
        Ok(())
    }
}

impl PartialMapping {
    fn take_key(&mut self, key: Key) -> Result<(), Problem> {
        if let Key::Member(name) = &key
            && self.members.position(name).is_some_and(|position| !self.merged.contains(&position))
        {
            return Err(Problem::DuplicateKey(name.clone()));
        }
        self.key = Some(key);
        Ok(())
    }

    fn take_value(&mut self, value: Node) -> Result<(), Problem> {
        match self.key.take() {
            Some(Key::Member(name)) => {
                match self.members.position(&name) {
                    Some(position) => {
                        self.merged.remove(&position);
                        self.members.replace(position, value);
                    }
                    None => self.members.push(name, value),
                }
                Ok(())
            }
            Some(Key::Merge) => self.merge(value),
            None => Ok(()),
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
