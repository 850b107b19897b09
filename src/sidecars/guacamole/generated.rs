//! Passwords that are generated: each stands in a file of its own, where an administrator finds it, before its user has it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};

use super::folder::{self, ConfigurationError};

/// Characters of a password: 24 of these 64 are 144 bits.
const LENGTH: usize = 24;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
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
    Ok(folder::read_password(&path)?)
}

/// A password that nobody has seen yet.
pub(crate) fn generate() -> Result<SecretString, GenerateError> {
    let mut bytes = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| GenerateError::NoRandomBytes)?;
    let characters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 64)));
    Ok(characters.map(|character| char::from(*character)).collect::<String>().into())
}

/// Makes the file whole or not at all.
fn write(path: &Path, password: &SecretString) -> io::Result<()> {
    let new = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().display()));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
    file.write_all(password.expose_secret().as_bytes())?;
    file.sync_all()?;
    // Unlike a rename, a link takes no other file's place.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    linked?;
    fs::File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// The name of a user's file: the user's, with `%` and two digits for each byte that a name of a file might not have.
fn file_name(user: &str) -> String {
    let encode = |(index, byte): (usize, u8)| {
        let is_plain = byte.is_ascii_alphanumeric() || b"@_-".contains(&byte) || (byte == b'.' && index > 0);
        if is_plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    user.bytes().enumerate().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
        assert!(write(&folder.path().join("alice"), &"other".into()).is_err());
        assert_eq!(fs::read_to_string(folder.path().join("alice")).unwrap(), "chosen\n");
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
