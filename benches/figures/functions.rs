//! The functions that the program executes while it serves, for `link/functions.txt`.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
    time::Duration,
};

use regex::Regex;

use super::{CONNECTIONS, Case, PATIENCE, crowd, load, load::Pace, servers::Yard};

/// What the file begins with.
const HEAD: &str = "# The functions that the program executes while it serves. Written by `make functions`.\n";
/// Long enough for requests that follow one another, though the tracer makes the program 50 times slower.
const LOAD: Duration = Duration::from_secs(5);

/// Lets a program that still has its symbols start, watch, answer the reviews, look at all pods, tell of itself and end.
pub(crate) fn write(yard: &Yard, cases: &[Case], program: &Path, destination: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let (program, trace) = (&program.canonicalize().unwrap(), folder.path().join("callgrind"));
    let server = yard.traced(program, &trace);
    for case in cases {
        let outcome = load(server.target.clone(), case, Pace::Closed, LOAD).run(&server.process);
        assert_eq!((outcome.refused, outcome.failed), (0, 0), "{} over {CONNECTIONS} connections within {PATIENCE:?}", case.name);
    }
    crowd::wait_for_a_pass(&server);
    server.process.end();
    let trace = fs::read_to_string(&trace).unwrap();
    let lines: BTreeSet<String> = functions_of(&trace, program).into_iter().map(pattern).collect();
    fs::write(destination, lines.iter().fold(HEAD.to_owned(), |text, line| text + line + "\n")).unwrap();
    eprintln!("{} functions in {}", lines.len(), destination.display());
}

/// The symbols that a program has executed, of a trace (<https://valgrind.org/docs/manual/cl-format.html>). A name that comes again is
/// its number alone.
fn functions_of<'trace>(trace: &'trace str, program: &Path) -> BTreeSet<&'trace str> {
    let (mut files, mut functions) = (HashMap::new(), HashMap::new());
    let mut in_program = false;
    let mut found = BTreeSet::new();
    for line in trace.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key {
            "ob" => in_program = Path::new(resolve(&mut files, value)) == program,
            "cob" => drop(resolve(&mut files, value)),
            "cfn" => drop(resolve(&mut functions, value)),
            "fn" => {
                let name = resolve(&mut functions, value);
                // The rest has no symbol: an address, or `(below main)`.
                if in_program && name.chars().all(|character| character.is_ascii_alphanumeric() || "_.$".contains(character)) {
                    found.insert(name);
                }
            }
            _ => {}
        }
    }
    found
}

/// The name in `(NUMBER) NAME`, or the one that had the number before.
fn resolve<'trace>(names: &mut HashMap<&'trace str, &'trace str>, value: &'trace str) -> &'trace str {
    match value.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            name
        }
        None => names.get(value).unwrap_or_else(|| panic!("{value} has no name")),
    }
}

/// A symbol without what other compilers call otherwise: the disambiguators of crates, and the back references whose numbers depend on
/// their lengths (<https://doc.rust-lang.org/rustc/symbol-mangling/v0.html>).
fn pattern(symbol: &str) -> String {
    if !symbol.starts_with("_R") {
        return symbol.to_owned();
    }
    let without_crates = Regex::new("Cs[0-9A-Za-z]+_([0-9])").unwrap().replace_all(symbol, "*$1").into_owned();
    let without_references = Regex::new("B[0-9A-Za-z]*_").unwrap().replace_all(&without_crates, "*").into_owned();
    Regex::new(r"\*+").unwrap().replace_all(&without_references, "*").into_owned()
}

/// That a symbol becomes what it is for all compilers.
pub(crate) fn check() {
    let grow = "_RNvMs3_NtCslNYArtu3iFV_5alloc7raw_vecINtB5_6RawVecNtNtNtCsfR9VexSItDa_9outrigger3api7session5ShareE8grow_oneBS_";
    assert_eq!(pattern(grow), "_RNvMs3_Nt*5alloc7raw_vecINt*6RawVecNtNtNt*9outrigger3api7session5ShareE8grow_one*");
    let trace = "ob=(1) /bin/it\nfn=(1) main\ncob=(2) /lib/c\ncfn=(2) malloc\nfn=(3) (below main)\nob=(2)\nfn=(2)\nob=(1)\nfn=(4) last\n";
    assert_eq!(functions_of(trace, Path::new("/bin/it")), BTreeSet::from(["main", "last"]));
}
