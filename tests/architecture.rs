//! The house stays as it is meant: which room may use which, what pure code may not touch, and how long a file may be.
//!
//! Sources are read as text. Strings and comments are left out, and so are tests, which may do what they like.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms of `src/` a room may use, besides itself. Arrows go one way.
const ROOMS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("runtime", &[]),
    ("monitoring", &[]),
    ("injection", &["api"]),
    ("cluster", &["api", "runtime"]),
    ("certificates", &["cluster", "runtime"]),
    ("events", &["runtime"]),
    ("admission", &["api", "cluster", "events", "injection", "runtime"]),
    ("repair", &["api", "cluster", "events", "injection", "runtime"]),
    ("postgres", &[]),
    ("databases", &["api", "cluster", "events", "postgres", "runtime"]),
    ("sidecars", &["api", "postgres", "runtime"]),
    ("userlists", &["api", "cluster", "events", "postgres", "runtime"]),
    (
        "cli",
        &[
            "admission",
            "api",
            "certificates",
            "cluster",
            "databases",
            "events",
            "injection",
            "monitoring",
            "repair",
            "runtime",
            "sidecars",
            "userlists",
        ],
    ),
    ("main", &["cli"]),
];

/// Something that part of the house must not use.
struct Ban {
    /// Paths, or ends and middles of them: `std::fs` also bans `std::fs::read`, and `Instant::now` also `std::time::Instant::now`.
    paths: &'static [&'static str],
    /// Which modules it concerns.
    concerns: fn(&Module) -> bool,
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        paths: &[
            "std::fs",
            "std::process",
            "std::thread",
            "io::stdin",
            "io::stdout",
            "io::stderr",
            "TcpListener",
            "TcpStream",
            "UdpSocket",
            "ToSocketAddrs",
            "tokio",
            "hyper",
            "axum",
            "kube::Client",
            "kube::client",
            "kube::Api",
        ],
        concerns: Module::is_pure,
        why: "pure code does no I/O",
    },
    Ban { paths: &["std::env"], concerns: Module::is_pure, why: "pure code reads no environment" },
    Ban {
        paths: &["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now"],
        concerns: Module::is_pure,
        why: "pure code reads no clock; the time comes in as an argument",
    },
    Ban {
        paths: &["anyhow"],
        concerns: |module| !["cli", "main"].contains(&module.room()),
        why: "below the command line each module has an error type of its own",
    },
    Ban {
        paths: &["tokio::spawn", "tokio::task", "task::spawn", "task::spawn_blocking", "thread::spawn"],
        concerns: |module| !["cli", "runtime"].contains(&module.room()),
        why: "each task is joined by those who start them",
    },
];

/// Rooms that are pure as a whole; so is each module named `plan`.
const PURE: [&str; 2] = ["api", "injection"];

/// Longer files are to be divided.
const MOST_LINES: usize = 600;

