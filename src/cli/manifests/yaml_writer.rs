//! YAML that every reader understands alike.
//!
//! Block style, two spaces, lists level with their key as kubectl writes them, and no folded lines. A string is quoted
//! as soon as YAML 1.1, YAML 1.2 or kubectl could take it for something else.

use std::iter::repeat_n;

use super::json::push_unicode_escape;
use super::node::Node;
use super::scalar;

/// YAML's limit for a key before its `:` is 1024 characters; longer ones take the explicit `?`.
const LONGEST_SIMPLE_KEY: usize = 1000;

/// Spaces for each level.
const STEP: usize = 2;

/// Writes one document, without `---`.
#[must_use]
pub fn write(node: &Node) -> String {
    let mut text = String::new();
    match node {
        Node::Mapping(members) if !members.is_empty() => write_members(members, 0, &mut text),
        Node::Sequence(items) if !items.is_empty() => write_items(items, 0, &mut text),
        // Readers differ about the indentation of a block that is a whole document.
        Node::String(string) => {
            push_flow_string(string, &mut text);
            text.push('\n');
        }
        other => push_scalar(other, 0, &mut text),
    }
    text
}

/// Writes documents one after another, with `---` between them.
#[must_use]
pub fn write_all<'node>(documents: impl IntoIterator<Item = &'node Node>) -> String {
    documents.into_iter().map(write).collect::<Vec<_>>().join("---\n")
}

/// Members at a column. The text already stands at that column, and ends after a newline.
fn write_members(members: &[(String, Node)], column: usize, text: &mut String) {
    for (position, (key, value)) in members.iter().enumerate() {
        if position > 0 {
            push_blanks(column, text);
        }
        push_key(key, column, text);
        match value {
            Node::Mapping(inner) if !inner.is_empty() => {
                text.push('\n');
                push_blanks(column + STEP, text);
                write_members(inner, column + STEP, text);
            }
            Node::Sequence(items) if !items.is_empty() => {
                text.push('\n');
                push_blanks(column, text);
                write_items(items, column, text);
            }
            scalar => {
                text.push(' ');
                push_scalar(scalar, column, text);
            }
        }
    }
}

/// Items at a column. The text already stands at that column, and ends after a newline.
fn write_items(items: &[Node], column: usize, text: &mut String) {
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            push_blanks(column, text);
        }
        text.push_str("- ");
        match item {
            Node::Mapping(members) if !members.is_empty() => write_members(members, column + STEP, text),
            Node::Sequence(inner) if !inner.is_empty() => write_items(inner, column + STEP, text),
            scalar => push_scalar(scalar, column, text),
        }
    }
}

/// The key with its colon.
fn push_key(key: &str, column: usize, text: &mut String) {
    let start = text.len();
    push_flow_string(key, text);
    if text.len() - start > LONGEST_SIMPLE_KEY {
        text.insert_str(start, "? ");
        text.push('\n');
        push_blanks(column, text);
    }
    text.push(':');
}

/// A scalar or an empty collection, and a newline. `column` is that of the mapping or list that holds it.
fn push_scalar(node: &Node, column: usize, text: &mut String) {
    match node {
        Node::String(string) if is_literal(string) => return push_literal(string, column, text),
        Node::String(string) => push_flow_string(string, text),
        Node::Null => text.push_str("null"),
        Node::Bool(true) => text.push_str("true"),
        Node::Bool(false) => text.push_str("false"),
        Node::Number(number) => text.push_str(number.as_str()),
        Node::Sequence(_) => text.push_str("[]"),
        Node::Mapping(_) => text.push_str("{}"),
    }
    text.push('\n');
}

/// A string on one line.
fn push_flow_string(string: &str, text: &mut String) {
    if is_plain(string) {
        text.push_str(string);
        return;
    }
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ if is_escaped(character) => push_unicode_escape(character, text),
            _ => text.push(character),
        }
    }
    text.push('"');
}

