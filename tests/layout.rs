//! The linker takes the script of `build.rs`, and puts the listed functions next to each other.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../build.rs"]
#[allow(dead_code, reason = "its main is for cargo")]
mod build;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

/// Two functions that are listed, one of them as what is seldom called, among others.
const PROGRAM: &str = "
    int other_1(int x) { return x * 3; }
    int served_1902(int x) { return x * 5; }
    int other_2(int x) { return x * 7; }
    __attribute__((section(\".text.unlikely.other_seldom\"))) int other_seldom(int x) { return x * 17; }
    __attribute__((section(\".text.unlikely.served_seldom\"))) int served_seldom(int x) { return x * 11; }
    int other_3(int x) { return x * 13; }
    int main() { return other_1(1) + served_1902(1) + other_2(1) + other_seldom(1) + served_seldom(1) + other_3(1); }
";
const FUNCTIONS: &str = "# what is executed\nserved_1*\nserved_seldom\ngone_since\n";

#[test]
fn listed_functions_are_next_to_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = linked(folder.path());
    let (first, second) = (addresses["served_1902"], addresses["served_seldom"]);
    let between = |name: &&String| (first.min(second)..=first.max(second)).contains(&addresses[*name]);
    assert_eq!(addresses.keys().filter(between).collect::<Vec<_>>(), ["served_1902", "served_seldom"], "{addresses:x?}");
}

/// Links the program, and tells where its functions are.
fn linked(folder: &Path) -> BTreeMap<String, u64> {
    let [source, script, program] = ["program.c", "functions.ld", "program"].map(|name| folder.join(name));
    fs::write(&source, PROGRAM).unwrap();
    fs::write(&script, build::linker_script(FUNCTIONS).unwrap()).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-O0", "-ffunction-sections", "-o"]).arg(&program).arg(&source).arg(format!("-T{}", script.display()));
    assert!(compiler.status().unwrap().success());
    let symbols = Command::new("nm").arg(&program).output().unwrap();
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    let fields = symbols.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let functions = fields.filter(|fields| fields.len() == 3 && (fields[2].starts_with("served") || fields[2].starts_with("other")));
    functions.map(|fields| (fields[2].to_owned(), u64::from_str_radix(fields[0], 16).unwrap())).collect()
}
