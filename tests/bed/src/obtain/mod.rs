//! Obtains programs: from the machine, the cache, the official release, or source; in this order, and says what it did.

pub mod cache;
mod cargo_deny;
pub(crate) mod command;
pub(crate) mod debian;
mod download;
mod go;
mod node_modules;
mod packages;
pub mod web;
mod wheel;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

pub use self::cargo_deny::cargo_deny;
use self::command::{find, is_program, output};
use self::debian::Need;
use self::packages::Package;
pub(crate) use self::packages::architecture;
use crate::{digest, progress, versions};

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

/// Obtains OpenSSL, with which people make certificates.
pub fn openssl() -> Result<()> {
    debian::install(&[Need { program: "openssl", packages: &["openssl"] }])
}

/// What a node consists of, besides a control plane.
pub struct NodePrograms {
    pub(crate) kube_scheduler: PathBuf,
    pub(crate) kubelet: PathBuf,
    pub(crate) kube_proxy: PathBuf,
    pub(crate) containerd: PathBuf,
    /// The folder of containerd's shim, which containerd looks for on its `PATH`.
    pub(crate) containerd_shim: PathBuf,
    pub(crate) ctr: PathBuf,
    pub(crate) runc: PathBuf,
    /// The folder of the CNI plugins.
    pub(crate) cni_plugins: PathBuf,
}

/// Obtains the programs of a node. Only root can run one.
pub fn node() -> Result<NodePrograms> {
    ensure!(rustix::process::geteuid().is_root(), "a node needs root: namespaces, mounts and control groups are made");
    debian::install(&NODE_NEEDS)?;
    output(Command::new("unshare").args(["--net", "--mount", "true"]))
        .context("root may not make namespaces here, as in most containers")?;
    let kubernetes = packages::kubernetes(&versions::kubernetes()?);
    let containerd = packages::containerd();
    Ok(NodePrograms {
        kube_scheduler: program(&kubernetes, "kube-scheduler")?,
        kubelet: program(&kubernetes, "kubelet")?,
        kube_proxy: program(&kubernetes, "kube-proxy")?,
        containerd_shim: program(&containerd, "containerd-shim-runc-v2")?,
        containerd: program(&containerd, "containerd")?,
        ctr: program(&containerd, "ctr")?,
        runc: find("runc").context("runc is not on PATH")?,
        cni_plugins: cni_plugins()?,
    })
}

/// Debian's runc is built with seccomp; one built without its library could not run pods with the default seccomp profile.
const NODE_NEEDS: [Need; 6] = [
    Need { program: "runc", packages: &["runc"] },
    Need { program: "nft", packages: &["nftables"] },
    Need { program: "ip", packages: &["iproute2"] },
    Need { program: "iptables", packages: &["iptables"] },
    Need { program: "gcc", packages: &["gcc", "libc6-dev"] },
    Need { program: "nsenter", packages: &["util-linux"] },
];

fn cni_plugins() -> Result<PathBuf> {
    let package = packages::cni_plugins();
    for (name, _) in package.source.programs {
        program(&package, name)?;
    }
    Ok(cache::folder()?.join(format!("{}/{}", package.name, package.version)))
}

/// What a PostgreSQL server consists of.
#[derive(Clone)]
pub struct PostgresPrograms {
    pub(crate) initdb: PathBuf,
    pub(crate) basebackup: PathBuf,
    pub(crate) postgres: PathBuf,
    pub(crate) psql: PathBuf,
}

/// Obtains PostgreSQL.
pub fn postgres() -> Result<PostgresPrograms> {
    crate::postgres::programs()
}

/// Obtains PgBouncer.
pub fn pgbouncer() -> Result<PathBuf> {
    debian::install(&[Need { program: "pgbouncer", packages: &["pgbouncer"] }])?;
    installed("pgbouncer")
}

/// Obtains the folder with PostgreSQL 17 and PgBouncer 1.24 of the Debian release that has them, in `usr`.
pub(crate) fn newer_databases() -> Result<PathBuf> {
    debian::system_folder("trixie", &["pgbouncer".to_owned(), "postgresql-17".to_owned()])
}

/// Obtains strace, which stops a program at a system call.
pub fn strace() -> Result<PathBuf> {
    debian::install(&[Need { program: "strace", packages: &["strace"] }])?;
    installed("strace")
}

/// Obtains Valgrind, which tells what a program executes.
pub fn valgrind() -> Result<PathBuf> {
    debian::install(&[Need { program: "valgrind", packages: &["valgrind"] }])?;
    installed("valgrind")
}

/// Obtains an X server that speaks RFB, and what its tests ask of it.
pub fn desktop() -> Result<DesktopPrograms> {
    debian::install(&DESKTOP_NEEDS)?;
    Ok(DesktopPrograms { xtigervnc: installed("Xtigervnc")?, xdpyinfo: installed("xdpyinfo")? })
}

