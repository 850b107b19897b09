//! What holds for every node and every text.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::stream::read_bytes;
use super::{Node, Number, json, yaml_reader, yaml_writer};

/// Strings that some reader of YAML stumbles over, alone or as parts of others.
const AWKWARD: [&str; 48] = [
    "",
    " ",
    "\n",
    "\t",
    "\r",
    "\r\n",
    "\n\n",
    "no",
    "Y",
    "null",
    "~",
    "0123",
    "1e3",
    "1_0",
    "0o7",
    "0x1F",
    "12:30:45",
    "2001-01-01",
    ".inf",
    ".nan",
    "=",
    "<<",
    "-",
    "- ",
    "--",
    "---",
    "...",
    ": ",
    ":",
    " #",
    "#",
    "?",
    "? ",
    "[",
    "{",
    "&a",
    "*a",
    "!",
    "|",
    ">",
    "'",
    "\"",
    "%",
    "@",
    "`",
    "\u{85}",
    "\u{2028}",
    "\u{feff}",
];

fn any_text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        4 => proptest::sample::select(AWKWARD.as_slice()).prop_map(str::to_owned),
        2 => "[a-z ]{0,6}",
        1 => any::<char>().prop_map(String::from),
    ];
    vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
}

fn any_number() -> impl Strategy<Value = Number> {
    let written = prop_oneof!["-?[0-9]{1,60}", "-?[0-9]{1,20}\\.[0-9]{1,20}", "-?[0-9]{1,5}(\\.[0-9]{0,5})?[eE][-+]?[0-9]{1,2}"];
    written.prop_map(|text| Number::from_decimal(&text).expect("the patterns are decimal"))
}

fn any_node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        1 => Just(Node::Null),
        1 => any::<bool>().prop_map(Node::Bool),
        2 => any_number().prop_map(Node::Number),
        6 => any_text().prop_map(Node::String),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let long_key = (any_text(), any::<bool>()).prop_map(|(key, long)| if long { key } else { key.repeat(300) });
        let key = prop_oneof![9 => any_text(), 1 => long_key];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Node::Sequence),
            // The map makes keys unique; their order is as good as any.
            btree_map(key, inner, 0..6).prop_map(|members| Node::Mapping(members.into_iter().collect())),
        ]
    })
}

/// Text made of what YAML's grammar is made of, so that it gets further than noise does.
fn any_yaml() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        8 => proptest::sample::select(
            ["a", "b", ":", ": ", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ",", "&a ", "*a", "<<: ", "!!int ", "!!binary ", "|\n", ">-\n",
             "---\n", "...\n", "? ", "'", "\"", "\\", "# ", "%YAML 1.1\n", "1", "0x", "e3", ".", "_", "\t", "~"].as_slice(),
        ).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

fn read_one(text: &str) -> Node {
    let mut documents = yaml_reader::read_all(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0).1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn yaml_gives_back_what_was_written(node in any_node()) {
        let text = yaml_writer::write(&node);
        let read = read_one(&text);
        prop_assert_eq!(&read, &node, "{}", text);
        prop_assert_eq!(yaml_writer::write(&read), text);
    }

    #[test]
    fn json_gives_back_what_was_written(node in any_node()) {
        prop_assert_eq!(json::read(json::write(&node).as_bytes()), Ok(node.clone()));
        prop_assert_eq!(json::read(json::write_pretty(&node).as_bytes()), Ok(node));
    }

    #[test]
    fn a_stream_of_documents_stays_one(nodes in vec(any_node(), 0..5)) {
        let text = yaml_writer::write_all(&nodes);
        let read: Vec<Node> = yaml_reader::read_all(&text).expect("what we write is YAML").into_iter().map(|(_, node)| node).collect();
        prop_assert_eq!(read, nodes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        if let Err(error) = read_bytes("bytes", &bytes) {
            prop_assert!(error.to_string().starts_with("bytes:"), "{} names no place", error);
        }
    }

    #[test]
    fn any_text_that_is_read_can_be_written(text in any_yaml()) {
        if let Ok(documents) = read_bytes("text", text.as_bytes()) {
            for document in documents {
                prop_assert_eq!(read_one(&yaml_writer::write(&document.root)), document.root);
            }
        }
    }
}
