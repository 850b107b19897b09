//! The folders the provisioner lives by: connection files, and Guacamole's configuration.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

use super::{
    desired::Desired,
    document::{self, PASSWORD_FILE, Password, Reading},
    model::{Digest, Finding},
    properties::Properties,
};

/// A larger file, in bytes, is no connection file: a Secret holds 1 MiB.
const LARGEST_FILE: u64 = 16 << 20;
/// All connection files together have no more bytes.
const LARGEST_SUM: u64 = 64 << 20;

/// How many bytes are held of a file that is only looked at: what a process once had, it seldom gives back whole.
const PIECE: usize = 64 << 10;

/// How the names of connection files end.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Where `guacamole.properties` may be in the folder of the configuration; the first that is there counts.
const PROPERTIES: [&str; 2] = ["guacamole/guacamole.properties", "guacamole.properties"];

/// Reads all connection files: those in the folder itself, and those in its folders. Hidden ones are left out, which the kubelet's own
/// `..data` is.
pub(crate) fn read_connections(folder: &Path, reading: &mut Reading<'_>) -> Desired {
    let mut desired = Desired::default();
    let Found { files, empty_folders, problems, .. } = find(folder);
    desired.empty_folders = empty_folders;
    let mut left = LARGEST_SUM;
    for (name, path) in files {
        match read_text(&path, left) {
            Ok(text) => {
                left = left.saturating_sub(text.len() as u64);
                let mut document = reading.file(&name, &text);
                drop(SecretString::from(text));
                resolve_passwords(&mut document, &path);
                desired.add(&name, document);
            }
            Err(error) => desired.add_unreadable(&name, &format!("it can't be read: {error}")),
        }
    }
    for (path, error) in problems {
        // What it held is not known, so nothing may be taken for gone.
        desired.is_incomplete = true;
        desired.findings.push(Finding::error(path.display(), format!("it can't be looked at, so nothing is removed: {error}")));
    }
    desired.settle();
    desired
}

/// The digest of all connection files and of the configuration. None if something can't be read, or if files name further ones: then there
/// is more to it than these bytes.
pub(crate) fn digest(connections: &Path, configuration: &Path) -> Option<Digest> {
    let Found { files, empty_folders, problems, .. } = find(connections);
    if !problems.is_empty() {
        return None;
    }
    let properties = PROPERTIES.map(|file| configuration.join(file)).into_iter().filter(|path| path.exists());
    let properties = properties.map(|path| (path.display().to_string(), path));
    let mut context = Context::new(&SHA256);
    for folder in empty_folders {
        context.update(format!("{folder}/\0").as_bytes());
    }
    let mut left = LARGEST_SUM;
    for (name, path) in files.into_iter().chain(properties) {
        let (length, names_files) = add_to_digest(&mut context, &path, left).ok()?;
        if names_files {
            return None;
        }
        context.update(format!("{name}\0{length}\0").as_bytes());
        left = left.saturating_sub(length);
    }
    context.finish().as_ref().try_into().ok()
}

/// Adds a file of no more bytes than are left for it to a digest, piece by piece. Returns its length, and whether it names further files.
fn add_to_digest(context: &mut Context, path: &Path, left: u64) -> io::Result<(u64, bool)> {
    let word = PASSWORD_FILE.as_bytes();
    let (mut file, most) = open(path, left)?;
    let mut piece = Zeroizing::new(Vec::with_capacity(PIECE));
    let (mut length, mut is_named) = (0, false);
    loop {
        // The word may lie across two pieces.
        let kept = piece.len().min(word.len() - 1);
        let over = piece.len() - kept;
        piece.drain(..over);
        let count = file.by_ref().take((PIECE - kept) as u64).read_to_end(&mut piece)?;
        if count == 0 {
            return Ok((length, is_named));
        }
        length += count as u64;
        if length > most {
            return Err(too_large(most));
        }
        context.update(piece.get(kept..).unwrap_or_default());
        is_named |= piece.windows(word.len()).any(|bytes| bytes.first() == word.first() && bytes == word);
    }
}

/// What there is in the folder of connections.
#[derive(Default)]
struct Found {
    /// Connection files, with their names relative to the folder, sorted.
    files: Vec<(String, PathBuf)>,
    /// The folders in it, sorted.
    folders: Vec<PathBuf>,
    /// The names of those in which there is nothing at all; that of the folder itself is empty.
    empty_folders: BTreeSet<String>,
    /// What can't be looked at, so that it isn't known which files there are.
    problems: Vec<(PathBuf, io::Error)>,
}

/// Looks for connection files in a folder, and in those in it.
fn find(folder: &Path) -> Found {
    let mut found = Found::default();
    found.list(folder, "");
    let mut folders = std::mem::take(&mut found.folders);
    folders.sort();
    for inner in &folders {
        let name = inner.file_name().unwrap_or_default().to_string_lossy();
        found.list(inner, &format!("{name}/"));
    }
    found.files.sort();
    Found { folders, ..found }
}