/// What a desktop consists of. X clients go by their names, on `PATH`.
pub struct DesktopPrograms {
    /// The X server.
    pub xtigervnc: PathBuf,
    pub(crate) xdpyinfo: PathBuf,
}

const DESKTOP_NEEDS: [Need; 8] = [
    Need { program: "Xtigervnc", packages: &["tigervnc-standalone-server"] },
    Need { program: "xdpyinfo", packages: &["x11-utils"] },
    Need { program: "xterm", packages: &["xterm"] },
    Need { program: "xdotool", packages: &["xdotool"] },
    Need { program: "openbox", packages: &["openbox"] },
    Need { program: "x11vnc", packages: &["x11vnc"] },
    Need { program: "xsetroot", packages: &["x11-xserver-utils"] },
    Need { program: "xclip", packages: &["xclip"] },
];

/// Obtains what desktops in browsers are usually made of, beside x11vnc, which [`desktop`] brings.
pub fn desktop_rivals() -> Result<()> {
    debian::install(&[Need { program: "Xvfb", packages: &["xvfb"] }, Need { program: "websockify", packages: &["websockify"] }])
}

/// Obtains Chromium.
pub fn chromium() -> Result<PathBuf> {
    debian::install(&[Need { program: "chromium", packages: &["chromium"] }])?;
    installed("chromium")
}

fn installed(program: &str) -> Result<PathBuf> {
    find(program).with_context(|| format!("its Debian package was installed, and there is no {program} on PATH"))
}

/// Obtains Helm.
pub fn helm() -> Result<PathBuf> {
    program(&packages::helm(), "helm")
}

/// Obtains the TypeScript compiler and Grafana's types: a folder with both in its `node_modules`.
pub fn grafana_types() -> Result<PathBuf> {
    let packages = [format!("typescript@{}", versions::TYPESCRIPT), format!("@grafana/schema@{}", versions::GRAFANA)];
    node_modules::with("grafana-types", &packages)
}

/// Obtains the definitions of other people's kinds that the charts make objects of: cert-manager's, and the Prometheus Operator's.
pub fn foreign_kinds() -> Result<Vec<PathBuf>> {
    let cert_manager = go::module("github.com/cert-manager/cert-manager", versions::CERT_MANAGER)?.join("deploy/crds");
    let operator = go::module("github.com/prometheus-operator/prometheus-operator", versions::PROMETHEUS_OPERATOR)?;
    let of_cert_manager = ["certificates", "issuers"].map(|kind| cert_manager.join(format!("cert-manager.io_{kind}.yaml")));
    let of_the_operator = ["podmonitors", "prometheusrules", "servicemonitors"]
        .map(|kind| operator.join(format!("example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml")));
    Ok(of_cert_manager.into_iter().chain(of_the_operator).collect())
}

/// Obtains the program of a Go module of ours, built again when its files change.
pub fn go_program(module: &Path) -> Result<PathBuf> {
    let mut sources = Vec::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        let path = module.join(file);
        sources.extend(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    let name = module.file_name().with_context(|| format!("{} has no name", module.display()))?.to_string_lossy();
    let place = cache::folder()?.join(format!("{name}/{}/{name}", digest::of_bytes(&sources)));
    let _one_at_a_time = cache::lock(&name)?;
    if !is_program(&place) {
        progress::say(&format!("building {name} with Go (a few minutes, once) ..."));
        let workshop = cache::workshop(&name)?;
        let finished = workshop.join(&*name);
        go::build_module(module, &finished)?;
        cache::install(&finished, &place)?;
        fs::remove_dir_all(&workshop)?;
    }
    Ok(place)
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
    let finished = match downloaded(package, name, &workshop) {
        Some(file) => file,
        None => built(package, name, &workshop)?,
    };
    cache::install(&finished, place)?;
    fs::remove_dir_all(&workshop)?;
    progress::say(&format!("obtained {name} {} in {} s: {}", package.version, started.elapsed().as_secs(), place.display()));
    Ok(())
}

fn downloaded(package: &Package, name: &str, workshop: &Path) -> Option<PathBuf> {
    if !download::are_worth_trying() {
        return None;
    }
    progress::say(&format!("downloading {name} {} ...", package.version));
    download::program(package, name, workshop)
        .inspect_err(|reason| progress::say(&format!("no release download of {name} {}: {reason:#}", package.version)))
        .ok()
}

fn built(package: &Package, name: &str, workshop: &Path) -> Result<PathBuf> {
    progress::say(&format!("building {name} {} from the Go module proxy ({}, once) ...", package.version, package.source.duration));
    go::build(package, name, workshop)
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
