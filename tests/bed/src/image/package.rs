//! Debian packages as files of an image: nothing is installed, and no script of theirs is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::layer::Layer;
use crate::obtain::command::output;

/// Adds the files of these packages.
pub(super) fn add_all(layer: &mut Layer, packages: &[PathBuf]) -> Result<()> {
    packages.iter().try_for_each(|package| add(layer, package).with_context(|| format!("cannot unpack {}", package.display())))
}

/// Adds a package's files, and its control record where scanners for vulnerable packages look for it.
fn add(layer: &mut Layer, package: &Path) -> Result<()> {
    let mut unpacking = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
    let mut files = unpacking.stdout.take().context("dpkg-deb has no standard output")?;
    layer.add_archive(&mut files, is_wanted)?;
    // Behind the archive's end there is padding: whoever writes it must not find the pipe closed.
    std::io::copy(&mut files, &mut std::io::sink())?;
    let status = unpacking.wait()?;
    ensure!(status.success(), "dpkg-deb failed ({status})");
    let control = output(Command::new("dpkg-deb").arg("--field").arg(package))?;
    let name = control.lines().find_map(|line| line.strip_prefix("Package: ")).context("the package has no name")?;
    layer.add_bytes(Path::new("var/lib/dpkg/status.d").join(name), 0o644, control.as_bytes());
    Ok(())
}

/// Of documentation the licences alone; no programs for administrators but the one that is the image's; no tables for converting character sets, which Rust doesn't use.
fn is_wanted(path: &Path) -> bool {
    let unwanted = ["usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/info", "usr/sbin", "etc/update-motd.d"];
    let is_documentation = path.starts_with("usr/share/doc") && !path.ends_with("copyright");
    let is_conversion = path.components().any(|part| part.as_os_str() == "gconv");
    let is_program = path == Path::new(super::pgbouncer::PROGRAM);
    is_program || (!is_documentation && !is_conversion && !unwanted.iter().any(|folder| path.starts_with(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_stay_and_manuals_go() {
        for (path, wanted) in [
            ("usr/share/doc/libc6/copyright", true),
            ("usr/share/doc/libc6/changelog.gz", false),
            ("usr/share/common-licenses/GPL-2", true),
            ("usr/lib/x86_64-linux-gnu/gconv/UTF-7.so", false),
            ("lib/x86_64-linux-gnu/libc.so.6", true),
            ("usr/sbin/update-ca-certificates", false),
            ("usr/sbin/pgbouncer", true),
        ] {
            assert_eq!(is_wanted(Path::new(path)), wanted, "{path}");
        }
    }
}
