//! Other injectors' containers: which ones they are, and whether a mesh's proxy is a plain container.
//!
//! The names are those the projects write into pods; users can't choose them.

use super::pod::{Container, Spec};

/// A mesh that redirects a pod's traffic to its proxy.
struct Mesh {
    /// The proxy's container.
    proxy: &'static str,
    /// Init containers that redirect the traffic, or check that something did.
    redirectors: &'static [&'static str],
}

const MESHES: &[Mesh] = &[
    Mesh { proxy: "istio-proxy", redirectors: &["istio-init", "istio-validation"] },
    Mesh { proxy: "linkerd-proxy", redirectors: &["linkerd-init", "linkerd-network-validator"] },
    Mesh { proxy: "kuma-sidecar", redirectors: &["kuma-init", "kuma-validation"] },
    Mesh { proxy: "consul-dataplane", redirectors: &["consul-connect-inject-init"] },
];

/// Containers of injectors that don't redirect traffic.
const OTHERS: &[&str] = &[
    "vault-agent",
    "vault-agent-init",
    "daprd",
    "otc-container",
    "linkerd-debug",
    "cloud-sql-proxy",
    "azwi-proxy",
    "azwi-proxy-init",
    "gke-gcsfuse-sidecar",
    "datadog-agent-injected",
    "outrigger-vnc",
    "outrigger-file-sync",
    "outrigger-guacamole",
];

/// Whether an injector, we among them, writes containers of this name.
pub(crate) fn is_injected(name: &str) -> bool {
    belongs_to_mesh(name) || OTHERS.contains(&name)
}

/// All names for which [`is_injected`] says yes.
pub(crate) fn injected_names() -> impl Iterator<Item = &'static str> {
    mesh_names().chain(OTHERS.iter().copied())
}

/// All names for which [`belongs_to_mesh`] says yes.
pub(crate) fn mesh_names() -> impl Iterator<Item = &'static str> {
    MESHES.iter().flat_map(|mesh| std::iter::once(mesh.proxy).chain(mesh.redirectors.iter().copied()))
}

/// Whether a mesh writes containers of this name.
pub(crate) fn belongs_to_mesh(name: &str) -> bool {
    MESHES.iter().any(|mesh| mesh.proxy == name || mesh.redirectors.contains(&name))
}

/// A mesh whose redirection starts before its proxy does: nothing between them reaches the network.
pub(crate) struct PlainProxy {
    /// The proxy's name.
    pub(crate) name: &'static str,
    /// Its place among the containers, if it is there already.
    pub(crate) index: Option<usize>,
}

/// The mesh in this pod whose proxy is a plain container, if there is one.
pub(crate) fn plain_proxy(spec: &Spec<'_>) -> Option<PlainProxy> {
    let inits = spec.init_containers.items();
    let named = |name: &'static str| move |container: &Container<'_>| &*container.name == name;
    MESHES.iter().find_map(|mesh| {
        let redirects = inits.iter().any(|init| mesh.redirectors.contains(&&*init.name));
        let native = inits.iter().any(|init| &*init.name == mesh.proxy && init.is_native_sidecar());
        let index = spec.containers.items().iter().position(named(mesh.proxy));
        (!native && (redirects || index.is_some())).then_some(PlainProxy { name: mesh.proxy, index })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::pod::Pod;

    fn proxy(pod: &str) -> Option<(&'static str, Option<usize>)> {
        let pod: Pod<'_> = serde_json::from_str(pod).unwrap();
        plain_proxy(pod.spec.value().unwrap()).map(|proxy| (proxy.name, proxy.index))
    }

    #[test]
    fn tells_a_plain_proxy_from_a_native_one() {
        let native = r#"{"spec":{"initContainers":[{"name":"istio-init"},{"name":"istio-proxy","restartPolicy":"Always"}],"containers":[{"name":"app"}]}}"#;
        assert_eq!(proxy(native), None);
        let plain = r#"{"spec":{"initContainers":[{"name":"istio-init"}],"containers":[{"name":"app"},{"name":"istio-proxy"}]}}"#;
        assert_eq!(proxy(plain), Some(("istio-proxy", Some(1))));
        let not_there_yet = r#"{"spec":{"initContainers":[{"name":"linkerd-init"}],"containers":[{"name":"app"}]}}"#;
        assert_eq!(proxy(not_there_yet), Some(("linkerd-proxy", None)));
        assert_eq!(proxy(r#"{"spec":{"containers":[{"name":"app"}]}}"#), None);
    }

    #[test]
    fn our_own_containers_are_injected_ones() {
        for kind in crate::api::annotations::SidecarKind::ALL {
            assert!(is_injected(kind.container()));
        }
    }
}
