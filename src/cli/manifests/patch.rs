//! JSON Patch (RFC 6902) on nodes.

use super::json;
use super::node::Node;
use super::pointer::{Pointer, PointerError, array_index};
use super::syntax::SyntaxError;

/// A patch that can't be read, or can't be applied. Operations count from 0.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The patch isn't JSON.
    #[error("the patch is not JSON")]
    Syntax(#[source] SyntaxError),
    /// It isn't a list of operations.
    #[error("the patch is not a list of operations but {0}")]
    NotAList(&'static str),
    /// An operation lacks a member, or it has the wrong type.
    #[error("operation {index} of the patch lacks a valid `{member}`")]
    Member {
        /// The operation.
        index: usize,
        /// `op`, `path`, `from` or `value`.
        member: &'static str,
    },
    /// A pointer can't be read.
    #[error("operation {index} of the patch has an invalid pointer")]
    Pointer {
        /// The operation.
        index: usize,
        /// Why.
        #[source]
        source: PointerError,
    },
    /// An operation fails on this document.
    #[error("operation {index} of the patch fails")]
    Operation {
        /// The operation.
        index: usize,
        /// Why.
        #[source]
        source: OperationError,
    },
}

/// Why an operation fails on a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// Nothing is there.
    #[error("nothing is at `{0}`")]
    Missing(Pointer),
    /// Something is there that can have no children.
    #[error("`{pointer}` is {found}, which holds no other values")]
    NoContainer {
        /// The would-be parent.
        pointer: Pointer,
        /// What it is.
        found: &'static str,
    },
    /// A list has no such place.
    #[error("the list at `{pointer}` has {length} items and no place `{token}`")]
    Index {
        /// The list.
        pointer: Pointer,
        /// Its length.
        length: usize,
        /// The last token of the operation's path.
        token: String,
    },
    /// A `test` found another value.
    #[error("the value at `{0}` is not the one that `test` wants")]
    Test(Pointer),
    /// A move into itself.
    #[error("`{0}` can't be moved into itself")]
    IntoItself(Pointer),
    /// The whole document can't be removed.
    #[error("the whole document can't be removed")]
    Root,
}

/// One step of a patch (RFC 6902 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Sets a member, inserts an item, or replaces the document.
    Add {
        /// Where.
        path: Pointer,
        /// What.
        value: Node,
    },
    /// Takes a value away.
    Remove {
        /// Which.
        path: Pointer,
    },
    /// Exchanges a value that exists.
    Replace {
        /// Which.
        path: Pointer,
        /// For what.
        value: Node,
    },
    /// Removes here and adds there.
    Move {
        /// Here.
        from: Pointer,
        /// There.
        path: Pointer,
    },
    /// Adds there what is here.
    Copy {
        /// Here.
        from: Pointer,
        /// There.
        path: Pointer,
    },
    /// Fails unless the value is the same.
    Test {
        /// Which.
        path: Pointer,
        /// What it must be.
        value: Node,
    },
}

/// Reads a patch from its JSON.
pub fn read(bytes: &[u8]) -> Result<Vec<Operation>, PatchError> {
    let patch = json::read(bytes).map_err(PatchError::Syntax)?;
    let operations = patch.items().ok_or_else(|| PatchError::NotAList(patch.type_name()))?;
    operations.iter().enumerate().map(|(index, operation)| read_operation(index, operation)).collect()
}

fn read_operation(index: usize, operation: &Node) -> Result<Operation, PatchError> {
    let missing = |member: &'static str| PatchError::Member { index, member };
    let text = |member: &'static str| operation.get(member).and_then(Node::as_str).ok_or_else(|| missing(member));
    let pointer = |member: &'static str| text(member)?.parse::<Pointer>().map_err(|source| PatchError::Pointer { index, source });
    let value = || operation.get("value").cloned().ok_or_else(|| missing("value"));
    let path = pointer("path")?;
    Ok(match text("op")? {
        "add" => Operation::Add { path, value: value()? },
        "remove" => Operation::Remove { path },
        "replace" => Operation::Replace { path, value: value()? },
        "move" => Operation::Move { from: pointer("from")?, path },
        "copy" => Operation::Copy { from: pointer("from")?, path },
        "test" => Operation::Test { path, value: value()? },
        _ => return Err(missing("op")),
    })
}