/// Whether a block literal gives the string back: several lines without any character that needs an escape.
fn is_literal(string: &str) -> bool {
    let has_text = string.chars().any(|next| !matches!(next, '\n' | ' ' | '\t'));
    has_text && string.contains('\n') && !string.chars().any(|next| is_escaped(next) && !matches!(next, '\n' | '\t'))
}

fn push_literal(string: &str, column: usize, text: &mut String) {
    text.push('|');
    // Readers guess the indentation from the first line with something on it, so a leading blank needs it said.
    if string.trim_start_matches('\n').starts_with([' ', '\t']) {
        text.push_str(&STEP.to_string());
    }
    let body = string.strip_suffix('\n');
    match body {
        None => text.push('-'),
        Some(body) if body.ends_with('\n') => text.push('+'),
        Some(_) => {}
    }
    text.push('\n');
    for line in body.unwrap_or(string).split('\n') {
        if !line.is_empty() {
            push_blanks(column + STEP, text);
            text.push_str(line);
        }
        text.push('\n');
    }
}

/// Whether a string means itself without quotes, in a block's key and value alike.
fn is_plain(string: &str) -> bool {
    let starts_plainly = match string.as_bytes() {
        [] => false,
        [b'-', second, ..] => *second != b' ' && !string.starts_with("---"),
        [first, ..] => !b"-?:,[]{}#&*!|>'\"%@` ".contains(first),
    };
    starts_plainly
        && !string.ends_with([' ', ':'])
        && !string.contains(": ")
        && !string.contains(" #")
        && !string.starts_with("...")
        && !string.chars().any(is_escaped)
        && !is_ambiguous(string)
}

/// Whether some reader takes the plain text for a null, boolean, number, date or merge key.
fn is_ambiguous(string: &str) -> bool {
    const WORDS: [&str; 16] =
        ["~", "null", "y", "n", "yes", "no", "on", "off", "true", "false", ".inf", "+.inf", "-.inf", ".nan", "=", "<<"];
    let is_word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(string));
    is_word || looks_numeric(string) || !scalar::is_plain_text(string)
}

/// Whether a text begins as a number or date and holds only what these are made of: digits of any base, prefixes,
/// points, underscores, exponents, the colons of sexagesimal numbers, and what separates the parts of a date.
fn looks_numeric(string: &str) -> bool {
    let unsigned = string.strip_prefix(['-', '+']).unwrap_or(string);
    let part_of_number = |next: char| next.is_ascii_hexdigit() || "xXoO_.:+-tTzZ ".contains(next);
    unsigned.starts_with(|next: char| next.is_ascii_digit() || next == '.') && unsigned.chars().all(part_of_number)
}

