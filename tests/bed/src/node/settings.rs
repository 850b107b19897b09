//! The settings of a node's components. All paths, names and addresses are the run's own, so that nothing is shared between two nodes.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::network::Network;
use crate::image;
use crate::obtain::NodePrograms;
use crate::pki;
use crate::pki::Identity;
use crate::supervise::Run;

/// containerd's socket in the run's directory.
pub(crate) const CONTAINERD_SOCKET: &str = "containerd/containerd.sock";
const CNI_FOLDER: &str = "cni";

/// Writes containerd's settings (configuration version 3).
pub(crate) fn containerd(run: &Run, programs: &NodePrograms) -> Result<PathBuf> {
    // TOML's basic strings escape as JSON's do.
    let path = |relative: &str| json!(run.path(relative)).to_string();
    let settings = format!(
        r#"version = 3
root = {root}
state = {state}

[grpc]
address = {socket}

# The plugin's default socket is one for the whole machine.
[plugins.'io.containerd.nri.v1.nri']
disable = true

[plugins.'io.containerd.internal.v1.opt']
path = {opt}

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = {pause}

[plugins.'io.containerd.cri.v1.runtime']
netns_mounts_under_state_dir = true
# Where CAP_SYS_RESOURCE is missing, no sandbox starts that asks for a lower score than its parent's.
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [{cni_plugins}]
conf_dir = {cni}

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = {runc}
Root = {runc_state}
SystemdCgroup = false
"#,
        root = path("containerd/root"),
        state = path("containerd/state"),
        socket = path(CONTAINERD_SOCKET),
        opt = path("containerd/opt"),
        pause = json!(image::PAUSE),
        cni_plugins = json!(programs.cni_plugins),
        cni = path(CNI_FOLDER),
        runc = json!(programs.runc),
        runc_state = path("containerd/runc"),
    );
    run.write("containerd.toml", settings)
}

/// Writes the pod network's settings (CNI specification 1.0.0).
pub(crate) fn pod_network(run: &Run, network: &Network) -> Result<PathBuf> {
    let settings = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": network.pods()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": run.path("pod-addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    run.write(&format!("{CNI_FOLDER}/10-pods.conflist"), settings.to_string())
}

/// Writes the kubelet's settings.
pub(crate) fn kubelet(run: &Run, network: &Network, serving: &Identity) -> Result<PathBuf> {
    let settings = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.node(),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": run.path(pki::CA_CERTIFICATE)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": serving.certificate_file,
        "tlsPrivateKeyFile": serving.key_file,
        "containerRuntimeEndpoint": format!("unix://{}", run.path(CONTAINERD_SOCKET).display()),
        "clusterDNS": [network.dns_service()],
        "clusterDomain": "cluster.local",
        // Each kubelet ends what it does not know below its root: two must not share one.
        "cgroupRoot": format!("/{}", run.name()),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "podLogsDir": run.path("pod-logs"),
        "volumePluginDir": run.path("volume-plugins"),
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "readOnlyPort": 0,
    });
    run.write("kubelet.json", settings.to_string())
}

/// Writes kube-proxy's settings.
pub(crate) fn kube_proxy(run: &Run, network: &Network, kubeconfig: &std::path::Path) -> Result<PathBuf> {
    let settings = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": network.pods(),
        "clientConnection": {"kubeconfig": kubeconfig},
        "hostnameOverride": run.name(),
        // The connection table belongs to the machine; its size is not ours to set.
        "conntrack": {"maxPerCore": 0, "min": 0},
    });
    run.write("kube-proxy.json", settings.to_string())
}
