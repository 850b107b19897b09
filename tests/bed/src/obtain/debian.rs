//! Debian packages: installed when we are root and they are missing, or downloaded for their files.

use std::fmt::Write as _;
use std::fs;
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
    let _one_at_a_time = cache::lock("debian")?;
    Sources::default().download(packages)
}

/// The same of another Debian release, from where this machine's own packages come.
pub(crate) fn download_of(release: &str, packages: &[&str]) -> Result<Vec<PathBuf>> {
    let _one_at_a_time = cache::lock("debian")?;
    let sources = Sources::of(release)?;
    sources.download(packages).with_context(|| format!("this machine's package sources have to offer Debian {release}, too"))
}

/// A whole Debian system of a release with these packages, installed as its own tools do it, as a tar in the cache. Needs root.
pub(crate) fn system(release: &str, packages: &[String]) -> Result<PathBuf> {
    let _one_at_a_time = cache::lock("debian-systems")?;
    let name = digest::of_bytes(packages.join(" ").as_bytes());
    let place = cache::subfolder("debian/systems")?.join(format!("{release}-{}.tar", name.get(..16).unwrap_or(&name)));
    if place.is_file() {
        return Ok(place);
    }
    install(&[Need { program: "mmdebstrap", packages: &["mmdebstrap"] }])?;
    let sources = {
        let _one_at_a_time = cache::lock("debian")?;
        Sources::of(release)?.list().context("a release has sources of its own")?
    };
    progress::say(&format!("installing Debian {release} with {} in a folder (about a minute, once) ...", packages.join(", ")));
    let unfinished = place.with_extension("unfinished.tar");
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=essential", "--quiet", "--skip=output/dev", "--aptopt=Apt::Install-Recommends \"false\""]);
    command.args(UNWANTED.map(|folder| format!("--dpkgopt=path-exclude={folder}/*")));
    command.arg(format!("--include={}", packages.join(","))).arg(release).arg(&unfinished).arg(sources);
    output(&mut command)?;
    fs::rename(&unfinished, &place).with_context(|| format!("cannot write {}", place.display()))?;
    Ok(place)
}

/// The folder with `usr` of such a system, in the cache. Needs root.
pub(crate) fn system_folder(release: &str, packages: &[String]) -> Result<PathBuf> {
    let archive = system(release, packages)?;
    let _one_at_a_time = cache::lock("debian-systems")?;
    let place = archive.with_extension("");
    if place.is_dir() {
        return Ok(place);
    }
    let unfinished = place.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    fs::create_dir(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    output(Command::new("tar").args(["--extract", "--file"]).arg(&archive).arg("--directory").arg(&unfinished).arg("./usr"))?;
    fs::rename(&unfinished, &place).with_context(|| format!("cannot make {}", place.display()))?;
    Ok(place)
}

/// What no program reads. Manuals stay: Java can't be installed without their folders.
const UNWANTED: [&str; 3] = ["/usr/share/doc", "/usr/share/info", "/usr/share/locale"];

/// Where packages come from.
#[derive(Default)]
struct Sources {
    /// Settings of apt; none for the machine's.
    settings: Option<PathBuf>,
}

impl Sources {
    /// Those of a release, as apt keeps them: in a folder of their own, so that the machine's are not touched.
    fn of(release: &str) -> Result<Self> {
        ensure_tools(&[release])?;
        let folder = cache::subfolder(format!("debian/{release}"))?;
        for inner in ["lists/partial", "archives/partial", "sources"] {
            fs::create_dir_all(folder.join(inner))?;
        }
        fs::write(folder.join("status"), "")?;
        let printed = output(Command::new("apt-get").args(["indextargets", "--format", INDEX_FORMAT, "Identifier: Packages"]))?;
        fs::write(folder.join(SOURCES), sources_of(release, &printed)?)?;
        let place = folder.display();
        let settings = format!(
            "Dir::State \"{place}\";\nDir::State::status \"{place}/status\";\nDir::Cache \"{place}\";\n\
             Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{place}/sources\";\n"
        );
        fs::write(folder.join("apt.conf"), settings)?;
        Ok(Self { settings: Some(folder.join("apt.conf")) })
    }

    /// The file that names them, unless they are the machine's.
    fn list(&self) -> Option<PathBuf> {
        Some(self.settings.as_ref()?.parent()?.join(SOURCES))
    }

    fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        ensure_tools(packages)?;
        let folder = cache::subfolder("debian")?;
        let offered = self.offers(packages).or_else(|_| {
            // There are no package lists, or too old ones.
            self.update()?;
            self.offers(packages)
        })?;
        self.fetch(&offered, &folder)
    }

    fn offers(&self, packages: &[&str]) -> Result<Vec<Offer>> {
        let printed = output(self.apt_get().args(["download", "--print-uris"]).args(packages))?;
        printed.lines().map(|line| Offer::read(line).with_context(|| format!("apt-get prints what is no offer: {line}"))).collect()
    }

    /// The files in the cache, downloaded unless they are there.
    fn fetch(&self, offered: &[Offer], folder: &Path) -> Result<Vec<PathBuf>> {
        let place = |offer: &Offer| folder.join(&offer.file);
        let missing: Vec<&str> = offered.iter().filter(|offer| !place(offer).is_file()).map(|offer| &*offer.package).collect();
        if !missing.is_empty() {
            output(self.apt_get().args(["download", "--quiet"]).args(&missing).current_dir(folder))?;
        }
        for offer in offered {
            let place = place(offer);
            ensure!(digest::of_file(&place)? == offer.sha256, "{} is not what the package lists name: remove it", place.display());
        }
        Ok(offered.iter().map(place).collect())
    }

    fn update(&self) -> Result<()> {
        match self.settings {
            None => update(),
            Some(_) => output(self.apt_get().args(["update", "--quiet"])).map(drop),
        }
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.envs(self.settings.as_ref().map(|settings| ("APT_CONFIG", settings)));
        command
    }
}