/// Control characters, what YAML 1.1 takes for line breaks, the byte order mark, and what YAML doesn't allow.
fn is_escaped(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

fn push_blanks(count: usize, text: &mut String) {
    text.extend(repeat_n(' ', count));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::manifests::yaml_reader;

    fn assert_stable(node: &Node, text: &str) {
        let read = yaml_reader::read_all(text).expect(text);
        assert_eq!(read.into_iter().map(|(_, node)| node).collect::<Vec<_>>(), std::slice::from_ref(node), "{text}");
    }

    #[test]
    fn a_manifest_looks_as_kubectl_writes_it() {
        let node = Node::from(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"annotations": {"outrigger.dev/inject": "vnc, file-sync"}, "labels": {}},
            "spec": {"containers": [{"args": ["--port=80", "-v", ""], "name": "app", "ports": [{"containerPort": 80}]}], "volumes": []},
        }));
        let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    outrigger.dev/inject: vnc, file-sync\n  labels: {}\nspec:\n  \
                    containers:\n  - args:\n    - --port=80\n    - -v\n    - \"\"\n    name: app\n    ports:\n    - containerPort: 80\n  \
                    volumes: []\n";
        assert_eq!(write(&node), text);
        assert_stable(&node, text);
    }

    #[test]
    fn what_could_be_something_else_is_quoted() {
        for string in [
            "",
            "no",
            "No",
            "y",
            "0123",
            "1e3",
            "1_0",
            "0o7",
            "0x1F",
            "0b1",
            "12:30:45",
            "2001-01-01",
            "2001-01-01T00:00:00Z",
            "null",
            "~",
            ".inf",
            "-.INF",
            ".nan",
            "=",
            "<<",
            " a",
            "a ",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "- a",
            "-",
            "? a",
            "---",
            "--- a",
            "...",
            "[a",
            "{a",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "'a",
            "\"a",
            "%a",
            "@a",
            "`a",
            "a\tb",
            "\u{7f}",
            "a\u{85}b",
            "\u{2028}",
            "\u{2029}",
            "\u{feff}",
            "\r",
            "\0",
            ".5",
            "+1",
            "-1",
            "1.2.3",
            "\n",
            "\n\n",
            " \n",
            "1 2",
            "9".repeat(400).as_str(),
        ] {
            let node = Node::from(string);
            let text = write(&node);
            assert!(text.starts_with('"'), "{string:?} is written as {text}");
            assert_stable(&node, &text);
        }
    }

    #[test]
    fn what_means_itself_is_not_quoted() {
        for string in [
            "a",
            "vnc, file-sync",
            "100m",
            "1Gi",
            "http://a:80/b#c",
            "--flag=x",
            "-f",
            "~/a",
            "a b",
            "é🦀",
            "nobody",
            "/a",
            "a=b",
            "0.1-rc",
        ] {
            assert_eq!(write(&Node::from(string)), format!("{string}\n"));
            assert_stable(&Node::from(string), string);
        }
    }

    #[test]
    fn lines_become_literal_blocks() {
        let table = [
            ("a\nb\n", "k: |\n  a\n  b\n"),
            ("a\nb", "k: |-\n  a\n  b\n"),
            ("a\n\n\n", "k: |+\n  a\n\n\n"),
            (" a\nb", "k: |2-\n   a\n  b\n"),
            ("\n\n  a\n", "k: |2\n\n\n    a\n"),
            ("\ta\n", "k: |2\n  \ta\n"),
            ("a\n  ", "k: |-\n  a\n    \n"),
            ("a\r\nb", "k: \"a\\r\\nb\"\n"),
            ("a\n\u{85}", "k: \"a\\n\\u0085\"\n"),
            ("# a\n---\n...\n", "k: |\n  # a\n  ---\n  ...\n"),
        ];
        for (string, text) in table {
            let node = Node::from(json!({ "k": string }));
            assert_eq!(write(&node), text);
            assert_stable(&node, text);
        }
    }

    /// A value that looks like YAML became part of the manifest in Istio's injector (istio#58889).
    #[test]
    fn istio_58889() {
        let node = Node::from(json!({"metadata": {"annotations": {"a\n  b: c": "x\"\nspec:\n  hostNetwork: true\n---\nkind: Secret"}}}));
        assert_stable(&node, &write(&node));
    }

    #[test]
    fn literal_blocks_stand_anywhere_but_at_the_root() {
        let node = Node::from(json!([["a\nb", [" a\nb"]], {"k": [" a\n"], "l": {"m": "a\n\n"}}, "z\nz"]));
        assert_stable(&node, &write(&node));
        assert_eq!(write(&Node::from("a\nb")), "\"a\\nb\"\n");
    }

    #[test]
    fn odd_keys_are_quoted_and_long_ones_explicit() {
        let long = "k".repeat(2000);
        let node = Node::from(json!({"a\nb": 1, "no": [1], "<<": {}, "": null, "? x": {"a": 1}, long: [{"b": "c\nd"}]}));
        let text = write(&node);
        assert!(text.contains("\n? kkk"), "{text}");
        assert_stable(&node, &text);
    }

    #[test]
    fn documents_are_separated() {
        let nodes = [Node::from(json!({"a": "x\n\n"})), Node::from(json!([1])), Node::Null];
        let text = write_all(&nodes);
        assert_eq!(text, "a: |+\n  x\n\n---\n- 1\n---\nnull\n");
        let read: Vec<Node> = yaml_reader::read_all(&text).expect("valid").into_iter().map(|(_, node)| node).collect();
        assert_eq!(read, nodes);
    }
}