#[test]
fn each_room_uses_only_what_it_may() {
    let wrong: Vec<String> = modules().iter().flat_map(wrong_arrows).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_used_where_it_is_banned() {
    let wrong: Vec<String> = modules().iter().flat_map(banned_uses).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_has_a_row_for_each_room() {
    let mut rooms: Vec<String> = modules().iter().map(|module| module.room().to_owned()).filter(|room| room != "lib").collect();
    rooms.sort();
    rooms.dedup();
    let mut rows: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    rows.sort_unstable();
    assert_eq!(rooms, rows);
}

#[test]
fn files_are_short_enough_to_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src", "tests", "benches"].iter().flat_map(|folder| sources(&root.join(folder)));
    let lengths = files.map(|file| (fs::read_to_string(&file).unwrap().lines().count(), file));
    let long: Vec<_> = lengths.filter(|(lines, _)| *lines > MOST_LINES).collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines: {long:?}");
}

#[test]
fn a_wrong_arrow_is_found_however_it_is_written() {
    for (file, source, found) in [
        ("injection/plan.rs", "use crate::cluster::watch;", Some("src/injection/plan.rs:1: crate::cluster::watch")),
        (
            "api/crd.rs",
            "use crate::{\n    api::{duration, quantity},\n    runtime::{clock, readiness},\n};",
            Some("src/api/crd.rs:3: crate::runtime::clock"),
        ),
        ("cluster/mod.rs", "\nlet x = super::injection::inject();", Some("src/cluster/mod.rs:2: crate::injection::inject")),
        ("cluster/watch.rs", "use super::{super::admission as above};", Some("src/cluster/watch.rs:1: crate::admission")),
        ("cluster/watch.rs", "use super::snapshot; use crate::{api, runtime};", None),
        ("injection/mod.rs", "// crate::cli\nlet text = \"crate::cli\"; /* crate::cli */", None),
        ("api/mod.rs", "fn pure() {}\n#[cfg(test)]\nmod tests {\n    use crate::cli;\n}", None),
    ] {
        let wrong = wrong_arrows(&Module::new(Path::new(file), source));
        assert_eq!(wrong.first().map(|line| line.starts_with(found.unwrap_or("nothing"))), found.map(|_| true), "{file}: {wrong:?}");
    }
}

#[test]
fn a_banned_use_is_found_where_it_matters() {
    for (file, source, count) in [
        ("injection/plan.rs", "let now = std::time::Instant::now();", 1),
        ("injection/plan.rs", "use std::{collections::BTreeMap, env, time::{Duration, Instant}};", 1),
        ("certificates/plan.rs", "use std::time::SystemTime; fn at(now: SystemTime) {} fn now() { SystemTime::now() }", 1),
        ("sessions/plan.rs", "use tokio::time::sleep;", 1),
        ("sessions/apply.rs", "use tokio::time::sleep;", 0),
        ("sessions/apply.rs", "tokio::spawn(async {}); fn f() -> anyhow::Result<()> {}", 2),
        ("api/address.rs", "use std::net::IpAddr;", 0),
        ("cli/serve.rs", "use anyhow::Context; use std::fs;", 0),
    ] {
        let wrong = banned_uses(&Module::new(Path::new(file), source));
        assert_eq!(wrong.len(), count, "{file}: {wrong:?}");
    }
}

fn wrong_arrows(module: &Module) -> Vec<String> {
    let room = module.room();
    let allowed = ROOMS.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed).unwrap_or_default();
    let uses = module.uses.iter().filter_map(|used| Some((used, used.path.strip_prefix("crate::")?.split("::").next()?)));
    let wrong = uses.filter(|(_, target)| *target != room && is_room(target) && !allowed.contains(target));
    wrong.map(|(used, target)| format!("{}:{}: {} ({room} may not use {target})", module.file, used.line, used.path)).collect()
}

/// `crate::…` may also name a macro or a function of `lib.rs`.
fn is_room(name: &str) -> bool {
    ROOMS.iter().any(|(room, _)| *room == name)
}

fn banned_uses(module: &Module) -> Vec<String> {
    let bans = BANS.iter().filter(|ban| (ban.concerns)(module));
    let wrong = bans.flat_map(|ban| {
        let is_banned = |used: &&Use| ban.paths.iter().any(|banned| format!("::{}::", used.path).contains(&format!("::{banned}::")));
        module.uses.iter().filter(is_banned).map(|used| format!("{}:{}: {} ({})", module.file, used.line, used.path, ban.why))
    });
    wrong.collect()
}

/// A source file below `src/`.
struct Module {
    /// Its path from the repository's root.
    file: String,
    /// Where it stands in the crate: `["injection", "plan"]`.
    place: Vec<String>,
    uses: Vec<Use>,
}

/// A path that names something, such as `std::fs::read`.
struct Use {
    path: String,
    line: usize,
}

impl Module {
    fn new(file: &Path, source: &str) -> Self {
        let mut place: Vec<String> = file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        place.pop_if(|last| last == "mod");
        let code = without_tests(&without_comments_and_strings(source)).to_owned();
        let uses = Paths::new(&code).collect().into_iter().map(|(path, line)| Use { path: absolute(&path, &place), line }).collect();
        Self { file: format!("src/{}", file.display()), place, uses }
    }

    fn room(&self) -> &str {
        self.place.first().map_or("", String::as_str)
    }

    fn is_pure(&self) -> bool {
        PURE.contains(&self.room()) || self.place.iter().any(|part| part == "plan")
    }
}

/// `super::x` and `outrigger::x` as `crate::…`, seen from a module.
fn absolute(path: &str, place: &[String]) -> String {
    if let Some(rest) = path.strip_prefix("outrigger::") {
        return format!("crate::{rest}");
    }
    let parts: Vec<&str> = path.split("::").collect();
    let up = parts.iter().take_while(|part| **part == "super").count();
    if up == 0 {
        return path.to_owned();
    }
    let above = place.iter().take(place.len().saturating_sub(up)).map(String::as_str);
    ["crate"].into_iter().chain(above).chain(parts.into_iter().skip(up)).collect::<Vec<_>>().join("::")
}

