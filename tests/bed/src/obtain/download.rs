//! Official releases, checked against the checksum published beside them.

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

/// Set once a download failed: the others are not tried, since most likely there is no internet.
static FAILED: OnceLock<()> = OnceLock::new();

/// Whether downloads are worth trying: none has failed yet.
pub(crate) fn are_worth_trying() -> bool {
    FAILED.get().is_none()
}

/// Downloads one program of a package into the workshop and returns where it lies there.
pub(crate) fn program(package: &Package, name: &str, workshop: &Path) -> Result<PathBuf> {
    from_release(&package.release, name, workshop).inspect_err(|_| {
        FAILED.get_or_init(|| ());
    })
}

fn from_release(release: &Release, name: &str, workshop: &Path) -> Result<PathBuf> {
    match release {
        Release::Files { folder } => {
            let url = format!("{folder}/{name}");
            checked(&url, &format!("{url}.sha256"), &workshop.join(name))
        }
        Release::Archive { archive, checksums, folder } => {
            let file = checked(archive, checksums, &workshop.join("release.tar.gz"))?;
            output(Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(workshop))?;
            let program = workshop.join(folder).join(name);
            ensure!(program.is_file(), "{archive} has no {name} in its folder {folder:?}");
            Ok(program)
        }
    }
}

fn checked(url: &str, checksums: &str, file: &Path) -> Result<PathBuf> {
    let published = curl(&[checksums])?;
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

fn curl(arguments: &[&str]) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--silent", "--show-error", "--connect-timeout", CONNECT_SECONDS, "--max-time", TOTAL_SECONDS]);
    output(curl.args(arguments))
}

#[cfg(test)]
mod tests {
    use std::fs;

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
    fn a_program_comes_from_a_folder_of_programs() {
        let upstream = published(&[("kubectl", "the program")]);
        let workshop = tempfile::tempdir().unwrap();
        let release = Release::Files { folder: url(upstream.path()) };
        let program = from_release(&release, "kubectl", workshop.path()).unwrap();
        assert_eq!(fs::read_to_string(program).unwrap(), "the program");
    }

    #[test]
    fn a_program_comes_out_of_an_archive() {
        let upstream = published(&[("helm", "the program")]);
        let archive = upstream.path().join("helm.tar.gz");
        output(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(upstream.path()).arg("helm")).unwrap();
        let checksums = upstream.path().join("checksums");
        fs::write(&checksums, format!("{}  helm.tar.gz\n", digest::of_file(&archive).unwrap())).unwrap();
        let workshop = tempfile::tempdir().unwrap();
        let release = Release::Archive { archive: url(&archive), checksums: url(&checksums), folder: String::new() };
        let program = from_release(&release, "helm", workshop.path()).unwrap();
        assert_eq!(fs::read_to_string(program).unwrap(), "the program");
    }

    #[test]
    fn a_file_that_differs_from_its_checksum_is_refused() {
        let upstream = published(&[("kubectl", "the program")]);
        fs::write(upstream.path().join("kubectl"), "another program").unwrap();
        let workshop = tempfile::tempdir().unwrap();
        let release = Release::Files { folder: url(upstream.path()) };
        let error = from_release(&release, "kubectl", workshop.path()).unwrap_err().to_string();
        assert!(error.contains(&digest::of_bytes(b"the program")), "{error}");
    }

    /// A folder of files with their checksums beside them, as a release host has it.
    fn published(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
            fs::write(folder.path().join(format!("{name}.sha256")), digest::of_bytes(content.as_bytes())).unwrap();
        }
        folder
    }

    fn url(path: &Path) -> String {
        format!("file://{}", path.display())
    }
}
