//! Files that others read while we write them.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// A reader sees the old file or the new one, and nobody but us sees it before it has its mode.
pub(super) fn write(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let mut write = || {
        file.write_all(contents)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        fs::rename(&unfinished, path)
    };
    write().inspect_err(|_| {
        // The first error is the one that counts.
        let _ = fs::remove_file(&unfinished);
    })
}
