//! Upstream projects at their pinned versions, and the ways their programs come to a machine.

use crate::versions;

/// One upstream project at one version.
pub(crate) struct Package {
    /// Its name in messages and in the cache.
    pub(crate) name: &'static str,
    /// Its version, without a leading `v`.
    pub(crate) version: String,
    /// Arguments that make its programs print their version; `None` where programs found on `PATH` are not to be trusted with it.
    pub(crate) version_arguments: Option<&'static [&'static str]>,
    /// Where its own releases are.
    pub(crate) release: Release,
    /// How to build it from source.
    pub(crate) source: Source,
}

/// An official release: programs and their published SHA-256.
pub(crate) enum Release {
    /// Each program is a file of its own, with a `.sha256` beside it.
    Files { folder: String },
    /// All programs are in one compressed tar, in a folder of it.
    Archive { archive: String, checksums: String, folder: String },
}

/// A main package, or several, in one Go module.
pub(crate) struct Source {
    /// The module's path on the module proxy.
    pub(crate) module: &'static str,
    /// The programs we build from it, each with its Go package.
    pub(crate) programs: &'static [(&'static str, &'static str)],
    /// Build tags.
    pub(crate) tags: &'static str,
    /// Linker variables that carry the version: clients ask for it.
    pub(crate) stamps: Vec<(&'static str, String)>,
    /// What a person waits for, once: from an empty cache on two cores.
    pub(crate) duration: &'static str,
}

pub(crate) fn kubernetes(version: &str) -> Package {
    let minor = version.split('.').nth(1).unwrap_or_default();
    Package {
        name: "kubernetes",
        version: version.to_owned(),
        version_arguments: Some(&["--version"]),
        release: Release::Files { folder: format!("https://dl.k8s.io/v{version}/bin/linux/{}", architecture()) },
        source: Source {
            module: "k8s.io/kubernetes",
            programs: &[
                ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
                ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
                ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
                ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
                ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
                ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
            ],
            tags: "",
            stamps: vec![
                ("k8s.io/component-base/version.gitVersion", format!("v{version}")),
                ("k8s.io/component-base/version.gitMajor", "1".to_owned()),
                ("k8s.io/component-base/version.gitMinor", minor.to_owned()),
                ("k8s.io/component-base/version.gitTreeState", "clean".to_owned()),
                ("k8s.io/client-go/pkg/version.gitVersion", format!("v{version}")),
            ],
            duration: "up to 3 min",
        },
    }
}

pub(crate) fn etcd() -> Package {
    let version = versions::ETCD;
    let releases = format!("https://github.com/etcd-io/etcd/releases/download/v{version}");
    Package {
        name: "etcd",
        version: version.to_owned(),
        version_arguments: Some(&["--version"]),
        release: Release::Archive {
            archive: format!("{releases}/etcd-v{version}-linux-{}.tar.gz", architecture()),
            checksums: format!("{releases}/SHA256SUMS"),
            folder: format!("etcd-v{version}-linux-{}", architecture()),
        },
        source: Source {
            module: "go.etcd.io/etcd/server/v3",
            programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
            tags: "",
            stamps: vec![],
            duration: "about 20 s",
        },
    }
}

pub(crate) fn containerd() -> Package {
    let version = versions::CONTAINERD;
    let archive = format!(
        "https://github.com/containerd/containerd/releases/download/v{version}/containerd-static-{version}-linux-{}.tar.gz",
        architecture()
    );
    Package {
        name: "containerd",
        version: version.to_owned(),
        version_arguments: Some(&["--version"]),
        release: Release::Archive { checksums: format!("{archive}.sha256sum"), archive, folder: "bin".to_owned() },
        source: Source {
            module: "github.com/containerd/containerd/v2",
            programs: &[
                ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
                ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
                ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
            ],
            // Snapshotters that need libraries of their own; the node uses overlayfs.
            tags: "no_btrfs no_devmapper no_zfs",
            stamps: vec![("github.com/containerd/containerd/v2/version.Version", version.to_owned())],
            duration: "about 40 s",
        },
    }
}

pub(crate) fn cni_plugins() -> Package {
    let version = versions::CNI_PLUGINS;
    let archive = format!(
        "https://github.com/containernetworking/plugins/releases/download/v{version}/cni-plugins-linux-{}-v{version}.tgz",
        architecture()
    );
    Package {
        name: "cni-plugins",
        version: version.to_owned(),
        // `bridge` on PATH is the bridge tool of another project.
        version_arguments: None,
        release: Release::Archive { checksums: format!("{archive}.sha256"), archive, folder: String::new() },
        source: Source {
            module: "github.com/containernetworking/plugins",
            programs: &[
                ("bridge", "github.com/containernetworking/plugins/plugins/main/bridge"),
                ("loopback", "github.com/containernetworking/plugins/plugins/main/loopback"),
                ("host-local", "github.com/containernetworking/plugins/plugins/ipam/host-local"),
                ("portmap", "github.com/containernetworking/plugins/plugins/meta/portmap"),
            ],
            tags: "",
            stamps: vec![],
            duration: "about 10 s",
        },
    }
}

pub(crate) fn helm() -> Package {
    let version = versions::HELM;
    let archive = format!("https://get.helm.sh/helm-v{version}-linux-{}.tar.gz", architecture());
    Package {
        name: "helm",
        version: version.to_owned(),
        version_arguments: Some(&["version", "--short"]),
        release: Release::Archive { checksums: format!("{archive}.sha256sum"), archive, folder: format!("linux-{}", architecture()) },
        source: Source {
            module: "helm.sh/helm/v3",
            programs: &[("helm", "helm.sh/helm/v3/cmd/helm")],
            tags: "",
            stamps: vec![("helm.sh/helm/v3/internal/version.version", format!("v{version}"))],
            duration: "about 50 s",
        },
    }
}

/// The machine's architecture as Go and the releases call it.
pub(crate) fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}
