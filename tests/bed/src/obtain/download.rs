//! Official releases, checked against the checksum published beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};

use super::command::output;
use super::packages::{Package, Release};
use crate::digest;

/// A machine without internet must not lose more than seconds.
const CONNECT_SECONDS: &str = "4";
const TOTAL_SECONDS: &str = "600";

/// Set once a release host could not be reached: the other downloads do not try again.
static UNREACHABLE: OnceLock<()> = OnceLock::new();

/// Whether downloads are worth trying: no release host was out of reach yet.
pub(crate) fn are_reachable() -> bool {
    UNREACHABLE.get().is_none()
}

/// Downloads one program of a package into the workshop and returns where it lies there.
pub(crate) fn program(package: &Package, name: &str, workshop: &Path) -> Result<PathBuf> {
    match &package.release {
        Release::Files { folder } => {
            let url = format!("{folder}/{name}");
            checked(&url, &format!("{url}.sha256"), &workshop.join(name))
        }
        Release::Archive { archive, checksums, folder } => {
            let file = checked(archive, checksums, &workshop.join("release.tar.gz"))?;
            output(Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(workshop))?;
            found(workshop, folder, name)
        }
    }
}

/// Some releases keep their programs in a folder that is named after the version.
fn found(workshop: &Path, folder: &str, name: &str) -> Result<PathBuf> {
    let direct = workshop.join(folder).join(name);
    if direct.is_file() {
        return Ok(direct);
    }
    for entry in fs::read_dir(workshop)? {
        let inside = entry?.path().join(name);
        if inside.is_file() {
            return Ok(inside);
        }
    }
    anyhow::bail!("the release has no {name}")
}

fn checked(url: &str, checksums: &str, file: &Path) -> Result<PathBuf> {
    let published = fetch(checksums)?;
    let name = url.rsplit('/').next().unwrap_or_default();
    let wanted = checksum_of(name, &published).with_context(|| format!("{checksums} has no checksum for {name}"))?;
    curl(&["--output", &file.display().to_string(), url])?;
    let actual = digest::of_file(file)?;
    ensure!(actual == wanted, "{url} has SHA-256 {actual}, its publisher says {wanted}");
    Ok(file.to_owned())
}

/// Finds a file's checksum in a list of `checksum  name` lines, or in a file that holds one checksum alone.
fn checksum_of(name: &str, published: &str) -> Option<String> {
    let line = published.lines().find(|line| match line.split_whitespace().nth(1) {
        Some(file) => file.trim_start_matches('*') == name,
        None => true,
    })?;
    let checksum = line.split_whitespace().next()?;
    (checksum.len() == 64 && checksum.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| checksum.to_ascii_lowercase())
}

fn fetch(url: &str) -> Result<String> {
    curl(&[url]).inspect_err(|_| {
        // A second setting of the mark changes nothing.
        UNREACHABLE.get_or_init(|| ());
    })
}

fn curl(arguments: &[&str]) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--silent", "--show-error", "--connect-timeout", CONNECT_SECONDS, "--max-time", TOTAL_SECONDS]);
    output(curl.args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_checksum_is_found_by_name_or_alone() {
        let list = format!("{}  other.tar.gz\n{SUM}  etcd.tar.gz\n", SUM.replace('e', "f"));
        assert_eq!(checksum_of("etcd.tar.gz", &list).as_deref(), Some(SUM));
        assert_eq!(checksum_of("kubectl", SUM).as_deref(), Some(SUM));
        assert_eq!(checksum_of("absent.tar.gz", &list), None);
    }

    #[test]
    fn a_page_that_is_no_checksum_is_refused() {
        assert_eq!(checksum_of("kubectl", "<html>not found</html>"), None);
    }

    #[test]
    fn a_file_that_differs_from_its_checksum_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let release = folder.path().join("kubectl");
        fs::write(&release, "tampered").unwrap();
        fs::write(folder.path().join("kubectl.sha256"), SUM).unwrap();
        let url = format!("file://{}", release.display());
        let error = checked(&url, &format!("{url}.sha256"), &folder.path().join("copy")).unwrap_err().to_string();
        assert!(error.contains(SUM), "{error}");
    }
}
