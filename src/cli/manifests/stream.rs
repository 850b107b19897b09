//! Manifests from files, directories and standard input.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::json;
use super::node::Node;
use super::syntax::{Position, Problem, SyntaxError};
use super::yaml_reader;

/// The most that is read from one file or from standard input, in MiB.
const LIMIT_MEBIBYTES: u64 = 64;

/// Input that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The operating system says no.
    #[error("can't read {name}")]
    Read {
        /// The file, directory or `standard input`.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory without manifests.
    #[error("{directory} holds no manifests: none of its files ends in .yaml, .yml or .json")]
    NoManifests {
        /// The directory.
        directory: String,
    },
    /// Longer than any manifest.
    #[error("{name} is larger than {LIMIT_MEBIBYTES} MiB; split it")]
    TooLarge {
        /// The file or `standard input`.
        name: String,
    },
    /// Neither YAML nor JSON; printed as `file:line:column: problem`.
    #[error("{name}:{error}")]
    Syntax {
        /// The file or `standard input`.
        name: String,
        /// Where and what.
        error: SyntaxError,
    },
}

/// One document of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Where it was read.
    pub origin: Origin,
    /// What it says.
    pub root: Node,
}

/// Where a document was read: printed as `file:line`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file as the user named it, or `standard input`.
    pub name: Arc<str>,
    /// Its number among the file's documents that aren't empty, from 1.
    pub index: usize,
    /// Where its value begins.
    pub position: Position,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.name, self.position.line)
    }
}

/// Reads files in the given order; `-` is `stdin`, and a directory stands for its manifests in order of their names.
///
/// As with `kubectl -f`, the folders in a directory are only read if `recursive`, and a directory's files only if they end
/// in .yaml, .yml or .json. Symbolic links to files are followed, those to folders are not.
pub fn read(paths: &[PathBuf], recursive: bool, stdin: &mut dyn Read) -> Result<Vec<Document>, StreamError> {
    let mut documents = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            documents.extend(read_from("standard input", stdin)?);
            continue;
        }
        for file in files_at(path, recursive)? {
            let name = file.display().to_string();
            let mut opened = fs::File::open(&file).map_err(|source| StreamError::Read { name: name.clone(), source })?;
            documents.extend(read_from(&name, &mut opened)?);
        }
    }
    Ok(documents)
}

fn read_from(name: &str, reader: &mut dyn Read) -> Result<Vec<Document>, StreamError> {
    let limit = LIMIT_MEBIBYTES << 20;
    let mut bytes = Vec::new();
    let read = reader.take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|source| StreamError::Read { name: name.to_owned(), source })?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        read_bytes(name, &bytes)
    } else {
        Err(StreamError::TooLarge { name: name.to_owned() })
    }
}

/// Reads the documents of one file, given its name for messages and its bytes: UTF-8, or UTF-16 with its mark.
pub fn read_bytes(name: &str, bytes: &[u8]) -> Result<Vec<Document>, StreamError> {
    let syntax = |error| StreamError::Syntax { name: name.to_owned(), error };
    let text = decode(bytes).map_err(syntax)?;
    let values = read_text(&text).map_err(syntax)?;
    let name: Arc<str> = name.into();
    let documents = values.into_iter().filter(|(_, root)| *root != Node::Null);
    let numbered = documents
        .enumerate()
        .map(|(index, (position, root))| Document { origin: Origin { name: Arc::clone(&name), index: index + 1, position }, root });
    Ok(numbered.collect())
}

/// The manifests at a path: a file whatever its name, or what a directory holds.
fn files_at(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, StreamError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    collect_files(path, recursive, &mut files)
        .map_err(|(directory, source)| StreamError::Read { name: directory.display().to_string(), source })?;
    if files.is_empty() {
        return Err(StreamError::NoManifests { directory: path.display().to_string() });
    }
    files.sort();
    Ok(files)
}

/// An error comes with the directory that couldn't be listed.
fn collect_files(directory: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let here = |error| (directory.to_owned(), error);
    for entry in fs::read_dir(directory).map_err(here)? {
        let entry = entry.map_err(here)?;
        let path = entry.path();
        let is_folder = entry.file_type().map_err(here)?.is_dir();
        if is_folder && recursive {
            collect_files(&path, recursive, files)?;
        } else if !is_folder && has_manifest_extension(&path) && !path.is_dir() {
            files.push(path);
        }
    }
    Ok(())
}

fn has_manifest_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
}

/// JSON and YAML are told apart by trying: flow mappings of YAML begin as JSON does. Of two errors, the one that was found
/// later in the text belongs to the language that was meant.
fn read_text(text: &str) -> Result<Vec<(Position, Node)>, SyntaxError> {
    if !text.trim_start().starts_with(['{', '[']) {
        return yaml_reader::read_all(text);
    }
    json::read_all(text).or_else(|json_error| {
        let place = |error: &SyntaxError| (error.position.line, error.position.column);
        yaml_reader::read_all(text).map_err(|yaml_error| if place(&yaml_error) > place(&json_error) { yaml_error } else { json_error })
    })
}