/// All modules of the product, without those that only hold tests.
fn modules() -> Vec<Module> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root).into_iter().filter(|file| !file.ends_with("tests.rs"));
    let modules: Vec<_> = files.map(|file| Module::new(file.strip_prefix(&root).unwrap(), &fs::read_to_string(&file).unwrap())).collect();
    assert!(modules.iter().map(|module| module.uses.len()).sum::<usize>() > 500, "the sources are found and read");
    modules
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    files
}

/// The part before the tests, which stand last.
fn without_tests(source: &str) -> &str {
    source.find("#[cfg(test)]\nmod tests {").map_or(source, |start| source.split_at(start).0)
}

/// The same text with spaces in the place of comments and strings, so that all else keeps its line.
fn without_comments_and_strings(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let skipped = skipped_length(rest);
        let (taken, after) = rest.split_at(skipped.unwrap_or_else(|| next.len_utf8()));
        match skipped {
            Some(_) => code.extend(taken.chars().map(|character| if character == '\n' { '\n' } else { ' ' })),
            None => code.push_str(taken),
        }
        rest = after;
    }
    code
}

/// How long the comment, string or character is that the text begins with.
fn skipped_length(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(text.find("*/").map_or(text.len(), |end| end + 2));
    }
    if let Some(raw) = text.strip_prefix('r').filter(|raw| raw.trim_start_matches('#').starts_with('"')) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let opening = 1 + hashes + 1;
        return text.get(opening..)?.find(&end).map(|length| opening + length + end.len());
    }
    match text.as_bytes() {
        [b'"', ..] => Some(quoted_length(text)),
        // A character, not a lifetime: it is closed again.
        [b'\'', b'\\', ..] => Some(2 + text.get(3..)?.find('\'')? + 2),
        [b'\'', ..] => text.char_indices().nth(2).filter(|(_, third)| *third == '\'').map(|(at, _)| at + 1),
        _ => None,
    }
}

fn quoted_length(text: &str) -> usize {
    let mut is_escaped = true; // the quote that opens
    for (at, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Reads paths out of code: `a::b`, and `a::{b, c::d}` as two.
struct Paths<'code> {
    code: &'code str,
    at: usize,
    found: Vec<(String, usize)>,
}

impl<'code> Paths<'code> {
    fn new(code: &'code str) -> Self {
        Self { code, at: 0, found: Vec::new() }
    }

    fn collect(mut self) -> Vec<(String, usize)> {
        while self.at < self.code.len() {
            if self.word().is_some() {
                self.path("");
            } else {
                self.at += self.rest().chars().next().map_or(1, char::len_utf8);
            }
        }
        self.found
    }

    /// Reads a path and remembers it if it has more than one part.
    fn path(&mut self, prefix: &str) {
        let start = self.at;
        let mut path = prefix.to_owned();
        while let Some(word) = self.word() {
            self.at += word.len();
            if word != "self" || path.is_empty() {
                path = if path.is_empty() { word.to_owned() } else { format!("{path}::{word}") };
            }
            if !self.skip("::") {
                break;
            }
            if self.skip("{") {
                return self.list(&path);
            }
        }
        if path.contains("::") {
            let line = self.code.get(..start).unwrap_or_default().matches('\n').count() + 1;
            self.found.push((path, line));
        }
    }

    fn list(&mut self, prefix: &str) {
        while !self.skip("}") && self.at < self.code.len() {
            if self.word().is_some() {
                self.path(prefix);
            } else {
                self.at += self.rest().chars().next().map_or(1, char::len_utf8);
            }
        }
    }

    /// The identifier that comes next.
    fn word(&self) -> Option<&'code str> {
        let end = self.rest().find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or_else(|| self.rest().len());
        self.rest().get(..end).filter(|word| !word.is_empty())
    }

    /// Whether the text comes next, after white space; if so, goes behind it and the white space that follows.
    fn skip(&mut self, text: &str) -> bool {
        let Some(after) = self.rest().trim_start().strip_prefix(text) else { return false };
        self.at = self.code.len() - after.trim_start().len();
        true
    }

    fn rest(&self) -> &'code str {
        self.code.get(self.at..).unwrap_or_default()
    }
}
