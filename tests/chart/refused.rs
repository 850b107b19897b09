//! Values that can't be meant are refused, with a sentence that names them.

use crate::helm::{CHART, Helm, set};

#[test]
fn bad_values_are_refused_by_name() {
    let Some(helm) = Helm::obtain("bad_values_are_refused_by_name") else { return };
    let sha = format!("image.digest=sha256:{}", "0".repeat(63));
    for (values, complaint) in [
        (&["admision.replicas=1"][..], "additional properties 'admision' not allowed"),
        (&["admission.replica=1"], "at '/admission': additional properties 'replica' not allowed"),
        (&["admission.replicas=0"], "at '/admission/replicas': minimum: got 0, want 1"),
        (&["admission.httpsPort=443"], "at '/admission/httpsPort': minimum: got 443, want 1,024"),
        (&["webhooks.failurePolicy=Open"], "at '/webhooks/failurePolicy': value must be one of 'Ignore', 'Fail'"),
        (&["certificates.mode=own"], "at '/certificates/mode': value must be one of 'self', 'cert-manager', 'files'"),
        (&["guard.enabled=maybe"], "at '/guard/enabled': got string, want boolean"),
        (&["injection.vcn.image=a"], "at '/injection': additional properties 'vcn' not allowed"),
        (&["injection.vnc.resources.cpu=1"], "at '/injection/vnc/resources': additional properties 'cpu' not allowed"),
        (&["image.pullPolicy=always"], "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'"),
        (&["traces.endpoint=collector:4318"], "at '/traces/endpoint': 'collector:4318' does not match pattern '^(https?://.+)?$'"),
        (&["controllers.env[0].value=a"], "at '/controllers/env/0': missing property 'name'"),
        (&["controllers.podLabels.helm\\.sh/chart=a"], "controllers.podLabels has helm.sh/chart, which is the chart's own"),
        (&[&sha], "it must be sha256: and 64 hexadecimal digits"),
        (&["certificates.caLifetime=1y"], "certificates.caLifetime is \"1y\": a duration is numbers with units h, m or s"),
        (&["admission.hostNetwork=true"], "the kubelet has port 10250 of each node: set admission.httpsPort"),
        (&["admission.httpsPort=8080"], "admission.httpsPort and admission.statusPort are both 8080: choose two"),
        (&["certificates.mode=files"], "needs certificates.secretName: the name of a Secret of type kubernetes.io/tls"),
        (&["certificates.mode=files", "certificates.secretName=tls"], "needs certificates.caBundle: the CA's certificate in PEM"),
        (
            &["certificates.mode=files", "certificates.secretName=tls", "certificates.caBundle=-----BEGIN PRIVATE KEY-----"],
            "certificates.caBundle holds a private key",
        ),
        (&["webhooks.failurePolicy=null"], "at '/webhooks': missing property 'failurePolicy'"),
        (&["certificates.leafLifetime=0h"], "certificates.leafLifetime is \"0h\": it must be 10s or longer"),
        (
            &["certificates.mode=cert-manager", "certificates.leafLifetime=59m"],
            "certificates.leafLifetime is \"59m\": it must be 3600s or longer",
        ),
        (&["certificates.issuerRef.kind=ClusterIssuer"], "at '/certificates/issuerRef': missing property 'name'"),
        (&["image.registry=https://example.com"], "at '/image/registry': 'https://example.com' does not match pattern"),
        (&["image.registry=example.com/rigs/"], "at '/image/registry': 'example.com/rigs/' does not match pattern"),
        (&["repair.mode=on"], "at '/repair/mode': value must be one of 'report', 'evict', 'off'"),
        (&["repair.interval=500ms"], "repair.interval is \"500ms\": a duration is numbers with units h, m or s"),
        (&["repair.interval=0s"], "repair.interval is \"0s\": it must be 1s or longer"),
        (&["repair.evictionsPerMinute=0"], "at '/repair/evictionsPerMinute': minimum: got 0, want 1"),
        (&["repair.namespaces={desks,desks}"], "at '/repair/namespaces': items at 0 and 1 are equal"),
        (&["certificates.secretName=tls"], "are for certificates.mode files, and the mode is self"),
    ] {
        let refused = helm.template(&set(values));
        assert!(!refused.success && refused.stderr.contains(complaint), "{values:?}: {}", refused.stderr);
    }
}

#[test]
fn clusters_that_are_not_supported_are_refused() {
    let Some(helm) = Helm::obtain("clusters_that_are_not_supported_are_refused") else { return };
    for (version, allowed) in [("1.32.9", false), ("1.33.0", true), ("1.36.3-gke.100", true), ("1.37.0", false)] {
        let outcome = helm.run(&["template", CHART, "--kube-version", version]);
        assert_eq!(outcome.success, allowed, "{version}: {}", outcome.stderr);
        assert!(allowed || outcome.stderr.contains("chart requires kubeVersion: >=1.33.0-0 <1.37.0-0"), "{}", outcome.stderr);
    }
}