/// Applies a patch. If one operation fails, the document stays as it was (RFC 6902 section 5).
pub fn apply(document: &mut Node, patch: &[Operation]) -> Result<(), PatchError> {
    let mut patched = document.clone();
    for (index, operation) in patch.iter().enumerate() {
        apply_operation(&mut patched, operation).map_err(|source| PatchError::Operation { index, source })?;
    }
    *document = patched;
    Ok(())
}

fn apply_operation(document: &mut Node, operation: &Operation) -> Result<(), OperationError> {
    match operation {
        Operation::Add { path, value } => add(document, path, value.clone()),
        Operation::Remove { path } => remove(document, path).map(|_| ()),
        Operation::Replace { path, value } => {
            *find_mut(document, path)? = value.clone();
            Ok(())
        }
        Operation::Move { from, path } if from == path => find_mut(document, from).map(|_| ()),
        Operation::Move { from, path } if from.holds(path) => Err(OperationError::IntoItself(from.clone())),
        Operation::Move { from, path } => {
            let value = remove(document, from)?;
            add(document, path, value)
        }
        Operation::Copy { from, path } => {
            let value = find_mut(document, from)?.clone();
            add(document, path, value)
        }
        Operation::Test { path, value } if find_mut(document, path)?.same_value(value) => Ok(()),
        Operation::Test { path, .. } => Err(OperationError::Test(path.clone())),
    }
}

fn find_mut<'node>(document: &'node mut Node, pointer: &Pointer) -> Result<&'node mut Node, OperationError> {
    document.find_mut(pointer).ok_or_else(|| OperationError::Missing(pointer.clone()))
}