impl Found {
    fn list(&mut self, folder: &Path, prefix: &str) {
        let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
        match listed {
            Ok(paths) if paths.is_empty() => drop(self.empty_folders.insert(prefix.trim_end_matches('/').to_owned())),
            Ok(paths) => paths.into_iter().for_each(|path| self.entry(path, prefix)),
            Err(error) => self.problems.push((folder.to_owned(), error)),
        }
    }

    fn entry(&mut self, path: PathBuf, prefix: &str) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.')) else { return };
        let is_file_of_ours = path.extension().and_then(|extension| extension.to_str()).is_some_and(|name| EXTENSIONS.contains(&name));
        // It may be a link, and what that leads to may be away.
        match fs::metadata(&path) {
            Ok(entry) if entry.is_dir() && prefix.is_empty() => self.folders.push(path),
            Ok(entry) if entry.is_dir() => {}
            // What is wrong with a file is found when it is read.
            _ if is_file_of_ours => self.files.push((format!("{prefix}{name}"), path)),
            Err(error) if prefix.is_empty() => self.problems.push((path, error)),
            _ => {}
        }
    }
}

/// The folders in which a change may mean something.
pub(crate) fn watched(connections: &Path, configuration: &Path) -> Vec<PathBuf> {
    let mut folders = vec![connections.to_owned()];
    folders.extend(find(connections).folders);
    folders.extend(PROPERTIES.iter().filter_map(|file| configuration.join(file).parent().map(Path::to_owned)));
    folders
}

/// Why the configuration can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It is at none of its places.
    #[error("there is no guacamole.properties in {folder}, nor in {folder}/guacamole: mount it there, or name a password file")]
    Missing {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// It is there.
    #[error("{path} can't be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is nothing in a user's file.
    #[error("{path} is empty, and nobody may sign in without a password: write one into it, or remove the file")]
    Empty {
        /// Which.
        path: PathBuf,
    },
}

/// Reads `guacamole.properties`.
pub(crate) fn read_properties(folder: &Path) -> Result<Properties, ConfigurationError> {
    for path in PROPERTIES.map(|file| folder.join(file)) {
        match read_text(&path, LARGEST_FILE) {
            Ok(text) => return Ok(Properties::read(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ConfigurationError::Unreadable { path, source }),
        }
    }
    Err(ConfigurationError::Missing { folder: folder.to_owned() })
}

/// Reads a password from a file. The line end that editors add is not part of it.
pub(crate) fn read_password(path: &Path) -> Result<SecretString, ConfigurationError> {
    let text = read_text(path, LARGEST_FILE).map_err(|source| ConfigurationError::Unreadable { path: path.to_owned(), source })?;
    Ok(text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text)).into())
}

/// Reads a user's password, which is never empty.
pub(crate) fn read_password_of_user(path: &Path) -> Result<SecretString, ConfigurationError> {
    let password = read_password(path)?;
    if password.expose_secret().is_empty() { Err(ConfigurationError::Empty { path: path.to_owned() }) } else { Ok(password) }
}

/// Reads a file of no more bytes than are left for it.
fn read_text(path: &Path, left: u64) -> io::Result<String> {
    let (file, most) = open(path, left)?;
    // It seldom grows then, which would leave a copy of what it holds behind.
    let length = file.metadata()?.len().min(most);
    let mut text = String::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
    file.take(most + 1).read_to_string(&mut text)?;
    if text.len() as u64 > most {
        drop(SecretString::from(text));
        return Err(too_large(most));
    }
    Ok(text)
}

/// Opens a file, and says how many bytes of it are read at most. What is no file could be read without end.
fn open(path: &Path, left: u64) -> io::Result<(fs::File, u64)> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no ordinary file"));
    }
    Ok((fs::File::open(path)?, LARGEST_FILE.min(left)))
}

fn too_large(most: u64) -> io::Error {
    io::Error::other(format!("it has more than the {most} bytes that are read of it"))
}

