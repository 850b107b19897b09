//! Manifests mean to us what they mean to kubectl.
//!
//! `data/yaml_scalars.json` is a table of awkward YAML with the answers of `YAMLToJSON` in sigs.k8s.io/yaml v1.6.0 (with
//! go.yaml.in/yaml/v2 v2.4.3), the library and the versions in kubectl 1.36.

#![allow(clippy::expect_used, reason = "a test's helpers fail the test")]

use outrigger::cli::manifests::stream::read_bytes;
use outrigger::cli::manifests::{Node, Number, json, yaml_writer};

const TABLE: &str = include_str!("data/yaml_scalars.json");

/// YAML that we refuse though kubectl makes something of it.
const REFUSED: [&str; 4] = [
    // kubectl lets the last one win, and says nothing.
    "a: 1\na: 2\n",
    "'1': a\n1: b\n",
    "a: {b: 1, c: 2, b: 3}\n",
    // As a value JSON couldn't hold it.
    ".inf: a",
];

/// YAML that kubectl refuses though its meaning is clear; what we write, kubectl reads.
const ACCEPTED: [&str; 5] = [
    // JSON's escape, which YAML 1.2 adopted.
    "v: \"a\\/b\"",
    "{\"a\": \"\\/\"}",
    // A tab in front of a whole document indents nothing.
    "\ta: 1",
    // Its rules for scalars are kubectl's all the same.
    "%YAML 1.2\n---\na: no",
    // An alias for a list of mappings instead of the list itself.
    "x: &x [{a: 1}]\nz: {<<: *x}",
];

struct Row {
    yaml: String,
    /// `None` where kubectl refuses.
    meaning: Option<Node>,
}

fn rows() -> Vec<Row> {
    let table = json::read(TABLE.as_bytes()).expect("the table is JSON");
    let text = |row: &Node, key: &str| row.get(key).and_then(Node::as_str).map(str::to_owned);
    let meaning = |row: &Node| text(row, "json").map(|meaning| json::read(meaning.as_bytes()).expect("the answers are JSON"));
    let rows = table.items().expect("the table is a list").iter();
    rows.map(|row| Row { yaml: text(row, "yaml").expect("each row has its YAML"), meaning: meaning(row) }).collect()
}

/// The first document; a text without documents is null to kubectl.
fn read_first(yaml: &str) -> Result<Node, String> {
    let documents = read_bytes("table", yaml.as_bytes()).map_err(|error| error.to_string())?;
    Ok(documents.into_iter().next().map_or(Node::Null, |document| document.root))
}

/// kubectl keeps integers of 64 bits and passes other numbers through a float; we keep all digits.
fn means_the_same(ours: &Node, kubectls: &Node) -> bool {
    match (ours, kubectls) {
        (Node::Number(ours), Node::Number(kubectls)) => ours.same_value(kubectls) || same_float(ours, kubectls),
        (Node::Sequence(ours), Node::Sequence(kubectls)) => {
            ours.len() == kubectls.len() && ours.iter().zip(kubectls).all(|(ours, kubectls)| means_the_same(ours, kubectls))
        }
        (Node::Mapping(members), Node::Mapping(expected)) => {
            members.len() == expected.len()
                && members.iter().all(|(key, value)| kubectls.get(key).is_some_and(|other| means_the_same(value, other)))
        }
        _ => ours == kubectls,
    }
}

fn same_float(ours: &Number, kubectls: &Number) -> bool {
    let fits_64_bits = ours.as_i64().is_some() || ours.as_str().parse::<u64>().is_ok();
    let float = |number: &Number| number.as_str().parse::<f64>().expect("a number").to_bits();
    !fits_64_bits && float(ours) == float(kubectls)
}

#[test]
fn yaml_means_what_it_means_to_kubectl() {
    let mut differences = Vec::new();
    for Row { yaml, meaning } in rows() {
        let ours = read_first(&yaml);
        let agrees = match (&ours, &meaning) {
            (Ok(ours), Some(kubectls)) => means_the_same(ours, kubectls) && !REFUSED.contains(&yaml.as_str()),
            (Err(_), Some(_)) => REFUSED.contains(&yaml.as_str()),
            (Err(_), None) => true,
            (Ok(_), None) => ACCEPTED.contains(&yaml.as_str()),
        };
        if !agrees {
            differences.push(format!("{yaml:?}: kubectl reads {meaning:?}, we read {ours:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn what_is_written_means_what_was_read() {
    for Row { yaml, .. } in rows() {
        let Ok(node) = read_first(&yaml) else { continue };
        let written = yaml_writer::write(&node);
        assert_eq!(read_first(&written), Ok(node), "{yaml:?} is written as {written:?}");
    }
}
