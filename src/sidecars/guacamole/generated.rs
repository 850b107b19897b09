//! Passwords that are generated: each stands in a file of its own, where an administrator finds it, before its user has it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use secrecy::{ExposeSecret, SecretString};

use super::folder::{self, ConfigurationError};

/// Characters of a password: 24 of these 64 are 144 bits.
const LENGTH: usize = 24;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Bytes of the name of a file.
const LONGEST_NAME: usize = 255;
/// Only whoever the provisioner runs as may read it, and nobody writes it again.
const MODE: u32 = 0o400;

/// Why there is no generated password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GenerateError {
    /// The operating system gives none.
    #[error("there are no random bytes to be had")]
    NoRandomBytes,
    /// Its file can't be made.
    #[error("{path} can't be written: {source}")]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its file was made before, and can't be read.
    #[error(transparent)]
    Unreadable(#[from] ConfigurationError),
}

/// A user's password: what their file says, which is made if it isn't there. What is there is never written again.
pub(crate) fn obtain(folder: &Path, user: &str) -> Result<SecretString, GenerateError> {
    let path = folder.join(file_name(user));
    if !path.exists() {
        let password = generate()?;
        match write(&path, &password) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(GenerateError::Unwritable { path, source }),
            Ok(()) => return Ok(password),
        }
    }
    Ok(folder::read_password_of_user(&path)?)
}

/// A password that nobody has seen yet.
pub(crate) fn generate() -> Result<SecretString, GenerateError> {
    random_text().map(SecretString::from)
}

fn random_text() -> Result<String, GenerateError> {
    let mut bytes = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| GenerateError::NoRandomBytes)?;
    let characters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 64)));
    Ok(characters.map(|character| char::from(*character)).collect())
}

/// Makes the file whole or not at all, and takes no other file's place.
fn write(path: &Path, password: &SecretString) -> io::Result<()> {
    // Whatever a crash has left, or another process does at the same time, is not in the way. No user's file has a name with a dot in front.
    let new = path.with_file_name(format!(".{}.new", random_text().map_err(io::Error::other)?));
    let moved = create(&new, password).and_then(|()| Ok(renameat_with(CWD, &new, CWD, path, RenameFlags::NOREPLACE)?));
    if moved.is_err() {
        drop(fs::remove_file(&new));
    }
    match moved {
        // Some file systems, such as NFS, can't move a file that way.
        Err(error) if is_unsupported(&error) => create(path, password)?,
        moved => moved?,
    }
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// What file systems say of flags that they don't know.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP))
}

/// Makes a file that isn't there.
fn create(path: &Path, password: &SecretString) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    let written = file.write_all(password.expose_secret().as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        drop(fs::remove_file(path));
    }
    written
}

/// The name of a user's file: the user's, with `%` and two digits for each byte that a name of a file might not have. Where that is too
/// long, a digest takes the place of its end, after a `~`, which no other name has.
fn file_name(user: &str) -> String {
    let encode = |(index, byte): (usize, u8)| {
        let is_plain = byte.is_ascii_alphanumeric() || b"@_-".contains(&byte) || (byte == b'.' && index > 0);
        if is_plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    let name: String = user.bytes().enumerate().map(encode).collect();
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let digest = digest(&SHA256, user.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let rest = LONGEST_NAME - digest.len() - 1;
    name.chars().take(rest).chain(['~']).chain(digest.chars()).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_password_is_made_once_and_only_its_reader_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = obtain(folder.path(), "alice").unwrap();
        let path = folder.path().join("alice");
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), first.expose_secret().len()), (first.expose_secret(), LENGTH));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(obtain(folder.path(), "alice").unwrap().expose_secret(), first.expose_secret());
        assert_ne!(obtain(folder.path(), "bob").unwrap().expose_secret(), first.expose_secret());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_file_that_is_there_is_kept_and_what_a_crash_left_is_not_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("alice"), "chosen\n").unwrap();
        fs::write(folder.path().join(".bob.new"), "").unwrap();
        assert_eq!(obtain(folder.path(), "alice").unwrap().expose_secret(), "chosen");
        assert_eq!(obtain(folder.path(), "bob").unwrap().expose_secret().len(), LENGTH);
        for make in [write, create] {
            assert_eq!(make(&folder.path().join("alice"), &"other".into()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read_to_string(folder.path().join("alice")).unwrap(), "chosen\n");
    }

    #[test]
    fn an_empty_file_is_no_password() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "\n"] {
            fs::write(folder.path().join("alice"), text).unwrap();
            let error = obtain(folder.path(), "alice").unwrap_err().to_string();
            assert!(error.contains("/alice is empty"), "{error}");
        }
    }

    #[test]
    fn several_at_once_agree_on_one_password() {
        let folder = tempfile::tempdir().unwrap();
        let passwords: BTreeSet<String> = std::thread::scope(|scope| {
            let obtain = || (0..50).map(|user| obtain(folder.path(), &format!("u{user}")).unwrap().expose_secret().to_owned()).collect();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(obtain)).collect();
            threads.into_iter().flat_map(|thread| -> Vec<String> { thread.join().unwrap() }).collect()
        });
        assert_eq!((passwords.len(), fs::read_dir(folder.path()).unwrap().count()), (50, 50));
    }

    #[test]
    fn long_names_have_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = ("ü".repeat(128), "ü".repeat(127) + "u");
        let passwords = [&one, &other].map(|user| obtain(folder.path(), user).unwrap());
        assert_ne!(passwords[0].expose_secret(), passwords[1].expose_secret());
        assert_eq!(obtain(folder.path(), &one).unwrap().expose_secret(), passwords[0].expose_secret());
        assert!(file_name(&one).len() == LONGEST_NAME && file_name(&one).starts_with("%C3%BC%C3%BC"), "{}", file_name(&one));
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for (user, name) in
            [("alice@example.com", "alice@example.com"), ("..", "%2E."), ("a/b", "a%2Fb"), ("é%", "%C3%A9%25"), (".x", "%2Ex")]
        {
            assert_eq!(file_name(user), name);
        }
        assert!(obtain(Path::new("/nonexistent"), "alice").unwrap_err().to_string().contains("/nonexistent/alice can't be written"));
    }
}