/// Reads the passwords that stand in files of their own.
fn resolve_passwords(document: &mut document::Document, file: &Path) {
    for user in &mut document.users {
        let Password::File(path) = &user.password else { continue };
        let path = file.parent().unwrap_or(file).join(path);
        match read_password_of_user(&path) {
            Ok(password) => user.password = Password::Given(password),
            Err(error) => {
                let subject = document::subject(&user.file, "user", &user.name);
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                document.findings.push(Finding::error(subject, format!("{error}{cause}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(folder: &Path) -> Desired {
        read_connections(folder, &mut Reading::whole())
    }

    const CONNECTION: &str = "name: n\nprotocol: ssh\nparameters: {hostname: h}\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn files_are_found_where_they_may_be_and_once() {
        let folder = folder(&[
            ("one/..2026/connection.yaml", CONNECTION),
            ("two/more.yml", "name: m\nprotocol: ssh\nparameters: {hostname: h}\n"),
            ("all.json", "[]"),
            ("notes.txt", "not: yaml: at: all"),
            (".hidden.yaml", "broken: ["),
            ("a/b/too-deep.yaml", "broken: ["),
        ]);
        symlink("..2026", folder.path().join("one/..data")).unwrap();
        symlink("..data/connection.yaml", folder.path().join("one/connection.yaml")).unwrap();
        let desired = read(folder.path());
        let origins: Vec<_> = desired.connections.iter().map(|connection| connection.origin.to_string()).collect();
        assert_eq!((origins, desired.findings), (vec!["one/connection.yaml".to_owned(), "two/more.yml".to_owned()], vec![]));
    }

    #[test]
    fn a_missing_folder_is_not_an_empty_one() {
        let desired = read(Path::new("/nonexistent"));
        assert!(desired.is_incomplete && desired.findings[0].to_string().contains("/nonexistent"));
        let empty = tempfile::tempdir().unwrap();
        assert!(!read(empty.path()).is_incomplete);
    }

    #[test]
    fn a_folder_that_is_away_is_not_an_empty_one() {
        let folder = folder(&[("good.yaml", CONNECTION)]);
        symlink("/nonexistent/share", folder.path().join("office")).unwrap();
        let desired = read(folder.path());
        assert!(desired.is_incomplete && desired.findings[0].subject.ends_with("/office"), "{:?}", desired.findings);
        assert_eq!(desired.connections.len(), 1, "the others count");
        assert!(digest(folder.path(), folder.path()).is_none());
    }

    #[test]
    fn what_could_be_read_without_end_is_not_read() {
        let folder = folder(&[("good.yaml", CONNECTION)]);
        symlink("/dev/zero", folder.path().join("zero.yaml")).unwrap();
        fs::File::create(folder.path().join("large.yaml")).unwrap().set_len(LARGEST_FILE + 1).unwrap();
        let desired = read(folder.path());
        let findings: Vec<_> = desired.findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            findings,
            [
                "large.yaml: it can't be read: it has more than the 16777216 bytes that are read of it",
                "zero.yaml: it can't be read: it is no ordinary file"
            ]
        );
        assert_eq!(desired.connections.len(), 1);
    }

    #[test]
    fn what_is_no_text_is_named() {
        let folder = folder(&[("good.yaml", CONNECTION)]);
        fs::write(folder.path().join("bad.yaml"), [0xff, 0xfe]).unwrap();
        symlink("nowhere", folder.path().join("gone.yaml")).unwrap();
        let desired = read(folder.path());
        assert_eq!((desired.connections.len(), desired.findings.len(), desired.kept_files.len()), (1, 2, 2));
    }

    #[test]
    fn passwords_may_stand_in_files_of_their_own() {
        let folder = folder(&[
            ("u/users.yaml", "users: [{name: a, passwordFile: pw}, {name: b, passwordFile: none}, {name: c, passwordFile: empty}]"),
            ("u/pw", "geheim\n"),
            ("u/empty", "\n"),
        ]);
        let desired = read(folder.path());
        assert!(matches!(&desired.users["a"].password, Password::Given(password) if password.expose_secret() == "geheim"));
        assert!(desired.findings[0].to_string().starts_with("u/users.yaml: user \"b\": "));
        assert!(!matches!(desired.users["c"].password, Password::Given(_)), "an empty password is none");
        assert!(desired.findings[1].to_string().contains("u/empty is empty"), "{:?}", desired.findings);
    }

    #[test]
    fn the_digest_sees_every_byte_and_files_that_name_others_have_none() {
        let long = "#".repeat(3 * PIECE);
        let of = |text: &str| {
            let folder = folder(&[("a.yaml", text)]);
            digest(folder.path(), folder.path())
        };
        let whole = of(&long);
        assert!(whole.is_some() && whole == of(&long));
        for place in [0, PIECE - 1, PIECE, 2 * PIECE + 7, 3 * PIECE - 1] {
            let mut changed = long.clone();
            changed.replace_range(place..=place, "-");
            assert!(of(&changed).is_some() && of(&changed) != whole, "{place}");
        }
        assert_ne!(of(&long[1..]), whole);
        for place in [0, PIECE - PASSWORD_FILE.len(), PIECE - 5, PIECE - 1, PIECE, 2 * PIECE - 20, 2 * PIECE - 3] {
            let mut naming = long.clone();
            naming.replace_range(place..place + PASSWORD_FILE.len(), PASSWORD_FILE);
            assert_eq!(of(&naming), None, "{place}");
        }
        let (one, other) = (folder(&[("a.yaml", "x"), ("b.yaml", "yz")]), folder(&[("a.yaml", "xy"), ("b.yaml", "z")]));
        assert_ne!(digest(one.path(), one.path()), digest(other.path(), other.path()));
    }

    #[test]
    fn properties_are_found_at_both_places() {
        let both = folder(&[("guacamole/guacamole.properties", "postgresql-port: 1"), ("guacamole.properties", "postgresql-port: 2")]);
        let port =
            |folder: &Path| read_properties(folder).unwrap().target(&super::super::properties::DatabaseSettings::default()).unwrap().port;
        assert_eq!(port(both.path()), 1);
        assert_eq!(port(folder(&[("guacamole.properties", "postgresql-port: 2")]).path()), 2);
        assert!(matches!(read_properties(Path::new("/nonexistent")), Err(ConfigurationError::Missing { .. })));
    }
}
