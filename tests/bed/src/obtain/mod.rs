//! Obtains programs: from the machine, the cache, the official release, or source; in this order, and says what it did.

pub mod cache;
pub(crate) mod command;
mod download;
mod go;
mod packages;
mod wheel;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};

use self::command::{find, is_program, output};
use self::packages::Package;
use crate::progress;
use crate::versions;

/// What a control plane consists of.
pub struct ControlPlanePrograms {
    pub(crate) etcd: PathBuf,
    pub(crate) kube_apiserver: PathBuf,
    pub(crate) kube_controller_manager: PathBuf,
    /// The real kubectl, of the control plane's version.
    pub kubectl: PathBuf,
}

/// Obtains the programs of a control plane.
pub fn control_plane() -> Result<ControlPlanePrograms> {
    let kubernetes = packages::kubernetes(&versions::kubernetes()?);
    Ok(ControlPlanePrograms {
        etcd: program(&packages::etcd(), "etcd")?,
        kube_apiserver: program(&kubernetes, "kube-apiserver")?,
        kube_controller_manager: program(&kubernetes, "kube-controller-manager")?,
        kubectl: program(&kubernetes, "kubectl")?,
    })
}

/// Obtains Helm.
pub fn helm() -> Result<PathBuf> {
    program(&packages::helm(), "helm")
}

fn program(package: &Package, name: &str) -> Result<PathBuf> {
    if let Some(found) = on_the_machine(package, name) {
        return Ok(found);
    }
    let place = cache::folder()?.join(format!("{}/{}/{name}", package.name, package.version));
    if is_program(&place) {
        return Ok(place);
    }
    let _one_at_a_time = cache::lock(package.name)?;
    if !is_program(&place) {
        fetch(package, name, &place).with_context(|| format!("cannot obtain {name} {}", package.version))?;
    }
    Ok(place)
}

/// The program from `KUBEBUILDER_ASSETS` or `PATH`, if it is the wanted version.
fn on_the_machine(package: &Package, name: &str) -> Option<PathBuf> {
    let arguments = package.version_arguments?;
    let from_assets = env::var_os("KUBEBUILDER_ASSETS").map(|folder| PathBuf::from(folder).join(name)).filter(|path| is_program(path));
    let arguments: &[&str] = if name == "kubectl" { &["version", "--client"] } else { arguments };
    [from_assets, find(name)].into_iter().flatten().find(|candidate| {
        // A program that does not even tell its version is not the one we want.
        output(Command::new(candidate).args(arguments)).is_ok_and(|printed| tells_version(&printed, &package.version))
    })
}

/// Whether one word of a program's output is this version.
fn tells_version(printed: &str, version: &str) -> bool {
    printed.split_whitespace().any(|word| {
        let word = word.strip_prefix('v').unwrap_or(word);
        word.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
    })
}

fn fetch(package: &Package, name: &str, place: &Path) -> Result<()> {
    let workshop = cache::workshop(package.name)?;
    let started = std::time::Instant::now();
    let finished = match download::program(package, name, &workshop) {
        Ok(file) => file,
        Err(reason) => {
            progress::say(&format!("no release download of {name} {}: {reason:#}", package.version));
            progress::say(&format!("building {name} {} from the Go module proxy ({}, once) ...", package.version, package.source.duration));
            go::build(package, name, &workshop)?
        }
    };
    cache::install(&finished, place)?;
    fs::remove_dir_all(&workshop)?;
    progress::say(&format!("obtained {name} {} in {} s: {}", package.version, started.elapsed().as_secs(), place.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_recognised_as_a_whole_word() {
        assert!(tells_version("Kubernetes v1.36.3\n", "1.36.3"));
        assert!(tells_version("etcd Version: 3.6.16\nGit SHA: x", "3.6.16"));
        assert!(tells_version("v3.21.4+g1234567", "3.21.4"));
        assert!(!tells_version("Kubernetes v1.36.31", "1.36.3"));
        assert!(!tells_version("Client Version: v1.32.4-dispatcher", "1.32.4"));
    }
}
