//! Each defect that is known of a predecessor has a test here that bears its label.
//!
//! The lists in `tests/defects/` have a line for each label: the label, and the name of a test, or a dash and why there is none. A label without a test, and a test of a
//! predecessor's name without a label, fail. The same holds for what a desktop and its bridge must be capable of.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

#[test]
fn each_label_has_a_test_and_each_such_test_a_label() {
    let tests = tests();
    let lists = lists();
    assert!(!lists.is_empty());
    for (origin, lines) in lists {
        let mut listed = BTreeSet::new();
        for (label, test) in &lines {
            if let Some(reason) = test.strip_prefix("- ") {
                assert!(!reason.is_empty(), "{origin} {label}: say why there is no test");
                continue;
            }
            assert!(labels_of(&origin, test).contains(label), "{origin} {label}: {test} does not bear the label in its name");
            assert!(tests.contains(test), "{origin} {label}: there is no test {test}");
            listed.insert(test.clone());
        }
        let unlisted: Vec<&String> = tests.iter().filter(|test| !labels_of(&origin, test).is_empty() && !listed.contains(*test)).collect();
        assert!(unlisted.is_empty(), "{origin}: not in its list: {unlisted:?}");
    }
}

#[test]
fn no_label_is_left_out() {
    // Labels of the predecessors of the file mirror, of the provisioner, of databases and of lists of users, as they are numbered where they were found.
    for (origin, letters) in [
        ("kiwigrid", &[('K', 13)][..]),
        ("gsidecar", &[('N', 8)]),
        ("provisioner", &[('S', 15), ('G', 21)]),
        ("kopf", &[('K', 14)]),
        ("qs_pgbouncer", &[('P', 16)]),
    ] {
        let lines = lists().into_iter().find(|(name, _)| name == origin).unwrap().1;
        let labels: BTreeSet<String> = lines.into_iter().map(|(label, _)| label).collect();
        assert_eq!(labels, numbered(letters), "{origin}");
    }
    // What users of poolers ask for is numbered together with what those of databases do, and comes after it.
    let lines = lists().into_iter().find(|(name, _)| name == "pgbouncer").unwrap().1;
    let labels: BTreeSet<String> = lines.into_iter().map(|(label, _)| label).collect();
    let of_poolers = (27..=42).map(|number| format!("T{number}"));
    assert_eq!(labels, numbered(&[('G', 10)]).into_iter().chain(of_poolers).collect());
}

#[test]
fn each_capability_of_desktops_has_a_test_or_says_why_not() {
    let (tests, text) = (tests(), fs::read_to_string(root().join("tests/data/desktop_capabilities.txt")).unwrap());
    let (mut labels, mut listed) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (label, shown_by) = line.split_once(' ').unwrap();
        labels.insert(label.to_owned());
        if let Some(reason) = shown_by.strip_prefix("- ") {
            assert!(!reason.is_empty(), "{label}: say why there is no test");
            continue;
        }
        assert!(tests.contains(shown_by), "{label}: there is no test {shown_by}");
        assert!(capabilities_of(shown_by).contains(&label.to_owned()), "{label}: {shown_by} does not bear the label in its name");
        listed.insert(shown_by.to_owned());
    }
    assert_eq!(labels, numbered(&[('A', 32), ('B', 18)]));
    let unlisted: Vec<&String> = tests.iter().filter(|test| !capabilities_of(test).is_empty() && !listed.contains(*test)).collect();
    assert!(unlisted.is_empty(), "not in tests/data/desktop_capabilities.txt: {unlisted:?}");
}

#[test]
fn each_label_of_other_operators_of_databases_has_a_test_or_says_why_not() {
    let (tests, text) = (tests(), fs::read_to_string(root().join("tests/data/database_operators.txt")).unwrap());
    let lines: Vec<(&str, &str)> = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once(' ').unwrap()).collect();
    for (label, shown_by) in &lines {
        if let Some(reason) = shown_by.strip_prefix("- ") {
            assert!(!reason.is_empty(), "{label}: say why there is no test");
            continue;
        }
        assert!(tests.contains(*shown_by), "{label}: there is no test {shown_by}");
        assert!(format!("_{shown_by}_").contains(&format!("_{label}_")), "{label}: {shown_by} does not bear the label in its name");
    }
    let mut numbers: Vec<&str> = lines.iter().filter_map(|(label, _)| label.rsplit_once('_')).map(|(_, number)| number).collect();
    numbers.retain(|number| number.len() == 1);
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7", "8"]);
}

/// The labels of desktops that a test bears: `A19` of `sortie_s3_a19_…`.
fn capabilities_of(test: &str) -> Vec<String> {
    let words = test.strip_prefix("sortie_").unwrap_or(test).split('_');
    let labels = words.take_while(|word| is_label(word)).map(str::to_ascii_uppercase);
    labels.filter(|label| label.starts_with(['A', 'B'])).collect()
}

/// The labels of this origin that a test bears: `K1` of `kiwigrid_k1_…`, `S3` and `G1` of `provisioner_s3_g1_…`.
fn labels_of(origin: &str, test: &str) -> Vec<String> {
    let words = test.strip_prefix(origin).and_then(|rest| rest.strip_prefix('_')).into_iter().flat_map(|rest| rest.split('_'));
    words.take_while(|word| is_label(word)).map(str::to_ascii_uppercase).collect()
}

/// A letter and a number.
fn is_label(word: &str) -> bool {
    let number = word.strip_prefix(|letter: char| letter.is_ascii_alphabetic()).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// All labels of these letters, each up to its number.
fn numbered(letters: &[(char, u32)]) -> BTreeSet<String> {
    letters.iter().flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number}"))).collect()
}

/// Each list's name with its lines: label and test.
fn lists() -> Vec<(String, Vec<(String, String)>)> {
    let entries = fs::read_dir(root().join("tests/defects")).unwrap().map(|entry| entry.unwrap().path());
    let mut lists: Vec<_> = entries
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            let lines = lines.map(|line| line.split_once(' ').map(|(label, test)| (label.to_owned(), test.trim().to_owned())).unwrap());
            (path.file_stem().unwrap().to_string_lossy().into_owned(), lines.collect())
        })
        .collect();
    lists.sort();
    lists
}

/// The names of all tests: functions after an attribute that makes them one.
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in ["src", "tests"].iter().flat_map(|folder| sources(&root().join(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let name = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")).and_then(|rest| rest.split('(').next());
            match name {
                Some(name) if is_test => {
                    tests.insert(name.to_owned());
                    is_test = false;
                }
                _ if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => is_test = true,
                _ => is_test = is_test && line.starts_with("#["),
            }
        }
    }
    assert!(tests.len() > 500, "the tests are found: {}", tests.len());
    tests
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
