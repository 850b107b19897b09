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

/// A program that serves executes some 3,000; of one whose functions the tracer can't name, it names a few.
const FEWEST: usize = 1000;

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
    assert!(lines.len() >= FEWEST, "the trace names {} functions: was the program linked with a list of them, or stripped?", lines.len());
    fs::write(destination, lines.iter().fold(HEAD.to_owned(), |text, line| text + line + "\n")).unwrap();
    eprintln!("{} functions in {}", lines.len(), destination.display());
}

/// The symbols that a program has executed, of a trace (<https://valgrind.org/docs/manual/cl-format.html>). A name that comes again is
/// its number alone.
fn functions_of<'trace>(trace: &'trace str, program: &Path) -> BTreeSet<&'trace str> {
    let (mut objects, mut functions) = (HashMap::new(), HashMap::new());
    let mut in_program = false;
    let mut found = BTreeSet::new();
    for line in trace.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key {
            "ob" => in_program = Path::new(resolve(&mut objects, value)) == program,
            "cob" => drop(resolve(&mut objects, value)),
            "cfn" => drop(resolve(&mut functions, value)),
            "fn" => {
                let name = resolve(&mut functions, value);
                if in_program && is_symbol(name) {
                    found.insert(name);
                }
            }
            _ => {}
        }
    }
    found
}

/// Whether a function has a name: others are an address, or `(below main)`.
fn is_symbol(name: &str) -> bool {
    !name.starts_with("0x") && name.chars().all(|character| character.is_ascii_alphanumeric() || "_.$".contains(character))
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

/// A symbol without what is called otherwise by other compilers or next time: the disambiguators of crates, the back references whose
/// numbers depend on their lengths (<https://doc.rust-lang.org/rustc/symbol-mangling/v0.html>), the numbers by which the linker tells
/// local symbols apart, and the version of a library in C. What a name has in common with a reference is lost too.
fn pattern(symbol: &str) -> String {
    let all = Regex::new(r"\.[0-9]+$|aws_lc_[0-9]+_[0-9]+_[0-9]+_").unwrap().replace_all(symbol, "*");
    let rust = Regex::new("Cs[0-9A-Za-z]{1,11}_|B[0-9A-Za-z]{0,3}_").unwrap();
    let without_references = if symbol.starts_with("_R") { rust.replace_all(&all, "*") } else { all.as_ref().into() };
    Regex::new(r"\*+").unwrap().replace_all(&without_references, "*").into_owned()
}

/// That a symbol becomes what it is for all compilers, and that nothing else is listed.
pub(crate) fn check() {
    let grow = "_RNvMs3_NtCslNYArtu3iFV_5alloc7raw_vecINtB5_6RawVecNtNtNtCsfR9VexSItDa_9outrigger3api12SessionShareE8grow_oneBS_";
    assert_eq!(pattern(grow), "_RNvMs3_Nt*5alloc7raw_vecINt*6RawVecNtNtNt*9outrigger3api12SessionShareE8grow_one*");
    assert_eq!(pattern("_RNvXs0_NtB7_9BytesList5slice.1902"), "_RNvXs0_Nt*9BytesList5slice*");
    assert_eq!(pattern("aws_lc_0_47_0_EVP_MD_CTX_copy"), "*EVP_MD_CTX_copy");
    let trace = "ob=(1) /bin/it\nfn=(1) main\ncob=(2) /lib/c\ncfn=(2) malloc\nfn=(3) (below main)\nob=(2)\nfn=(2)\nob=(1)\nfn=(4) 0x4d4\nfn=(5) last\n";
    assert_eq!(functions_of(trace, Path::new("/bin/it")), BTreeSet::from(["main", "last"]));
    let is_pattern = |line: &str| is_symbol(&line.replace('*', "_"));
    assert!(include_str!("../../link/functions.txt").lines().skip(1).all(is_pattern), "link/functions.txt has lines that are no symbols");
}
