//! Debian packages: installed when we are root and they are missing, or downloaded for their files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};

use super::cache;
use super::command::{find, output};
use crate::{digest, progress};

/// A program, and the Debian packages that bring it with what it needs.
pub(crate) struct Need {
    pub(crate) program: &'static str,
    pub(crate) packages: &'static [&'static str],
}

/// The package lists are fetched once at most.
static UPDATED: OnceLock<()> = OnceLock::new();

/// Installs what is missing of these programs' packages.
pub(crate) fn install(needs: &[Need]) -> Result<()> {
    let _one_at_a_time = cache::lock("debian")?;
    let missing: Vec<&str> = needs.iter().filter(|need| find(need.program).is_none()).flat_map(|need| need.packages).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!("{names} is missing and only root can install it: sudo apt-get install {names}");
    }
    if find("apt-get").is_none() {
        bail!("{names} is missing and there is no apt-get here: install it with this system's own tool");
    }
    progress::say(&format!("installing the Debian packages {names} ..."));
    if apt_get(&missing).is_err() {
        // Old package lists name files that the archive no longer has.
        update()?;
        apt_get(&missing).with_context(|| format!("cannot install {names}"))?;
    }
    progress::say(&format!("installed {names}"));
    Ok(())
}

/// The files of these packages, in the versions that this machine's sources offer now. Needs no root and installs nothing.
pub(crate) fn download(packages: &[&str]) -> Result<Vec<PathBuf>> {
    if find("apt-get").is_none() || find("dpkg-deb").is_none() {
        bail!("the Debian packages {} are needed, and there is no apt-get or dpkg-deb here", packages.join(" "));
    }
    let _one_at_a_time = cache::lock("debian")?;
    let folder = cache::subfolder("debian")?;
    let offered = offers(packages).or_else(|_| {
        // There are no package lists, or too old ones.
        update()?;
        offers(packages)
    })?;
    offered.into_iter().map(|offer| offer.fetch(&folder)).collect()
}

/// A package in the version that is offered.
struct Offer {
    package: String,
    file: String,
    sha256: String,
}

fn offers(packages: &[&str]) -> Result<Vec<Offer>> {
    let printed = output(Command::new("apt-get").args(["download", "--print-uris"]).args(packages))?;
    printed.lines().map(|line| Offer::read(line).with_context(|| format!("apt-get prints what is no offer: {line}"))).collect()
}

impl Offer {
    /// Reads `'address' name_version_architecture.deb size SHA256:digits`.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().skip(1);
        let file = words.next()?;
        let sha256 = words.nth(1)?.strip_prefix("SHA256:")?;
        Some(Self { package: file.split('_').next()?.to_owned(), file: file.to_owned(), sha256: sha256.to_owned() })
    }

    /// The file in the cache, downloaded unless it is there.
    fn fetch(self, folder: &Path) -> Result<PathBuf> {
        let place = folder.join(&self.file);
        if !place.is_file() {
            output(Command::new("apt-get").args(["download", "--quiet", &self.package]).current_dir(folder))?;
        }
        ensure!(digest::of_file(&place)? == self.sha256, "{} is not what the package lists name: remove it", place.display());
        Ok(place)
    }
}

fn update() -> Result<()> {
    if UPDATED.set(()).is_ok() {
        output(Command::new("apt-get").args(["update", "--quiet"]))?;
    }
    Ok(())
}

fn apt_get(packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["install", "--yes", "--quiet", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]);
    output(command.args(packages)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_names_package_file_and_digest() {
        let offer =
            Offer::read("'http://archive.example/libc6_2.36-9%2bdeb12u14_amd64.deb' libc6_2.36-9+deb12u14_amd64.deb 27 SHA256:ba4f")
                .unwrap();
        assert_eq!((&*offer.package, &*offer.file, &*offer.sha256), ("libc6", "libc6_2.36-9+deb12u14_amd64.deb", "ba4f"));
        assert!(Offer::read("E: Unable to locate package").is_none());
    }
}
