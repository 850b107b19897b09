//! How long a review of a pod takes, from bytes to bytes; beside it, what the usual way costs: decode the whole review
//! into types, change the pod, diff both, encode.

#![allow(clippy::unwrap_used, reason = "a bench that fails must say where")]

use std::{collections::HashMap, hint::black_box, sync::Arc};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, Volume, VolumeMount};
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use outrigger::{
    admission::{Admission, Metrics, Objects, Pods},
    api::inventory::Inventory,
    cluster::{namespaces::Namespaces, snapshot::snapshot},
    events::recorder::Notes,
    injection::Settings,
    runtime::traces::Traces,
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

/// A review as an API server sends it: a pod of three containers as a Deployment makes it, with managed fields.
fn review(annotations: &Value, variables: usize, containers: usize) -> Vec<u8> {
    let env: Vec<Value> =
        (0..variables).map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-of-setting-{n}")})).collect();
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
            "generateName": "application-6f9c8d7b5c-", "namespace": "team", "uid": "2b3c", "creationTimestamp": null,
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
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"}, "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": "team", "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["system:serviceaccounts", "system:authenticated"]},
            "object": pod, "oldObject": null, "dryRun": false, "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    });
    serde_json::to_vec(&review).unwrap()
}

fn all_three() -> Value {
    json!({
        "outrigger.dev/inject": "vnc, file-sync, guacamole", "vnc.outrigger.dev/geometry": "1920x1080",
        "file-sync.outrigger.dev/folder": "/srv/files", "file-sync.outrigger.dev/label": "app",
        "guacamole.outrigger.dev/connections": "office", "guacamole.outrigger.dev/configuration": "guacamole-properties",
        "prometheus.io/scrape": "true",
    })
}

/// A namespace that gives defaults, and has none: a pod that asks for nothing is only sent from such a one.
fn admission() -> Arc<Admission> {
    let (writer, namespaces) = snapshot(Namespaces::new(HashMap::from([("team".to_owned(), Some(Arc::default()))])));
    drop(writer);
    let (_, inventory) = snapshot(Inventory::default());
    Admission::new(
        Pods { settings: Settings::default(), namespaces, notes: Notes::nowhere() },
        Objects { inventory },
        Metrics::new(&mut Registry::default()),
        Traces::default(),
    )
}

/// The usual way, adding one sidecar of the same shape.
fn typed_and_diffed(body: &[u8]) -> Vec<u8> {
    let review: AdmissionReview<Pod> = serde_json::from_slice(body).unwrap();
    let request: AdmissionRequest<Pod> = review.try_into().unwrap();
    let mut pod = request.object.clone().unwrap();
    let before = serde_json::to_value(&pod).unwrap();
    let spec = pod.spec.as_mut().unwrap();
    for container in &mut spec.containers {
        container.env.get_or_insert_default().push(EnvVar {
            name: "DISPLAY".to_owned(),
            value: Some(":99".to_owned()),
            ..EnvVar::default()
        });
        let mount = VolumeMount { name: "x11".to_owned(), mount_path: "/tmp/.X11-unix".to_owned(), ..VolumeMount::default() };
        container.volume_mounts.get_or_insert_default().push(mount);
    }
    spec.volumes.get_or_insert_default().push(Volume { name: "x11".to_owned(), ..Volume::default() });
    spec.init_containers.get_or_insert_default().push(Container {
        name: "vnc".to_owned(),
        image: Some("vnc".to_owned()),
        ..Container::default()
    });
    let patch = json_patch::diff(&before, &serde_json::to_value(&pod).unwrap());
    let response = AdmissionResponse::from(&request).with_patch(patch).unwrap();
    serde_json::to_vec(&response.into_review()).unwrap()
}

fn benches(criterion: &mut Criterion) {
    let admission = admission();
    let cases = [
        ("11 KB, three sidecars", review(&all_three(), 25, 3)),
        ("11 KB, vnc", review(&json!({"outrigger.dev/inject": "vnc"}), 25, 3)),
        ("11 KB, asks for nothing", review(&json!({"prometheus.io/scrape": "true"}), 25, 3)),
        ("2,000 variables in one container", review(&all_three(), 2000, 1)),
        ("100 containers of 20 variables", review(&all_three(), 20, 100)),
    ];
    let mut group = criterion.benchmark_group("bytes to bytes");
    for (name, body) in &cases {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("outrigger", name), body, |bencher, body| {
            bencher.iter(|| block_on(admission.answer_pod(black_box(body))).unwrap());
        });
        group.bench_with_input(BenchmarkId::new("typed and diffed, one sidecar", name), body, |bencher, body| {
            bencher.iter(|| typed_and_diffed(black_box(body)));
        });
    }
    group.finish();
}

criterion_group!(decision, benches);
criterion_main!(decision);