fn ensure_tools(packages: &[&str]) -> Result<()> {
    if find("apt-get").is_none() || find("dpkg-deb").is_none() {
        bail!("the Debian packages {} are needed, and there is no apt-get or dpkg-deb here", packages.join(" "));
    }
    Ok(())
}

/// Where a release's sources are named, in its folder.
const SOURCES: &str = "sources/release.sources";
/// What is asked of each list of packages that this machine uses.
const INDEX_FORMAT: &str = "$(REPO_URI) $(CODENAME) $(COMPONENT)";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The sources of a release, given those of this machine's: the same places, with the name of the release instead of its own.
fn sources_of(release: &str, printed: &str) -> Result<String> {
    let signed_by = if Path::new(KEYRING).exists() { format!("Signed-By: {KEYRING}\n") } else { String::new() };
    let mut sources = String::new();
    for line in printed.lines() {
        let [place, suite, "main"] = line.split_whitespace().collect::<Vec<_>>()[..] else { continue };
        let section = suite.split_once('-').map_or(String::new(), |(_, section)| format!("-{section}"));
        writeln!(sources, "Types: deb\nURIs: {place}\nSuites: {release}{section}\nComponents: main\n{signed_by}")?;
    }
    ensure!(!sources.is_empty(), "apt-get knows no source of Debian packages");
    Ok(sources)
}

/// A package in the version that is offered.
struct Offer {
    package: String,
    file: String,
    sha256: String,
}

impl Offer {
    /// Reads `'address' name_version_architecture.deb size SHA256:digits`.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().skip(1);
        let file = words.next()?;
        let sha256 = words.nth(1)?.strip_prefix("SHA256:")?;
        Some(Self { package: file.split('_').next()?.to_owned(), file: file.to_owned(), sha256: sha256.to_owned() })
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

    #[test]
    fn another_release_comes_from_where_this_one_does() {
        let printed = "http://archive.example/debian/ bookworm main\nhttp://archive.example/debian/ bookworm contrib\nhttp://archive.example/debian-security/ bookworm-security main\n";
        let sources = sources_of("trixie", printed).unwrap();
        let fields: Vec<&str> = sources.lines().filter(|line| line.starts_with("URIs") || line.starts_with("Suites")).collect();
        let expected = [
            "URIs: http://archive.example/debian/",
            "Suites: trixie",
            "URIs: http://archive.example/debian-security/",
            "Suites: trixie-security",
        ];
        assert_eq!(fields, expected);
        assert!(sources_of("trixie", "").is_err());
    }
}
