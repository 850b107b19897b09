//! The cookie's file: made once, and kept for as long as it is good, since apps read it when they start.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    authority::{self, COOKIE_LENGTH, Cookie},
    display::Display,
};
use crate::sidecars::vnc::whole_file;

/// More than any file with cookies is long.
const LONGEST_FILE: u64 = 64 * 1024;

/// Why there is no cookie.
#[derive(Debug, thiserror::Error)]
pub enum CookieError {
    /// Its file can't be read.
    #[error("XAUTHORITY {path} can't be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is none for the display in it.
    #[error("XAUTHORITY {path} has no cookie for {display}: is it the file of another server?")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The display.
        display: Display,
    },
    /// Its file is somebody else's.
    #[error(
        "XAUTHORITY {path} holds the cookies of other servers, and is left as it is: name a file of its own, or give a command after -- for \
         a desktop that needs none"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Its file can't be written.
    #[error("XAUTHORITY {path} can't be written: name a file on a volume that user {user} may write to")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Who we are.
        user: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system gives no random bytes.
    #[error("there are no random bytes for a cookie")]
    Random,
}

/// The cookie that an X server which somebody else started has for its clients.
///
/// # Errors
/// It can't be read, or there is none.
pub fn read(path: &Path, display: Display) -> Result<Cookie, CookieError> {
    let file = bytes(path).map_err(|source| CookieError::Unreadable { path: path.to_owned(), source })?;
    authority::cookie_for(&file, display).ok_or_else(|| CookieError::Missing { path: path.to_owned(), display })
}

/// The cookie that an earlier process of ours has left, if any has.
///
/// # Errors
/// The file is somebody else's.
pub fn kept(path: &Path, display: Display) -> Result<Option<Cookie>, CookieError> {
    let file = bytes(path).unwrap_or_default();
    if authority::is_foreign(&file) {
        return Err(CookieError::Foreign { path: path.to_owned() });
    }
    Ok(authority::own_cookie(&file, display))
}

/// The cookie of our own server: the one that was kept, else a new one. The file has this mode then.
///
/// # Errors
/// The file can't be written, or is somebody else's.
pub fn keep_or_make(path: &Path, display: Display, mode: u32) -> Result<Cookie, CookieError> {
    let unwritable = |source| CookieError::Unwritable { path: path.to_owned(), user: rustix::process::geteuid().as_raw(), source };
    if let Some(cookie) = kept(path, display)? {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(unwritable)?;
        return Ok(cookie);
    }
    let cookie = random()?;
    whole_file::write(path, &authority::file(display, &cookie), mode).map_err(unwritable)?;
    tracing::info!(path = %path.display(), "a new cookie was made: X clients of an earlier one are not let in");
    Ok(cookie)
}

fn random() -> Result<Cookie, CookieError> {
    let mut secret = [0; COOKIE_LENGTH];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| CookieError::Random)?;
    Ok(Cookie::new(secret.to_vec()))
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(LONGEST_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISPLAY: &str = ":99";

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_cookie_is_kept_with_the_mode_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (path, display) = (folder.path().join("cookie"), DISPLAY.parse().unwrap());
        let made = keep_or_make(&path, display, 0o440).unwrap();
        assert_eq!(mode(&path), 0o440);
        assert_eq!(keep_or_make(&path, display, 0o444).unwrap().expose(), made.expose());
        assert_eq!(mode(&path), 0o444);
        assert_eq!(read(&path, display).unwrap().expose(), made.expose());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_file_that_is_damaged_or_another_displays_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, display) = (folder.path().join("cookie"), DISPLAY.parse().unwrap());
        let first = keep_or_make(&path, ":98".parse().unwrap(), 0o440).unwrap();
        let second = keep_or_make(&path, display, 0o440).unwrap();
        assert_ne!(first.expose(), second.expose());
        fs::remove_file(&path).unwrap();
        fs::write(&path, &authority::file(display, &second)[..20]).unwrap();
        fs::write(path.with_extension("new"), "half of one that was killed").unwrap();
        assert_ne!(keep_or_make(&path, display, 0o440).unwrap().expose(), second.expose());
    }

    #[test]
    fn the_file_of_other_servers_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (path, display) = (folder.path().join("Xauthority"), DISPLAY.parse().unwrap());
        let ours = keep_or_make(&path, display, 0o440).unwrap();
        let two = [authority::file(display, &ours), authority::file(":98".parse().unwrap(), &ours)].concat();
        let mut of_a_host = authority::file(display, &ours);
        of_a_host[..2].copy_from_slice(&256_u16.to_be_bytes());
        for foreign in [two, of_a_host] {
            fs::remove_file(&path).unwrap();
            fs::write(&path, &foreign).unwrap();
            let error = keep_or_make(&path, display, 0o440).unwrap_err().to_string();
            assert!(error.contains("Xauthority holds the cookies of other servers"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), foreign);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let display = DISPLAY.parse().unwrap();
        let nowhere = folder.path().join("none/cookie");
        let error = keep_or_make(&nowhere, display, 0o440).unwrap_err().to_string();
        assert!(error.contains("none/cookie can't be written: name a file on a volume that user"), "{error}");
        assert!(read(&nowhere, display).unwrap_err().to_string().contains("none/cookie can't be read"));
        let path = folder.path().join("cookie");
        keep_or_make(&path, ":98".parse().unwrap(), 0o440).unwrap();
        assert!(read(&path, display).unwrap_err().to_string().ends_with("has no cookie for :99: is it the file of another server?"));
    }
}