fn add(document: &mut Node, path: &Pointer, value: Node) -> Result<(), OperationError> {
    let Some((parent, token)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match find_mut(document, &parent)? {
        Node::Mapping(members) => match members.iter_mut().find(|(key, _)| key == token) {
            Some((_, old)) => *old = value,
            None => members.push((token.to_owned(), value)),
        },
        Node::Sequence(items) => {
            let length = items.len();
            let index = if token == "-" { Some(length) } else { array_index(token).filter(|index| *index <= length) };
            let index = index.ok_or_else(|| OperationError::Index { pointer: parent, length, token: token.to_owned() })?;
            items.insert(index, value);
        }
        other => return Err(OperationError::NoContainer { found: other.type_name(), pointer: parent }),
    }
    Ok(())
}

fn remove(document: &mut Node, path: &Pointer) -> Result<Node, OperationError> {
    let (parent, token) = path.split_last().ok_or(OperationError::Root)?;
    let missing = || OperationError::Missing(path.clone());
    match find_mut(document, &parent)? {
        Node::Mapping(members) => {
            let position = members.iter().position(|(key, _)| key == token).ok_or_else(missing)?;
            Ok(members.remove(position).1)
        }
        Node::Sequence(items) => {
            let index = array_index(token).filter(|index| *index < items.len()).ok_or_else(missing)?;
            Ok(items.remove(index))
        }
        other => Err(OperationError::NoContainer { found: other.type_name(), pointer: parent }),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn patched(document: &str, patch: &str) -> Result<String, String> {
        let mut node = json::read(document.as_bytes()).expect(document);
        let before = node.clone();
        let operations = read(patch.as_bytes()).map_err(|error| error.to_string())?;
        match apply(&mut node, &operations) {
            Ok(()) => Ok(json::write(&node)),
            Err(error) => {
                assert_eq!(node, before, "a failed patch changes nothing");
                Err(error.source().map_or_else(|| error.to_string(), ToString::to_string))
            }
        }
    }

    /// RFC 6902 appendix A, where it isn't about unknown members.
    #[test]
    fn the_examples_of_rfc_6902_hold() {
        let table = [
            (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/baz","value":"qux"}]"#, r#"{"foo":"bar","baz":"qux"}"#),
            (r#"{"foo":["bar","baz"]}"#, r#"[{"op":"add","path":"/foo/1","value":"qux"}]"#, r#"{"foo":["bar","qux","baz"]}"#),
            (r#"{"baz":"qux","foo":"bar"}"#, r#"[{"op":"remove","path":"/baz"}]"#, r#"{"foo":"bar"}"#),
            (r#"{"foo":["bar","qux","baz"]}"#, r#"[{"op":"remove","path":"/foo/1"}]"#, r#"{"foo":["bar","baz"]}"#),
            (r#"{"baz":"qux"}"#, r#"[{"op":"replace","path":"/baz","value":"boo"}]"#, r#"{"baz":"boo"}"#),
            (
                r#"{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}"#,
                r#"[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]"#,
                r#"{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}"#,
            ),
            (
                r#"{"foo":["all","grass","cows","eat"]}"#,
                r#"[{"op":"move","from":"/foo/1","path":"/foo/3"}]"#,
                r#"{"foo":["all","cows","eat","grass"]}"#,
            ),
            (r#"{"baz":1.0}"#, r#"[{"op":"test","path":"/baz","value":1}]"#, r#"{"baz":1.0}"#),
            (r#"{"/":9,"~1":10}"#, r#"[{"op":"test","path":"/~01","value":10}]"#, r#"{"/":9,"~1":10}"#),
            (r#"{"foo":["bar"]}"#, r#"[{"op":"add","path":"/foo/-","value":["abc"]}]"#, r#"{"foo":["bar",["abc"]]}"#),
            (r#"{"a":[1]}"#, r#"[{"op":"copy","from":"/a","path":"/b"}]"#, r#"{"a":[1],"b":[1]}"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/a","value":null}]"#, r#"{"a":null}"#),
            ("1", r#"[{"op":"replace","path":"","value":{}}]"#, "{}"),
            ("1", r#"[{"op":"add","path":"","value":2}]"#, "2"),
            (r#"{"a":1}"#, r#"[{"op":"move","from":"/a","path":"/a"}]"#, r#"{"a":1}"#),
        ];
        for (document, patch, result) in table {
            assert_eq!(patched(document, patch).as_deref(), Ok(result), "{patch}");
        }
    }

    #[test]
    fn failures_say_why() {
        let table = [
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/b/c","value":1}]"#, "nothing is at `/b`"),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/a/c","value":1}]"#, "`/a` is a number, which holds no other values"),
            ("[1]", r#"[{"op":"add","path":"/2","value":1}]"#, "the list at `` has 1 items and no place `2`"),
            ("[1]", r#"[{"op":"add","path":"/00","value":1}]"#, "the list at `` has 1 items and no place `00`"),
            ("[1]", r#"[{"op":"remove","path":"/-"}]"#, "nothing is at `/-`"),
            ("[1]", r#"[{"op":"remove","path":""}]"#, "the whole document can't be removed"),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"/b","value":1}]"#, "nothing is at `/b`"),
            (r#"{"a":{}}"#, r#"[{"op":"move","from":"/a","path":"/a/b"}]"#, "`/a` can't be moved into itself"),
            (r#"{"a":1}"#, r#"[{"op":"remove","path":"/a"},{"op":"test","path":"/a","value":1}]"#, "nothing is at `/a`"),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":"1"}]"#, "the value at `/a` is not the one that `test` wants"),
            ("{}", r#"{"op":"add"}"#, "the patch is not a list of operations but a mapping"),
            ("{}", r#"[{"op":"add","path":"/a"}]"#, "operation 0 of the patch lacks a valid `value`"),
            ("{}", r#"[{"op":"drop","path":"/a"}]"#, "operation 0 of the patch lacks a valid `op`"),
            ("{}", r#"[{"op":"move","path":"/a"}]"#, "operation 0 of the patch lacks a valid `from`"),
            ("{}", r#"[{"op":"remove","path":"a"}]"#, "operation 0 of the patch has an invalid pointer"),
        ];
        for (document, patch, message) in table {
            assert_eq!(patched(document, patch), Err(message.to_owned()), "{patch}");
        }
    }
}
