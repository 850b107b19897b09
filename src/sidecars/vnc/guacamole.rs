//! The desktop as a connection of Guacamole: a connection file for the provisioner beside it, with a password of the RFB port that is made
//! here, and that nobody else has.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use serde::Serialize;

use super::{rfb::vnc_auth::LONGEST_PASSWORD, settings::GuacamoleConnection, whole_file};

/// The connection file. The provisioner knows the connection by its name.
const CONNECTION_FILE: &str = "desktop.json";
/// What all of the provisioner's users may read, since it may run as another user: the volume is these two containers' alone.
const CONNECTION_MODE: u32 = 0o444;
/// The password's own file is for us alone.
const PASSWORD_MODE: u32 = 0o400;
/// Characters of a password: 8 of these 64 are 48 bits, and VNC has no more.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Why the desktop can't be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The system gives no random bytes.
    #[error("there are no random bytes for the password of VNC_RFB_PORT")]
    Random,
    /// A file can't be written.
    #[error("{path} can't be written: VNC_GUACAMOLE_FOLDER must be a folder that user {user} may write to", path = path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Who we are.
        user: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection can't be written as JSON.
    #[error("the connection file can't be made")]
    Unspeakable(#[source] serde_json::Error),
}

/// The password of the RFB port: the one that an earlier process of ours has left, else a new one.
///
/// # Errors
/// There are no random bytes, or the file can't be written.
pub fn keep_or_make_password(path: &Path) -> Result<SecretString, RegistrationError> {
    if let Some(password) = kept_password(path) {
        return Ok(password);
    }
    let mut bytes = Zeroizing::new([0; LONGEST_PASSWORD]);
    aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| RegistrationError::Random)?;
    let characters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 64)));
    let password = SecretString::from(characters.map(|character| char::from(*character)).collect::<String>());
    write(path, password.expose_secret().as_bytes(), PASSWORD_MODE)?;
    Ok(password)
}

/// Writes the connection file. Its password opens this port.
///
/// # Errors
/// The file can't be written.
pub fn register(connection: &GuacamoleConnection, port: u16, password: &SecretString) -> Result<(), RegistrationError> {
    let text = connection_file(connection, port, password).map_err(RegistrationError::Unspeakable)?;
    let path = connection.folder.join(CONNECTION_FILE);
    write(&path, text.expose_secret().as_bytes(), CONNECTION_MODE)?;
    tracing::info!(name = connection.name, path = %path.display(), "the desktop is a connection for Guacamole");
    Ok(())
}

fn write(path: &Path, contents: &[u8], mode: u32) -> Result<(), RegistrationError> {
    let user = rustix::process::geteuid().as_raw();
    whole_file::write(path, contents, mode).map_err(|source| RegistrationError::Unwritable { path: path.to_owned(), user, source })
}

/// The password in a file, if it is one that we make.
fn kept_password(path: &Path) -> Option<SecretString> {
    let mut text = String::with_capacity(LONGEST_PASSWORD + 1);
    let longest = u64::try_from(LONGEST_PASSWORD).ok()? + 1;
    let read = fs::File::open(path).ok()?.take(longest).read_to_string(&mut text).is_ok();
    let is_ours = read && text.len() == LONGEST_PASSWORD && text.bytes().all(|byte| ALPHABET.contains(&byte));
    let password = SecretString::from(text);
    is_ours.then_some(password)
}

/// The connection as the provisioner reads it.
fn connection_file(connection: &GuacamoleConnection, port: u16, password: &SecretString) -> Result<SecretString, serde_json::Error> {
    #[derive(Serialize)]
    struct File<'a> {
        name: &'a str,
        protocol: &'static str,
        parameters: Parameters<'a>,
        users: &'a [String],
    }
    #[derive(Serialize)]
    struct Parameters<'a> {
        hostname: String,
        port: String,
        password: &'a str,
    }
    let parameters = Parameters { hostname: connection.host.to_string(), port: port.to_string(), password: password.expose_secret() };
    let file = File { name: &connection.name, protocol: "vnc", parameters, users: &connection.users };
    serde_json::to_string(&file).map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::{Value, json};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn connection(folder: &Path, host: &str) -> GuacamoleConnection {
        let name = "Desk \"1\": {a}".to_owned();
        GuacamoleConnection { folder: folder.to_owned(), name, users: vec!["alice".to_owned()], host: host.parse().unwrap() }
    }

    #[test]
    fn a_password_is_made_once_and_stands_in_the_connection_file() {
        let folder = tempfile::tempdir().unwrap();
        for host in ["10.1.2.3", "fd00::12"] {
            let password_file = folder.path().join("password");
            let before = fs::read_to_string(&password_file).ok();
            let made = keep_or_make_password(&password_file).unwrap();
            register(&connection(folder.path(), host), 5901, &made).unwrap();
            let password = fs::read_to_string(&password_file).unwrap();
            assert!(
                password.len() == 8 && password == made.expose_secret() && before.is_none_or(|before| before == password),
                "it is kept"
            );
            let file = folder.path().join(CONNECTION_FILE);
            let written: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let parameters = json!({"hostname": host, "port": "5901", "password": password});
            assert_eq!(written, json!({"name": "Desk \"1\": {a}", "protocol": "vnc", "parameters": parameters, "users": ["alice"]}));
            assert_eq!((mode(&file), mode(&password_file)), (0o444, 0o400));
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
        }
    }

    #[test]
    fn a_password_that_is_none_of_ours_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let mut seen = std::collections::BTreeSet::new();
        for text in ["", "half", "a b c d ", "123456789", "12345678\n"] {
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            keep_or_make_password(&path).unwrap();
            let password = fs::read_to_string(&path).unwrap();
            assert!(password != text && kept_password(&path).is_some() && seen.insert(password), "{text:?}");
        }
    }

    #[test]
    fn what_can_not_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = keep_or_make_password(&folder.path().join("none/password")).unwrap_err().to_string();
        assert!(error.contains("none/password can't be written: VNC_GUACAMOLE_FOLDER must be"), "{error}");
    }
}