/// The text without its byte order mark, which decides between UTF-8 and UTF-16 (YAML 1.2 section 5.2).
fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, SyntaxError> {
    match bytes {
        [0xFE, 0xFF, rest @ ..] => decode_utf16(rest, u16::from_be_bytes).map(Cow::Owned),
        [0xFF, 0xFE, rest @ ..] => decode_utf16(rest, u16::from_le_bytes).map(Cow::Owned),
        _ => {
            let text = std::str::from_utf8(bytes).map_err(|error| json::not_utf8(bytes, error.valid_up_to()))?;
            Ok(Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)))
        }
    }
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, SyntaxError> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut text = String::new();
    for decoded in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match decoded {
            Ok(character) => text.push(character),
            Err(_) => return Err(SyntaxError { position: json::position(&text, text.len()), problem: Problem::NotUtf16 }),
        }
    }
    if odd.is_empty() { Ok(text) } else { Err(SyntaxError { position: json::position(&text, text.len()), problem: Problem::NotUtf16 }) }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn summaries(documents: &[Document]) -> Vec<String> {
        let summary = |document: &Document| format!("{} {} {}", document.origin, document.origin.index, json::write(&document.root));
        documents.iter().map(summary).collect()
    }

    fn read_summaries(text: &str) -> Vec<String> {
        summaries(&read_bytes("f", text.as_bytes()).expect(text))
    }

    fn failure(bytes: &[u8]) -> String {
        read_bytes("f.yaml", bytes).expect_err("it is invalid").to_string()
    }

    #[test]
    fn empty_documents_are_skipped() {
        assert_eq!(read_summaries("---\n# nothing\n---\na: 1\n---\nnull\n---\n- b\n"), ["f:4 1 {\"a\":1}", "f:8 2 [\"b\"]"]);
        assert!(read_summaries("").is_empty());
        assert!(read_summaries("# nothing\n").is_empty());
    }

    #[test]
    fn json_comes_in_several_ways() {
        assert_eq!(read_summaries("{\"a\":1}{\"b\":2}\n{\"c\":3}"), ["f:1 1 {\"a\":1}", "f:1 2 {\"b\":2}", "f:2 3 {\"c\":3}"]);
        assert_eq!(read_summaries("{\"a\":1}\n---\n{\"b\":2}\n"), ["f:1 1 {\"a\":1}", "f:3 2 {\"b\":2}"]);
        assert_eq!(read_summaries("{a: 1, b: no}\n"), ["f:1 1 {\"a\":1,\"b\":false}"]);
        assert_eq!(read_summaries("\u{feff}[1]"), ["f:1 1 [1]"]);
    }

    #[test]
    fn the_error_of_the_language_that_was_meant_is_told() {
        assert_eq!(failure(b"{\"a\": 1,\n\"b\": 2,\n\"a\": 3}"), "f.yaml:3:1: duplicate key `a`; remove one of the two");
        assert_eq!(failure(b"{a: 1,\nb: .inf}"), "f.yaml:2:4: JSON can't hold the number .inf; quote it if it is meant as a string");
    }

    #[test]
    fn utf_16_is_read_by_its_mark() {
        let encode =
            |mark: [u8; 2], unit: fn(u16) -> [u8; 2]| mark.into_iter().chain("a: é🦀".encode_utf16().flat_map(unit)).collect::<Vec<_>>();
        let little = encode([0xFF, 0xFE], u16::to_le_bytes);
        for bytes in [&little, &encode([0xFE, 0xFF], u16::to_be_bytes)] {
            assert_eq!(summaries(&read_bytes("f", bytes).expect("UTF-16")), ["f:1 1 {\"a\":\"é🦀\"}"]);
        }
        let cut = little.split_last().map(|(_, rest)| rest).expect("not empty");
        assert!(failure(cut).contains("UTF-16"));
        assert!(failure(&[0xFF, 0xFE, 0x00, 0xD8, 0x41, 0x00]).contains("UTF-16"));
    }

    #[test]
    fn other_encodings_are_refused_with_their_place() {
        assert_eq!(failure(b"a: 1\nb: \xe9\n"), "f.yaml:2:4: byte 8 is not UTF-8; save the file as UTF-8");
    }

    #[test]
    fn directories_are_read_as_kubectl_reads_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("inner")).expect("a directory");
        for name in ["b.yml", "a.yaml", "c.json", "readme.md", "inner/d.yaml"] {
            fs::write(path(name), "[1]").expect("written");
        }
        let names = |recursive: bool| {
            let documents = read(&[directory.path().to_owned()], recursive, &mut io::empty()).expect("readable");
            let relative = |document: &Document| {
                Path::new(&*document.origin.name).strip_prefix(directory.path()).expect("inside").display().to_string()
            };
            documents.iter().map(relative).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["a.yaml", "b.yml", "c.json"]);
        assert_eq!(names(true), ["a.yaml", "b.yml", "c.json", "inner/d.yaml"]);
        let by_name = read(&[path("readme.md")], false, &mut io::empty()).expect("any name will do if the user gives it");
        assert_eq!(by_name.len(), 1);
    }

    #[test]
    fn what_cannot_be_found_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = directory.path().join("missing.yaml");
        let error = read(std::slice::from_ref(&missing), false, &mut io::empty()).expect_err("it is missing");
        assert_eq!(error.to_string(), format!("can't read {}", missing.display()));
        assert!(error.source().is_some());
        let error = read(&[directory.path().to_owned()], true, &mut io::empty()).expect_err("it is empty");
        assert!(error.to_string().contains("holds no manifests"), "{error}");
    }

    #[test]
    fn standard_input_is_bounded() {
        let documents = read(&["-".into()], false, &mut "a: 1".as_bytes()).expect("valid");
        assert_eq!(summaries(&documents), ["standard input:1 1 {\"a\":1}"]);
        let error = read(&["-".into()], false, &mut io::repeat(b'#')).expect_err("endless");
        assert_eq!(error.to_string(), "standard input is larger than 64 MiB; split it");
    }
}
