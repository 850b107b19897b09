//! An exact model of a manifest: what JSON can say, in source order, with every digit.

use std::collections::HashMap;

use serde_json::Value;

use super::number::Number;
use super::pointer::{Pointer, array_index};

/// A JSON value. Equality is exact; [`Node::same_value`] is JSON's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// An array.
    Sequence(Vec<Self>),
    /// An object: its members in source order, each key once.
    Mapping(Vec<(String, Self)>),
}

impl Node {
    /// The member of a mapping. `None` for other nodes and other keys.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.members()?.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The member of a mapping, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        match self {
            Self::Mapping(members) => members.iter_mut().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, if it is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if it is a sequence.
    #[must_use]
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The members, if it is a mapping.
    #[must_use]
    pub fn members(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Mapping(members) => Some(members),
            _ => None,
        }
    }

    /// The node at a pointer.
    #[must_use]
    pub fn find(&self, pointer: &Pointer) -> Option<&Self> {
        pointer.tokens().iter().try_fold(self, |node, token| match node {
            Self::Sequence(items) => items.get(array_index(token)?),
            _ => node.get(token),
        })
    }

    /// The node at a pointer, to change it.
    pub fn find_mut(&mut self, pointer: &Pointer) -> Option<&mut Self> {
        pointer.tokens().iter().try_fold(self, |node, token| match node {
            Self::Sequence(items) => items.get_mut(array_index(token)?),
            _ => node.get_mut(token),
        })
    }

    /// Equality as RFC 6902 section 4.6 has it: members in any order, numbers by their value.
    #[must_use]
    pub fn same_value(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(left), Self::Number(right)) => left.same_value(right),
            (Self::Sequence(left), Self::Sequence(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| left.same_value(right))
            }
            (Self::Mapping(left), Self::Mapping(right)) => {
                let right: HashMap<&str, &Self> = right.iter().map(|(key, value)| (key.as_str(), value)).collect();
                left.len() == right.len()
                    && left.iter().all(|(key, value)| right.get(key.as_str()).is_some_and(|other| value.same_value(other)))
            }
            _ => self == other,
        }
    }

    /// What it is, for messages: "a string".
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            // serde_json spells its numbers as JSON and holds no infinities, so nothing falls to null here.
            Value::Number(number) => Number::from_decimal(&number.to_string()).map_or(Self::Null, Self::Number),
            Value::String(text) => Self::String(text),
            Value::Array(items) => Self::Sequence(items.into_iter().map(Self::from).collect()),
            Value::Object(members) => Self::Mapping(members.into_iter().map(|(key, value)| (key, Self::from(value))).collect()),
        }
    }
}

/// A mapping while it is read: knows its keys, so that a large one costs no quadratic search.
#[derive(Debug, Default)]
pub(super) struct MappingBuilder {
    members: Vec<(String, Node)>,
    /// Where each key stands; empty while a scan of the members is cheaper.
    index: HashMap<String, usize>,
}

impl MappingBuilder {
    const SCANNED: usize = 16;

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn position(&self, key: &str) -> Option<usize> {
        if self.members.len() <= Self::SCANNED {
            self.members.iter().position(|(name, _)| name == key)
        } else {
            self.index.get(key).copied()
        }
    }

    /// Adds a member; the caller has seen that its key is new.
    pub(super) fn push(&mut self, key: String, value: Node) {
        self.members.push((key, value));
        let unindexed = if self.members.len() > Self::SCANNED { self.index.len() } else { self.members.len() };
        for (position, (name, _)) in self.members.iter().enumerate().skip(unindexed) {
            self.index.insert(name.clone(), position);
        }
    }

    /// Puts another value at a position that [`Self::position`] gave.
    pub(super) fn replace(&mut self, position: usize, value: Node) {
        if let Some((_, old)) = self.members.get_mut(position) {
            *old = value;
        }
    }

    pub(super) fn finish(self) -> Vec<(String, Node)> {
        self.members
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_becomes_a_node_and_is_found() {
        let node = Node::from(json!({"a": [{"b/c": 18_446_744_073_709_551_615_u64}, 1.5], "": null}));
        let find = |text: &str| node.find(&text.parse().expect(text));
        assert_eq!(find("/a/0/b~1c"), Some(&Node::Number(u64::MAX.into())));
        assert_eq!(find("/"), Some(&Node::Null));
        assert_eq!(find(""), Some(&node));
        assert_eq!(find("/a/01"), None, "RFC 6901 allows no leading zero");
        assert_eq!(find("/a/-"), None);
        assert_eq!(find("/a/0/b~1c/d"), None);
    }

    #[test]
    fn the_same_value_may_be_ordered_and_spelled_differently() {
        let left = Node::from(json!({"a": 1, "b": [1.0]}));
        let right = Node::Mapping(vec![
            ("b".into(), Node::Sequence(vec![Node::Number(1_i64.into())])),
            ("a".into(), Node::Number(Number::from_decimal("1.0").expect("a number"))),
        ]);
        assert!(left.same_value(&right));
        assert_ne!(left, right);
        assert!(!left.same_value(&Node::from(json!({"a": 1, "c": [1.0]}))));
        assert!(!left.same_value(&Node::from(json!({"a": 1}))));
    }

    #[test]
    fn a_large_mapping_knows_its_keys() {
        let mut builder = MappingBuilder::default();
        for number in 0..100 {
            assert_eq!(builder.position(&number.to_string()), None);
            builder.push(number.to_string(), Node::Null);
        }
        assert_eq!(builder.position("3"), Some(3));
        assert_eq!(builder.position("99"), Some(99));
        builder.replace(3, Node::Bool(true));
        assert_eq!(builder.finish().get(3), Some(&("3".to_owned(), Node::Bool(true))));
    }
}
