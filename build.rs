//! Has the linker put the functions that a serving program executes next to each other.
//!
//! They are a fifth of its code. The kernel usually maps the pages of a program 16 at a time, so that each that is executed somewhere in the
//! rest costs 64 KiB of resident memory, and the processor finds neighbours sooner.

use std::{
    env,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// One function a line: its symbol, with `*` in place of what differs from compiler to compiler. `make functions` writes it.
const FUNCTIONS: &str = "link/functions.txt";

/// Names another list; `/dev/null` is none.
const OTHER_FUNCTIONS: &str = "OUTRIGGER_LINK_FUNCTIONS";

/// The compiler's flag by which symbols tell enough to be known by that list.
const MANGLING: &str = "symbol-mangling-version=v0";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OTHER_FUNCTIONS}");
    let knows_types = env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains(MANGLING));
    if knows_types && env::var("PROFILE")? == "release" && env::var("TARGET")?.ends_with("-linux-gnu") {
        let list = env::var(OTHER_FUNCTIONS).unwrap_or_else(|_| FUNCTIONS.to_owned());
        println!("cargo::rerun-if-changed={list}");
        let functions = fs::read_to_string(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join(list))?;
        let script = PathBuf::from(env::var("OUT_DIR")?).join("functions.ld");
        fs::write(&script, linker_script(&functions)?)?;
        println!("cargo::rustc-link-arg-bins=-T{}", script.display());
    }
    Ok(())
}

/// A script that adds a section to the linker's own, which LLD and GNU ld both do for `INSERT`
/// (<https://sourceware.org/binutils/docs/ld/Miscellaneous-Commands.html>). Functions that are seldom called have a prefix more.
pub(crate) fn linker_script(functions: &str) -> Result<String, std::fmt::Error> {
    let mut script = String::from("SECTIONS { .text.served : {\n");
    for function in functions.lines().filter(|line| !line.starts_with('#')) {
        writeln!(script, "*(.text.{function} .text.unlikely.{function})")?;
    }
    script.push_str("} }\nINSERT BEFORE .text;\n");
    Ok(script)
}
