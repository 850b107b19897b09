//! Reviews of pods, as API servers send them.

use serde_json::{Value, json};

/// Where the pods are.
pub(crate) const NAMESPACE: &str = "team";

/// A review of a pod of one container that nothing is said of but its variables.
pub(crate) fn minimal(annotations: &Value, variables: usize) -> Vec<u8> {
    let pod = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "application", "namespace": NAMESPACE, "creationTimestamp": null, "annotations": annotations},
        "spec": {
            "containers": [{
                "name": "app", "image": "registry.example.com/team/application:v1.27.3", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
                "env": env(variables),
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "securityContext": {},
            "schedulerName": "default-scheduler", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {},
    });
    review_of(&pod)
}

/// A review as an API server sends it: a pod of three containers as a Deployment makes it, with managed fields.
pub(crate) fn review(annotations: &Value, variables: usize, containers: usize) -> Vec<u8> {
    let env = env(variables);
    let container = |n: usize| {
        json!({
            "name": format!("app-{n}"), "image": "registry.example.com/team/application:v1.27.3", "imagePullPolicy": "IfNotPresent",
            "command": ["/usr/bin/application"], "args": ["--config=/etc/application/config.yaml", "--verbose"], "env": env,
            "ports": [{"name": "http", "containerPort": 8000 + n, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
            "volumeMounts": [
                {"name": "config", "mountPath": "/etc/application", "readOnly": true},
                {"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
            ],
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "failureThreshold": 3},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"}, "periodSeconds": 5, "failureThreshold": 3},
            "securityContext": {"runAsNonRoot": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        })
    };
    let owned: serde_json::Map<String, Value> = (0..60).map(|n| (format!("f:field-number-{n}"), json!({}))).collect();
    let pod = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "generateName": "application-6f9c8d7b5c-", "namespace": NAMESPACE, "uid": "2b3c", "creationTimestamp": null,
            "labels": {"app.kubernetes.io/name": "application", "app.kubernetes.io/instance": "production", "pod-template-hash": "6f9c8d7b5c"},
            "annotations": annotations,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "application-6f9c8d7b5c", "uid": "9a", "controller": true}],
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": owned, "f:spec": owned}}],
        },
        "spec": {
            "volumes": [
                {"name": "config", "configMap": {"name": "application", "defaultMode": 420}},
                {"name": "kube-api-access-x7k2p", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}], "defaultMode": 420}},
            ],
            "containers": (0..containers).map(container).collect::<Vec<_>>(),
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "serviceAccountName": "default",
            "securityContext": {}, "schedulerName": "default-scheduler", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
        "status": {},
    });
    review_of(&pod)
}

fn env(variables: usize) -> Vec<Value> {
    (0..variables).map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-of-setting-{n}")})).collect()
}

fn review_of(pod: &Value) -> Vec<u8> {
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": NAMESPACE, "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["system:serviceaccounts", "system:authenticated"]},
            "object": pod, "oldObject": null, "dryRun": false, "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    });
    serde_json::to_vec(&review).unwrap()
}

/// The annotations of a pod that asks for all three sidecars.
pub(crate) fn all_three() -> Value {
    json!({
        "outrigger.dev/inject": "vnc, file-sync, guacamole", "vnc.outrigger.dev/geometry": "1920x1080",
        "file-sync.outrigger.dev/folder": "/srv/files", "file-sync.outrigger.dev/label": "app",
        "guacamole.outrigger.dev/connections": "office", "guacamole.outrigger.dev/configuration": "guacamole-properties",
        "prometheus.io/scrape": "true",
    })
}
